"""What people got since a promotion is held against before, by numbers worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from math import comb

import pytest

from rag.guarding import MEASURES, Limits, counted, found, looks
from rag.live import Counts, Watch
from rag.receipts import Facts, Line
from rag.significance import rose

LIMITS = Limits(answers=100, hours=24, least=20, tolerance=0.1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def line(number: int, status: str = "answered", total: float = 100.0, **facts: object) -> Line:
    usual = {
        "generator": "local", "asked_for": "local", "index": "v", "words": 5, "struck": 0, "score": 0.5,
        "unanswerable": 0.1, "retrieve": 1.0, "first_sentence": total, "total": total, "fell_back": False,
        "nothing_stood": False,
    }  # fmt: skip
    return Line(number, f"{number}-abcdef", "2026-03-01T11:00:00Z", "api", status, "?", Facts(**{**usual, **facts}))  # type: ignore[arg-type]


def watch(before: Counts) -> Watch:
    return Watch("abc", "2026-03-01T10:00:00Z", 0, before)


def good(n: int) -> list[Line]:
    return [line(number) for number in range(n)]


BEFORE = counted(good(50), ())


def test_each_way_to_go_wrong_is_counted() -> None:
    lines = [
        line(1, "not_found"), line(2, "error"), line(3, "stopped"), line(4, struck=2), line(5, fell_back=True),
        line(6, nothing_stood=True), line(7), line(8, total=151.0), line(9, total=150.0),
    ]  # fmt: skip
    counts = counted(lines, {"7-abcdef"}, slow=150.0)
    assert counts == Counts(9, dict.fromkeys(MEASURES, 1), 150.0)
    assert Counts(50, dict.fromkeys(MEASURES, 0), 150.0) == BEFORE  # half as long again as 95 of 100 take
    assert counted([], ()).slow is None


def test_there_are_few_looks_at_doubling_numbers() -> None:
    assert looks(LIMITS) == [20, 40, 80, 100]
    assert looks(Limits(10, 24, 20, 0.1)) == [10]


def test_the_test_of_two_shares_is_fishers() -> None:
    assert rose((0, 7), (5, 5)) == pytest.approx(1 / comb(12, 5))
    assert rose((1, 3), (3, 3)) == pytest.approx(3 / comb(6, 4))  # the one that went well is among the first three
    assert rose((0, 0), (5, 5)) == 1.0


def test_nothing_is_said_before_the_first_look() -> None:
    finding = found(watch(BEFORE), [line(n, "error") for n in range(19)], (), LIMITS, NOON)
    assert (finding.fall, finding.is_over) == ("", False)
    assert finding.said == "19 answers since, 50 before; the first look is after 20"


def test_a_fall_beyond_tolerance_that_is_no_chance_is_named() -> None:
    lines = [*(line(n, "not_found") for n in range(10)), *good(10), *(line(n, "error") for n in range(19))]
    finding = found(watch(BEFORE), lines, (), LIMITS, NOON)
    assert comb(20, 10) / comb(70, 10) == pytest.approx(5e-07, rel=0.1)  # all 10 refused are among the 20 later ones
    assert finding.fall == "answers refused rose from 0 of 50 to 10 of 20 (p 5e-07)"  # of the 39 only those of the look


@pytest.mark.parametrize(
    ("bad", "n"),
    [
        (2, 20),  # a tenth is tolerated
        (3, 20),  # beyond it, but chance explains it: p = 0.02, where 0.05 / (4 looks · 8 measures) is asked for
        (10, 100),
    ],
)
def test_what_is_tolerated_or_may_be_chance_is_borne(bad: int, n: int) -> None:
    lines = [*(line(number, "not_found") for number in range(bad)), *good(n - bad)]
    assert found(watch(BEFORE), lines, (), LIMITS, NOON).fall == ""


def test_what_was_bad_before_is_no_fall() -> None:
    before = counted([line(n, "not_found") for n in range(50)], ())
    assert found(watch(before), [line(n, "not_found") for n in range(100)], (), LIMITS, NOON).fall == ""


def test_a_watch_ends_after_its_answers_or_its_hours() -> None:
    assert found(watch(BEFORE), good(100), (), LIMITS, NOON).is_over
    assert not found(watch(BEFORE), good(99), (), LIMITS, NOON).is_over
    assert found(watch(BEFORE), good(3), (), LIMITS, NOON.replace(day=3)).is_over
    ended = found(watch(BEFORE), [line(n, "error") for n in range(20)], (), LIMITS, NOON.replace(day=3))
    assert ended.fall.startswith("failures rose from 0 of 50 to 20 of 20")  # also at the end


def test_hardly_any_promotion_without_effect_is_rolled_back() -> None:
    """A slow reference: 300 watches of answers of which a fifth is refused before and after alike."""
    import random

    dice = random.Random(7)
    alarms = 0
    for _ in range(300):
        statuses = ["not_found" if dice.random() < 0.2 else "answered" for _ in range(200)]
        lines = [line(number, status) for number, status in enumerate(statuses)]
        before = counted(lines[:100], ())
        alarms += any(found(watch(before), lines[100 : 100 + n], (), LIMITS, NOON).fall for n in looks(LIMITS))
    assert alarms <= 0.05 * 300
