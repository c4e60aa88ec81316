"""What a search adds to the embedder's and the index's own time, question by question.

    python -m benchmarks.asking --passages 10000

Each question is embedded, searched for in each of the two indexes, and then asked as any front door asks it, in turn,
so that a neighbour on the machine slows all of them alike. Documents and questions are those of SciFact.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
from tqdm import tqdm

from benchmarks.tables import Table, output_option, show
from eval.sets import Choice, public
from rag.retrieval import FEEDBACK
from rag.settings import Settings
from rag.wiring import build_index, open_engine

Found = TypeVar("Found")
STEPS = (
    "embed the question",
    "find what it is moved towards",
    "search by meaning",
    "search by words",
    "ask: all of it, and what else is done",
)


@click.command()
@click.option("--questions", default=300, show_default=True)
@output_option
def main(questions: int, output: Path | None) -> None:
    """What a search adds to the embedder's and the index's own time."""
    show([measured(questions)], output)


def measured(questions: int) -> Table:
    asked = public("scifact", Choice(split="dev", limit=questions))
    settings = Settings(home=asked.home, generator="extractive")
    build_index(settings, [asked.documents])
    engine = open_engine(settings)
    times: dict[str, list[float]] = {step: [] for step in STEPS}

    def timed(step: str, work: Callable[..., Found], *given: object) -> Found:
        began = time.perf_counter()
        found = work(*given)
        times[step].append((time.perf_counter() - began) * 1000)
        return found

    engine.search(asked.questions[0].question)  # loads the model
    for question in tqdm([one.question for one in asked.questions], unit="question"):
        vector = timed(STEPS[0], engine.embedder.embed_queries, [question])
        timed(STEPS[1], engine.version.vectors.nearest, vector, FEEDBACK)
        timed(STEPS[2], engine.version.vectors.search, vector, settings.candidates)
        timed(STEPS[3], engine.version.lexical.search, question, settings.candidates)
        timed(STEPS[4], engine.search, question)
    own = np.sum([times[step] for step in STEPS[:4]], axis=0)
    added = np.median(times[STEPS[4]] / own) - 1
    return Table(
        title=f"Asking, {len(engine.version.passages):,} passages, {len(asked.questions)} questions",
        columns=("", "median ms", "95th percentile ms"),
        rows=tuple(_rows(times)),
        note=f"Rolewise adds {added:.0%} to the median of its parts' own time.",
        command=f"python -m benchmarks.asking --questions {questions}",
    )


def _rows(times: dict[str, list[float]]) -> Iterator[tuple[str, str, str]]:
    for step, of_step in times.items():
        median, high = np.percentile(of_step, [50, 95])
        yield step, f"{median:.1f}", f"{high:.1f}"


if __name__ == "__main__":
    main()
