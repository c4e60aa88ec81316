"""Files become documents: which there are, what they are called, and which could not be read."""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rag.errors import SourceError, Unreadable
from rag.readers import read
from rag.types import Document

SOURCES_FILE = "sources.toml"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not read, and why."""

    source: str
    reason: str


def find_files(paths: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """(root, file) of every file named by or lying under `paths`, in order of path; hidden ones are left out.

    Raises SourceError for a path that does not exist.
    """
    for path in paths:
        if path.is_file():
            yield path.parent, path
        elif path.is_dir():
            for file in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
                if file.is_file() and not hidden and file.name != SOURCES_FILE:
                    yield path, file
        else:
            raise SourceError(f"{path} does not exist. Name a file or a folder of documents.")


def read_documents(paths: Iterable[Path]) -> tuple[list[Document], list[Skipped]]:
    """The documents found under `paths`, by id, and the files that were skipped.

    A folder's `sources.toml` says what its documents are called and which bytes they must have. Raises SourceError if
    one differs from it or is missing.
    """
    documents: dict[str, Document] = {}
    skipped: list[Skipped] = []
    registers: dict[Path, dict[str, Mapping[str, str]]] = {}
    for root, file in find_files(paths):
        register = registers.setdefault(root, _register_of(root))
        name = file.relative_to(root).as_posix()
        document = read_document(file, root)
        if isinstance(document, Skipped):
            skipped.append(document)
            continue
        document = _as_registered(document, root, register.get(name))
        if (other := documents.get(document.id)) is not None:
            if other.sha256 == document.sha256:
                skipped.append(Skipped(name, f"the same bytes as {other.source}"))
                continue
            document = replace(document, id=f"{document.id}-{document.sha256[:8]}")
        documents[document.id] = document
    return [documents[key] for key in sorted(documents)], skipped


def read_document(file: Path, root: Path) -> Document | Skipped:
    """One file as a document, or the reason why it is none."""
    name = file.relative_to(root).as_posix()
    try:
        raw = file.read_bytes()
        parsed = read(raw, file.suffix)
    except OSError as error:
        return Skipped(name, f"cannot be opened: {error.strerror}")
    except Unreadable as error:
        return Skipped(name, str(error))
    about = parsed.about
    return Document(
        id=_id_of(name),
        title=str(about.get("title") or file.stem.replace("_", " ").replace("-", " ")),
        role=str(about["role"]) if about.get("role") else None,
        text=parsed.text,
        sections=parsed.sections,
        source=name,
        sha256=hashlib.sha256(raw).hexdigest(),
        aliases=tuple(str(alias) for alias in about.get("aliases") or ()),
        marks=parsed.marks,
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


def _as_registered(document: Document, root: Path, row: Mapping[str, str] | None) -> Document:
    if row is None:
        return document
    if row.get("sha256") != document.sha256:
        raise SourceError(
            f"{root / document.source} is not the file that {SOURCES_FILE} registers (SHA-256 {document.sha256[:12]}…, "
            f"expected {str(row.get('sha256'))[:12]}…). If the change is meant: python -m rag index register {root}"
        )
    return replace(document, id=row["id"], title=row["title"], role=row.get("role") or None)


def register_sources(root: Path) -> Path:
    """Writes `sources.toml` of a folder anew from its files, and returns its path."""
    blocks = ["# Which documents this folder holds, and their bytes. Written by: python -m rag index register"]
    for _, file in find_files([root]):
        document = read_document(file, root)
        if isinstance(document, Document):
            rows = {"id": document.id, "title": document.title, "role": document.role or "", "file": document.source}
            rows["sha256"] = document.sha256
            blocks.append("\n".join(["[[source]]", *(f"{key} = {_toml(value)}" for key, value in rows.items())]))
    path = root / SOURCES_FILE
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def _toml(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
