"""How well passages are ranked on public sets: each search alone, the common ways to fuse them, and Rolewise.

    ROLEWISE_BENCH=../shared/bench python -m benchmarks.ranking -o ranking.json

Every row ranks what the same two searches find in the same index, so that only the fusion differs. A set that is not on
the machine is left out, and the reason is printed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click
from tqdm import tqdm

from benchmarks.tables import Table, output_option, show
from eval.benches import DataMissing
from eval.questions import Question
from eval.ranking import DEPTH, ranking_measures
from eval.running import DEEP
from eval.sets import Choice, QuestionSet, public
from rag.answering import Engine
from rag.fusion import weighted_sum
from rag.retrieval import DENSE, LEXICAL
from rag.settings import Settings
from rag.types import Passage
from rag.wiring import build_index, open_engine
from rag.words import words

RRF = 60
"""The constant of Cormack, Clarke and Büttcher, SIGIR 2009, which most programs take over."""
PUBLISHED = (
    "Published nDCG@10 on SciFact: BM25 0.679 (Anserini), all-MiniLM-L6-v2 0.645 (MTEB), BM25 and bge-base by ranks "
    "0.742, by min-max 0.747 (Anserini). Both paragraphs in 10, on 500 questions of this HotpotQA pool: BM25 "
    "0.500, all-MiniLM-L6-v2 0.664, with the reranker ms-marco-MiniLM-L6 0.804. HotpotQA's test half is 125 "
    "of these 250 questions. A set that this machine lacks is a dash."
)
Found = Mapping[str, Mapping[int, float]]
Fusion = Callable[[Found], Sequence[int]]


def by_rank(found: Found) -> Sequence[int]:
    """Reciprocal rank fusion."""
    total: dict[int, float] = {}
    for of_search in found.values():
        for rank, row in enumerate(of_search, start=1):
            total[row] = total.get(row, 0.0) + 1 / (RRF + rank)
    return _best_first(total)


def by_spread(found: Found) -> Sequence[int]:
    """The mean of scores stretched from 0 for a search's last candidate to 1 for its first (min-max)."""
    total: dict[int, float] = {}
    for of_search in found.values():
        low, high = (min(of_search.values()), max(of_search.values())) if of_search else (0.0, 0.0)
        for row, score in of_search.items():
            total[row] = total.get(row, 0.0) + ((score - low) / (high - low) if high > low else 1.0)
    return _best_first(total)


def of_own_candidates(found: Found) -> Sequence[int]:
    """As Rolewise, but a search does not score what only the other one found."""
    return _best_first(weighted_sum(found, {DENSE: 0.5, LEXICAL: 0.5}))


FUSIONS: Mapping[str, Fusion] = {
    "BM25 alone": lambda found: list(found[LEXICAL]),
    "embedder alone": lambda found: list(found[DENSE]),
    "reciprocal ranks (RRF, k = 60)": by_rank,
    "min-max of each search's candidates": by_spread,
    "Rolewise, without scoring the other's candidates": of_own_candidates,
}
ROLEWISE = "Rolewise"
MEASURES = (
    ("SciFact test: nDCG@10", "scifact", "test"),
    ("HotpotQA test half: both in 10", "hotpotqa", "test"),
    ("HotpotQA, all 250: both in 10", "hotpotqa", None),
    ("NQ pool: MRR@10", "nq-pool", None),
)


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="So many questions of each set, evenly spaced.")
@output_option
def main(limit: int | None, output: Path | None) -> None:
    """How well public sets are ranked, by each search, by common fusions and by Rolewise."""
    asked = {}
    for name in dict.fromkeys(name for _, name, _ in MEASURES):
        try:
            splits = {split for _, of, split in MEASURES if of == name}
            asked[name] = public(name, Choice(split=splits.pop() if len(splits) == 1 else None, limit=limit))
        except DataMissing as error:
            click.echo(f"{name} is left out: {error}", err=True)
    show([table({name: measured(one) for name, one in asked.items()}, limit)], output)


def measured(asked: QuestionSet) -> dict[str, list[tuple[str, float]]]:
    """For each way to rank the split of each question, with the measure of its set."""
    settings = Settings(home=asked.home, generator="extractive")
    build_index(settings, [asked.documents])
    engine = open_engine(settings)
    worth: dict[str, list[tuple[str, float]]] = {name: [] for name in (*FUSIONS, ROLEWISE)}
    for question in tqdm(asked.questions, desc=asked.name, unit="question"):
        found = _found(engine, question.question, settings.candidates)
        for name, fusion in FUSIONS.items():
            passages = [engine.version.passages[row] for row in fusion(found)[:DEEP]]
            worth[name].append((question.split, measure(question, passages)))
        own = [one.passage for one in engine.retriever.retrieve(question.question, DEEP)]
        worth[ROLEWISE].append((question.split, measure(question, own)))
    return worth


def measure(question: Question, passages: Sequence[Passage]) -> float:
    """MRR@10 of the first passage with a short answer; with judgements nDCG@10, or whether all are in 10 if two are."""
    if not question.relevant:
        said = [f" {' '.join(words(one.text))} " for one in passages[:DEPTH]]
        answers = [f" {' '.join(words(wording))} " for fact in question.facts for wording in fact]
        return next((1 / rank for rank, text in enumerate(said, 1) if any(one in text for one in answers)), 0.0)
    documents = list(dict.fromkeys(one.document for one in passages))[:DEPTH]
    if question.reference:  # of HotpotQA, where both paragraphs are needed for the answer
        return float({name for name, _ in question.relevant} <= set(documents))
    return ranking_measures(dict(question.relevant), documents)["nDCG@10"]


def table(worth: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]], limit: int | None = None) -> Table:
    """A row for each way to rank, a column for each of `MEASURES`."""

    def cell(way: str, name: str, split: str | None) -> str:
        values = [value for of, value in worth.get(name, {}).get(way, ()) if split in (None, of)]
        return f"{statistics.mean(values):.3f}" if values else "–"

    return Table(
        title="Ranking with all-MiniLM-L6-v2",
        columns=("", *(heading for heading, _, _ in MEASURES)),
        rows=tuple((way, *(cell(way, name, split) for _, name, split in MEASURES)) for way in (*FUSIONS, ROLEWISE)),
        note=PUBLISHED,
        command="python -m benchmarks.ranking" + (f" --limit {limit}" if limit else ""),
    )


def _found(engine: Engine, question: str, depth: int) -> Found:
    """The candidates of both searches with their scores, best first."""
    (scores,), (rows,) = engine.version.vectors.search(engine.embedder.embed_queries([question]), depth)
    dense = {int(row): float(score) for row, score in zip(rows, scores, strict=True) if row >= 0}
    scores, rows = engine.version.lexical.search(question, depth)
    return {DENSE: dense, LEXICAL: {int(row): float(score) for row, score in zip(rows, scores, strict=True)}}


def _best_first(total: Mapping[int, float]) -> list[int]:
    return sorted(total, key=lambda row: (-total[row], row))


if __name__ == "__main__":
    main()
