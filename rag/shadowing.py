"""A candidate answers in the shadow: the questions that were asked, behind the people who asked them.

What was asked comes in when its answer has been given; the candidate's answer goes into the log beside the receipt and
to nobody else, and is deleted with it. A thread works when no real answer is being written, gives way when one begins,
and keeps within a share of the questions and seconds a day.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rag.answering import Engine
from rag.errors import GaveWay, RolewiseError
from rag.live import Candidate
from rag.live import Shadow as Plan
from rag.paired import Pair
from rag.receipts import STOPPED, Outcome, Receipt, Receipts, kept_of
from rag.record import answer_record, error_record
from rag.yielding import Activity, Background, yielding

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


@dataclass(frozen=True, slots=True)
class _Asked:
    outcome: Outcome
    receipt: str


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
        self._background = Background(activity, self._answer, name="shadow")
        self._engine: tuple[str, Engine] | None = None
        self._lost = 0.0
        """Seconds of answers that had to be given up, which count too."""

    def offer(self, outcome: Outcome, receipt: str) -> None:
        """Takes a question that has been answered, if it falls into the share."""
        planned = self._plan()
        if planned is not None and receipt and falls_within(receipt, planned[0].share):
            self._background.offer(_Asked(outcome, receipt))

    def wait(self, seconds: float) -> bool:
        """Returns when nothing waits any more, or after so many seconds; whether nothing does."""
        return self._background.wait(seconds)

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
