"""What was read and embedded before is not read and embedded again, and an altered row counts as missing."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag.cache import Cache
from rag.errors import SourceError
from rag.indexing import Builder, BuildReport
from rag.parsed import Parsed
from rag.parts import make_store
from rag.readers.files import read_file
from rag.sources import read_documents
from rag.wiring import CACHE
from tests.conftest import HashingEmbedder

Write = Callable[[str, str], Path]


class CountingReads:
    """Reads files and counts them."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def __call__(self, path: str, member: str = "") -> tuple[str, Parsed]:
        self.files.append(Path(path).name)
        return read_file(path, member)


@pytest.fixture
def build(tmp_path: Path) -> Callable[[Path], tuple[BuildReport, list[str]]]:
    """Builds an index of a folder: the report, and the files that were read for it."""

    def of(folder: Path) -> tuple[BuildReport, list[str]]:
        for path in folder.iterdir():
            if time.time() - path.stat().st_mtime < 30:
                os.utime(path, (time.time() - 60,) * 2)
        reads, home = CountingReads(), tmp_path / "build"
        home.mkdir(exist_ok=True)
        with Cache(home / CACHE) as cache:
            documents = read_documents([folder], read=reads, cache=cache)
            builder = Builder(HashingEmbedder(), make_store(), 200, cache)
            return builder.build(documents, home), reads.files

    return of


Build = Callable[[Path], tuple[BuildReport, list[str]]]


def test_a_build_without_a_change_reads_and_embeds_nothing(shelf: Path, build: Build) -> None:
    first, read = build(shelf)
    assert (first.was_there, first.embedded, sorted(read)) == (False, 4, ["baker.md", "miller.md"])
    second, read = build(shelf)
    assert (second.was_there, second.version, second.passages, read) == (True, first.version, 4, [])


def test_only_what_changed_is_read_and_embedded(shelf: Path, build: Build) -> None:
    build(shelf)
    miller = (shelf / "miller.md").read_text()
    (shelf / "miller.md").write_text(miller + "\n## Tools\n\nA millstone.\n")
    report, read = build(shelf)
    assert (report.documents, report.passages, report.embedded, read) == (2, 5, 1, ["miller.md"])


def test_a_rename_embeds_nothing_and_a_deletion_deletes(shelf: Path, build: Build) -> None:
    build(shelf)
    (shelf / "miller.md").rename(shelf / "grinder.md")
    report, _ = build(shelf)
    assert (report.documents, report.passages, report.embedded) == (2, 4, 0)
    (shelf / "grinder.md").unlink()
    report, _ = build(shelf)
    assert (report.documents, report.passages, report.embedded) == (1, 2, 0)


def test_what_could_not_be_read_is_not_tried_again(shelf: Path, build: Build) -> None:
    (shelf / "photo.png").write_bytes(b"x")
    assert "photo.png" in build(shelf)[1]
    assert build(shelf)[1] == []


