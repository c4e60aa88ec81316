"""Index versions: a folder each, switched to by one atomic rename, and never changed once written.

    index/build/CURRENT             id of the version in use
    index/build/<id>/manifest.json  all that makes the version, and the SHA-256 of each of its files
                     documents.jsonl, passages.jsonl, words.json, vectors.faiss, lexical/

An opened version keeps answering whatever is built, switched to or pruned meanwhile. One process writes at a time; what
one that was killed left behind, hidden folders, is cleared away by the next.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from rag.chunking import sentences_of
from rag.errors import IndexBusy, IndexDamaged, IndexMismatch, IndexMissing, IndexNewer, VersionError
from rag.protocols import LexicalIndex, Rows, VectorIndex
from rag.roles import Roles
from rag.types import Document, IndexInfo, Mark, Passage, Section, Sentence

FORMAT = 2
CURRENT = "CURRENT"
LOCK = ".lock"
BUILD_COMMAND = "python -m rag index build"


@dataclass(frozen=True, slots=True)
class Store:
    """How to write and open the two searchable halves of a version; the adapters stand behind it."""

    vectors: str
    lexical: str
    write_vectors: Callable[[Any, Path], None]
    open_vectors: Callable[[Path], VectorIndex]
    write_lexical: Callable[[Iterable[str], Path], None]
    open_lexical: Callable[[Path], LexicalIndex]


class IndexVersion:
    """An opened version: its documents and passages, and where to search them. Row i belongs to passage i.

    `vocabulary` counts the words of the documents, in small letters.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        documents: Sequence[Document],
        passages: Sequence[Passage],
        vectors: VectorIndex,
        lexical: LexicalIndex,
        vocabulary: Mapping[str, int],
    ) -> None:
        self.manifest = manifest
        self.vocabulary = vocabulary
        self.documents = {document.id: document for document in documents}
        self.passages = passages
        self.vectors = vectors
        self.lexical = lexical
        self.roles = Roles.of(documents)
        self.info = IndexInfo(str(manifest["version"]), str(manifest["inputs"]["embedder"]["name"]))

    def rows_of(self, labels: Sequence[str]) -> Rows | None:
        """The rows of passages about these roles or of documents with these titles; None, meaning all, for no label."""
        if not labels:
            return None
        rows = [row for row, passage in enumerate(self.passages) if {passage.role, passage.title} & set(labels)]
        return np.array(rows, dtype=np.int64)

    def sentences(self, passage: Passage) -> list[Sentence]:
        """The sentences of a passage in order, each with the line that introduces it wherever that stands."""
        of_section = self._section_sentences(passage.document, passage.section, passage.start)
        return [one for one in of_section if one.start >= passage.start and one.end <= passage.end]

    def __hash__(self) -> int:
        return id(self)

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - a version lives as long as the program
    def _section_sentences(self, document: str, path: tuple[str, ...], start: int) -> tuple[Sentence, ...]:
        text = self.documents[document]
        section = next(one for one in text.sections if one.path == path and one.start <= start < one.end)
        return tuple(sentences_of(text, section))


class Writing:
    """The right to write into the folder of versions, which one process has at a time. A context manager.

    Raises IndexBusy if another has it, OSError if the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = FileLock(folder / LOCK)

    def __enter__(self) -> Writing:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise IndexBusy(f"another build is writing to {self._folder}. Wait until it is done.") from error
        for path in self._folder.glob(".*"):
            if path.is_dir():
                shutil.rmtree(path)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @contextlib.contextmanager
    def aside(self, version: str) -> Iterator[Path]:
        """A hidden folder that takes its place as `version` when the block ends well, and is gone when it fails."""
        aside, target = self._folder / f".{version}", self._folder / version
        aside.mkdir()
        try:
            yield aside
            for path in aside.rglob("*"):
                _sync(path)
            _sync(aside)
            if target.is_dir():  # damaged: it makes way
                target.rename(self._folder / f".{version}.damaged")
            aside.rename(target)
            _sync(self._folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            shutil.rmtree(self._folder / f".{version}.damaged", ignore_errors=True)


def switch(folder: Path, version: str) -> None:
    """Makes `version` the current one by one atomic rename."""
    if not (folder / version / "manifest.json").is_file():
        raise IndexMissing(f"there is no index version {version!r} in {folder}. See: python -m rag index list")
    aside = folder / f".{CURRENT}.{os.getpid()}"
    aside.write_text(version + "\n", encoding="utf-8")
    _sync(aside)
    aside.replace(folder / CURRENT)
    _sync(folder)


def current(folder: Path) -> str:
    """The id of the version in use. Raises IndexMissing."""
    try:
        return (folder / CURRENT).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise IndexMissing(f"there is no index in {folder}. Build it: {BUILD_COMMAND}") from error


def versions(folder: Path) -> list[str]:
    """The ids of all versions, oldest first by when they were written."""
    found = [path.parent for path in folder.glob("*/manifest.json") if not path.parent.name.startswith(".")]
    return [path.name for path in sorted(found, key=lambda path: (path.stat().st_mtime, path.name))]


def latest_sound(folder: Path, opened: Callable[[str], IndexVersion]) -> tuple[IndexVersion, str]:
    """The current version, or if it is damaged the newest that is not, and a notice if that is another one.

    `opened` opens a version. Raises what it raised for the current one if there is no other.
    """
    try:
        in_use = current(folder)
        return opened(in_use), ""
    except (IndexDamaged, IndexMissing, IndexNewer) as error:
        fault = error
    for version in reversed(versions(folder)):
        with contextlib.suppress(VersionError):
            return opened(version), f"{fault} Until then the index before it, {version}, answers."
    raise fault


def read_manifest(folder: Path, version: str) -> dict[str, Any]:
    """Raises IndexMissing, IndexNewer or IndexDamaged, naming the file."""
    path = folder / version / "manifest.json"
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if manifest["inputs"]["format"] > FORMAT:
            raise IndexNewer(f"{path} was written by a newer Rolewise. Update this program, or: {BUILD_COMMAND}")
        if manifest != sealed(manifest) or manifest["version"] != id_of(manifest["inputs"]):
            raise ValueError("altered")
    except (OSError, NotADirectoryError) as error:
        raise IndexMissing(f"there is no index version {version!r} in {folder}. Build one: {BUILD_COMMAND}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise IndexDamaged(f"{path} is not a readable manifest. Build the index again: {BUILD_COMMAND}") from error
    return manifest


def id_of(inputs: Mapping[str, Any]) -> str:
    """The id of the version that is made of these."""
    return _hash(inputs)[:12]


def sealed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with a hash of everything else in it, by which an alteration is seen."""
    rest = {name: value for name, value in row.items() if name != "seal"}
    return rest | {"seal": _hash(rest)}


