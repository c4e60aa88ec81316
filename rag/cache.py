"""What builds have read and embedded before, in one SQLite file that may be lost at any time.

Rows are keyed by content, so that a renamed or a copied file costs nothing, and are committed as a build goes, so that
one that was stopped goes on where it was. SQLite's journal keeps the file whole through a kill; a checksum in each row
tells what was altered, which counts as missing. Where the disk fails, the cache goes on in memory. What is deleted is
gone from the file too.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.protocols import Vectors

logger = logging.getLogger(__name__)

_TABLES = """
    CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS texts (key TEXT PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;
"""
_AT_ONCE = 500
"""Keys of one query."""
_KEYS = {"files": "path", "texts": "key", "vectors": "key"}
"""The column of each table that tells its rows apart."""


class Cache:
    """A context manager. A file that is no such cache, or a damaged one, is thrown away and begun anew.

    Several threads may use it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_on_disk = True
        self._lock = threading.Lock()
        self._used: dict[str, set[object]] = {name: set() for name in _KEYS}
        """The keys that were asked for or kept, by table."""
        self._database = self._opened() or self._opened() or self._in_memory("it cannot be opened")

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def sha256_of(self, path: str, stamp: str) -> str:
        """The hash of a file as it was when it had this stamp; "" if that is not known."""
        self._used["files"].add(path)
        rows = self._rows("SELECT sha256 FROM files WHERE path = ? AND stamp = ?", [(path, stamp)])
        return str(rows[0][0]) if rows else ""

    def keep_sha256(self, path: str, stamp: str, sha256: str) -> None:
        self._used["files"].add(path)
        self._rows("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", [(path, stamp, sha256)])

    def head(self, key: str) -> str:
        """What is kept of a text beside its body; "" if nothing."""
        self._used["texts"].add(key)
        rows = self._rows("SELECT head FROM texts WHERE key = ?", [(key,)])
        return (_checked(key.encode(), rows[0][0]) or b"").decode() if rows else ""

    def body(self, key: str) -> str:
        """The body of a text. Raises KeyError."""
        rows = self._rows("SELECT body FROM texts WHERE key = ?", [(key,)])
        body = _checked(key.encode(), rows[0][0]) if rows else None
        if body is None:
            raise KeyError(key)
        return zlib.decompress(body).decode()

    def keep_text(self, key: str, head: str, body: str) -> None:
        self._used["texts"].add(key)
        parts = (_marked(key.encode(), part) for part in (head.encode(), zlib.compress(body.encode(), 1)))
        self._rows("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", [(key, *parts)])

    def vectors(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """Those of the vectors that are there, each (dimension,) float32."""
        found: dict[bytes, Vectors] = {}
        self._used["vectors"].update(keys)
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            query = f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * len(some))})"  # noqa: S608 - marks only
            for key, blob in self._rows(query, [tuple(some)]):
                if (vector := _checked(key, blob)) is not None:
                    found[key] = np.frombuffer(vector, np.float32)
        return found

    def keep_vectors(self, vectors: Mapping[bytes, Vectors]) -> None:
        self._used["vectors"].update(vectors)
        rows = [(key, _marked(key, np.asarray(vector, np.float32).tobytes())) for key, vector in vectors.items()]
        self._rows("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def forget_unused(self) -> None:
        """Deletes what was neither asked for nor kept since the cache was opened, with all its traces on the disk.

        A table of which nothing was asked stays whole. Where that cannot be done, the file is removed. Raises OSError
        where not even that can be.
        """
        forgotten = 0
        for table, used in self._used.items():
            column = _KEYS[table]
            known = {key for (key,) in self._rows(f"SELECT {column} FROM {table}", [()])} if used else set()  # noqa: S608
            self._rows(f"DELETE FROM {table} WHERE {column} = ?", [(key,) for key in known - used])  # noqa: S608
            forgotten += len(known - used)
        if forgotten:
            try:
                self._database.execute("VACUUM")  # pages that were rearranged keep old bytes in their gaps
                self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                self._fall_back(error)
        if not self._is_on_disk:
            self._remove()

    def _rows(self, query: str, each: Sequence[tuple[object, ...]]) -> list[tuple[Any, ...]]:
        """What a query finds for `each` of some values, all written together or not at all."""
        with self._lock:
            try:
                with self._database:
                    self._database.execute("BEGIN")
                    return [row for values in each for row in self._database.execute(query, values)]
            except sqlite3.Error as error:
                self._fall_back(error)
                return [row for values in each for row in self._database.execute(query, values)]

    def _opened(self) -> sqlite3.Connection | None:
        """The file's database if it is sound; else the file is removed."""
        try:
            database = _with_tables(_connected(self._path))
            if database.execute("PRAGMA quick_check").fetchone() == ("ok",):
                return database
        except sqlite3.OperationalError as error:  # no fault of the file: a full disk, a folder that is not writable
            return self._in_memory(str(error))
        except sqlite3.DatabaseError:
            logger.warning("%s is damaged and begun anew", self._path.name)
        self._remove()
        return None

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def _fall_back(self, error: sqlite3.Error) -> None:
        self._database.close()
        self._database = self._in_memory(str(error))

    def _in_memory(self, reason: str) -> sqlite3.Connection:
        logger.warning("nothing is kept in %s for the next build: %s", self._path.name, reason)
        self._is_on_disk = False
        return _with_tables(_connected(":memory:"))


def _connected(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def _with_tables(database: sqlite3.Connection) -> sqlite3.Connection:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA secure_delete = ON")
    database.executescript(_TABLES)
    return database


def _marked(key: bytes, value: bytes) -> bytes:
    """The value behind its checksum, which depends on the key too."""
    return zlib.crc32(value, zlib.crc32(key)).to_bytes(4, "big") + value


def _checked(key: bytes, marked: bytes) -> bytes | None:
    """The value without its checksum; None if they do not fit."""
    return marked[4:] if _marked(key, marked[4:]) == marked else None
