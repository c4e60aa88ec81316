"""Answers that were given lately, kept in memory for when the same is asked again.

In go the events of an answer, out they come at once for the same question, understood in the same way, of the same
role and generator, put to an engine of the same parts: another index version, fit, prompt or setting is asked anew.
Nothing is kept on disk.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from rag.types import Event

LIMIT = 256


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What an engine is made of: the same only if each part is the very same object."""

    parts: tuple[object, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Parts) and list(map(id, self.parts)) == list(map(id, other.parts))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.parts)))


@dataclass(frozen=True, slots=True)
class Asked:
    """All that an answer depends on."""

    question: str
    read_as: str
    """The question made whole from what was said before it, which bears on the answer by nothing else."""
    role: str | None
    generator: str
    engine: Parts


class Repeats:
    """At most `limit` answers; the one that was not asked for longest goes first. Safe to use from several threads."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._kept: OrderedDict[Asked, tuple[Event, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, asked: Asked) -> tuple[Event, ...]:
        """The events of the answer, none if it is not kept."""
        with self._lock:
            if asked in self._kept:
                self._kept.move_to_end(asked)
            return self._kept.get(asked, ())

    def keep(self, asked: Asked, events: Sequence[Event]) -> None:
        with self._lock:
            self._kept[asked] = tuple(events)
            self._kept.move_to_end(asked)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