def _hash(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def open_version(
    folder: Path, *, embedder: str, embedder_sha256: str, passage_tokens: int, store: Store, version: str | None = None
) -> IndexVersion:
    """Opens the current version, or `version`, after a check of every byte of it.

    Raises IndexMismatch if it was made with other settings than these, IndexDamaged or IndexMissing.
    """
    version = version or current(folder)
    manifest = read_manifest(folder, version)
    inputs = manifest["inputs"]
    made_with = inputs["embedder"]
    if (made_with["name"], made_with["sha256"]) != (embedder, embedder_sha256):
        raise IndexMismatch(
            f"index {version} was built with the embedder {made_with['name']} ({made_with['sha256'][:8]}), the "
            f"settings ask for {embedder} ({embedder_sha256[:8]}). Build it again: {BUILD_COMMAND}"
        )
    if inputs["splitter"]["budget"] != passage_tokens:
        raise IndexMismatch(
            f"index {version} has passages of up to {inputs['splitter']['budget']} tokens, the settings ask for "
            f"{passage_tokens}. Build it again: {BUILD_COMMAND}"
        )
    for kind, wanted in (("vectors", store.vectors), ("lexical", store.lexical)):
        if inputs[kind] != wanted:
            raise IndexMismatch(
                f"index {version} has {kind} {inputs[kind]!r}, this program wants {wanted!r}. "
                f"Build it again: {BUILD_COMMAND}"
            )
    home = folder / version
    if found := faults(home):
        raise IndexDamaged(f"{found[0]}. Build the index again: {BUILD_COMMAND}")
    documents = read_texts(folder, version)
    by_id = {document.id: document for document in documents}
    try:
        passages = [
            _passage(by_id[row["document"]], row["section"], row["start"], row["end"])
            for row in _read_jsonl(home / "passages.jsonl")
        ]
    except (KeyError, IndexError, TypeError) as error:
        raise IndexDamaged(f"{home / 'passages.jsonl'} is damaged. Build the index again: {BUILD_COMMAND}") from error
    vectors = store.open_vectors(home / "vectors.faiss")
    lexical = store.open_lexical(home / "lexical")
    if len(vectors) != len(passages) or len(passages) != manifest["counts"]["passages"]:
        raise IndexDamaged(
            f"index {version} has {len(passages)} passages and {len(vectors)} vectors where its manifest counts "
            f"{manifest['counts']['passages']}. Build it again: {BUILD_COMMAND}"
        )
    return IndexVersion(manifest, documents, passages, vectors, lexical, _read_json(home / "words.json"))


def read_texts(folder: Path, version: str | None = None) -> list[Document]:
    """The documents of a version as they are stored, without opening its searchable halves."""
    path = folder / (version or current(folder)) / "documents.jsonl"
    try:
        return [
            Document(
                **{
                    **row,
                    "sections": tuple(Section(tuple(one["path"]), one["start"], one["end"]) for one in row["sections"]),
                    "aliases": tuple(row["aliases"]),
                    "marks": tuple(Mark(**one) for one in row["marks"]),
                }
            )
            for row in _read_jsonl(path)
        ]
    except (KeyError, TypeError) as error:
        raise IndexDamaged(f"{path} is damaged. Build the index again: {BUILD_COMMAND}") from error


def faults(home: Path) -> list[str]:
    """What differs between a version's folder and its manifest, a line each; none if it is sound."""
    manifest = read_manifest(home.parent, home.name)
    found = []
    for name, expected in manifest["files"].items():
        path = home / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif sha256_of(path) != expected:
            found.append(f"{path} was altered")
    return found


def prune(folder: Path, keep: int) -> list[str]:
    """Deletes all but the current version and the `keep` newest others. Returns the ids that went."""
    with Writing(folder):
        in_use = current(folder)
        others = [version for version in versions(folder) if version != in_use]
        doomed = others[: max(0, len(others) - keep)]
        for version in doomed:
            gone = folder / f".{version}"  # half a version is never seen under its name
            (folder / version).rename(gone)
            shutil.rmtree(gone)
    return doomed


def _passage(document: Document, section: int, start: int, end: int) -> Passage:
    path = document.sections[section].path
    text, place = document.text[start:end], document.place(start, end)
    return Passage(document.id, document.title, document.role, path, start, end, text, place)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Returns when a file, or what a folder lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IndexDamaged(f"{path} cannot be read ({error}). Build the index again: {BUILD_COMMAND}") from error


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except (OSError, ValueError) as error:
        raise IndexDamaged(f"{path} cannot be read ({error}). Build the index again: {BUILD_COMMAND}") from error
