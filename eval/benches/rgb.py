"""RGB: web passages that answer a question, do not, or were edited to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from eval.benches.files import escaped, question, read_rows, split_of, wordings, write_document
from eval.questions import Question

PLANTED_AMONG = 5
"""Passages beside which one false one is planted."""


def rgb_refusal(source: Path, documents: Path) -> list[Question]:
    """RGB's passages that do not answer the question, alone: nothing is to be said.

    100 English questions, the counterfactual part of RGB (Chen and others, "Benchmarking Large Language Models in
    Retrieval-Augmented Generation", AAAI 2024; CC BY-NC-SA 4.0, for evaluation only). The labels are RGB's: a few
    negative passages tell all the same.
    """
    return _rgb(source, documents, "absent", lambda row: row["negative"])


def rgb_noise(source: Path, documents: Path) -> list[Question]:
    """RGB's right passages among those that do not answer. Source and licence as of `rgb_refusal`."""
    return _rgb(source, documents, "fact", lambda row: row["positive"] + row["negative"])


def rgb_conflict(source: Path, documents: Path) -> list[Question]:
    """RGB's right passages and as many that were edited to say another thing: both are to be shown.

    Source and licence as of `rgb_refusal`.
    """
    return _rgb(source, documents, "conflict", lambda row: row["positive"] + row["positive_wrong"])


def rgb_planted(source: Path, documents: Path) -> list[Question]:
    """One edited passage of RGB among five, right ones first: both answers are to be shown.

    Source and licence as of `rgb_refusal`.
    """

    def planted(row: Any) -> list[str]:
        return [*(row["positive"] + row["negative"])[:PLANTED_AMONG], *row["positive_wrong"][:1]]

    return _rgb(source, documents, "conflict", planted)


def _rgb(source: Path, documents: Path, kind: str, passages: Callable[[Any], list[str]]) -> list[Question]:
    rows = []
    for number, row in enumerate(read_rows(source / "rgb" / "en_fact.json")):
        role = f"rgb{row['id']}"
        for place, passage in enumerate(passages(row), start=1):
            write_document(documents / f"{role}/{place:02}.md", escaped(passage), role, role)
        answers = [row["answer"]] if isinstance(row["answer"], str) else row["answer"]
        right = tuple(wordings([one] if isinstance(one, str) else one) for one in answers)
        facts = {"absent": (), "fact": right, "conflict": (*right, wordings([row["fakeanswer"]]))}[kind]
        rows.append(question(str(row["id"]), split_of(number), kind, row["query"], role, facts=facts))
    return rows