def test_a_file_that_was_just_written_is_read_again(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.readings.SETTLED", 600)
    for expected in (2, 2):
        reads = CountingReads()
        with Cache(tmp_path / CACHE) as cache:
            read_documents([shelf], read=reads, cache=cache)
        assert len(reads.files) == expected


def test_texts_and_vectors_come_back_as_they_were(tmp_path: Path) -> None:
    vectors = {b"a" * 32: np.array([1, 2, 3], np.float32), b"b" * 32: np.array([4, 5, 6], np.float32)}
    with Cache(tmp_path / CACHE) as cache:
        cache.keep_text("key", "head", "body — long")
        cache.keep_vectors(vectors)
        cache.keep_sha256("path", "stamp", "f" * 64)
    with Cache(tmp_path / CACHE) as cache:
        assert (cache.head("key"), cache.body("key"), cache.head("none")) == ("head", "body — long", "")
        found = cache.vectors([*vectors, b"c" * 32])
        assert {key: vector.tolist() for key, vector in found.items()} == {b"a" * 32: [1, 2, 3], b"b" * 32: [4, 5, 6]}
        assert (cache.sha256_of("path", "stamp"), cache.sha256_of("path", "later")) == ("f" * 64, "")
        with pytest.raises(KeyError):
            cache.body("none")


def test_an_altered_row_counts_as_missing(tmp_path: Path) -> None:
    with Cache(tmp_path / CACHE) as cache:
        cache.keep_text("key", "head", "body")
        cache.keep_vectors({b"a": np.zeros(3, np.float32)})
    database = sqlite3.connect(tmp_path / CACHE, isolation_level=None)
    database.execute("UPDATE vectors SET vector = zeroblob(16)")
    database.execute("UPDATE texts SET head = head || x'20'")
    database.close()
    with Cache(tmp_path / CACHE) as cache:
        assert cache.vectors([b"a"]) == {}
        assert cache.head("key") == ""


def test_what_is_no_cache_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / CACHE).write_bytes(b"not a database at all, but long enough to look at" * 100)
    with Cache(tmp_path / CACHE) as cache:
        cache.keep_sha256("path", "stamp", "f" * 64)
    with Cache(tmp_path / CACHE) as cache:
        assert cache.sha256_of("path", "stamp") == "f" * 64


def test_where_nothing_can_be_written_the_cache_stays_in_memory(tmp_path: Path) -> None:
    with Cache(tmp_path / "no such folder" / CACHE) as cache:
        cache.keep_text("key", "head", "body")
        assert cache.body("key") == "body"


def test_a_text_that_was_lost_is_read_again_and_must_be_the_same(write: Write, tmp_path: Path) -> None:
    folder = write("docs/a.md", "Bread.").parent
    with Cache(tmp_path / CACHE) as cache:
        documents = read_documents([folder], cache=cache)
        with sqlite3.connect(tmp_path / CACHE) as database:
            database.execute("DELETE FROM texts")
        assert documents[0].text == "Bread.\n"
        (folder / "a.md").write_text("Soup.")
        with pytest.raises(SourceError, match="has changed while it was read"):
            documents[0]


def test_what_was_not_used_is_forgotten_and_gone_from_the_file(tmp_path: Path) -> None:
    with Cache(tmp_path / CACHE) as cache:
        for name in ("kept", "old"):
            cache.keep_text(name, f"head of the {name}", "body")
            cache.keep_sha256(f"path of the {name}", "stamp", "f" * 64)
            cache.keep_vectors({name.encode(): np.array([1, 2, 3], np.float32)})
    with Cache(tmp_path / CACHE) as cache:
        assert cache.head("kept")
        assert cache.sha256_of("path of the kept", "stamp")
        cache.forget_unused()
        assert cache.vectors([b"kept", b"old"]).keys() == {b"kept", b"old"}  # none had been asked for
        assert b"of the kept" in (tmp_path / CACHE).read_bytes()
        for path in tmp_path.iterdir():
            assert b"of the old" not in path.read_bytes()
        assert (cache.head("kept"), cache.head("old")) == ("head of the kept", "")
        assert (cache.sha256_of("path of the kept", "stamp"), cache.sha256_of("path of the old", "stamp")) == (
            "f" * 64,
            "",
        )
    with Cache(tmp_path / CACHE) as cache:
        cache.keep_vectors({b"new": np.array([4, 5, 6], np.float32)})
        cache.vectors([b"kept"])
        cache.forget_unused()
        assert cache.vectors([b"kept", b"old", b"new"]).keys() == {b"kept", b"new"}


def test_a_cache_that_cannot_forget_is_removed(tmp_path: Path) -> None:
    with Cache(tmp_path / CACHE) as cache:
        cache.keep_text("old", "head", "body")
    with Cache(tmp_path / CACHE) as cache:
        with contextlib.closing(sqlite3.connect(tmp_path / CACHE)) as database:
            database.execute("DROP TABLE vectors")
        assert cache.vectors([b"any"]) == {}  # the file fails; it goes on in memory
        cache.keep_text("new", "head", "body")
        cache.forget_unused()
        assert cache.head("new") == "head"
    assert list(tmp_path.iterdir()) == []
