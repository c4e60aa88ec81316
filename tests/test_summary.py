"""Figures over rows that are few enough to be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from eval.summary import (
    by,
    latency,
    means,
    outcome_counts,
    refusal,
    reliability,
    risk_coverage,
)
from rag.logistic import wilson


def row(outcome: str = "right", status: str = "answered", answerable: bool = True, **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "status": status, "answerable": answerable, "measures": {}, **more}


def thought(probability: float, outcome: str = "right", status: str = "answered", **more: Any) -> dict[str, Any]:
    return row(outcome, status, unanswerable=probability, **more)


ERROR = {"outcome": "wrong", "status": "error", "answerable": True, "error": "out of memory"}


SEARCHED = {"status": "retrieved", "answerable": False, "measures": {"hit@1": 1.0}}
LOST = {"status": "error", "answerable": True, "measures": {"hit@1": 0.0}}


def test_what_was_only_searched_for_counts_in_means_alone() -> None:
    rows = [SEARCHED, LOST]
    assert outcome_counts(rows) == {}
    assert means(rows) == {"hit@1": (0.5, 2)}
    assert refusal([row(status="not_found"), *rows]) == {"refusal precision": 0.0, "refusal F1": 0.0}
    assert risk_coverage(rows)[:2] == ([], [])


def test_outcomes_are_counted() -> None:
    assert outcome_counts([row(), row("wrong"), row(), ERROR]) == {"right": 2, "wrong": 2}
    assert outcome_counts([]) == {}


def test_a_mean_is_over_the_rows_that_have_the_measure() -> None:
    rows = [row(measures={"exact": 1.0, "right": 1.0}), row(measures={"right": 1.0}), row(measures={"exact": 0.5})]
    assert means(rows) == {"right": (1.0, 2), "exact": (0.75, 2)}


def test_an_error_scores_0_in_right_whether_it_says_so_or_not() -> None:
    rows = [ERROR, ERROR | {"measures": {"right": 1.0}}, row(measures={"right": 1.0}), row(measures={"right": 1.0})]
    assert means(rows) == {"right": (0.5, 4)}


def test_measures_come_in_their_order_and_unknown_ones_last() -> None:
    rows = [row(measures={"zeal": 1.0, "attacked": 0.0, "awe": 1.0, "hit@1": 1.0, "right": 1.0})]
    assert list(means(rows)) == ["right", "hit@1", "attacked", "awe", "zeal"]


def test_refusals() -> None:
    refused, given = {"status": "not_found"}, {"status": "answered"}
    rows = [row() | refused] * 1 + [row(answerable=False) | refused] * 3 + [row(answerable=False) | given] * 2 + [row()]
    # 3 of 4 refusals were due, 3 of 5 that were due came; F1 = 2 * 3 / (4 + 5)
    assert refusal(rows) == {"refusal precision": 3 / 4, "refusal recall": 3 / 5, "refusal F1": 6 / 9}


def test_a_refusal_figure_that_is_0_of_0_is_absent() -> None:
    assert refusal([row(), ERROR]) == {}
    assert refusal([row(answerable=False)]) == {"refusal recall": 0.0, "refusal F1": 0.0}
    assert refusal([row(status="not_found")]) == {"refusal precision": 0.0, "refusal F1": 0.0}


def test_rows_by_a_field() -> None:
    a, b, c, d = (
        row(kind=kind, role=role)
        for kind, role in [("rough", "Miller"), ("new", None), ("fact", "Baker"), ("fact", "Miller")]
    )
    rows = [a, b, c, d, ERROR]
    assert by(rows, "kind") == {"fact": [c, d], "rough": [a], "new": [b]}
    assert list(by(rows, "kind")) == ["fact", "rough", "new"]
    assert list(by(rows, "role").items()) == [("Miller", [a, d]), ("Baker", [c])]


def test_latency_is_linear_between_two_times() -> None:
    rows = [row(timings_ms={"retrieve": 1.0, "total": total}) for total in (10.0, 20.0, 30.0, 40.0, 50.0)]
    # position 0.95 * (5 - 1) = 3.8, which is 40 + 0.8 * 10
    assert latency([*rows, ERROR]) == {"retrieve": (1.0, 1.0), "total": (30.0, pytest.approx(48.0))}


def test_a_stage_is_timed_over_the_rows_that_reached_it() -> None:
    rows = [
        row(timings_ms={"retrieve": 1.0, "total": 4.0}),
        row(timings_ms={"retrieve": 3.0, "judge": 5.0, "total": 8.0}),
    ]
    assert latency(rows)["judge"] == (5.0, 5.0)
    assert list(latency(rows)) == ["retrieve", "total", "judge"]
    assert latency([ERROR]) == {}


def test_reliability() -> None:
    rows = [
        thought(0.1),
        thought(0.3),
        thought(0.8, answerable=False),
        thought(1.0, answerable=False),
        thought(0.9),
        ERROR,
        row(unanswerable=None),
    ]
    found = reliability(rows, bins=2)
    low, high = found.bins
    assert (low.low, low.high, low.n, low.share) == (0.0, 0.5, 2, 0.0)
    assert (high.low, high.high, high.n) == (0.5, 1.0, 3)
    assert (low.predicted, high.predicted, high.share) == pytest.approx((0.2, 0.9, 2 / 3))
    assert found.n == 5
    assert found.brier == pytest.approx((0.1**2 + 0.3**2 + 0.2**2 + 0.0**2 + 0.9**2) / 5)
    assert found.error == pytest.approx(2 / 5 * 0.2 + 3 / 5 * (0.9 - 2 / 3))


@pytest.mark.parametrize("tenths", range(11))
def test_an_edge_belongs_to_the_bin_above_it_and_1_to_the_last(tenths: int) -> None:
    (only,) = reliability([thought(tenths / 10)]).bins
    assert (only.low, only.high) == (min(tenths, 9) / 10, min(tenths + 1, 10) / 10)


def test_without_probabilities_there_is_nothing_to_rely_on() -> None:
    found = reliability([ERROR, row(unanswerable=None)])
    assert (found.bins, found.n) == ((), 0)
    assert math.isnan(found.brier)
    assert math.isnan(found.error)


def test_risk_and_coverage() -> None:
    rows = [
        thought(0.4, "wrong"),
        thought(0.1),
        thought(0.3, "wrongly answered", answerable=False),
        thought(0.2),
        thought(0.05, "wrongly refused", "not_found"),  # no answer was given
        thought(0.9, "right", "not_found", answerable=False),
        row(unanswerable=None),
        ERROR,
    ]
    coverages, risks, area = risk_coverage(rows)
    assert coverages == [0.25, 0.5, 0.75, 1.0]
    assert risks == [0.0, 0.0, 1 / 3, 0.5]
    assert area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


def test_equal_probabilities_are_taken_together_in_any_order() -> None:
    rows = [thought(0.2, "wrong"), thought(0.2), thought(0.1), thought(0.2)]
    coverages, risks, area = risk_coverage(rows)
    assert (coverages, risks) == ([0.25, 1.0], [0.0, 0.25])
    assert area == pytest.approx(0.25 * 0.0 + 0.75 * 0.25)
    assert risk_coverage(rows[::-1]) == (coverages, risks, area)


def test_partial_answers_are_answers() -> None:
    assert risk_coverage([thought(0.2, "wrong", "partial")])[:2] == ([1.0], [1.0])


def test_without_answers_there_is_no_risk() -> None:
    coverages, risks, area = risk_coverage([ERROR])
    assert (coverages, risks) == ([], [])
    assert math.isnan(area)


def test_wilson_interval() -> None:
    # By the formula: centre (p + z²/2n) / (1 + z²/n), half width z sqrt(p(1-p)/n + z²/4n²) / (1 + z²/n), z = 1.959964
    z, n, share = 1.959964, 10, 0.8
    centre, scale = share + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert wilson(8, 10) == pytest.approx(((centre - half) / scale, (centre + half) / scale), abs=1e-6)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
