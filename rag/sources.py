"""Files become documents: what each is called, what it holds, and which could not be read."""

from __future__ import annotations

import contextlib
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import overload

from rag.cache import Cache
from rag.errors import SourceError, Unreadable
from rag.files import SOURCES_FILE, File, Skipped, find_files
from rag.parsed import Parsed
from rag.readers.files import LARGEST, read_file
from rag.readings import Reading, Readings, Reads, text_sha256
from rag.types import Document

_PARENTHESIS = re.compile(r"\s*\(([^)]+)\)")
Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Identity:
    """All of a document that an index depends on. The text has its own hash: a reader may change, the file not."""

    id: str
    title: str
    role: str | None
    aliases: tuple[str, ...]
    source: str
    sha256: str
    text_sha256: str
    notes: tuple[str, ...] = ()
    """What the reader of the file noticed; nothing depends on it."""
    dated: str = ""
    """When it was reviewed by its own words, else when its file was written: "2026-01-31". No index depends on it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A document that is not loaded yet."""

    identity: Identity
    load: Callable[[], Parsed]

    def document(self) -> Document:
        one, parsed = self.identity, self.load()
        return Document(
            id=one.id,
            title=one.title,
            role=one.role,
            text=parsed.text,
            sections=parsed.sections,
            source=one.source,
            sha256=one.sha256,
            aliases=one.aliases,
            marks=parsed.marks,
        )


class Documents(Sequence[Document]):
    """Documents by id, whose texts are loaded one by one when they are asked for."""

    def __init__(self, rows: Iterable[Row], skipped: Iterable[Skipped]) -> None:
        self._rows = sorted(rows, key=lambda row: row.identity.id)
        self.identities = tuple(row.identity for row in self._rows)
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, number: int) -> Document: ...
    @overload
    def __getitem__(self, number: slice) -> list[Document]: ...
    def __getitem__(self, number: int | slice) -> Document | list[Document]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        return self._rows[number].document()


def identity_of(document: Document) -> Identity:
    return Identity(
        id=document.id,
        title=document.title,
        role=document.role,
        aliases=document.aliases,
        source=document.source,
        sha256=document.sha256,
        text_sha256=text_sha256(document.text),
    )


def read_documents(
    paths: Iterable[Path],
    *,
    read: Reads = read_file,
    at_once: int = 1,
    cache: Cache | None = None,
    progress: Progress = lambda *_: None,
) -> Documents:
    """The documents found under `paths`, which as many threads as `at_once` read.

    A folder's `sources.toml` says what its documents are called and which bytes they must have. Raises SourceError if
    one differs from it or is missing.
    """
    files = list(find_files(paths))
    registers = {root: _register_of(root) for root in {file.root for file in files if isinstance(file, File)}}
    rows: dict[str, Row] = {}
    skipped: list[Skipped] = []
    for found in _rows(files, Readings(read, cache), at_once, progress):
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        root, row = found
        identity = _as_registered(row.identity, root, registers[root].get(row.identity.source))
        if (other := rows.get(identity.id)) is not None:
            if other.identity.sha256 == identity.sha256:
                skipped.append(Skipped(identity.source, f"the same bytes as {other.identity.source}"))
                continue
            identity = replace(identity, id=f"{identity.id}-{identity.sha256[:8]}")
        rows[identity.id] = replace(row, identity=identity)
    return Documents(_with_roles(list(rows.values())), skipped)


def _with_roles(rows: Sequence[Row]) -> list[Row]:
    """Where most titles are of one kind, ending in one word like "Engineer", each is the role its document is about."""
    kinds = Counter(_last_word(row.identity.title) for row in rows if not row.identity.role)
    kind, count = max(kinds.items(), key=lambda item: item[1], default=("", 0))
    if not kind.isalpha() or count < 2 or 2 * count <= len(rows):
        return list(rows)
    return [
        replace(row, identity=_with_role(row.identity))
        if not row.identity.role and _last_word(row.identity.title) == kind
        else row
        for row in rows
    ]


def _with_role(identity: Identity) -> Identity:
    """ "Machine Learning (ML) Engineer" is the role "Machine Learning Engineer", also called "ML Engineer"."""
    title = identity.title
    names = set(identity.aliases)
    for match in _PARENTHESIS.finditer(title):
        spelled = title[: match.start()].split()
        if "".join(word[0] for word in spelled[-len(match[1]) :]).casefold() == match[1].casefold():
            names.add(" ".join([*spelled[: -len(match[1])], match[1], title[match.end() :].strip()]))
    return replace(identity, role=_PARENTHESIS.sub("", title), aliases=tuple(sorted(names)))


