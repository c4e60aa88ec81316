"""A receipt for each answer: what was asked and said, by what, from what, how fast; in one SQLite file.

An outcome comes in from whatever front door was asked, and its receipt goes out by its id. Personal data in the
question is replaced before anything is written. What is deleted is gone from the file too. No answer is made here, and
none is lost because a disk is full: then there is no receipt, and the log of the program says so once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from rag.conversations import set_aside
from rag.errors import RolewiseError, SettingsError
from rag.redaction import kinds_in, redacted
from rag.roles import Roles
from rag.types import Message

logger = logging.getLogger(__name__)

Door = Literal["chat", "terminal", "batch", "api", "mcp"]
"""Through which front door a question came; `terminal` is both `ask` and `chat` of the command line."""
STOPPED = "stopped"
"""The status of an answer that its reader did not wait for."""
SCHEMA = 1
"""`PRAGMA user_version` of the file."""
MOST_MESSAGES = 20
"""Of the conversation before a question; what was said earlier hardly bears on how a question is understood."""
LONGEST_MESSAGE = 4000
"""Characters of such a message."""
FELL_BACK = "generator could not answer ("
NOTHING_STOOD = "Nothing of the draft stood the check"
"""By which notices of an answer it is told that another generator wrote it, and why."""

_WAIT_SECONDS = 5.0
"""For another process that is writing."""
_ID_DIGITS = 6
"""Of the hash of the content, behind the number of a receipt."""
_TABLES = (
    # AUTOINCREMENT: the number of a receipt that was deleted is never given to another.
    """CREATE TABLE receipts (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL,
         door TEXT NOT NULL, status TEXT NOT NULL, question TEXT NOT NULL, facts TEXT NOT NULL, body TEXT NOT NULL)""",
    "CREATE INDEX by_time ON receipts (at)",
    "CREATE TABLE expired (day TEXT NOT NULL)",
    f"PRAGMA user_version = {SCHEMA}",
)
_COLUMNS = "number, id, at, door, status, question"


class ReceiptError(RolewiseError):
    """A receipt is not there, or the file cannot be read or written."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a question. `record` is that of the answer or of the error (see rag/record.py).

    `asked_for` is the generator that was to write; `settings` are those that an answer depends on, and `signals` what
    was weighed of the question, empty if nothing was.
    """

    door: str
    status: str
    record: Mapping[str, Any]
    history: Sequence[Message]
    role: str | None
    asked_for: str
    signals: Mapping[str, float]
    settings: Mapping[str, Any]
    rolewise: str
    roles: Roles
    stages: Sequence[tuple[str, float, float]] = ()
    """As of `Answer`; not kept."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What monitoring counts of a receipt; times are in milliseconds since the question came, None if none was taken.

    `score` is that of the best evidence, None where none was weighed; `words` counts those of the question.
    """

    generator: str
    asked_for: str
    index: str
    words: int
    struck: int
    score: float | None
    unanswerable: float | None
    retrieve: float | None
    first_sentence: float | None
    total: float | None
    fell_back: bool
    nothing_stood: bool
    repeated: bool = False
    """Whether it was given as it was kept, in no time."""


@dataclass(frozen=True, slots=True)
class Line:
    """A receipt as it is listed. `at` is UTC: "2026-01-31T23:59:59Z"."""

    number: int
    id: str
    at: str
    door: str
    status: str
    question: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Receipt:
    """All that is kept of an answer. `redacted` names the kinds of personal data that were replaced in the question."""

    id: str
    at: str
    door: str
    status: str
    record: Mapping[str, Any]
    history: tuple[Message, ...]
    role: str | None
    asked_for: str
    signals: Mapping[str, float]
    settings: Mapping[str, Any]
    rolewise: str
    redacted: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _now() -> datetime:
    return datetime.now(UTC)


class Receipts:
    """The log in a file, which any number of threads and processes may use at once: each call opens it anew.

    `days` is how long a receipt is kept, 0 for ever. `clock` gives the time with its zone. All but `keep` and `expire`
    raise ReceiptError where the file cannot be read or written.
    """

    def __init__(self, path: Path, *, days: int = 0, clock: Callable[[], datetime] = _now) -> None:
        self._path = path
        self._days = days
        self._clock = clock
        self._is_failing = False
        self._expired = ""

    def keep(self, outcome: Outcome) -> str:
        """Writes the receipt of an outcome. Returns its id, "" where it cannot be written, which is warned of once."""
        try:
            kept = self._kept(outcome)
        except (ReceiptError, ValueError) as error:
            self._warn(error)
            return ""
        self._is_failing = False
        return kept

    def expire(self) -> int:
        """Deletes what is older than `days`, at most once a day, and returns how many went. A failure is warned of."""
        today = self._time()[:10]
        if not self._days or self._expired == today:
            return 0
        self._expired = today
        oldest = (self._clock().astimezone(UTC) - timedelta(days=self._days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            with self._writing() as database:
                if database.execute("SELECT 1 FROM expired WHERE day = ?", (today,)).fetchone():
                    return 0  # another process has done it
                database.execute("DELETE FROM expired")
                database.execute("INSERT INTO expired VALUES (?)", (today,))
                gone = database.execute("DELETE FROM receipts WHERE at < ?", (oldest,)).rowcount
            if gone:
                self._wipe()
        except ReceiptError as error:
            self._warn(error)
            return 0
        return gone

    def list(self, *, last: int | None = None, status: str | None = None, since: str = "") -> list[Line]:
        """The receipts from the oldest to the newest; of them the `last`, those of a `status`, or written `since`."""
        query = f"SELECT {_COLUMNS}, facts FROM receipts WHERE at >= ? AND (? IS NULL OR status = ?)"  # noqa: S608
        with self._reading() as database:
            rows = database.execute(
                f"{query} ORDER BY number DESC LIMIT ?", (since, status, status, -1 if last is None else last)
            ).fetchall()
        return [
            Line(number, id_, at, door, ended, question, Facts(**json.loads(facts)))
            for number, id_, at, door, ended, question, facts in reversed(rows)
        ]

    def get(self, id_: str) -> Receipt:
        """The receipt with this id, or with the number that it begins with. Raises ReceiptError."""
        with self._reading() as database:
            row = database.execute("SELECT body FROM receipts WHERE number = ?", (_number(id_),)).fetchone()
        found = _receipt(json.loads(row[0])) if row else None
        if found is None or not _names(id_, found.id):
            raise ReceiptError(f"there is no receipt {id_!r}. See: python -m rag log list")
        return found

    def all(self, *, since: str = "") -> Iterator[Receipt]:
        """The whole receipts from the oldest to the newest."""
        for one in self.list(since=since):
            with contextlib.suppress(ReceiptError):  # deleted meanwhile
                yield self.get(one.id)

    def delete(self, id_: str) -> None:
        """Raises ReceiptError if there is no such receipt."""
        found = self.get(id_)
        self._removed("id = ?", found.id)

    def delete_each(self, ids: Sequence[str]) -> int:
        """Deletes those of the receipts that are there, and returns how many were."""
        marks = ",".join("?" * len(ids))
        return self._removed(f"id IN ({marks})", *ids) if ids else 0

    def delete_before(self, date: str) -> int:
        """Deletes what was written before a date such as 2026-01-31. Raises SettingsError if it is none."""
        try:
            before = datetime.strptime(date, "%Y-%m-%d").strftime("%Y-%m-%dT00:00:00Z")
        except ValueError as error:
            raise SettingsError(f"{date!r} is no date. Write it as 2026-01-31.") from error
        return self._removed("at < ?", before)

    def delete_all(self) -> int:
        return self._removed("1 = ?", 1)

    def _kept(self, outcome: Outcome) -> str:
        body = kept_of(outcome)
        facts = asdict(facts_of(outcome))
        with self._writing() as database:
            last = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'receipts'").fetchone()
            number = 1 + (last[0] if last else 0)
            digest = hashlib.sha256(_json(body).encode()).hexdigest()[:_ID_DIGITS]
            id_, at = f"{number}-{digest}", self._time()
            body = {"id": id_, "at": at, **body, "record": {**body["record"], "receipt": id_}}
            values = (number, id_, at, outcome.door, outcome.status, _utf8(body["record"]["question"]))
            database.execute(
                f"INSERT INTO receipts ({_COLUMNS}, facts, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                (*values, _json(facts), _json(body)),
            )
        return id_

    def _removed(self, where: str, *values: object) -> int:
        if not self._path.is_file():
            return 0
        with self._writing() as database:
            gone = database.execute(f"DELETE FROM receipts WHERE {where}", values).rowcount  # noqa: S608
        if gone:
            self._wipe()
        return gone

    def _wipe(self) -> None:
        """Takes what was deleted out of the file and its log: pages that were rearranged keep old bytes in their gaps.

        Raises ReceiptError where another process reads meanwhile and would keep them.
        """
        with self._open() as database:
            database.execute("VACUUM")
            is_busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if is_busy:
            raise ReceiptError("it is deleted, but another process still reads it. End that one, then delete again.")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """What is done in the block is done together or not at all."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.rollback()
                raise
            database.commit()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._path.is_file():
            with contextlib.closing(sqlite3.connect(":memory:")) as empty:
                _make_tables(empty, self._path.name)
                yield empty
            return
        with self._open() as database:
            yield database

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with _told():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)  # nobody else on this machine may read it
            with contextlib.closing(self._connected()) as database:
                yield database

    def _connected(self) -> sqlite3.Connection:
        try:
            return _opened(self._path)
        except sqlite3.OperationalError:  # no fault of the file: it is locked, the disk is full
            raise
        except sqlite3.DatabaseError:
            kept = set_aside(self._path)
            logger.warning("%s is damaged. It is kept as %s, and a new log is begun.", self._path.name, kept)
            self._path.touch(mode=0o600)
            return _opened(self._path)

    def _time(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _warn(self, error: Exception) -> None:
        if not self._is_failing:
            logger.warning("answers are given without receipts: %s", error)
        self._is_failing = True


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
            database.execute(f"PRAGMA {pragma}").fetchall()
        _make_tables(database, path.name)
    except BaseException:
        database.close()
        raise
    return database


def _make_tables(database: sqlite3.Connection, name: str) -> None:
    """Raises ReceiptError if a later program has written the file."""
    (schema,) = database.execute("PRAGMA user_version").fetchone()
    if schema > SCHEMA:
        raise ReceiptError(
            f"{name} was written by a newer Rolewise (schema {schema}; this one reads {SCHEMA}). "
            "Update Rolewise, or move the file away to begin anew."
        )
    if schema < SCHEMA:
        with database:
            database.execute("BEGIN IMMEDIATE")
            if database.execute("PRAGMA user_version").fetchone() == (schema,):  # else another process was first
                for statement in _TABLES:
                    database.execute(statement)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A failure of the file becomes one line without its path."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ReceiptError(
            f"the log of answers cannot be read or written ({reason}). Check the folder's rights and the space on disk."
        ) from error


