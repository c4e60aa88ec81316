"""What was asked before is answered as it was then; what may have changed is answered anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rag.answering import Engine
from rag.repeats import Asked, Parts, Repeats
from rag.types import Finished, Message, Token
from tests.test_answering import QUESTION, Scripted

DRAFT = "A baker in Basel earns 64,500 francs a year [1]."
OTHER = "In Basel a baker earns 64,500 francs a year [1]."


def test_the_answer_that_was_not_asked_for_longest_goes_first() -> None:
    one, two, three = (Asked(question, question, None, "local", Parts(())) for question in "abc")
    repeats = Repeats(2)
    repeats.keep(one, [Token("1")])
    repeats.keep(two, [Token("2")])
    assert repeats.find(one) == (Token("1"),)
    repeats.keep(three, [Token("3")])
    assert [repeats.find(asked) for asked in (one, two, three)] == [(Token("1"),), (), (Token("3"),)]
    none = Repeats(0)
    none.keep(one, [Token("1")])
    assert none.find(one) == ()


def test_a_repeated_question_gives_the_same_events_without_the_model(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    scripted = Scripted(DRAFT)
    engine = engine_over(shelf, scripted=scripted)
    first = list(engine.stream_answer(QUESTION, generator="scripted"))
    began = time.monotonic()
    again = list(engine.stream_answer(f" {QUESTION}\n", generator="scripted"))
    milliseconds = 1000 * (time.monotonic() - began)
    assert len(scripted.asked) == 1
    assert again[:-1] == first[:-1]
    assert isinstance(first[-1], Finished)
    assert isinstance(again[-1], Finished)
    before, after = first[-1].answer, again[-1].answer
    assert (before.repeated, after.repeated) == (False, True)
    assert after.stages == ()  # no work was done
    assert replace(after, repeated=False, timings_ms=before.timings_ms, stages=before.stages) == before
    assert set(after.timings_ms) == set(before.timings_ms)
    assert after.timings_ms["total"] <= milliseconds + 0.1  # its own, not those of the first


def test_what_was_said_before_makes_no_other_question_of_one_that_stands_alone(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    engine = engine_over(shelf, scripted=Scripted(DRAFT, OTHER))
    history = [Message("user", "What does a Baker earn in Basel?"), Message("assistant", "64,500 francs a year.")]
    engine.ask(QUESTION, generator="scripted")
    assert engine.ask(QUESTION, generator="scripted", history=history).repeated
    follow_up = "And in Geneva?"
    assert not engine.ask(follow_up, generator="scripted", history=history).repeated
    assert not engine.ask(follow_up, generator="scripted").repeated  # alone it asks for something else


def test_asked_of_another_it_is_another_question(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    scripted = Scripted(DRAFT, *[OTHER] * 3)
    engine = engine_over(shelf, scripted=scripted, second=scripted)
    first = engine.ask(QUESTION, generator="scripted")
    others = [
        engine.ask(QUESTION, generator="scripted", role="Baker"),
        engine.ask(QUESTION, generator="second"),
        replace(engine, answer_tokens=1000).ask(QUESTION, generator="scripted"),
    ]
    assert [one.repeated for one in (first, *others)] == [False] * 4
    assert replace(engine).ask(QUESTION, generator="scripted").repeated  # as asked through another front door
    assert [one.text for one in others] == ["In Basel a baker earns 64,500 francs a year. [1]"] * 3


def test_asked_anew_it_is_written_anew_and_that_is_kept(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    engine = engine_over(shelf, scripted=Scripted(DRAFT, OTHER))
    engine.ask(QUESTION, generator="scripted")
    *_, finished = engine.stream_answer(QUESTION, generator="scripted", anew=True)
    assert isinstance(finished, Finished)
    assert not finished.answer.repeated
    assert engine.ask(QUESTION, generator="scripted").text == finished.answer.text
    assert finished.answer.text.startswith("In Basel")


def test_what_failed_or_was_stopped_is_not_kept(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    scripted = Scripted("", DRAFT, DRAFT, fails=True)
    engine = engine_over(shelf, scripted=scripted)
    assert engine.ask(QUESTION, generator="scripted").notice
    scripted.fails = False
    events = engine.stream_answer(QUESTION, generator="scripted")
    next(events)
    events.close()
    assert not engine.ask(QUESTION, generator="scripted").repeated
    assert engine.ask(QUESTION, generator="scripted").repeated
