"""Which questions a run asks, of which documents: bundled sets, the user's own, public ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.askers import as_askers
from eval.benches import BENCHES, Bench, beir_bench, bench_folder
from eval.questions import Question, load_questions
from rag.errors import SettingsError
from rag.wiring import PROJECT

SETS = PROJECT / "eval" / "questions"
HOMES = PROJECT / "var" / "eval"
"""Each set's index is built in a home of its own below this folder."""
BUNDLED = {
    "roles": PROJECT / "index" / "sources",
    "other": PROJECT / "eval" / "documents",
    "hostile": PROJECT / "eval" / "hostile",
}
"""The bundled sets and the documents each is about."""


@dataclass(frozen=True)
class QuestionSet:
    """Questions and the documents that they are about. The index is built in `home`."""

    name: str
    questions: Sequence[Question]
    documents: Path
    home: Path


@dataclass(frozen=True)
class Choice:
    """What of each set is asked: a split, so many questions, and whether by different askers too."""

    split: str | None = None
    limit: int | None = None
    askers: bool = False

    def of(self, questions: Sequence[Question]) -> list[Question]:
        chosen = spaced([one for one in questions if self.split in (None, one.split)], self.limit)
        return [*chosen, *(as_askers(chosen) if self.askers else ())]


def named(name: str, documents: Path | None, choice: Choice) -> QuestionSet:
    """A bundled set by its name, or a JSONL file of the user's own about `documents`. Raises SettingsError."""
    path = SETS / f"{name}.jsonl" if name in BUNDLED else Path(name)
    folder = BUNDLED.get(name, documents)
    if not path.is_file():
        raise SettingsError(f"there is no question set {name!r}. Name a JSONL file, or one of: {', '.join(BUNDLED)}.")
    if folder is None:
        raise SettingsError(f"{name} needs its documents. Name their folder with --documents.")
    return QuestionSet(path.stem, choice.of(load_questions([path])), folder, HOMES / path.stem)


def public(name: str, choice: Choice) -> QuestionSet:
    """A public set by its name, or a folder in the shape of BEIR. Raises DataMissing where it is not on the machine."""
    bench: Bench | None = BENCHES.get(name) or (beir_bench(Path(name)) if Path(name).is_dir() else None)
    if bench is None:
        raise SettingsError(f"there is no bench {name!r}. Benches: {', '.join(BENCHES)}, or a folder in BEIR's shape.")
    home = HOMES / "bench" / bench.name
    shutil.rmtree(home / "documents", ignore_errors=True)
    questions = bench.read(bench_folder(), home / "documents")
    return QuestionSet(bench.name, choice.of(questions), home / "documents", home)


def spaced(questions: Sequence[Question], limit: int | None) -> list[Question]:
    """`limit` of the questions, the first among them, at even distances, and their twins; all if there are no more."""
    taken = min(limit or len(questions), len(questions))
    chosen = [questions[number * len(questions) // taken] for number in range(taken)]
    names = {name for one in chosen for name in (one.id, one.twin)}
    return [question for question in questions if question.id in names]
