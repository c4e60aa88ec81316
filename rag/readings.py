"""What files hold, read once: what was not changed since is not opened again, what is known is not parsed again."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from rag.cache import Cache
from rag.errors import SourceError, Unreadable
from rag.isolation import Interrupted, parsed_from
from rag.parsed import Parsed

SETTLED = 2.0
"""Seconds after which a file's time tells its next change: the clocks of file systems are coarse."""
_LIBRARIES = (
    "markdown-it-py trafilatura lxml pypdfium2 pdfplumber python-docx python-pptx openpyxl python-calamine "
    "charset-normalizer"
).split()
_CODE = ("readers/*.py", "parsed.py", "encodings.py", "chunking.py")


class Reads(Protocol):
    """Reads a file, or one inside an archive: its SHA-256 and what it holds. Raises Unreadable or OSError."""

    def __call__(self, path: str, member: str = "") -> tuple[str, Parsed]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds; its text is loaded when it is asked for."""

    sha256: str
    text_sha256: str
    load: Callable[[], Parsed]
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Readings:
    """Reads files with `reads`, or takes from the cache what they hold."""

    reads: Reads
    cache: Cache | None = None

    def of(self, path: Path, member: str = "") -> Reading:
        """Raises Unreadable, also for what could not be read before, or OSError."""
        if self.cache is None:
            sha256, parsed = self.reads(str(path), member)
            return Reading(sha256, text_sha256(parsed.text), lambda: parsed, parsed.about, parsed.notes)
        facts = path.stat()
        place, stamp = f"{path.resolve()}\0{member}", f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ino}"
        ending = PurePosixPath(member or path.name).suffix.lower()
        sha256 = self.cache.sha256_of(place, stamp)
        key = f"{sha256}{ending} {_readers()}"
        if not (sha256 and (head := self.cache.head(key))):
            sha256, head, body = self._read(str(path), member)
            key = f"{sha256}{ending} {_readers()}"
            self.cache.keep_text(key, head, body)
            if time.time() - facts.st_mtime > SETTLED:
                self.cache.keep_sha256(place, stamp, sha256)
        row = json.loads(head)
        if "reason" in row:
            raise Unreadable(row["reason"])
        load = functools.partial(self._load, str(path), member, key, row["text_sha256"])
        return Reading(sha256, row["text_sha256"], load, row["about"], tuple(row["notes"]))

    def _read(self, path: str, member: str) -> tuple[str, str, str]:
        """The hash of a file, and a head and a body for the cache. What cannot be read has its reason as head."""
        try:
            sha256, parsed = self.reads(path, member)
        except Interrupted:
            raise
        except Unreadable as error:
            whole = hashlib.sha256(f"{Path(path).stat()}{member}".encode()).hexdigest()
            return whole, json.dumps({"reason": str(error)}), ""
        head = {"text_sha256": text_sha256(parsed.text), "about": parsed.about, "notes": parsed.notes}
        return sha256, json.dumps(head, default=str), json.dumps(asdict(parsed), default=str)

    def _load(self, path: str, member: str, key: str, expected: str) -> Parsed:
        """What was read before. Raises SourceError if it was lost meanwhile, and the file has changed too."""
        assert self.cache
        try:
            return parsed_from(json.loads(self.cache.body(key)))
        except KeyError:
            parsed = self.reads(path, member)[1]
        if text_sha256(parsed.text) != expected:
            raise SourceError(f"{path} has changed while it was read. Build the index again.")
        return parsed


def text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def _readers() -> str:
    """Changes with the code of the readers and the releases of what they use."""
    here = Path(__file__).parent
    code = [path.read_bytes() for pattern in _CODE for path in sorted(here.glob(pattern))]
    releases = [_release(name).encode() for name in _LIBRARIES]
    return hashlib.sha256(b"\0".join(code + releases)).hexdigest()[:12]


def _release(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
