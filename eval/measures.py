"""What an answer is worth: pure functions over a question and its answer record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from eval.questions import Gold, Question
from rag.words import words

Outcome = Literal["right", "wrong", "wrongly refused", "wrongly answered"]
OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "wrongly refused", "wrongly answered")


def missing_facts(facts: Sequence[Sequence[str]], text: str) -> list[str]:
    """The first wording of each fact of which no wording is in `text`.

    Compared word by word in any case; the last word may go on ("batter" is in "batteries") unless it is a figure.
    """
    said = f" {' '.join(words(text))} "
    return [fact[0] for fact in facts if not any(_spelled(wording) in said for wording in fact)]


def outcome(question: Question, record: Mapping[str, Any]) -> Outcome:
    """Right is an answer with all facts, or a refusal where the documents do not tell. An error is never right."""
    refused = record["status"] == "not_found"
    if not question.answerable:
        return "right" if refused else "wrongly answered"
    if refused:
        return "wrongly refused"
    if record["status"] == "error" or missing_facts(question.facts, record["answer"]):
        return "wrong"
    return "right"


def evidence_recall(gold: Sequence[Gold], record: Mapping[str, Any]) -> float:
    """Share of the gold quotations that lie whole in one of the passages; 1.0 where there is none to find."""
    found = sum(
        any(
            passage["document"] == one.document and passage["start"] <= one.start and one.end <= passage["end"]
            for passage in record["passages"]
        )
        for one in gold
    )
    return found / len(gold) if gold else 1.0


def _spelled(wording: str) -> str:
    spelled = words(wording)
    return " ".join(["", *spelled, *([""] if spelled[-1][-1].isdigit() else [])])
