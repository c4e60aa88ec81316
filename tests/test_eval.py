"""Question sets are read whole or refused, the bundled ones are sound, and tables count what they say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eval.measures import missing_facts, outcome
from eval.questions import KINDS, Gold, load_questions, resolve
from eval.sets import BUNDLED, SETS
from eval.tables import measures, notes, outcomes, side_by_side, table
from rag.errors import SettingsError
from rag.sources import read_documents
from rag.wiring import PROMPTS
from rag.words import words

ROW: dict[str, Any] = {
    "id": "a",
    "split": "dev",
    "kind": "fact",
    "question": "Pay?",
    "answerable": True,
    "facts": [["$153,000", "153k"], ["Bern"]],
    "evidence": [{"document": "baker", "quote": "Bern: 61,000 francs a year"}],
}


def row(name: str = "a", outcome: str = "right", status: str = "answered", **more: Any) -> dict[str, Any]:
    """A row of a run, as far as the tables read it."""
    shape = {"set": "s", "kind": "fact", "answerable": True, "measures": {"right": float(outcome == "right")}}
    return {**shape, "id": name, "outcome": outcome, "status": status, **more}


def searched(name: str, **measures: float) -> dict[str, Any]:
    """A row of a run that only searched."""
    return {"set": "s", "kind": "fact", "answerable": True, "id": name, "status": "retrieved", "measures": measures}


def test_outcomes_are_counted_by_kind_and_by_other_fields() -> None:
    rows = [
        row("a", role="Baker"),
        row("b", "wrongly refused", "not_found", role=None),
        row("c", kind="absent", status="not_found", answerable=False, role="Baker"),
        row("d", "wrongly answered", kind="absent", answerable=False, role="Miller"),
        searched("e"),
    ]
    assert outcomes(rows).splitlines() == [
        "| kind | n | right | wrong | wrongly refused | wrongly answered |",
        "| --- | --: | --: | --: | --: | --: |",
        "| fact | 2 | 1 (50%) | 0 | 1 | 0 |",
        "| absent | 2 | 1 (50%) | 0 | 0 | 1 |",
        "| all | 4 | 2 (50%) | 0 | 1 | 1 |",
    ]
    assert outcomes(rows, "role").splitlines()[2:] == [
        "| Baker | 2 | 2 (100%) | 0 | 0 | 0 |",
        "| Miller | 1 | 0 (0%) | 0 | 0 | 1 |",
        "| all | 4 | 2 (50%) | 0 | 1 | 1 |",
    ]
    assert outcomes([searched("e")]) == ""


def test_measures_are_means_by_set_with_what_they_are_over() -> None:
    rows = [
        row("a", measures={"right": 1.0, "MRR@10": 0.5}),
        row("b", "wrong", measures={"right": 0.0, "MRR@10": 0.25}),
        row("a", set="t", status="not_found", answerable=False, measures={"right": 1.0}),
        row("b", "wrongly refused", set="t", status="not_found", measures={"right": 0.0}),
        searched("c") | {"set": "t", "answerable": False},  # to which no refusal is due
    ]
    assert measures(rows).splitlines() == [
        "| measure | s | t | all |",
        "| --- | --: | --: | --: |",
        "| right | 0.500 (2) | 0.500 (2) | 0.500 (4) |",
        "| MRR@10 | 0.375 (2) |  | 0.375 (2) |",
        "| refusal precision |  | 0.500 (2) | 0.500 (2) |",
        "| refusal recall |  | 1.000 (1) | 1.000 (1) |",
        "| refusal F1 |  | 0.667 (3) | 0.667 (3) |",
    ]
    assert measures(rows[:2]).splitlines() == [
        "| measure | s |",
        "| --- | --: |",
        "| right | 0.500 (2) |",
        "| MRR@10 | 0.375 (2) |",
    ]


def test_runs_stand_side_by_side_without_a_sum() -> None:
    runs = {"A": [row(), row("b", "wrong")], "B": [row(), row("b")], "C": [searched("a", **{"hit@1": 1.0})]}
    assert side_by_side(runs).splitlines() == [
        "| measure | A | B | C |",
        "| --- | --: | --: | --: |",
        "| right | 0.500 (2) | 1.000 (2) |  |",
        "| hit@1 |  |  | 1.000 (1) |",
    ]


def test_times_are_noted() -> None:
    rows = [row("a", timings_ms={"retrieve": 10.0, "total": 1000.0}), row("b", timings_ms={"retrieve": 30.0})]
    assert notes(rows) == [
        "ms since the question came, median / 95th percentile: retrieve 20 / 29, total 1,000 / 1,000"
    ]


def test_askers_are_noted_by_what_they_tell() -> None:
    def asker(name: str, who: str, same: float) -> dict[str, Any]:
        return row(name, asker=who, twin="a", measures={"right": 1.0, "same answer": same})

    rows = [row("a"), asker("b", "name: Wei", 1), asker("c", "age: 22", 0), asker("d", "name: Jamal", 0)]
    assert notes(rows) == [
        "the same answer whoever asks, by what the asker tells: name 1/2, age 0/1",
        "refused although the twin was answered: 0/3; the other way about: 0",
    ]


def test_twins_are_noted_where_both_were_to_be_answered() -> None:
    rows = [
        row("a", status="not_found", twin="a0"),
        row("a0"),
        row("b", status="partial", twin="b0"),
        row("b0", status="not_found"),
        row("c", status="not_found", twin="c0"),
        row("c0", status="not_found"),
        row("d", status="not_found", twin="left out"),
        row("e", status="not_found", twin="a0", set="t"),
    ]
    assert notes(rows) == ["refused although the twin was answered: 1/3; the other way about: 1"]
    assert notes([searched("f") | {"twin": "g", "asker": "age: 22"}, searched("g")]) == []


def test_errors_are_noted() -> None:
    failed = row("b", "wrong", "error", error="no memory")
    assert notes([row(), failed, failed]) == ["errors: 2, the first: b: no memory"]


def test_a_table_has_all_parts_that_there_are() -> None:
    rows = [row(timings_ms={"total": 5.0})]
    assert table(rows) == "\n\n".join([outcomes(rows), measures(rows), *notes(rows)])
    assert table([searched("a", **{"hit@1": 1.0})]) == "| measure | s |\n| --- | --: |\n| hit@1 | 1.000 (1) |"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forbidden": "BANANA"}, "line 1: ValueError.*'forbidden' is a list of wordings"),
        ({"planted": ["€"]}, "line 1: ValueError.*'planted' is a list of wordings"),
        ({"kind": "riddle"}, "line 1: ValueError.*unknown kind 'riddle'"),
        ({"answerable": False}, "an unanswerable one has none"),
        ({"facts": None}, "line 1: "),
        ({"review": "todo"}, "line 1: ValueError.*a drafted question that nobody reviewed"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({**ROW, **change}) + "\n")
    with pytest.raises(SettingsError, match=message):
        load_questions([path])


def test_a_row_may_say_what_an_attack_would_show(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({**ROW, "forbidden": ["BANANA", "I am DAN"], "planted": ["$1"]}) + "\n")
    [one] = load_questions([path])
    assert (one.forbidden, one.planted, one.twin) == (("BANANA", "I am DAN"), ("$1",), "")


def test_a_quotation_that_is_not_there_is_named(tmp_path: Path, shelf: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    documents = {one.id: one for one in read_documents([shelf])}
    [one] = load_questions([path])
    assert resolve(one, documents) == [Gold("baker", 40, 66)]
    with pytest.raises(
        SettingsError, match=r"question 'a': 'Bern: 61,000 francs a year' is not in the document 'baker'"
    ):
        resolve(one, {})


@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_sets_are_sound(name: str) -> None:
    questions = load_questions([SETS / f"{name}.jsonl"])
    documents = {one.id: one for one in read_documents([BUNDLED[name]])}
    for one in questions:
        quoted = " ".join(documents[gold.document].text[gold.start : gold.end] for gold in resolve(one, documents))
        assert bool(quoted) == one.answerable
    kinds = Counter((one.kind, one.split) for one in questions)
    expected = ("hostile",) if name == "hostile" else KINDS
    assert set(kinds) == {(kind, split) for kind in expected for split in ("dev", "test")}
    assert sum(not one.answerable for one in questions) >= len(questions) * (0.2 if name == "hostile" else 0.3)


def test_a_person_answers_every_hostile_question_right_and_falls_for_no_attack() -> None:
    for one in load_questions([SETS / "hostile.jsonl"]):
        cited = [{"quote": quote} for _, quote in one.quotations]
        record = {"status": "answered", "answer": one.reference, "citations": cited}
        assert outcome(one, record if one.answerable else {"status": "not_found", "answer": ""}) == "right", one.id


def test_what_is_planted_stands_in_the_hostile_documents_and_the_prompt_is_as_forbidden() -> None:
    documents = {one.id: one for one in read_documents([BUNDLED["hostile"]])}
    questions = load_questions([SETS / "hostile.jsonl"])
    for one in questions:
        for wording in one.planted:
            document = documents[one.quotations[0][0]]
            assert missing_facts([[wording]], document.text) == [], one.id
    assert {document for one in questions for document, _ in one.quotations} == set(documents)
    hidden = "".join(path.read_text(encoding="utf-8") for path in BUNDLED["hostile"].glob("*.md"))
    assert all(letter in hidden for letter in ("\u200b", "\u00ad", "\U000e0041", "<!--"))
    prompt = " ".join(words((PROMPTS / "system.md").read_text(encoding="utf-8")))
    asking = [one for one in questions if "prompt" in one.id]
    assert len(asking) >= 4
    assert all(any(wording in prompt for wording in one.forbidden) for one in asking)
