"""The shadow gives way to real answers, keeps within its budget and fails in the open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rag.answering import Engine
from rag.errors import GaveWay
from rag.live import Candidate, Shadow
from rag.protocols import Draft, Judge
from rag.receipts import Outcome, Receipts
from rag.shadowing import ShadowLog, ShadowWorker, answered, falls_within
from rag.types import Evidence, GeneratorInfo, Message
from rag.watching import WatchedEngine
from rag.yielding import Activity, yielding

QUESTION = "What does a Baker earn in Basel?"
CANDIDATE = Candidate("other", {"generator": "local"})


class Slow:
    """Writes a word whenever it is told to. Implements protocols.Generator."""

    info = GeneratorInfo("local", "slow", "ab" * 32)
    context_tokens = 4000

    def __init__(self) -> None:
        self.is_writing, self.may_go_on, self.is_closed = (threading.Event() for _ in range(3))

    def count(self, text: str) -> int:
        return len(text.split())

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        try:
            self.is_writing.set()
            self.may_go_on.wait(30)
            yield f"{evidence[0].quote} [1]"
            yield "\n"
        finally:
            self.is_closed.set()


@pytest.fixture
def log(tmp_path: Path) -> ShadowLog:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return ShadowLog(tmp_path / "var" / "receipts.sqlite", clock=lambda: noon)


@pytest.fixture
def told(engine_over: Callable[..., Engine], shelf: Path, log: ShadowLog) -> tuple[Outcome, str]:
    """What became of a real question, and its receipt."""
    outcomes: list[Outcome] = []

    def keep(outcome: Outcome) -> str:
        outcomes.append(outcome)
        return log.keep(outcome)

    receipt = WatchedEngine(**vars(engine_over(shelf)), door="api", watchers=[keep]).ask(QUESTION).receipt
    return outcomes[0], receipt


def worker(
    log: ShadowLog, engine: Engine, activity: Activity, share: float = 1.0, seconds: float = 600, name: str = "other"
) -> ShadowWorker:
    plan = (Shadow(name, share, seconds, "2026-03-01T12:00:00Z"), CANDIDATE)
    return ShadowWorker(log, lambda: plan, lambda _: engine, activity)


def test_the_shadow_waits_until_no_real_answer_is_written(
    log: ShadowLog, told: tuple[Outcome, str], engine_over: Callable[..., Engine], shelf: Path
) -> None:
    slow, activity = Slow(), Activity()
    slow.may_go_on.set()
    shadow = worker(log, engine_over(shelf, local=slow), activity)
    with activity():
        shadow.offer(*told)
        assert not slow.is_writing.wait(0.5)
    assert shadow.wait(30)
    assert [one.candidate["generator"]["model"] for one in log.pairs(CANDIDATE.sha256)] == ["slow"]


def test_the_shadow_stops_writing_when_a_real_answer_begins_and_is_asked_again_later(
    log: ShadowLog, told: tuple[Outcome, str], engine_over: Callable[..., Engine], shelf: Path
) -> None:
    slow, activity = Slow(), Activity()
    shadow = worker(log, engine_over(shelf, local=slow), activity)
    shadow.offer(*told)
    assert slow.is_writing.wait(30)
    with activity():
        slow.may_go_on.set()
        assert slow.is_closed.wait(30)
        assert log.pairs(CANDIDATE.sha256) == []
    assert shadow.wait(30)
    assert len(log.pairs(CANDIDATE.sha256)) == 1


def test_a_judge_stays_one_and_gives_way_too(engine_over: Callable[..., Engine], shelf: Path) -> None:
    class Judging(Slow):
        def yes_probability(self, messages: Sequence[Message]) -> float:
            return 0.25

    activity = Activity()
    engine = yielding(engine_over(shelf, local=Judging(), other=Slow()), activity)
    judge = engine.generator_named("local")
    assert isinstance(judge, Judge)
    assert not isinstance(engine.generator_named("other"), Judge)
    assert judge.yes_probability([]) == 0.25
    with activity(), pytest.raises(GaveWay):
        judge.yes_probability([])


@pytest.mark.parametrize(("share", "seconds"), [(0.0, 600.0), (1.0, 0.0)])
def test_nothing_is_asked_beyond_the_budget(
    log: ShadowLog,
    told: tuple[Outcome, str],
    engine_over: Callable[..., Engine],
    shelf: Path,
    share: float,
    seconds: float,
) -> None:
    slow = Slow()
    shadow = worker(log, engine_over(shelf, local=slow), Activity(), share, seconds)
    shadow.offer(*told)
    assert shadow.wait(30)
    assert not slow.is_writing.is_set()


def test_a_share_is_that_of_the_receipts() -> None:
    drawn = sum(falls_within(f"{number}-abcdef", 0.2) for number in range(2000))
    assert 340 <= drawn <= 460  # 400, give or take 3.4 standard deviations


def test_seconds_count_for_the_day_and_go_with_their_receipts(log: ShadowLog, told: tuple[Outcome, str]) -> None:
    outcome, receipt = told
    log.keep_shadow(receipt, "one", outcome, 1.5)
    log.keep_shadow(receipt, "two", outcome, 2.0)
    log.keep_shadow("99-gone", "one", outcome, 4.0)
    assert log.seconds_today() == 3.5
    Receipts(log._path).delete(receipt)
    assert log.seconds_today() == 0
    assert log.pairs("one") == []


def test_personal_data_is_replaced_in_the_shadow_too(log: ShadowLog, told: tuple[Outcome, str]) -> None:
    outcome, receipt = told
    from dataclasses import replace

    mine = replace(outcome, record={**outcome.record, "question": "I am at anna@example.org, what do I earn?"})
    log.keep_shadow(receipt, "one", mine, 1.0)
    assert "anna" not in str(log.pairs("one")[0].candidate)


def test_a_candidate_that_fails_is_a_row_of_its_own(
    told: tuple[Outcome, str], engine_over: Callable[..., Engine], shelf: Path
) -> None:
    class Broken(Slow):
        def stream(self, *_: Any, **__: Any) -> Draft:
            raise RuntimeError("a secret")

    outcome = answered(engine_over(shelf, local=Broken()), told[0], CANDIDATE)
    assert (outcome.status, outcome.record["error"]) == ("error", "failed by RuntimeError")
