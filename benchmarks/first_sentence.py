"""How long a person waits for the first sentence of the local model: Rolewise beside the prompt that one writes first.

    python -m benchmarks.first_sentence --questions 12 -o var/first-sentence

That prompt holds the five best passages whole. Both search the same index and are written by the same model; each
question is asked of one and then the other, in turns, so that a busy machine slows both. Rolewise has read the constant
beginning of its prompts before, as it has in the chat. Only questions that the documents answer are asked.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.tables import Table, output_option, show
from eval.questions import load_questions
from eval.running import opened
from eval.sets import BUNDLED, HOMES, SETS, spaced
from rag.answering import Engine
from rag.citations import DraftReader
from rag.settings import load_settings
from rag.types import Finished, Message, Token

LOCAL = "local"
PASSAGES = 5
NAIVE = (
    "You are a helpful assistant. Answer the question from the passages below and cite them by their numbers in square "
    "brackets. If they do not contain the answer, say that you do not know."
)
TIMES = ("first_text", "first_sentence", "whole")
GOAL = 1 / 3
"""Of the time to the first sentence that the plain prompt takes."""


@dataclass(frozen=True)
class Timed:
    """One answer: milliseconds since the question came, and the tokens that the model read for it and had read before.

    `by_model` is False where the quotations themselves are the answer, or none is.
    """

    question: str
    first_text: float
    first_sentence: float
    whole: float
    read: int
    kept: int
    by_model: bool


class Reading(logging.Handler):
    """Adds up what the model says it kept and read."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.kept = self.read = 0

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and record.msg == "%d tokens kept, %d read":
            kept, read = record.args
            self.kept, self.read = max(self.kept, int(str(kept))), self.read + int(str(read))


def naive(engine: Engine, question: str) -> Iterator[tuple[str, bool]]:
    """Pieces of text, and whether a sentence ends with each."""
    passages = [one.passage for one in engine.search(question, k=PASSAGES)]
    sources = "\n\n".join(f"[{number}] {one.trail}\n{one.text}" for number, one in enumerate(passages, start=1))
    messages = [Message("system", NAIVE), Message("user", f"Passages:\n\n{sources}\n\nQuestion: {question}")]
    reader = DraftReader()
    generator = engine.generator_named(LOCAL)
    for piece in generator.stream(messages, (), max_tokens=engine.answer_tokens):
        yield piece, bool(reader.feed(piece))


def rolewise(engine: Engine, question: str) -> Iterator[tuple[str, bool]]:
    """Sentences that stood the check."""
    for event in engine.stream_answer(question, generator=LOCAL, anew=True):
        if isinstance(event, Token):
            yield event.text, True
        elif isinstance(event, Finished):
            yield "", event.answer.generator.name == LOCAL


def timed(pieces: Iterator[tuple[str, bool]], question: str) -> Timed:
    """How long each part of an answer took."""
    reading, logger = Reading(), logging.getLogger("rag.llama")
    logger.addHandler(reading)
    logger.setLevel(logging.DEBUG)
    began, marks, last = time.perf_counter(), dict.fromkeys(TIMES, 0.0), False
    try:
        for text, ends_sentence in pieces:
            now = (time.perf_counter() - began) * 1000
            marks["first_text"] = marks["first_text"] or (now if text else 0.0)
            marks["first_sentence"] = marks["first_sentence"] or (now if text and ends_sentence else 0.0)
            last = ends_sentence
    finally:
        logger.removeHandler(reading)
    marks["whole"] = (time.perf_counter() - began) * 1000
    for name in ("first_sentence", "first_text"):  # a draft of one sentence is given out at its end
        marks[name] = marks[name] or marks["whole"]
    return Timed(question, read=reading.read, kept=reading.kept, by_model=last, **marks)


def table(rows: Sequence[tuple[Timed, Timed]], command: str = "") -> Table:
    """Medians of both and what share the second is of the first."""
    lines = []
    for name, label in (("read", "tokens read"), *((one, f"{one.replace('_', ' ')}, s") for one in TIMES)):
        before, after = (statistics.median(float(getattr(row[side], name)) for row in rows) for side in (0, 1))
        scale, digits = (1, 0) if name == "read" else (1000, 1)
        lines.append((label, f"{before / scale:.{digits}f}", f"{after / scale:.{digits}f}", f"{after / before:.2f}"))
    shares = [after.first_sentence / before.first_sentence for before, after in rows]
    within = sum(share <= GOAL for share in shares)
    drafted = sum(after.by_model for _, after in rows)
    return Table(
        title="The local model's first sentence",
        columns=("median", "five whole passages", "Rolewise", "share"),
        rows=tuple(lines),
        note=f"{len(rows)} questions, {drafted} of them drafted by the model; for the others the documents' own "
        "sentences are the answer. The first sentence took at most a third of the time for "
        f"{within} of {len(rows)}; the median of the shares is {statistics.median(shares):.2f}.",
        command=command,
    )


@click.command()
@click.option("--questions", default=12, show_default=True, help="So many of each set.")
@output_option
def main(questions: int, output: Path | None) -> None:
    """Asks development questions of the plain prompt and of Rolewise in turns, and prints the medians."""
    settings = load_settings(generator=LOCAL)
    rows = []
    for name in ("roles", "other"):
        engine = opened(BUNDLED[name], HOMES / name, settings)
        asked = [one for one in load_questions([SETS / f"{name}.jsonl"], "dev") if one.answerable and not one.history]
        for one in spaced(asked, questions):
            before = timed(naive(engine, one.question), one.question)
            engine.make_ready(LOCAL)
            rows.append((before, timed(rolewise(engine, one.question), one.question)))
            click.echo(f"{before.first_sentence:8.0f} {rows[-1][1].first_sentence:8.0f} ms  {one.question}", err=True)
    show([table(rows, f"python -m benchmarks.first_sentence --questions {questions}")], output)


if __name__ == "__main__":
    main()
