"""Answers that someone was not content with become rows to review."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eval.__main__ import cli
from eval.candidates import SHOULD_HAVE_REFUSED, candidate
from eval.questions import load_questions
from rag.errors import SettingsError

RECORD: dict[str, Any] = {
    "question": "What does a baker earn in Basel?",
    "answer": "61,000 francs [1]",
    "citations": [{"marker": 1, "document": "baker", "quote": "Bern: 61,000 francs a year"}],
}


def test_what_was_answered_stands_there_to_start_from() -> None:
    row = candidate({**RECORD, "reason": "wrong"}, 7)
    assert (row["id"], row["kind"], row["answerable"], row["reason"]) == ("candidate-007", "fact", True, "wrong")
    assert (row["reference"], row["facts"]) == ("61,000 francs [1]", [])
    assert row["evidence"] == [{"document": "baker", "quote": "Bern: 61,000 francs a year"}]


def test_what_should_have_been_refused_has_no_answer() -> None:
    row = candidate({**RECORD, "reason": SHOULD_HAVE_REFUSED}, 1)
    assert (row["kind"], row["answerable"], row["reference"], row["evidence"]) == ("absent", False, "", [])


def test_nothing_is_asked_before_it_is_reviewed(tmp_path: Path) -> None:
    records, rows = tmp_path / "records.jsonl", tmp_path / "rows.jsonl"
    records.write_text(json.dumps(RECORD) + "\n", encoding="utf-8")
    assert CliRunner().invoke(cli, ["candidates", str(records), "-o", str(rows)]).exit_code == 0
    with pytest.raises(SettingsError, match="nobody reviewed"):
        load_questions([rows])
    row = json.loads(rows.read_text(encoding="utf-8"))
    del row["review"]
    rows.write_text(json.dumps({**row, "facts": [["64,500"]]}), encoding="utf-8")
    assert load_questions([rows])[0].question == RECORD["question"]
    again = CliRunner().invoke(cli, ["candidates", str(records), "-o", str(rows)])
    assert isinstance(again.exception, SettingsError)
    assert "64,500" in rows.read_text(encoding="utf-8")