def _last_word(title: str) -> str:
    return (title.casefold().split() or [""])[-1]


def _rows(
    files: Iterable[File | Skipped], readings: Readings, at_once: int = 1, progress: Progress = lambda *_: None
) -> Iterator[tuple[Path, Row] | Skipped]:
    """The root and the row of each document, and what is none, in order."""
    files = list(files)
    pool = ThreadPoolExecutor(at_once, "reading")
    try:
        for done, rows in enumerate(pool.map(lambda file: list(_read(file, readings)), files)):
            progress("reading", done, len(files))
            yield from rows
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    progress("reading", len(files), len(files))


def _read(file: File | Skipped, readings: Readings) -> Iterator[tuple[Path, Row] | Skipped]:
    """The document that a file is, those that an archive holds, or why there is none."""
    if isinstance(file, Skipped):
        yield file
        return
    try:
        if file.path.stat().st_size > LARGEST:
            raise Unreadable(f"is larger than {LARGEST // 10**6:,} MB; split it")
        reading = readings.of(file.path, file.member)
    except OSError as error:
        yield Skipped(file.name, f"cannot be opened: {error.strerror}")
    except Unreadable as error:
        yield Skipped(file.name, str(error))
    else:
        if "members" in reading.about:
            for member in reading.about["members"]:
                yield from _read(replace(file, member=member), readings)
        else:
            yield file.root, Row(replace(_identity(file, reading), dated=_dated(file, reading)), reading.load)


def _dated(file: File, reading: Reading) -> str:
    """A date that is none counts for nothing."""
    with contextlib.suppress(ValueError):
        return date.fromisoformat(str(reading.about.get("reviewed", ""))[:10]).isoformat()
    return datetime.fromtimestamp(file.path.stat().st_mtime, UTC).date().isoformat()


def _identity(file: File, reading: Reading) -> Identity:
    about = reading.about
    stem = PurePosixPath(file.name).stem.replace("_", " ").replace("-", " ")
    return Identity(
        id=_id_of(file.name),
        title=str(about.get("title") or stem),
        role=str(about["role"]) if about.get("role") else None,
        aliases=tuple(str(alias) for alias in about.get("aliases") or ()),
        source=file.name,
        sha256=reading.sha256,
        text_sha256=reading.text_sha256,
        notes=reading.notes,
    )


def _id_of(name: str) -> str:
    """The id of a document: its file's name, without the ending, in words joined by hyphens."""
    folded = unicodedata.normalize("NFKD", str(Path(name).with_suffix(""))).casefold()
    return re.sub(r"\W+", "-", folded).strip("-") or "document"


def _register_of(root: Path) -> dict[str, Mapping[str, str]]:
    path = root / SOURCES_FILE
    if not path.is_file():
        return {}
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("source", [])
        register = {str(row["file"]): row for row in rows}
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged ({error}). Write it anew: python -m rag index register {root}") from error
    for name in register:
        if not (root / name).is_file():
            raise SourceError(
                f"{path} names {name}, which is missing. Restore it, or: python -m rag index register {root}"
            )
    return register


def _as_registered(identity: Identity, root: Path, row: Mapping[str, str] | None) -> Identity:
    if row is None:
        return identity
    if row.get("sha256") != identity.sha256:
        raise SourceError(
            f"{root / identity.source} is not the file that {SOURCES_FILE} registers (SHA-256 {identity.sha256[:12]}…, "
            f"expected {str(row.get('sha256'))[:12]}…). If the change is meant: python -m rag index register {root}"
        )
    return replace(identity, id=row["id"], title=row["title"], role=row.get("role") or None)


def register_sources(root: Path) -> Path:
    """Writes `sources.toml` of a folder anew from its files, and returns its path."""
    blocks = ["# Which documents this folder holds, and their bytes. Written by: python -m rag index register"]
    for row in _rows(find_files([root]), Readings(read_file)):
        if not isinstance(row, Skipped):
            one = row[1].identity
            values = {"id": one.id, "title": one.title, "role": one.role or "", "file": one.source}
            values["sha256"] = one.sha256
            blocks.append("\n".join(["[[source]]", *(f"{key} = {_toml(value)}" for key, value in values.items())]))
    path = root / SOURCES_FILE
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def _toml(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
