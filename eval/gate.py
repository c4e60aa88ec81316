"""The gate before a promotion: what is live and a candidate are asked the same questions with known answers.

Two engines and questions come in, a comparison goes out, as `python -m eval compare` makes it. Rows are kept by what
they depend on, so that a gate that was stopped goes on, and what is live is not asked again for the next candidate.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from eval.questions import Gold, Question, load_questions
from eval.running import Row, answered, as_line, commit, start
from eval.sets import spaced
from eval.verdict import Comparison, compare
from rag.errors import SettingsError
from rag.types import Document
from rag.watching import WatchedEngine

NOWHERE = -1
"""Where a gold quotation stands that the candidate's documents lack: no passage and no citation reaches into it."""
DIGITS = 12
"""Of the hash that names the folder of a run."""


def asked(path: Path, split: str | None, limit: int | None) -> list[Question]:
    """The questions of a JSONL file. Raises SettingsError if there are none."""
    questions = [one for one in spaced(load_questions([path], split), limit) if not one.relevant]
    if not questions:
        raise SettingsError(f"{path} has no question to ask. Give a file of questions with known answers: --questions")
    return questions


def compared(live: WatchedEngine, candidate: WatchedEngine, questions: Sequence[Question], folder: Path) -> Comparison:
    """The candidate's answers held against those of what is live. Rows are kept in folders in `folder`."""
    before, after = (
        rows(engine, questions, folder, name) for engine, name in ((live, "live"), (candidate, "candidate"))
    )
    return compare(before, after)


def rows(engine: WatchedEngine, questions: Sequence[Question], folder: Path, name: str) -> list[Row]:
    """A row for each question; what was asked before with all the same is not asked again, unless it failed."""
    about: dict[str, Any] = {
        "generator": asdict(engine.generator_named(engine.generator).info),
        "settings": dict(engine.settings),
        "index": engine.version.info.version,
        "commit": commit(),
        "questions": hashlib.sha256(repr(list(questions)).encode()).hexdigest(),
    }
    own = folder / hashlib.sha256(as_line(about).encode()).hexdigest()[:DIGITS]
    run = start(own, about)
    run.drop(lambda row: row["status"] == "error")
    have = {row["id"]: row for row in run.rows}
    for question in tqdm(questions, desc=name, unit="question", file=sys.stderr):
        if question.id not in have:
            row = answered(engine, question, _gold(question, engine.version.documents))
            run.add(row | {"set": "gate", **run.stamp})
    return run.rows


def _gold(question: Question, documents: Mapping[str, Document]) -> list[Gold]:
    found = []
    for name, quotation in question.quotations:
        at = documents[name].text.find(quotation) if name in documents else NOWHERE
        if at == NOWHERE:
            found.append(Gold(next(iter(documents)), NOWHERE, NOWHERE))
        else:
            found.append(Gold(name, at, at + len(quotation)))
    return found
