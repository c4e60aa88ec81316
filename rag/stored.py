"""The documents and passages of an index version on the disk: written one by one, read one by one when asked for.

    documents.jsonl   a document a line
    documents.npy     at which byte each document's line begins and at which row its passages; one more ends the last
    passages.npy      of each passage the numbers of its document, its section there and its chapter, and its span
    catalogue.json    what lists and filters need of each document, and the names of the chapters

What is in memory grows with the number of documents and passages by some hundred and twenty bytes each, not with their
text. Nothing here searches.
"""

from __future__ import annotations

import array
import bisect
import functools
import json
import os
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, overload

import numpy as np

from rag import mapped
from rag.errors import IndexDamaged
from rag.protocols import Rows
from rag.types import Document, Head, Mark, Passage, Section

BUILD_COMMAND = "python -m rag index build"
PLACES = np.dtype([("byte", "<i8"), ("row", "<i8")])
FIELDS = ("document", "section", "chapter", "start", "end")
SPANS = np.dtype([(name, "<u4") for name in FIELDS])
KEPT = 8_000_000
"""Characters of documents that stay in memory, those that were read last: as many as ten long novels."""


def chapter_of(section: Sequence[str]) -> str:
    """The first heading below the title; "" where there is none."""
    return section[0] if section else ""


class Writer:
    """Writes documents with their passages into a folder. A context manager; the files are whole when it ends well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = (folder / "documents.jsonl").open("wb")
        self._places = array.array("q")
        self._spans = array.array("I")
        self._heads: list[tuple[Any, ...]] = []
        self._chapters: dict[str, int] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        with self._lines:
            if failed:
                return
            self._ends()
        np.save(self._folder / "documents.npy", np.frombuffer(self._places, PLACES))
        np.save(self._folder / "passages.npy", np.frombuffer(self._spans, SPANS))
        catalogue = {"documents": self._heads, "chapters": list(self._chapters)}
        (self._folder / "catalogue.json").write_text(json.dumps(catalogue, ensure_ascii=False), encoding="utf-8")

    def add(self, document: Document, passages: Iterable[Passage]) -> None:
        """The passages are of this document, in the order of their rows."""
        self._ends()
        self._lines.write(json.dumps(asdict(document), ensure_ascii=False).encode() + b"\n")
        self._heads.append(astuple(document.head))
        starts = [section.start for section in document.sections]
        for passage in passages:
            chapter = self._chapters.setdefault(chapter_of(passage.section), len(self._chapters))
            section = bisect.bisect_right(starts, passage.start) - 1
            self._spans.extend((len(self._heads) - 1, section, chapter, passage.start, passage.end))

    def _ends(self) -> None:
        """What was written so far ends here, and what comes next begins."""
        self._places.extend((self._lines.tell(), len(self._spans) // len(FIELDS)))


class StoredDocuments(Mapping[str, Document]):
    """Documents by id, in order of their numbers. `heads` tell of each what lists need, without its text."""

    def __init__(self, folder: Path) -> None:
        """Raises IndexDamaged."""
        self._path = folder / "documents.jsonl"
        try:
            catalogue = json.loads((folder / "catalogue.json").read_text(encoding="utf-8"))
            self.chapters: list[str] = catalogue["chapters"]
            heads = [
                Head(name, title, role, tuple(aliases), *rest)
                for name, title, role, aliases, *rest in catalogue["documents"]
            ]
            self._places = mapped.array(folder / "documents.npy")
            self._descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise IndexDamaged(f"{folder} cannot be read ({error}). Build the index again: {BUILD_COMMAND}") from error
        weakref.finalize(self, os.close, self._descriptor)
        self.heads: Mapping[str, Head] = {head.id: head for head in heads}
        self._ids = [head.id for head in heads]
        self._numbers = {name: number for number, name in enumerate(self._ids)}
        self._kept: OrderedDict[int, Document] = OrderedDict()
        self._characters = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __getitem__(self, name: str) -> Document:
        return self.numbered(self._numbers[name])

    def number(self, name: str) -> int:
        return self._numbers[name]

    def numbered(self, number: int) -> Document:
        """Raises IndexDamaged if its line was altered since the version was opened."""
        with self._lock:
            if (kept := self._kept.get(number)) is not None:
                self._kept.move_to_end(number)
                return kept
            line = self._line(number)
        document = self._document(line)
        with self._lock:
            if number not in self._kept:
                self._kept[number] = document
                self._characters += len(document.text)
            while self._characters > KEPT and len(self._kept) > 1:
                self._characters -= len(self._kept.popitem(last=False)[1].text)
        return document

    def rows(self, number: int) -> tuple[int, int]:
        """The half-open range of the rows of a document's passages."""
        return int(self._places["row"][number]), int(self._places["row"][number + 1])

    def counts(self) -> dict[str, int]:
        """How many passages each document has."""
        return dict(zip(self._ids, np.diff(self._places["row"]).tolist(), strict=True))

    def label_runs(self) -> Iterator[tuple[str, int, int]]:
        """The roles and titles of the documents, each with a half-open run of the rows that bear it."""
        for number, head in enumerate(self.heads.values()):
            for label in sorted({head.title, head.role or head.title}):
                yield label, *self.rows(number)

    def rows_among(self, numbers: Iterable[int]) -> Rows:
        """The rows of the passages of several documents, in order."""
        chosen = np.zeros(len(self), dtype=bool)
        chosen[list(numbers)] = True
        return np.flatnonzero(np.repeat(chosen, np.diff(self._places["row"]))).astype(np.int64)

    def _line(self, number: int) -> bytes:
        start, end = int(self._places["byte"][number]), int(self._places["byte"][number + 1])
        os.lseek(self._descriptor, start, os.SEEK_SET)
        return os.read(self._descriptor, end - start)

    def _document(self, line: bytes) -> Document:
        try:
            row = json.loads(line)
            sections = tuple(Section(tuple(one["path"]), one["start"], one["end"]) for one in row["sections"])
            marks = tuple(Mark(**one) for one in row["marks"])
            return Document(**{**row, "sections": sections, "aliases": tuple(row["aliases"]), "marks": marks})
        except (ValueError, KeyError, TypeError) as error:
            raise IndexDamaged(f"{self._path} is damaged. Build the index again: {BUILD_COMMAND}") from error


