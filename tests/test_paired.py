"""Two answers to each of the same questions: every figure of the report by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rag.paired import Pair, as_text, compared
from rag.receipts import FELL_BACK, NOTHING_STOOD
from rag.types import Document


def record(*spans: tuple[int, int], status: str = "answered", total: float = 100, **changed: Any) -> dict[str, Any]:
    citations = [{"document": "d", "start": start, "end": end, "quote": TEXT[start:end]} for start, end in spans]
    usual = {"question": "Why?", "citations": citations, "struck": [], "notice": "", "index": {"version": "v"}}
    return {"status": status, **usual, "timings_ms": {"total": total}, **changed}


TEXT = "Bread needs flour. Mills grind."
TEXTS = {"v": {"d": Document("d", "D", None, TEXT, (), "d.md", "0" * 64)}}
PAIRS = [
    Pair("1-a", record((0, 18)), record((0, 18), total=200)),
    Pair("2-b", record((0, 18)), record((0, 18), (19, 31), total=200)),
    Pair("3-c", record((19, 31)), record(status="not_found", total=200)),
    Pair("4-d", record(status="not_found"), record(status="not_found", total=200)),
]


def test_agreement_is_of_status_of_quotations_and_of_both() -> None:
    agreement = compared(PAIRS, TEXTS).agreement
    assert agreement.changed[0] == 1 / 4
    assert agreement.same[0] == 2 / 4
    assert agreement.overlap[0] == pytest.approx((1 + 1 / 2 + 0) / 3)  # where neither quotes, there is none
    low, high = agreement.same[1]
    assert 0 <= low < 1 / 2 < high <= 1


def test_each_share_is_paired() -> None:
    found = compared(PAIRS, TEXTS)
    measures = {one.name: (one.n, one.a, one.b) for one in found.measures}
    assert measures == {
        "refused": (4, 0.25, 0.5),
        "error": (4, 0.0, 0.0),
        "struck": (4, 0.0, 0.0),
        "nothing stood": (4, 0.0, 0.0),
        "fell back": (4, 0.0, 0.0),
        "exact quotations": (2, 1.0, 1.0),
    }
    assert found.latency
    assert (found.latency.ratio, found.latency.interval) == (2.0, (2.0, 2.0))
    assert [one.receipt for one in found.turned] == ["3-c"]


def test_faults_of_drafts_and_quotations_are_seen() -> None:
    bad = record((0, 18), (0, 5), struck=[{"sentence": "x", "reason": "y"}], notice=f"{NOTHING_STOOD}. A {FELL_BACK}x)")
    bad["citations"][1]["quote"] = "Break"
    measures = {one.name: one.b for one in compared([Pair("1-a", record((0, 18)), bad)], TEXTS).measures}
    assert measures["struck"] == measures["nothing stood"] == measures["fell back"] == 1
    assert measures["exact quotations"] == 0.5


def test_without_the_texts_nothing_is_said_of_quotations() -> None:
    assert "exact quotations" not in {one.name for one in compared(PAIRS, {}).measures}


def test_the_report_tells_it_all() -> None:
    text = as_text(compared(PAIRS, TEXTS), "other")
    assert "status changed     0.250  (95 % interval" in text
    assert "| refused | 4 | 0.250 | 0.500 | +0.250 |" in text
    assert "Median 100 ms live, 200 ms other: 2.00 times as long" in text
    assert text.endswith("- 3-c  answered → not_found  Why?")
