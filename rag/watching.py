"""An engine whose every outcome is told: each answer, each failure, and each answer that was not waited for.

It answers as the engine it is made from does. What is told is written before the last event is given out, so that the
answer carries the id of its receipt; nothing that is done with an outcome may cost the answer.
"""

from __future__ import annotations

import collections.abc
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rag import __version__
from rag.answering import Engine
from rag.errors import RolewiseError
from rag.receipts import STOPPED, Door, Outcome
from rag.record import answer_record, error_record
from rag.types import Event, Finished, Message, Weighed


class Watcher(Protocol):
    """Raises nothing."""

    def __call__(self, outcome: Outcome) -> str:
        """The id of a receipt, "" where none is kept."""
        ...


@dataclass(frozen=True)
class WatchedEngine(Engine):
    """`watchers` are told what becomes of each question, and `afterwards` is done when its answer has been given.

    Without a `door` nobody is told: that is how the program asks itself.
    """

    door: Door | None = None
    watchers: Sequence[Watcher] = ()
    afterwards: Callable[[], object] = field(default=lambda: None)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those that an answer depends on."""
    running: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    """Is entered while an answer is being written."""

    def stream_answer(
        self,
        question: str,
        *,
        history: Sequence[Message] = (),
        role: str | None = None,
        generator: str | None = None,
        anew: bool = False,
    ) -> collections.abc.Generator[Event, None, None]:
        """As of `Engine`. The answer of the last event has the id of its `receipt`."""
        with self.running():
            yield from self._stream(question, history, role, generator, anew)

    def _stream(
        self, question: str, history: Sequence[Message], role: str | None, generator: str | None, anew: bool
    ) -> collections.abc.Generator[Event, None, None]:
        events = super().stream_answer(question, history=history, role=role, generator=generator, anew=anew)
        if self.door is None:
            yield from events
            return
        signals: Mapping[str, float] = {}
        is_told = False

        def tell(status: str, record: Mapping[str, Any], stages: Sequence[tuple[str, float, float]] = ()) -> str:
            nonlocal is_told
            is_told = True
            outcome = Outcome(
                door=str(self.door),
                status=status,
                record=record,
                history=history,
                role=role,
                asked_for=generator or self.generator,
                signals=signals,
                settings=self.settings,
                rolewise=__version__,
                roles=self.version.roles,
                stages=stages,
            )
            return next(filter(None, [watcher(outcome) for watcher in self.watchers]), "")

        def tell_failure(status: str, message: str) -> None:
            info = self.version.info
            of_index = {"index": {"version": info.version, "embedder": info.embedder}}
            tell(status, error_record({"question": question.strip()}, message) | of_index)

        try:
            for event in events:
                if isinstance(event, Weighed):
                    signals = event.signals
                elif isinstance(event, Finished):
                    receipt = tell(event.answer.status, answer_record(event.answer), event.answer.stages)
                    event = Finished(replace(event.answer, receipt=receipt))
                yield event
        except (GeneratorExit, KeyboardInterrupt):  # a Ctrl-C comes while it is written, or between two events
            if not is_told:
                tell_failure(STOPPED, "its reader did not wait for it.")
            raise
        except RolewiseError as error:
            tell_failure("error", str(error))
            raise
        except Exception as error:
            tell_failure("error", f"failed by {type(error).__name__}")  # its text may hold anything
            raise
        finally:
            events.close()
            self.afterwards()


def at_door(engine: Callable[[], Engine], door: Door | None) -> Callable[[], Engine]:
    """Gives what `engine` gives, asked through this front door; None tells nobody, and counts as no real answer."""

    def asked() -> Engine:
        now = engine()
        if not isinstance(now, WatchedEngine):
            return now
        return replace(now, door=door, running=now.running if door else contextlib.nullcontext)

    return asked
