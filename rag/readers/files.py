"""A file on the disk, or one inside an archive, as its reader sees it."""

from __future__ import annotations

import functools
import hashlib
import re
import zipfile
from pathlib import Path, PurePosixPath

from rag.errors import Unreadable
from rag.parsed import Parsed
from rag.readers import read
from rag.readers.zipped import open_zip, part

LARGEST = 200 * 10**6
"""Bytes of a file that are read at the most."""
LONGEST = 20 * 10**6
"""Characters of a document: some five times the Bible."""
ARCHIVE = ".zip"
MOST_MEMBERS = 10_000
_HIDDEN = re.compile(r"\.[^.]|__MACOSX$")


def read_file(path: str, member: str = "") -> tuple[str, Parsed]:
    """The SHA-256 of a file's bytes, and what it holds; with `member` of that file in an archive.

    An archive itself says in `about` which `members` it has. Raises Unreadable or OSError.
    """
    if member:
        raw = part(_archive(path), member) or b""
    else:
        with Path(path).open("rb") as file:
            raw = file.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise Unreadable(f"is larger than {LARGEST // 10**6} MB; split it")
    sha256 = hashlib.sha256(raw).hexdigest()
    ending = PurePosixPath(member or path).suffix.lower()
    if ending == ARCHIVE:
        if member:
            raise Unreadable("is an archive inside an archive; unpack it")
        return sha256, Parsed("", (), {"members": _members(path)})
    parsed = read(raw, ending)
    if len(parsed.text) > LONGEST:
        raise Unreadable(f"holds more than {LONGEST // 10**6} million characters; split it")
    return sha256, parsed


@functools.lru_cache(maxsize=1)
def _archive(path: str) -> zipfile.ZipFile:
    """The archive, kept open for the next of its files."""
    return open_zip(Path(path).read_bytes())


def _members(path: str) -> list[str]:
    """The names of the files in an archive in order, but for hidden ones."""
    _archive.cache_clear()
    names = [entry.filename for entry in _archive(path).infolist() if not entry.is_dir()]
    if len(names) > MOST_MEMBERS:
        raise Unreadable(f"holds {len(names):,} files; more than {MOST_MEMBERS:,} are not read, split it")
    return sorted(name for name in names if not any(_HIDDEN.match(part) for part in name.split("/")))
