"""Conversations and what people thought of the answers, in one SQLite file that survives restarts and kills.

A turn is a question and the whole record of its answer, so that it can be shown again when the index has changed. What
is written is on the disk before a call returns. What is deleted is gone from the file too. A file that is damaged is
set aside, never removed. No answer is made here, and no text is judged: it comes back as it was given.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import re
import secrets
import sqlite3
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from rag.errors import RolewiseError, SettingsError
from rag.pages.markup import as_markdown
from rag.types import Message

logger = logging.getLogger(__name__)

Verdict = Literal["good", "bad"]
Reason = Literal["wrong", "wrong quotation", "should have refused", "incomplete"]
REFUSE: Reason = "should have refused"
"""The reason that says that the documents do not tell."""
LONGEST_TITLE = 200
LONGEST_COMMENT = 2000
"""Characters."""
MOST_LISTED = 1000
SCHEMA = 2
"""`PRAGMA user_version` of the file."""

_MOST_WORDS = 32
"""Words of a search that are looked for; SQLite joins at most 500 selections."""
_AT_ONCE = 100
"""Rated turns that are read together: a record takes some 20 KB."""
_WAIT_SECONDS = 10.0
"""For another process that is writing."""
_WORD = re.compile(r"[^\W_]+")
_MARKERS = re.compile(r"(?: \[\d+\])+$")
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a turn is kept through a power cut too; there is one per answer
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
)
_OWNED = "ALTER TABLE conversations ADD COLUMN owner TEXT NOT NULL DEFAULT ''"
_TABLES = (
    """CREATE TABLE conversations (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
         created TEXT NOT NULL, updated TEXT NOT NULL)""",
    "CREATE INDEX by_time ON conversations (updated)",
    """CREATE TABLE turns (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
         conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
         created TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, record TEXT NOT NULL)""",
    "CREATE INDEX by_conversation ON turns (conversation)",
    """CREATE TABLE ratings (turn INTEGER PRIMARY KEY REFERENCES turns ON DELETE CASCADE,
         verdict TEXT NOT NULL, reasons TEXT NOT NULL, comment TEXT NOT NULL, created TEXT NOT NULL)""",
    # A row for each turn, and one for each title under the negative of its conversation's number.
    "CREATE VIRTUAL TABLE words USING fts5(text, conversation UNINDEXED, tokenize = 'unicode61 remove_diacritics 2')",
    """CREATE TRIGGER turn_added AFTER INSERT ON turns BEGIN INSERT INTO words (rowid, text, conversation)
         VALUES (new.number, new.question || ' ' || new.answer, new.conversation); END""",
    "CREATE TRIGGER turn_deleted AFTER DELETE ON turns BEGIN DELETE FROM words WHERE rowid = old.number; END",
    """CREATE TRIGGER title_added AFTER INSERT ON conversations BEGIN INSERT INTO words (rowid, text, conversation)
         VALUES (-new.number, new.title, new.number); END""",
    """CREATE TRIGGER title_changed AFTER UPDATE OF title ON conversations BEGIN
         UPDATE words SET text = new.title WHERE rowid = -new.number; END""",
    "CREATE TRIGGER title_deleted AFTER DELETE ON conversations BEGIN DELETE FROM words WHERE rowid = -old.number; END",
)
_STEPS = (_TABLES, (_OWNED,))
"""What makes a file of each schema from the one before."""
_SUMMARY = """SELECT id, title, created, updated, (SELECT count(*) FROM turns WHERE conversation = c.number)
    FROM conversations AS c"""
_TURN = """SELECT t.number, t.conversation, t.id, t.created, t.question, t.record,
    r.verdict, r.reasons, r.comment, r.created FROM turns AS t LEFT JOIN ratings AS r ON r.turn = t.number"""


class ConversationError(RolewiseError):
    """A conversation or a turn is not there, or the file cannot be read or written."""


class NoSuchConversation(ConversationError):
    """Or no such turn. It may have been deleted."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A conversation without its turns, of which there are `turns`. Times are UTC: "2026-01-31T23:59:59Z".

    `updated` is when a turn was added or cut last.
    """

    id: str
    title: str
    created: str
    updated: str
    turns: int


@dataclass(frozen=True, slots=True)
class Rating:
    verdict: Verdict
    reasons: tuple[Reason, ...]
    comment: str
    created: str


@dataclass(frozen=True, slots=True)
class Turn:
    """`question` as it was put, and the answer's record (see rag/record.py)."""

    id: str
    created: str
    question: str
    record: Mapping[str, Any]
    rating: Rating | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A turn that has a rating, and what was said before it in its conversation."""

    conversation: str
    history: tuple[Message, ...]
    turn: Turn


def _now() -> datetime:
    return datetime.now(UTC)


_Run = Callable[..., sqlite3.Cursor]
"""Runs a statement, with its values, in the transaction that is open."""


class Store:
    """A context manager that any number of threads may use at once.

    They share one connection and take turns at it. SQLite writes one thing at a time anyway and a call takes
    milliseconds; a connection for each thread would outlive the threads that a server makes and drops, and would meet
    locks. Other processes may use the file at the same time. `clock` gives the time with its zone.

    Every method raises ConversationError where the file cannot be read or written. Half characters (lone surrogates),
    which no file can hold, are kept as "?".
    """

    def __init__(self, path: Path, *, clock: Callable[[], datetime] = _now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        with _told():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # nobody else on this machine may read it; SQLite's own files beside it follow
            self._database = _opened(path)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def begin(self, title: str, owner: str = "") -> str:
        """The id of a new conversation, which `owner` finds in the list; whoever knows the id may read it.

        Raises SettingsError for a title that is empty or too long.
        """
        conversation, now = secrets.token_hex(16), self._time()
        values = (conversation, _title(title), now, now, _utf8(owner))
        with self._transaction() as run:
            run("INSERT INTO conversations (id, title, created, updated, owner) VALUES (?, ?, ?, ?, ?)", values)
        return conversation

    def add_turn(self, conversation: str, question: str, record: Mapping[str, Any]) -> str:
        """The id of the new turn. `record` must be what JSON can hold, with the text of the `answer`."""
        turn, now = secrets.token_hex(16), self._time()
        said = (_utf8(question), _utf8(record["answer"]), _utf8(json.dumps(dict(record), ensure_ascii=False)))
        with self._transaction() as run:
            number = _number(run, "conversations", conversation)
            columns = "(id, conversation, created, question, answer, record)"
            run(f"INSERT INTO turns {columns} VALUES (?, ?, ?, ?, ?, ?)", (turn, number, now, *said))  # noqa: S608
            run("UPDATE conversations SET updated = ? WHERE number = ?", (now, number))
        return turn

    def turns(self, conversation: str) -> Sequence[Turn]:
        """In the order in which they were added."""
        return self._whole(conversation)[1]

    def list(self, query: str = "", limit: int = 50, offset: int = 0, owner: str = "") -> Sequence[Summary]:
        """Those of `owner`, newest first.

        With a `query` only those that hold each of its words, whole or as a beginning, somewhere. All of it is words,
        of which the first 32 are looked for; case and accents do not count.
        """
        if not (1 <= limit <= MOST_LISTED and 0 <= offset < 2**63):
            raise SettingsError(f"give a limit of 1 to {MOST_LISTED:,} and an offset of 0 or more.")
        words = _words(query)
        if query.strip() and not words:
            return []
        having = " INTERSECT ".join(["SELECT conversation FROM words WHERE words MATCH ?"] * len(words))
        where = "WHERE owner = ?" + (f" AND number IN ({having})" if words else "")
        order = "ORDER BY updated DESC, number DESC LIMIT ? OFFSET ?"
        with self._lock, _told():
            rows = self._database.execute(
                f"{_SUMMARY} {where} {order}", (_utf8(owner), *(f'"{word}"*' for word in words), limit, offset)
            )
            return [Summary(*row) for row in rows]

    def rename(self, conversation: str, title: str) -> None:
        """Raises SettingsError for a title that is empty or too long."""
        title = _title(title)
        with self._transaction() as run:
            number = _number(run, "conversations", conversation)
            run("UPDATE conversations SET title = ? WHERE number = ?", (title, number))

    def delete(self, conversation: str) -> None:
        """Removes a conversation with its turns and ratings, and all traces of what was removed before.

        The file is written anew, which takes a quarter of a second for each 1,000 turns that are kept.
        """
        with self._transaction() as run:
            number = _number(run, "conversations", conversation)
            run("DELETE FROM conversations WHERE number = ?", (number,))
        self._wipe()

    def cut(self, conversation: str, turn: str) -> None:
        """Goes back to before `turn`, which is to be asked again: removes it, all later turns, and their ratings."""
        with self._transaction() as run:
            number = _number(run, "conversations", conversation)
            first = run("SELECT number FROM turns WHERE id = ? AND conversation = ?", (_utf8(turn), number)).fetchone()
            if not first:
                raise NoSuchConversation("there is no such turn in that conversation. It may have been deleted.")
            run("DELETE FROM turns WHERE conversation = ? AND number >= ?", (number, *first))
            run("UPDATE conversations SET updated = ? WHERE number = ?", (self._time(), number))

    def rate(self, turn: str, verdict: Verdict, reasons: Iterable[Reason] = (), comment: str = "") -> None:
        """Puts this rating in the place of an earlier one. Raises SettingsError for what is no rating."""
        given = set(reasons)
        if verdict not in get_args(Verdict) or not given <= set(get_args(Reason)):
            kinds = ", ".join((*get_args(Verdict), *get_args(Reason)))
            raise SettingsError(f"that is no verdict or reason. There are: {kinds}.")
        if len(comment) > LONGEST_COMMENT:
            raise SettingsError(f"the comment has {len(comment):,} characters; at most {LONGEST_COMMENT:,} are kept.")
        ordered = json.dumps([reason for reason in get_args(Reason) if reason in given])
        with self._transaction() as run:
            values = (_number(run, "turns", turn), verdict, ordered, _utf8(comment), self._time())
            run("INSERT OR REPLACE INTO ratings VALUES (?, ?, ?, ?, ?)", values)

    def ratings(self) -> Iterator[Row]:
        """All turns that have a rating, in the order in which they were added."""
        done = -1
        while found := self._rated_after(done):
            yield from (row for _, row in found)
            done = found[-1][0]

    def verdicts(self) -> dict[str, Verdict]:
        """What was thought of answers, by the id of their receipt."""
        query = """SELECT json_extract(t.record, '$.receipt'), r.verdict FROM ratings AS r
            JOIN turns AS t ON t.number = r.turn WHERE json_extract(t.record, '$.receipt') IS NOT NULL"""
        with self._lock, _told():
            return dict(self._database.execute(query).fetchall())

    def export(self, path: Path) -> int:
        """Writes the answers rated bad as JSON Lines that `python -m eval candidates` reads, and tells how many.

        A line is the answer's record with the `history` before it, the `rating`, and its reasons as one `reason`.
        """
        count = 0
        with path.open("w", encoding="utf-8") as file:
            for row in self.ratings():
                if row.turn.rating and row.turn.rating.verdict == "bad":
                    file.write(json.dumps(_wanting(row, row.turn.rating)) + "\n")
                    count += 1
        return count

    def as_markdown(self, conversation: str) -> str:
        """The conversation with its quotations as footnotes. No text of it makes markup or a link."""
        summary, turns = self._whole(conversation)
        parts = [_heading(summary.title, "="), f"Begun {summary.created}."]
        parts += [part for number, turn in enumerate(turns, start=1) for part in _turn_as_markdown(turn, number)]
        return "\n\n".join(parts) + "\n"

    def as_json(self, conversation: str) -> dict[str, Any]:
        """All that is kept of a conversation. A turn's `rating` is null where it has none."""
        summary, turns = self._whole(conversation)
        return asdict(summary) | {"turns": [asdict(turn) for turn in turns]}

    def _whole(self, conversation: str) -> tuple[Summary, Sequence[Turn]]:
        with self._transaction("BEGIN") as run:
            number = _number(run, "conversations", conversation)
            summary = Summary(*run(f"{_SUMMARY} WHERE number = ?", (number,)).fetchone())
            rows = run(f"{_TURN} WHERE t.conversation = ? ORDER BY t.number", (number,))
            return summary, [_turn(*row[2:]) for row in rows]

    def _rated_after(self, done: int) -> Sequence[tuple[int, Row]]:
        """The next rows with the numbers of their turns."""
        with self._transaction("BEGIN") as run:
            query = f"{_TURN} WHERE r.turn > ? ORDER BY r.turn LIMIT {_AT_ONCE}"
            return [
                (number, Row(*_before(run, conversation, number), _turn(*row)))
                for number, conversation, *row in run(query, (done,)).fetchall()
            ]

    @contextlib.contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[_Run]:
        """What is run is done together or not at all."""
        with self._lock, _told(), self._database:
            self._database.execute(begin)
            yield self._database.execute

    def _wipe(self) -> None:
        """Takes what was removed out of the file, since `secure_delete` alone leaves it in three places.

        The search keeps the words of removed rows until its parts are merged; a page that SQLite rearranged keeps old
        bytes in its gaps until it is written anew; and the log keeps them until it is emptied.
        """
        with self._lock, _told():
            self._database.execute("INSERT INTO words (words) VALUES ('optimize')")
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _time(self) -> str:
        return self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A failure of the file becomes one line without its path."""
    try:
        yield
    except (sqlite3.Error, OSError, json.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConversationError(
            f"the conversations cannot be read or kept ({reason}). Check the folder's rights and the space on disk, "
            "then start again: a file that is damaged is set aside."
        ) from error


def _opened(path: Path) -> sqlite3.Connection:
    """The database in the file; what is damaged is renamed, and a new one begun."""
    try:
        return _connected(path)
    except sqlite3.OperationalError:  # no fault of the file: it is locked, the disk is full
        raise
    except sqlite3.DatabaseError:
        kept = set_aside(path)
        logger.warning("%s is damaged. It is kept as %s, and new conversations are begun.", path.name, kept)
        path.touch(mode=0o600)
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    """Raises sqlite3.DatabaseError, and not a kind of it, if the file is damaged."""
    database = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        for pragma in _PRAGMAS:
            database.execute(pragma).fetchall()
        _make_tables(database, path.name)
        _mend_search(database)
        if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
    except BaseException:
        database.close()
        raise
    return database


def _make_tables(database: sqlite3.Connection, name: str) -> None:
    """Raises ConversationError if a later program has written the file."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        (schema,) = database.execute("PRAGMA user_version").fetchone()
        if schema > SCHEMA:
            raise ConversationError(
                f"{name} was written by a newer Rolewise (schema {schema}; this one reads {SCHEMA}). "
                "Update Rolewise, or move the file away to begin anew."
            )
        for number, step in enumerate(_STEPS[schema:], start=schema + 1):
            for statement in (*step, f"PRAGMA user_version = {number}"):
                database.execute(statement)


