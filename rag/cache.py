"""What builds have read and embedded before, in one SQLite file that may be lost at any time.

Rows are keyed by content, so that a renamed or a copied file costs nothing, and are committed as a build goes, so that
one that was stopped goes on where it was. SQLite's journal keeps the file whole through a kill; a checksum in each row
tells what was altered, which counts as missing. Where the disk fails, the cache goes on in memory.
"""

from __future__ import annotations

import logging
import sqlite3
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


class Cache:
    """A context manager. A file that is no such cache, or a damaged one, is thrown away and begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = self._opened() or self._opened() or self._in_memory("it cannot be opened")

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def sha256_of(self, path: str, stamp: str) -> str:
        """The hash of a file as it was when it had this stamp; "" if that is not known."""
        rows = self._rows("SELECT sha256 FROM files WHERE path = ? AND stamp = ?", [(path, stamp)])
        return str(rows[0][0]) if rows else ""

    def keep_sha256(self, path: str, stamp: str, sha256: str) -> None:
        self._rows("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", [(path, stamp, sha256)])

    def head(self, key: str) -> str:
        """What is kept of a text beside its body; "" if nothing."""
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
        parts = (_marked(key.encode(), part) for part in (head.encode(), zlib.compress(body.encode(), 1)))
        self._rows("INSERT OR REPLACE INTO texts VALUES (?, ?, ?)", [(key, *parts)])

    def vectors(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """Those of the vectors that are there, each (dimension,) float32."""
        found: dict[bytes, Vectors] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            query = f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * len(some))})"  # noqa: S608 - marks only
            for key, blob in self._rows(query, [tuple(some)]):
                if (vector := _checked(key, blob)) is not None:
                    found[key] = np.frombuffer(vector, np.float32)
        return found

    def keep_vectors(self, vectors: Mapping[bytes, Vectors]) -> None:
        rows = [(key, _marked(key, np.asarray(vector, np.float32).tobytes())) for key, vector in vectors.items()]
        self._rows("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def _rows(self, query: str, each: Sequence[tuple[object, ...]]) -> list[tuple[Any, ...]]:
        """What a query finds for `each` of some values, all written together or not at all."""
        try:
            with self._database:
                self._database.execute("BEGIN")
                return [row for values in each for row in self._database.execute(query, values)]
        except sqlite3.Error as error:
            self._database.close()
            self._database = self._in_memory(str(error))
            return [row for values in each for row in self._database.execute(query, values)]

    def _opened(self) -> sqlite3.Connection | None:
        """The file's database if it is sound; else the file is removed."""
        try:
            database = _with_tables(sqlite3.connect(self._path, isolation_level=None))
            if database.execute("PRAGMA quick_check").fetchone() == ("ok",):
                return database
        except sqlite3.OperationalError as error:  # no fault of the file: a full disk, a folder that is not writable
            return self._in_memory(str(error))
        except sqlite3.DatabaseError:
            logger.warning("%s is damaged and begun anew", self._path)
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        return None

    def _in_memory(self, reason: str) -> sqlite3.Connection:
        logger.warning("nothing is kept in %s for the next build: %s", self._path, reason)
        return _with_tables(sqlite3.connect(":memory:", isolation_level=None))


def _with_tables(database: sqlite3.Connection) -> sqlite3.Connection:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.executescript(_TABLES)
    return database


def _marked(key: bytes, value: bytes) -> bytes:
    """The value behind its checksum, which depends on the key too."""
    return zlib.crc32(value, zlib.crc32(key)).to_bytes(4, "big") + value


def _checked(key: bytes, marked: bytes) -> bytes | None:
    """The value without its checksum; None if they do not fit."""
    return marked[4:] if _marked(key, marked[4:]) == marked else None