class StoredPassages(Sequence[Passage]):
    """Passages by row, each made when it is asked for."""

    def __init__(self, folder: Path, documents: StoredDocuments) -> None:
        """Raises IndexDamaged."""
        self._documents = documents
        try:
            self._spans = mapped.array(folder / "passages.npy")
        except (OSError, ValueError) as error:
            raise IndexDamaged(f"{folder} cannot be read ({error}). Build the index again: {BUILD_COMMAND}") from error

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, row: int) -> Passage: ...
    @overload
    def __getitem__(self, row: slice) -> list[Passage]: ...
    def __getitem__(self, row: int | slice) -> Passage | list[Passage]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        number, section, _, start, end = self._spans[row].tolist()
        document = self._documents.numbered(number)
        path, text = document.sections[section].path, document.text[start:end]
        return Passage(document.id, document.title, document.role, path, start, end, text, document.place(start, end))

    @functools.cached_property
    def chapters(self) -> Counter[str]:
        """How many passages each chapter has, over all documents; those without a heading are left out."""
        names = self._documents.chapters
        counts = np.bincount(self._spans["chapter"], minlength=len(names))
        return Counter({name: int(count) for name, count in zip(names, counts, strict=True) if name and count})

    def rows_within(self, document: str | None, chapter: str | None) -> Rows:
        """The rows of a document's passages, of those in a chapter, or of both. Raises KeyError for an unknown id."""
        start, end = self._documents.rows(self._documents.number(document)) if document else (0, len(self))
        if not chapter:
            return np.arange(start, end, dtype=np.int64)
        names = self._documents.chapters
        number = names.index(chapter) if chapter in names else len(names)
        return np.flatnonzero(self._spans["chapter"][start:end] == number).astype(np.int64) + start