def kept_of(outcome: Outcome) -> dict[str, Any]:
    """What is kept, without personal data in what the person said or what only repeats it.

    Quotations are the documents' and stay letter by letter.
    """
    record, roles = outcome.record, outcome.roles
    said = [str(record["question"]), outcome.role or "", *(one.content for one in outcome.history)]
    own: dict[str, Any] = {
        name: redacted(str(record[name]), roles) for name in ("question", "read_as", "error") if record.get(name)
    }
    if outcome.status == "not_found":  # it names what is missing, in the question's words
        own["answer"] = redacted(str(record["answer"]), roles)
    own["struck"] = [{**one, "sentence": redacted(one["sentence"], roles)} for one in record.get("struck", ())]
    return {
        "door": outcome.door,
        "status": outcome.status,
        "record": {**record, **own},
        "history": [
            {"role": one.role, "content": redacted(one.content[:LONGEST_MESSAGE], roles)}
            for one in outcome.history[-MOST_MESSAGES:]
        ],
        "role": outcome.role and redacted(outcome.role, roles),
        "asked_for": outcome.asked_for,
        "signals": dict(outcome.signals),
        "settings": dict(outcome.settings),
        "rolewise": outcome.rolewise,
        "redacted": sorted({kind for text in said for kind in kinds_in(text, roles)}),
    }