def _mend_search(database: sqlite3.Connection) -> None:
    """What is searched is a copy, made anew from its text where it is damaged."""
    try:
        database.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        database.execute("INSERT INTO words (words) VALUES ('rebuild')")


def set_aside(path: Path) -> str:
    """Renames the file and SQLite's own beside it, and tells the new name."""
    for number in itertools.count(1):
        kept = f"{path.name}.damaged-{number}"
        # The log goes first: beside a new file it would be read as a part of that.
        names = [(path.with_name(path.name + end), path.with_name(kept + end)) for end in ("-wal", "-shm", "")]
        if any(to.exists() for _, to in names):
            continue
        for part, to in names:
            if part.exists():
                part.rename(to)
        return kept
    raise AssertionError("unreachable")


def _number(run: _Run, table: Literal["conversations", "turns"], id_: str) -> int:
    """The row of an id. Raises ConversationError."""
    found = run(f"SELECT number FROM {table} WHERE id = ?", (_utf8(id_),)).fetchone()  # noqa: S608 - one of two
    if not found:
        raise NoSuchConversation(f"there is no such {table[:-1]}. It may have been deleted.")
    return int(found[0])


def _before(run: _Run, conversation: int, number: int) -> tuple[str, tuple[Message, ...]]:
    """The id of a conversation, and what was said in it before a turn."""
    (id_,) = run("SELECT id FROM conversations WHERE number = ?", (conversation,)).fetchone()
    said = run(
        "SELECT question, answer FROM turns WHERE conversation = ? AND number < ? ORDER BY number",
        (conversation, number),
    )
    return id_, tuple(
        message for question, answer in said for message in (Message("user", question), Message("assistant", answer))
    )


