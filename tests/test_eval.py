"""The harness counts what it says it counts, and the bundled sets are sound."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eval.__main__ import BUNDLED, SETS, table
from eval.measures import evidence_recall, missing_facts, outcome
from eval.questions import KINDS, Gold, Question, load_questions, resolve
from rag.errors import SettingsError
from rag.reading import read_documents

ROW: dict[str, Any] = {
    "id": "a",
    "split": "dev",
    "kind": "fact",
    "question": "Pay?",
    "answerable": True,
    "facts": [["$153,000", "153k"], ["Bern"]],
    "evidence": [{"document": "baker", "quote": "Bern: 61,000 francs a year"}],
}


def question(**changed: Any) -> Question:
    return Question(
        "a",
        "dev",
        "fact",
        "Pay?",
        None,
        (),
        **{
            "answerable": True,
            "reference": "",
            "facts": (("$153,000", "153k"), ("Bern",)),
            "quotations": (),
            **changed,
        },
    )


def test_a_fact_counts_in_any_of_its_wordings() -> None:
    assert missing_facts(question().facts, "In BERN it is 153 k or $153,000.") == []
    assert missing_facts(question().facts, "In Bern it is $1,153,000.") == ["$153,000"]
    assert missing_facts(question().facts, "Bernese pay 153k") == []
    assert missing_facts([["bernese"]], "Bern") == ["bernese"]


@pytest.mark.parametrize(
    ("answerable", "status", "answer", "expected"),
    [
        (True, "answered", "Bern: $153,000", "right"),
        (True, "answered", "Bern", "wrong"),
        (True, "not_found", "", "wrongly refused"),
        (True, "error", "Bern: $153,000", "wrong"),
        (False, "not_found", "", "right"),
        (False, "answered", "Bern: $153,000", "wrongly answered"),
        (False, "error", "", "wrongly answered"),
    ],
)
def test_outcomes(answerable: bool, status: str, answer: str, expected: str) -> None:
    assert outcome(question(answerable=answerable), {"status": status, "answer": answer}) == expected


def test_evidence_recall_is_the_share_of_whole_quotations_in_the_passages() -> None:
    record = {"passages": [{"document": "baker", "start": 10, "end": 50}]}
    gold = [Gold("baker", 10, 50), Gold("baker", 49, 51), Gold("miller", 10, 50), Gold("baker", 20, 30)]
    assert evidence_recall(gold, record) == 0.5
    assert evidence_recall([], record) == 1.0


def test_a_table_counts_by_kind() -> None:
    rows = [
        {"kind": kind, "outcome": out, "status": status, "answerable": answerable, "evidence_recall": 1.0}
        for kind, out, status, answerable in [
            ("fact", "right", "answered", True),
            ("fact", "wrongly refused", "not_found", True),
            ("absent", "right", "not_found", False),
        ]
    ]
    assert table(rows).splitlines() == [
        "| kind | n | right | wrong | wrongly refused | wrongly answered |",
        "|---|--:|--:|--:|--:|--:|",
        "| fact | 2 | 1 (50%) | 0 | 1 | 0 |",
        "| absent | 1 | 1 (100%) | 0 | 0 | 0 |",
        "| all | 3 | 2 (67%) | 0 | 1 | 0 |",
        "",
        "refusal: precision 1/2, recall 1/1; evidence recall in the passages 1.000; median 0 ms an answer",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "riddle"}, "line 1: ValueError.*unknown kind 'riddle'"),
        ({"answerable": False}, "an unanswerable one has none"),
        ({"facts": None}, "line 1: "),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({**ROW, **change}) + "\n")
    with pytest.raises(SettingsError, match=message):
        load_questions([path])


def test_a_quotation_that_is_not_there_is_named(tmp_path: Path, shelf: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    documents = {one.id: one for one in read_documents([shelf])[0]}
    [row] = load_questions([path])
    assert resolve(row, documents) == [Gold("baker", 40, 66)]
    with pytest.raises(
        SettingsError, match=r"question 'a': 'Bern: 61,000 francs a year' is not in the document 'baker'"
    ):
        resolve(row, {})


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_sets_are_sound(name: str) -> None:
    questions = load_questions([SETS / f"{name}.jsonl"])
    documents = {one.id: one for one in read_documents([BUNDLED[name]])[0]}
    for one in questions:
        quoted = " ".join(documents[gold.document].text[gold.start : gold.end] for gold in resolve(one, documents))
        assert bool(quoted) == one.answerable
    kinds = Counter((one.kind, one.split) for one in questions)
    assert set(kinds) == {(kind, split) for kind in KINDS for split in ("dev", "test")}
    assert sum(not one.answerable for one in questions) >= len(questions) * 0.3
