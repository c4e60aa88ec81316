"""What a log tells: counts by hand, and warnings only where enough questions say so."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from rag.monitoring import as_text, drift, lost_passages, out_of_date, report, sample
from rag.receipts import Facts, Line

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
NUMBERS = itertools.count(1)


def line(days: float = 0, status: str = "answered", question: str = "What does a baker earn?", **facts: Any) -> Line:
    """A receipt that was written so many days ago."""
    number, at = next(NUMBERS), (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    usual = {
        "generator": "extractive", "asked_for": "extractive", "index": "abc", "words": len(question.split()),
        "struck": 0, "score": 0.7, "unanswerable": 0.1, "retrieve": 20.0, "first_sentence": 400.0, "total": 500.0,
        "fell_back": False, "nothing_stood": False,
    }  # fmt: skip
    return Line(number, f"{number}-abcdef", at, "chat", status, question, Facts(**{**usual, **facts}))


def names(lines: Iterable[Line], **options: Any) -> list[str]:
    return [one.name for one in report(sorted(lines, key=lambda one: one.at), now=NOW, **options).problems]


def test_counts_by_hand() -> None:
    lines = [
        line(40),  # too old
        line(3, question="Who pays?"),
        line(3, "not_found", "Is rye taxed?", struck=2),
        line(1, "not_found", "is RYE  taxed", total=1000.0),
        line(1, "error", "x", total=None, score=None),
        line(0, "stopped", "y", total=None),
        line(0, generator="local", asked_for="local", total=4000.0, nothing_stood=False),
    ]
    verdicts = {lines[1].id: "good", lines[2].id: "bad", lines[3].id: "bad", "99-0": "good"}
    found = report(lines, now=NOW, verdicts=verdicts)
    assert found.asked == 6
    assert found.statuses == {"answered": 2, "not_found": 2, "error": 1, "stopped": 1}
    assert found.generators == {"extractive": 3, "local": 1}
    assert (found.struck, found.fell_back) == (2, 0)
    assert found.ratings == {"bad": 2, "good": 1}
    assert found.most_asked == (("is RYE taxed", 2),)
    assert found.most_refused == (("is RYE taxed", 2),)
    assert [(day.date, day.asked, day.refused, day.failed) for day in found.days if day.asked] == [
        ("2026-03-28", 2, 1, 0),
        ("2026-03-30", 2, 1, 1),
        ("2026-03-31", 2, 0, 0),
    ]
    assert len(found.days) == 31
    assert found.times["extractive"]["done"] == (0.5, 1.0, 1.0)
    assert found.times["local"]["done"] == (4.0, 4.0, 4.0)
    assert found.problems == ()
    text = as_text(found)
    assert "6 questions since 2026-03-01T12:00:00Z" in text
    assert "2026-03-28      2        1       0" in text
    assert "warning" not in text


def test_nothing_asked_is_nothing_wrong() -> None:
    found = report([], now=NOW)
    assert (found.asked, found.problems, found.days) == (0, (), ())
    assert as_text(found).startswith("0 questions since")


def scattered(count: int, days: float, mean: float, seed: int) -> list[Line]:
    drawn = random.Random(seed)
    return [line(days, score=drawn.gauss(mean, 0.1), words=drawn.randint(5, 12)) for _ in range(count)]


def test_the_distance_of_two_samples_by_hand() -> None:
    one, other = {"score": [1.0, 2.0, 3.0, 4.0]}, {"score": [3.0, 4.0, 5.0, 6.0]}
    [found] = drift(one, other)  # at 2 half of the one lies below and nothing of the other
    assert found.distance == 0.5
    assert not found.matters  # four are not enough


def test_a_shift_of_scores_is_warned_of_and_chance_is_not() -> None:
    before = scattered(200, 20, 0.7, 1)
    assert names([*before, *scattered(100, 1, 0.7, 2)]) == []
    assert names([*before, *scattered(100, 1, 0.55, 3)]) == ["drift"]
    assert names([*before, *scattered(30, 1, 0.4, 4)]) == []  # too few to tell


def test_no_false_alarm_in_a_hundred_quiet_months() -> None:
    alarms = sum(
        bool(names([*scattered(200, 20, 0.7, seed), *scattered(60, 1, 0.7, seed + 10_000)])) for seed in range(100)
    )
    assert alarms == 0


def test_the_calibration_set_goes_before_the_weeks_before() -> None:
    lines = scattered(100, 1, 0.7, 5)
    assert names(lines, calibrated=sample(scattered(100, 0, 0.7, 6))) == []
    found = report(lines, now=NOW, calibrated=sample(scattered(100, 0, 0.4, 7)))
    assert [one.name for one in found.problems] == ["drift"]
    assert "the questions that refusal was calibrated on" in found.problems[0].message


@pytest.mark.parametrize(("failed", "expected"), [(3, []), (4, ["errors"])])
def test_many_failures_are_warned_of(failed: int, expected: list[str]) -> None:
    good = [line(2) for _ in range(20 - failed)]
    assert names([*good, *(line(1, "error", total=None) for _ in range(failed))]) == expected


@pytest.mark.parametrize(("idle", "expected"), [(5, []), (6, ["empty"])])
def test_a_model_of_whose_drafts_nothing_stands_is_warned_of(idle: int, expected: list[str]) -> None:
    local: dict[str, Any] = {"asked_for": "local"}
    lines = [line(2, generator="local", **local) for _ in range(20 - idle)]
    lines += [line(1, nothing_stood=True, **local) for _ in range(idle)]
    lines += [line(1, **local) for _ in range(50)]  # lists, for which no draft was asked
    assert names(lines) == expected


def test_a_fallback_is_warned_of_when_it_lasts() -> None:
    gone: dict[str, Any] = {"asked_for": "hosted", "fell_back": True}
    there = [line(3, asked_for="hosted", generator="hosted") for _ in range(5)]
    assert names([*there, line(0.04, **gone)]) == []  # once
    assert names([*there, line(0.02, **gone), line(0.01, **gone)]) == []  # a quarter of an hour
    assert names([*there, line(0.2, **gone), line(0.01, **gone)]) == ["fallback"]
    back = line(0, asked_for="hosted", generator="hosted")
    assert names([*there, line(0.2, **gone), line(0.01, **gone), back]) == []


def test_answers_that_take_twice_as_long_are_warned_of() -> None:
    before = [line(20, total=500.0) for _ in range(50)]
    assert names([*before, *(line(1, total=900.0) for _ in range(50))]) == []
    assert names([*before, *(line(1, total=1100.0) for _ in range(50))]) == ["slow"]


def test_passages_that_are_lost() -> None:
    assert lost_passages(["a:0-9"], 10) == []
    [found] = lost_passages(["a:0-9", "b:0-9", "c:0-9"], 10)
    assert found.message == "3 of 10 passages are not found by their own first sentence, such as a:0-9."
    assert lost_passages([], 0) == []


def test_documents_beyond_their_date() -> None:
    dates = {"new": "2026-03-01", "old": "2025-01-01", "older": "2024-06-30", "undated": ""}
    today = date(2026, 3, 31)
    assert out_of_date(dates, 0, today) == []
    [found] = out_of_date(dates, 365, today)
    assert "2 of 4 documents were not reviewed for 365 days, the oldest older (2024-06-30)." in found.message
    assert out_of_date({"new": "2026-03-01"}, 30, today) == []
    assert out_of_date({"new": "2026-03-01"}, 29, today) != []
