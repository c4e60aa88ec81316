"""Public sets as documents and questions: each reader writes a set's passages as Markdown files and returns its rows.

Where a question comes with passages of its own, these have a role of their own, in words that no question holds, and
the question has it as its filter, so that no other passage can answer it. Rows alternate between the splits unless a
reader says otherwise. Answers are the sets' own short ones, so a right answer is one that contains them; there are no
gold quotations. Questions of `scifact`, `hotpotqa` and folders in the shape of BEIR have judgements instead of answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from eval.benches.files import DataMissing, bench_folder
from eval.benches.injection import bipia, notinject
from eval.benches.mtrag import mtrag_un
from eval.benches.retrieval import beir, scifact
from eval.benches.rgb import rgb_conflict, rgb_noise, rgb_planted, rgb_refusal
from eval.benches.squad import off_topic, squad2, squad2_whole
from eval.benches.wikipedia import hotpotqa, nq_pool
from eval.questions import Question

__all__ = ["BENCHES", "Bench", "DataMissing", "beir_bench", "bench_folder"]


@dataclass(frozen=True, slots=True)
class Bench:
    """A public set. `read` takes the folder of all sets and the one to write documents in; it returns the questions."""

    name: str
    read: Callable[[Path, Path], list[Question]]
    description: str


BENCHES: dict[str, Bench] = {
    bench.name: bench
    for bench in (
        Bench("squad2", squad2, "questions about one paragraph, half of them not answered there"),
        Bench("squad2-whole", squad2_whole, "the answerable ones, asked of all articles at once"),
        Bench("off-topic", off_topic, "questions about other things, asked of the same articles"),
        Bench("rgb-refusal", rgb_refusal, "web passages that do not answer the question"),
        Bench("rgb-noise", rgb_noise, "right passages among those that do not answer"),
        Bench("rgb-conflict", rgb_conflict, "right passages and as many that were edited to be wrong"),
        Bench("rgb-planted", rgb_planted, "one wrong passage among five others"),
        Bench("mtrag-un", mtrag_un, "last turns of conversations; any answer to an answerable one counts"),
        Bench("nq-pool", nq_pool, "short questions over 2,600 passages of Wikipedia"),
        Bench(
            "scifact", scifact, "claims with the abstracts that are relevant, among 5,183; only retrieval is measured"
        ),
        Bench(
            "hotpotqa", hotpotqa, "questions with the two relevant paragraphs among 4,937; only retrieval is measured"
        ),
        Bench("bipia", bipia, "e-mails and tables in which an order is planted"),
        Bench("notinject", notinject, "bundled questions behind harmless sentences full of trigger words"),
    )
}


def beir_bench(path: Path) -> Bench:
    """A folder of the user's own in the shape of BEIR, named after it; `read` ignores the folder of the public sets."""

    def read(_: Path, documents: Path) -> list[Question]:
        return beir(path, documents)

    return Bench(path.resolve().name, read, f"queries with judged documents in {path}; only retrieval is measured")
