"""Places at the engine, a few for each kind of work, so that slow work of one kind keeps no other waiting.

Whoever finds no place free waits in a line and is told how many are ahead. One server has one `Slots`, for its page and
its API alike; all of it belongs to the event loop of that server.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from rag.answering import Engine
from rag.errors import Busy
from rag.types import Event

T = TypeVar("T")

SEARCH = "search"
PLACES = {"extractive": 4, "local": 1, "hosted": 8, SEARCH: 4}
"""So many at a time: a local model writes for one at once, hosted ones wait for the network."""
RETRY_SECONDS = 5
"""After which a client that found no place may try again."""
WAITING = 64
"""Requests that may wait for their places, all kinds together."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """So many will be served before."""

    ahead: int


@dataclass(eq=False)
class _Ticket:
    is_called: bool = False
    moved: anyio.Event = field(default_factory=anyio.Event)

    def move(self) -> None:
        self.moved.set()
        self.moved = anyio.Event()


class Slots:
    """First come, first served, for each kind of work. Raises Busy where too many wait already."""

    def __init__(self) -> None:
        self._free = dict(PLACES)
        self._lines: dict[str, deque[_Ticket]] = {kind: deque() for kind in PLACES}
        self._threads = anyio.CapacityLimiter(math.inf)  # the places bound them

    @property
    def waiting(self) -> int:
        return sum(map(len, self._lines.values()))

    def is_free(self) -> bool:
        """Whether nobody waits and nothing is being done."""
        return not self.waiting and self._free == PLACES

    @asynccontextmanager
    async def slot(self, kind: str) -> AsyncIterator[None]:
        """Waits for a place and holds it."""
        ticket = self._join(kind)
        try:
            while not ticket.is_called:
                await ticket.moved.wait()
            yield
        finally:
            self._leave(kind, ticket)

    async def run(self, work: Callable[[], T]) -> T:
        """What blocks, in a thread. The caller holds a place. Whoever is cancelled waits until the thread is done."""
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def events(
        self, engine: Callable[[], Engine], generator: str, question: str, **options: Any
    ) -> AsyncGenerator[Waiting | Event, None]:
        """The events of an answer, and before them how many are ahead, each time that it changes.

        Closing this closes the engine's generator, then frees the place.
        """
        ticket = self._join(generator)
        try:
            while not ticket.is_called:
                moved = ticket.moved
                yield Waiting(self._lines[generator].index(ticket))
                if not ticket.is_called:
                    await moved.wait()
            events = await self.run(lambda: engine().stream_answer(question, generator=generator, **options))
            try:
                while (event := await self.run(lambda: next(events, None))) is not None:
                    yield event
            finally:
                with anyio.CancelScope(shield=True):
                    await self.run(events.close)
        finally:
            self._leave(generator, ticket)

    def _join(self, kind: str) -> _Ticket:
        ticket = _Ticket()
        if self._free[kind]:
            self._free[kind] -= 1
            ticket.is_called = True
        elif self.waiting >= WAITING:
            raise Busy("too many questions are waiting. Ask again in a while.")
        else:
            self._lines[kind].append(ticket)
        return ticket

    def _leave(self, kind: str, ticket: _Ticket) -> None:
        line = self._lines[kind]
        if not ticket.is_called:
            line.remove(ticket)
        elif line:
            called = line.popleft()
            called.is_called = True
            called.move()
        else:
            self._free[kind] += 1
        for one in line:
            one.move()
