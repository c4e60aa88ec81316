"""A candidate answers in the shadow: the questions that were asked, behind the people who asked them.

What was asked comes in when its answer has been given; the candidate's answer goes into the log beside the receipt and
to nobody else, and is deleted with it. A thread works when no real answer is being written, gives way when one begins,
and keeps within a share of the questions and seconds a day.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rag.answering import Engine
from rag.errors import RolewiseError
from rag.live import Candidate
from rag.live import Shadow as Plan
from rag.paired import Pair
from rag.protocols import Draft, Generator, Judge
from rag.receipts import STOPPED, Outcome, Receipt, Receipts, kept_of
from rag.record import answer_record, error_record
from rag.types import Evidence, GeneratorInfo, Message

logger = logging.getLogger(__name__)

WAITING = 100
"""Questions that wait for the shadow at the most; what comes then goes without."""
QUIET_SECONDS = 1.0
"""For so long no real answer must have been written: who asked reads, and may ask on at once."""
TRIES = 3
"""Of a question for which the shadow had to give way."""

_TABLES = (
    """CREATE TABLE IF NOT EXISTS shadows (receipt TEXT NOT NULL, candidate TEXT NOT NULL, at TEXT NOT NULL,
         seconds REAL NOT NULL, record TEXT NOT NULL, PRIMARY KEY (receipt, candidate))""",
    """CREATE TRIGGER IF NOT EXISTS shadow_deleted AFTER DELETE ON receipts
         BEGIN DELETE FROM shadows WHERE receipt = old.id; END""",
)


class ShadowLog(Receipts):
    """The log, with the answers of candidates beside those that were given; they are deleted with their receipts."""

    def keep_shadow(self, receipt: str, candidate: str, outcome: Outcome, seconds: float) -> None:
        """Without personal data, as the receipt is. Nothing is kept if the receipt is gone. Raises ReceiptError."""
        record = json.dumps(kept_of(outcome)["record"], ensure_ascii=False)
        with self._writing() as database:
            _make(database)
            database.execute(
                "INSERT OR REPLACE INTO shadows SELECT id, ?, ?, ?, ? FROM receipts WHERE id = ?",
                (candidate, self._time(), seconds, record, receipt),
            )

    def pairs(self, candidate: str) -> list[Pair]:
        """The answers that were given and those of a candidate, by the hash of its content; the oldest first."""
        query = """SELECT r.id, r.body, s.record FROM shadows AS s JOIN receipts AS r ON r.id = s.receipt
            WHERE s.candidate = ? AND r.status != ? ORDER BY r.number"""
        with self._reading() as database:
            _make(database)
            rows = database.execute(query, (candidate, STOPPED)).fetchall()
        return [Pair(id_, json.loads(body)["record"], json.loads(record)) for id_, body, record in rows]

    def seconds_today(self) -> float:
        """That shadows have taken."""
        with self._reading() as database:
            _make(database)
            (taken,) = database.execute(
                "SELECT coalesce(sum(seconds), 0) FROM shadows WHERE at >= ?", (self._time()[:10],)
            ).fetchone()
        return float(taken)


def _make(database: sqlite3.Connection) -> None:
    for statement in _TABLES:
        database.execute(statement)


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


class GaveWay(Exception):
    """A real question has come."""


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
        return _YieldingJudge(inner, activity) if isinstance(inner, Judge) else _Yielding(inner, activity)

    return replace(engine, generator_named=named)


@dataclass(frozen=True, slots=True)
class _Asked:
    outcome: Outcome
    receipt: str
    tries: int = 0


class ShadowWorker:
    """Answers in the background. `plan` tells the candidate and its budget, None for none; `opened` gives its engine,
    which is kept until another candidate comes."""

    def __init__(
        self,
        log: ShadowLog,
        plan: Callable[[], tuple[Plan, Candidate] | None],
        opened: Callable[[Candidate], Engine],
        activity: Activity,
    ) -> None:
        self._log, self._plan, self._opened, self._activity = log, plan, opened, activity
        self._waiting: deque[_Asked] = deque()
        self._come = threading.Condition()
        self._thread: threading.Thread | None = None
        self._engine: tuple[str, Engine] | None = None
        self._is_working = False
        self._lost = 0.0
        """Seconds of answers that had to be given up, which count too."""

    def offer(self, outcome: Outcome, receipt: str) -> None:
        """Takes a question that has been answered, if it falls into the share."""
        planned = self._plan()
        if planned is None or not receipt or not falls_within(receipt, planned[0].share):
            return
        with self._come:
            if len(self._waiting) < WAITING:
                self._waiting.append(_Asked(outcome, receipt))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
                self._thread.start()
            self._come.notify_all()

    def wait(self, seconds: float) -> bool:
        """Returns when nothing waits any more, or after so many seconds; whether nothing does."""
        with self._come:
            return self._come.wait_for(lambda: not self._waiting and not self._is_working, seconds)

    def _work(self) -> None:
        while True:
            with self._come:
                self._is_working = False
                self._come.notify_all()
                self._come.wait_for(lambda: self._waiting)
                asked = self._waiting.popleft()
                self._is_working = True
            self._activity.wait_until_quiet()
            try:
                self._answer(asked)
            except GaveWay:
                if asked.tries + 1 < TRIES:
                    with self._come:
                        self._waiting.append(replace(asked, tries=asked.tries + 1))
            except RolewiseError as error:
                logger.warning("no answer in the shadow: %s", error)

    def _answer(self, asked: _Asked) -> None:
        planned = self._plan()
        if planned is None:
            self._engine = None
            return
        plan, candidate = planned
        if self._log.seconds_today() + self._lost >= plan.seconds:
            return
        if self._engine is None or self._engine[0] != candidate.sha256:
            self._engine = (candidate.sha256, yielding(self._opened(candidate), self._activity))
        start = time.monotonic()
        try:
            outcome = answered(self._engine[1], asked.outcome, candidate, lambda: self._activity.is_busy)
        except GaveWay:
            self._lost += time.monotonic() - start
            raise
        self._log.keep_shadow(asked.receipt, candidate.sha256, outcome, time.monotonic() - start)


def falls_within(receipt: str, share: float) -> bool:
    """Whether a receipt is among the share of which the shadow is asked; the same in every process."""
    drawn = int.from_bytes(hashlib.sha256(receipt.encode()).digest()[:4]) / 2**32
    return drawn < share


def answered(
    engine: Engine, asked: Outcome, candidate: Candidate, is_busy: Callable[[], bool] = lambda: False
) -> Outcome:
    """What a candidate's engine makes of a question that was asked, by its own generator if it names one.

    Raises GaveWay where a real answer begins meanwhile.
    """
    generator = candidate.settings.get("generator", asked.asked_for)
    question = str(asked.record["question"])
    record: dict[str, Any] = {}
    try:
        events = engine.stream_answer(question, history=asked.history, role=asked.role, generator=generator)
        with contextlib.closing(events):
            for event in events:
                if is_busy():
                    raise GaveWay
                if hasattr(event, "answer"):
                    record = answer_record(event.answer)
    except GaveWay:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, that the candidate failed is what is to be known
        info = engine.version.info
        message = str(error) if isinstance(error, RolewiseError) else f"failed by {type(error).__name__}"
        record = error_record({"question": question}, message)
        record["index"] = {"version": info.version, "embedder": info.embedder}
    return replace(asked, status=record["status"], record=record, asked_for=generator, signals={})


def outcome_of(receipt: Receipt, engine: Engine) -> Outcome:
    """What a receipt tells of its question."""
    return Outcome(
        door=receipt.door,
        status=receipt.status,
        record=receipt.record,
        history=receipt.history,
        role=receipt.role,
        asked_for=receipt.asked_for,
        signals={},
        settings=receipt.settings,
        rolewise=receipt.rolewise,
        roles=engine.version.roles,
    )