def facts_of(outcome: Outcome) -> Facts:
    """What is counted of an outcome."""
    record = outcome.record
    times: Mapping[str, float] = record.get("timings_ms", {})
    notice = str(record.get("notice", ""))
    return Facts(
        generator=record.get("generator", {}).get("name", outcome.asked_for),
        asked_for=outcome.asked_for,
        index=record.get("index", {}).get("version", ""),
        words=len(str(record["question"]).split()),
        struck=len(record["struck"]),
        score=outcome.signals.get("score"),
        unanswerable=record.get("unanswerable"),
        retrieve=times.get("retrieve"),
        first_sentence=times.get("first_sentence"),
        total=times.get("total"),
        fell_back=FELL_BACK in notice,
        nothing_stood=NOTHING_STOOD in notice,
        repeated=bool(record.get("repeated")),
    )


def _receipt(body: Mapping[str, Any]) -> Receipt:
    history = tuple(Message(one["role"], one["content"]) for one in body["history"])
    return Receipt(**{**body, "history": history, "redacted": tuple(body["redacted"])})


def _json(value: Any) -> str:
    return _utf8(json.dumps(value, ensure_ascii=False))


def _utf8(text: str) -> str:
    """Half characters, which no file can hold, become "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _number(id_: str) -> int:
    number = id_.partition("-")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else -1


def _names(given: str, id_: str) -> bool:
    return given in (id_, id_.partition("-")[0])
