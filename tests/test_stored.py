"""Documents and passages on the disk: what is read is what was written, whatever part of it is in memory."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.chunking import split
from rag.errors import IndexDamaged
from rag.sources import read_documents
from rag.stored import StoredDocuments, StoredPassages, Writer, chapter_of
from rag.types import Document, Mark, Passage, Section


def made(number: int, sections: int, length: int = 3) -> Document:
    """A document with sections of so many sentences each, in chapters that others have too, over some pages."""
    parts, spans, start = [], [], 0
    for section in range(sections):
        text = " ".join(f"Ärger {number} {section} {word} ☂." for word in range(length))
        path = (f"Chapter {section % 3}", f"Part {section}") if section else ()
        spans.append(Section(path, start, start + len(text)))
        parts.append(text)
        start += len(text) + 2
    marks = tuple(Mark(span.start, f"page {page}") for page, span in enumerate(spans, start=1))
    role = f"Role {number % 2}" if number % 3 else None
    text = "\n\n".join(parts)
    return Document(f"d{number}", f"T{number % 4}", role, text, tuple(spans), f"{number}.md", "0" * 64, ("a",), marks)


def passages_of(document: Document) -> list[Passage]:
    passages = split(document, count=lambda text: len(text.split()) + 2, limit=40, budget=10).passages
    return [
        Passage(**{name: getattr(one, name) for name in ("document", "title", "role", "section", "start", "end", "text")},
                place=document.place(one.start, one.end))
        for one in passages
    ]  # fmt: skip


def stored(folder: Path, documents: list[Document]) -> tuple[StoredDocuments, StoredPassages]:
    with Writer(folder) as writer:
        for one in documents:
            writer.add(one, passages_of(one))
    read = StoredDocuments(folder)
    return read, StoredPassages(folder, read)


@pytest.fixture(params=[1, 2**40], ids=["mapped", "whole"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """From which size on a file is mapped."""
    monkeypatch.setattr("rag.mapped.LARGE", request.param)
    return int(request.param)


DOCUMENTS = [made(number, number % 5) for number in range(23)]
"""Some of them without any section."""


@pytest.mark.usefixtures("large")
def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    documents, passages = stored(tmp_path, DOCUMENTS)
    expected = [one for document in DOCUMENTS for one in passages_of(document)]
    assert dict(documents) == {one.id: one for one in DOCUMENTS}
    assert list(documents.heads.values()) == [one.head for one in DOCUMENTS]
    assert list(passages) == expected
    assert passages[3:9:2] == expected[3:9:2]
    assert passages[-1] == expected[-1]
    assert "d99" not in documents
    with pytest.raises(KeyError):
        documents["d99"]
    with pytest.raises(IndexError):
        passages[len(expected)]
    assert documents.counts() == {one.id: len(passages_of(one)) for one in DOCUMENTS}


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("document", [None, *(one.id for one in DOCUMENTS[:8])])
@pytest.mark.parametrize("chapter", [None, "Chapter 0", "Chapter 1", "Chapter 9"])
def test_rows_within_are_those_of_looking_at_each_passage(
    document: str | None, chapter: str | None, tmp_path: Path
) -> None:
    _, passages = stored(tmp_path, DOCUMENTS)
    expected = [
        row
        for row, one in enumerate(passages)
        if document in (None, one.document) and chapter in (None, chapter_of(one.section))
    ]
    rows = passages.rows_within(document, chapter)
    assert rows.tolist() == expected
    assert rows.dtype == np.dtype(np.int64)


@given(st.sets(st.integers(0, len(DOCUMENTS) - 1)))
@settings(max_examples=30)
def test_rows_among_documents_are_those_of_looking_at_each_passage(numbers: set[int]) -> None:
    documents, passages = SHARED
    ids = {DOCUMENTS[number].id for number in numbers}
    expected = [row for row, one in enumerate(passages) if one.document in ids]
    assert documents.rows_among(numbers).tolist() == expected


@pytest.fixture(scope="module", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    global SHARED  # noqa: PLW0603 - hypothesis takes no fixture of its own for each example
    SHARED = stored(tmp_path_factory.mktemp("shared"), DOCUMENTS)


SHARED: tuple[StoredDocuments, StoredPassages]


def test_chapters_are_counted_over_all_documents() -> None:
    _, passages = SHARED
    assert passages.chapters == Counter(filter(None, (chapter_of(one.section) for one in passages)))


def test_only_what_was_read_last_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.stored.KEPT", 100_000)
    documents, _ = stored(tmp_path, [made(number, 40, 100) for number in range(1, 60)])
    whole = sum(len(documents[name].text) for name in documents)
    assert whole > 2_000_000
    assert sum(len(one.text) for one in documents._kept.values()) == documents._characters <= 100_000
    assert "d59" in [one.id for one in documents._kept.values()]
    assert documents["d59"] is documents["d59"]


def test_opening_takes_memory_for_the_number_of_documents_and_not_for_their_text(tmp_path: Path) -> None:
    def taken(length: int) -> int:
        folder = tmp_path / str(length)
        folder.mkdir()
        with Writer(folder) as writer:
            for number in range(300):
                writer.add(made(number, 3, length), ())
        gc.collect()
        tracemalloc.start()
        documents = StoredDocuments(folder)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(documents) == 300
        return size

    assert taken(300) < 1.2 * taken(3)


def test_several_threads_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.stored.KEPT", 1)
    documents, _ = stored(tmp_path, DOCUMENTS)
    wrong: list[str] = []

    def read(first: int) -> None:
        for number in range(first, first + 400):
            expected = DOCUMENTS[number % len(DOCUMENTS)]
            if documents[expected.id] != expected:
                wrong.append(expected.id)

    threads = [threading.Thread(target=read, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_document_that_was_altered_while_it_was_open_is_told(tmp_path: Path) -> None:
    _, passages = stored(tmp_path, DOCUMENTS)
    path = tmp_path / "documents.jsonl"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(IndexDamaged, match=r"documents\.jsonl is damaged\. Build the index again"):
        passages[len(passages) - 1]


def test_a_folder_without_documents_is_told(tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged, match="cannot be read"):
        StoredDocuments(tmp_path)


def test_documents_that_were_removed_can_still_be_read(tmp_path: Path) -> None:
    documents, _ = stored(tmp_path, DOCUMENTS)
    for path in tmp_path.iterdir():
        path.unlink()
    assert dict(documents) == {one.id: one for one in DOCUMENTS}


def test_the_bundled_guides_come_back(tmp_path: Path) -> None:
    guides = list(read_documents([Path(__file__).parents[1] / "index" / "sources"]))
    documents, _ = stored(tmp_path, guides)
    assert list(documents.values()) == guides
