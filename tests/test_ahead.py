"""What the page offers to ask is answered while nobody waits, given to nobody, and there when it is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag.ahead import Ahead
from rag.answering import Engine
from rag.receipts import Outcome
from rag.types import Message
from rag.watching import WatchedEngine
from rag.yielding import Activity
from tests.test_shadowing import Slow

QUESTION = "What does a Baker earn in Basel?"


@pytest.fixture
def outcomes() -> list[Outcome]:
    return []


@pytest.fixture
def activity() -> Activity:
    return Activity()


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def engine(
    shelf: Path, engine_over: Callable[..., Engine], slow: Slow, activity: Activity, outcomes: list[Outcome]
) -> Engine:
    """As a server has it: what is asked is told, and counts as a real answer while it is written."""

    def told(outcome: Outcome) -> str:
        outcomes.append(outcome)
        return "receipt"

    of_shelf = vars(engine_over(shelf, local=slow))
    return WatchedEngine(**of_shelf, door="chat", watchers=[told], running=activity)


def test_what_was_answered_ahead_is_there_and_only_what_is_asked_leaves_a_receipt(
    engine: Engine, slow: Slow, activity: Activity, outcomes: list[Outcome]
) -> None:
    slow.may_go_on.set()
    ahead = Ahead(activity)
    ahead.offer(lambda: engine, [QUESTION], generator="local")
    assert ahead.wait(30)
    assert slow.is_closed.is_set()
    assert outcomes == []
    slow.is_writing.clear()
    answer = engine.ask(QUESTION, generator="local")
    assert answer.repeated
    assert answer.text == "Basel: 64,500 francs a year [1]"
    assert not slow.is_writing.is_set()
    assert [outcome.record["question"] for outcome in outcomes] == [QUESTION]


def test_it_waits_for_real_answers_stops_when_one_begins_and_goes_on_afterwards(
    engine: Engine, slow: Slow, activity: Activity
) -> None:
    ahead = Ahead(activity)
    with activity():
        ahead.offer(lambda: engine, [QUESTION], generator="local")
        assert not slow.is_writing.wait(0.5)
    assert slow.is_writing.wait(30)
    with activity():
        slow.may_go_on.set()
        assert slow.is_closed.wait(30)
        slow.is_writing.clear()
        assert not slow.is_writing.wait(0.5)
    assert ahead.wait(30)
    assert engine.ask(QUESTION, generator="local").repeated


def test_its_own_questions_do_not_stop_one_another(engine: Engine, slow: Slow, activity: Activity) -> None:
    slow.may_go_on.set()
    ahead = Ahead(activity)
    others = ["What does a Baker earn in Bern?", "What does a Miller earn in Bern?"]
    ahead.offer(lambda: engine, [QUESTION, *others], generator="local")
    assert ahead.wait(30)
    assert [engine.ask(one, generator="local").repeated for one in (QUESTION, *others)] == [True] * 3


def test_a_question_that_cannot_be_asked_leaves_the_others(engine: Engine, slow: Slow, activity: Activity) -> None:
    slow.may_go_on.set()
    ahead = Ahead(activity)
    ahead.offer(lambda: engine, ["", QUESTION], generator="local")
    assert ahead.wait(30)
    assert engine.ask(QUESTION, generator="local").repeated


def test_a_history_that_changes_what_is_asked_is_part_of_it(engine: Engine, slow: Slow, activity: Activity) -> None:
    slow.may_go_on.set()
    ahead = Ahead(activity)
    told = [Message("user", QUESTION), Message("assistant", "64,500 francs a year.")]
    ahead.offer(lambda: engine, ["And in Bern?"], generator="local", history=told)
    assert ahead.wait(30)
    assert engine.ask("And in Bern?", generator="local", history=told).repeated
    assert not engine.ask("And in Bern?", generator="local").repeated