def _turn(
    id_: str, created: str, question: str, record: str, verdict: Verdict | None, reasons: str, comment: str, rated: str
) -> Turn:
    rating = Rating(verdict, tuple(json.loads(reasons)), comment, rated) if verdict else None
    return Turn(id_, created, question, json.loads(record), rating)


def _title(text: str) -> str:
    if not text.strip() or len(text) > LONGEST_TITLE:
        raise SettingsError(f"a title has 1 to {LONGEST_TITLE} characters, not all space; this one has {len(text):,}.")
    return _utf8(text)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _words(query: str) -> Sequence[str]:
    return list(dict.fromkeys(_WORD.findall(unicodedata.normalize("NFC", query))))[:_MOST_WORDS]


def _wanting(row: Row, rating: Rating) -> dict[str, Any]:
    """The line of an export. A row to review has one reason, and that of a refusal decides what becomes of it."""
    return {
        **row.turn.record,
        "question": row.turn.question,
        "history": [asdict(message) for message in row.history],
        "reason": REFUSE if REFUSE in rating.reasons else ", ".join(rating.reasons),
        "rating": asdict(rating),
    }


def _heading(text: str, underline: str) -> str:
    """Underlined, because a line behind "#" loses a "#" at its end."""
    return f"{_line(text)}\n{underline * 3}"


def _line(text: str) -> str:
    """`text` on one line of Markdown that displays it."""
    return as_markdown(" ".join(text.split()))


def _turn_as_markdown(turn: Turn, number: int) -> Iterator[str]:
    """Paragraphs. Footnotes are named after the turn's number and the marker."""
    record = turn.record
    citations = record.get("citations", ())
    notes = {str(one["marker"]): f"[^{number}-{one['marker']}]" for one in citations}
    yield _heading(turn.question, "-")
    if record.get("read_as"):
        yield f"Read as: {_line(record['read_as'])}"
    for line in str(record["answer"]).splitlines():
        found = _MARKERS.search(line)
        said = _line(line[: found.start()] if found else line)
        shown = (notes.get(marker, f"&#91;{marker}&#93;") for marker in re.findall(r"\d+", found[0] if found else ""))
        yield " ".join([said, *shown])
    if record.get("notice"):
        yield f"Note: {_line(record['notice'])}"
    for one in citations:
        trail = " > ".join([one["title"], *one["section"], *filter(None, [one.get("place")])])
        where = f"In {_line(one['document'])}, characters {one['start']} to {one['end']} ({_line(trail)})"
        yield f"{notes[str(one['marker'])]}: {where}: “{_line(one['quote'])}”"
