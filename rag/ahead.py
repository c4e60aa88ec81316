"""What is likely asked next is answered while the person reads, and is there when it is asked.

In come questions that a page offers to be asked at a click. Their answers go where those of repeated questions are
found, and to nobody: no receipt is kept of what nobody asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.answering import Engine
from rag.errors import GaveWay
from rag.types import Message
from rag.watching import at_door
from rag.yielding import Activity, Background, yielding


@dataclass(frozen=True, slots=True)
class _Likely:
    engine: Callable[[], Engine]
    question: str
    generator: str
    history: tuple[Message, ...]
    role: str | None


class Ahead:
    """Answers one question after another when no real answer is being written, and stops when one begins."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._background = Background(activity, self._answer, name="ahead")

    def offer(
        self,
        engine: Callable[[], Engine],
        questions: Sequence[str],
        *,
        generator: str,
        history: Sequence[Message] = (),
        role: str | None = None,
    ) -> None:
        """Takes questions, the likeliest first, that may be asked of what `engine` gives then."""
        for question in questions:
            self._background.offer(_Likely(at_door(engine, None), question, generator, tuple(history), role))

    def wait(self, seconds: float) -> bool:
        """Returns when nothing waits any more, or after so many seconds; whether nothing does."""
        return self._background.wait(seconds)

    def _answer(self, one: _Likely) -> None:
        engine = yielding(one.engine(), self._activity)
        for _ in engine.stream_answer(one.question, history=one.history, role=one.role, generator=one.generator):
            if self._activity.is_busy:
                raise GaveWay
