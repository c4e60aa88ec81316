"""Who waits for whom: first come, first served, for each kind of work apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from rag import slots
from rag.answering import Engine
from rag.errors import Busy
from rag.slots import PLACES, Slots, Waiting
from rag.types import Answer, Finished


async def served(line: Slots, kind: str, done: list[str], name: str, may_end: anyio.Event) -> None:
    async with line.slot(kind):
        done.append(name)
        await may_end.wait()


@pytest.mark.anyio
async def test_places_are_given_in_the_order_of_asking() -> None:
    line, done = Slots(), list[str]()
    ends = {name: anyio.Event() for name in "abc"}
    async with anyio.create_task_group() as group:
        for name, end in ends.items():
            group.start_soon(served, line, "local", done, name, end)
            await anyio.wait_all_tasks_blocked()
        assert (done, line.waiting) == (["a"], 2)
        group.start_soon(served, line, "hosted", done, "hosted", ends["a"])
        await anyio.wait_all_tasks_blocked()
        assert done == ["a", "hosted"]  # another kind of work waits for none of these
        for name in "abc":
            ends[name].set()
            await anyio.wait_all_tasks_blocked()
    assert done == ["a", "hosted", "b", "c"]
    assert line.is_free()


@pytest.mark.anyio
async def test_whoever_waits_is_told_how_many_are_ahead_and_may_leave(
    shelf: Path, engine_over: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "PLACES", {"extractive": 1})
    engine, line = engine_over(shelf), Slots()
    told: list[list[int]] = [[], [], []]
    answers: list[Answer] = []

    async def ask(number: int, scope: anyio.CancelScope) -> None:
        with scope:
            async for event in line.events(lambda: engine, "extractive", "What does a Baker earn in Bern?"):
                if isinstance(event, Waiting):
                    told[number].append(event.ahead)
                elif isinstance(event, Finished):
                    answers.append(event.answer)

    scopes = [anyio.CancelScope() for _ in told]
    async with anyio.create_task_group() as group, line.slot("extractive"):
        for number, scope in enumerate(scopes):
            group.start_soon(ask, number, scope)
            await anyio.wait_all_tasks_blocked()
        assert told == [[0], [1], [2]]
        scopes[1].cancel()
        await anyio.wait_all_tasks_blocked()
        assert told == [[0, 0], [1], [2, 1]]
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert told == [[0, 0], [1], [2, 1, 0]]
    assert [one.citations[0].quote for one in answers] == ["Bern: 61,000 francs a year"]
    assert line.is_free()


@pytest.mark.anyio
async def test_a_long_line_takes_nobody_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "WAITING", 1)
    line, done, end = Slots(), list[str](), anyio.Event()
    async with anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(served, line, "local", done, name, end)
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(Busy, match="Ask again"):
            async with line.slot("local"):
                pass
        end.set()
    assert (done, line.is_free()) == (["a", "b"], True)


def test_there_is_a_place_for_every_kind() -> None:
    assert set(PLACES) == {"extractive", "local", "hosted", "search"}
