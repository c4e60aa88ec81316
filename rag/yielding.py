"""Work that gives way: done in the background when no real answer is being written, stopped as soon as one begins."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from rag.answering import Engine
from rag.errors import GaveWay, RolewiseError
from rag.protocols import Draft, Generator, GivesWay, Judge
from rag.types import Evidence, GeneratorInfo, Message

logger = logging.getLogger(__name__)

T = TypeVar("T")

WAITING = 100
"""Pieces of work that wait at the most; what comes then goes undone."""
QUIET_SECONDS = 1.0
"""For so long no real answer must have been written: who asked reads, and may ask on at once."""
TRIES = 3
"""Of a piece of work that had to give way."""


class Activity:
    """How many real answers are being written; a context for each."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._last = -QUIET_SECONDS

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._last = time.monotonic()
                self._changed.notify_all()

    @property
    def is_busy(self) -> bool:
        return self._running > 0

    def wait_until_quiet(self, seconds: float = QUIET_SECONDS) -> None:
        """Returns when nothing has been written for so long."""
        with self._changed:
            while True:
                left = self._last + seconds - time.monotonic()
                if self._running:
                    self._changed.wait()
                elif left > 0:
                    self._changed.wait(left)
                else:
                    return


class _Yielding:
    """A generator that stops when a real answer begins. Implements protocols.Generator."""

    def __init__(self, inner: Generator, activity: Activity) -> None:
        self._inner, self._activity = inner, activity

    @property
    def info(self) -> GeneratorInfo:
        return self._inner.info

    @property
    def context_tokens(self) -> int:
        return self._inner.context_tokens

    def count(self, text: str) -> int:
        return self._inner.count(text)

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        self._give_way()
        with contextlib.closing(self._inner.stream(messages, evidence, max_tokens=max_tokens)) as pieces:
            for piece in pieces:
                self._give_way()
                yield piece

    def _give_way(self) -> None:
        if self._activity.is_busy:
            raise GaveWay


class _YieldingJudge(_Yielding):
    def yes_probability(self, messages: Sequence[Message]) -> float:
        self._give_way()
        assert isinstance(self._inner, Judge)
        return self._inner.yes_probability(messages)


def yielding(engine: Engine, activity: Activity) -> Engine:
    """The engine, whose generators give way to real answers."""

    def named(name: str) -> Generator:
        inner = engine.generator_named(name)
        if isinstance(inner, GivesWay):
            inner = inner.giving_way(lambda: activity.is_busy)
        return _YieldingJudge(inner, activity) if isinstance(inner, Judge) else _Yielding(inner, activity)

    return replace(engine, generator_named=named)


class Background(Generic[T]):
    """Does one piece of work after another in a thread of its own, which begins with the first.

    `work` may raise GaveWay, to be tried again, and RolewiseError, which becomes a line of the log.
    """

    def __init__(self, activity: Activity, work: Callable[[T], None], *, name: str) -> None:
        self._activity, self._work, self._name = activity, work, name
        self._waiting: deque[tuple[T, int]] = deque()
        self._come = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_working = False

    def offer(self, one: T) -> None:
        with self._come:
            if len(self._waiting) < WAITING:
                self._waiting.append((one, 1))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._come.notify_all()

    def wait(self, seconds: float) -> bool:
        """Returns when nothing waits any more, or after so many seconds; whether nothing does."""
        with self._come:
            return self._come.wait_for(lambda: not self._waiting and not self._is_working, seconds)

    def _run(self) -> None:
        while True:
            with self._come:
                self._is_working = False
                self._come.notify_all()
                self._come.wait_for(lambda: self._waiting)
                one, tries = self._waiting.popleft()
                self._is_working = True
            self._activity.wait_until_quiet()
            try:
                self._work(one)
            except GaveWay:
                if tries < TRIES:
                    with self._come:
                        self._waiting.append((one, tries + 1))
            except RolewiseError as error:
                logger.warning("in the background (%s): %s", self._name, error)
