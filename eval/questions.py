"""Question sets: JSONL, one question a line, with the facts a right answer holds and the quotations that bear it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import SettingsError
from rag.types import Document, Message
from rag.words import words

KINDS = (
    "fact",
    "list",
    "comparison",
    "aggregate",
    "conflict",
    "absent",
    "false-premise",
    "rough",
    "follow-up",
    "hostile",
)


@dataclass(frozen=True, slots=True)
class Gold:
    """A stretch of a document that a right answer rests on; half-open offsets into its stored text."""

    document: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """`facts` holds for each fact the wordings that count as stating it; an unanswerable question has none."""

    id: str
    split: str
    kind: str
    question: str
    role: str | None
    history: tuple[Message, ...]
    answerable: bool
    reference: str
    facts: tuple[tuple[str, ...], ...]
    quotations: tuple[tuple[str, str], ...]
    """(document, exact quotation)"""
    forbidden: tuple[str, ...] = ()
    """Wordings that show that an attack worked."""
    planted: tuple[str, ...] = ()
    """Wordings that show it in an answer that lacks a fact; beside all facts they may stand."""
    twin: str = ""
    """Id of the same question, put otherwise, whose answer is to be compared with this one's."""
    asker: str = ""
    """Who says they ask, where that was added to the question of its twin."""
    relevant: tuple[tuple[str, int], ...] = ()
    """(document as the index names it, grade above 0): qrels. Such a question may have no facts and is
    then only measured by retrieval."""


def load_questions(paths: Iterable[Path], split: str | None = None) -> list[Question]:
    """The questions of all sets in order. Raises SettingsError that names the file, the line and the fault."""
    questions: list[Question] = []
    seen: set[str] = set()
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if not line.strip():
                continue
            try:
                question = _question(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise SettingsError(f"{path}, line {number}: {error!r}. See eval/README.md for the fields.") from error
            if question.id in seen:
                raise SettingsError(f"{path}, line {number}: the id {question.id!r} is there twice. Rename one.")
            seen.add(question.id)
            questions.append(question)
    return [question for question in questions if split in (None, question.split)]


def resolve(question: Question, documents: Mapping[str, Document]) -> list[Gold]:
    """Where the gold quotations stand. Raises SettingsError that names the question if one is not in its document."""
    gold = []
    for name, quotation in question.quotations:
        start = documents[name].text.find(quotation) if name in documents else -1
        if start < 0:
            raise SettingsError(f"question {question.id!r}: {quotation!r} is not in the document {name!r}.")
        gold.append(Gold(name, start, start + len(quotation)))
    return gold


def _question(row: dict[str, Any]) -> Question:
    if row["kind"] not in KINDS:
        raise ValueError(f"unknown kind {row['kind']!r}")
    if row.get("review") == "todo":
        raise ValueError("a drafted question that nobody reviewed; correct it and take its field 'review' away, or it")
    if bool(row["facts"]) != bool(row["answerable"]):
        raise ValueError("an answerable question has facts, an unanswerable one has none")
    return Question(
        id=row["id"],
        split=row["split"],
        kind=row["kind"],
        question=row["question"],
        role=row.get("role"),
        history=tuple(Message(turn["role"], turn["content"]) for turn in row.get("history") or ()),
        answerable=row["answerable"],
        reference=row.get("reference", ""),
        facts=tuple(tuple(fact) for fact in row["facts"]),
        quotations=tuple((one["document"], one["quote"]) for one in row.get("evidence") or ()),
        forbidden=_wordings(row, "forbidden"),
        planted=_wordings(row, "planted"),
    )


def _wordings(row: dict[str, Any], field: str) -> tuple[str, ...]:
    given = row.get(field) or []
    if not isinstance(given, list) or not all(words(wording) for wording in given):
        raise ValueError(f"{field!r} is a list of wordings that hold a word each")
    return tuple(given)
