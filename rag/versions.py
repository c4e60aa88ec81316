"""Index versions: a folder each, switched to by one atomic rename, and never changed once written.

    index/build/CURRENT             id of the version in use
    index/build/<id>/manifest.json  all that makes the version, and the SHA-256 of each of its files
                     words.json, vectors.faiss, lexical/, and what rag.stored writes
    index/build/.checked.<id>       when each large file of it was last found to have its SHA-256

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
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rag import mapped
from rag.chunking import sentences_of
from rag.errors import IndexBusy, IndexDamaged, IndexMismatch, IndexMissing, IndexNewer, VersionError
from rag.protocols import LexicalIndex, Rows, VectorIndex, Vectors
from rag.roles import Roles
from rag.sampling import RECALL
from rag.settings import WIDEST_WALK
from rag.stored import BUILD_COMMAND, StoredDocuments, StoredPassages
from rag.types import Head, IndexInfo, Passage, Sentence

FORMAT = 3
CURRENT = "CURRENT"
LOCK = ".lock"
CHECKED = ".checked."


@dataclass(frozen=True, slots=True)
class Store:
    """How to write and open the two searchable halves of a version; the adapters stand behind it.

    `write_vectors` tells what it chose and measured, which is noted in the manifest; the names `vectors` and `lexical`
    are part of what makes a version's id.
    """

    vectors: str
    lexical: str
    write_vectors: Callable[[Vectors, Path], Mapping[str, Any]]
    open_vectors: Callable[[Path], VectorIndex]
    write_lexical: Callable[[Iterable[str], Path], None]
    open_lexical: Callable[[Path], LexicalIndex]
    holds: Callable[[str], bool] = lambda _version: True
    """Whether what lies outside the version's folder is there."""


class IndexVersion:
    """An opened version: its documents and passages, and where to search them. Row i belongs to passage i.

    Documents and passages are read from the disk one by one; `heads` tell of each document what lists of them need.
    `vocabulary` counts the words of the documents, in small letters.
    """

    def __init__(
        self,
        manifest: Mapping[str, Any],
        documents: StoredDocuments,
        passages: StoredPassages,
        vectors: VectorIndex,
        lexical: LexicalIndex,
        vocabulary: Mapping[str, int],
    ) -> None:
        self.manifest = manifest
        self.vocabulary = vocabulary
        self.documents = documents
        self.passages = passages
        self.vectors = vectors
        self.lexical = lexical
        self.heads: Mapping[str, Head] = documents.heads
        self.roles = Roles.of(documents.heads.values())
        self.info = IndexInfo(str(manifest["version"]), str(manifest["inputs"]["embedder"]["name"]))

    @functools.cached_property
    def titles(self) -> tuple[str, ...]:
        """The titles of all documents, sorted."""
        return tuple(sorted(head.title for head in self.heads.values()))

    @property
    def chapters(self) -> Counter[str]:
        """How many passages each chapter has, over all documents."""
        return self.passages.chapters

    def rows_of(self, labels: Sequence[str]) -> Rows | None:
        """The rows of passages about these roles or of documents with these titles; None, meaning all, for no label."""
        if not labels:
            return None
        return self.documents.rows_among({number for label in labels for number in self._labelled.get(label, ())})

    def rows_within(self, document: str | None = None, chapter: str | None = None) -> Rows | None:
        """The rows of a document's passages, of those in a chapter of any document, or of both; None, meaning all, for
        neither. Raises KeyError if no document has that id."""
        return self.passages.rows_within(document, chapter) if document or chapter else None

    @functools.cached_property
    def _labelled(self) -> Mapping[str, Sequence[int]]:
        """The numbers of the documents of each role and of each title."""
        found: dict[str, list[int]] = {}
        for number, head in enumerate(self.heads.values()):
            for label in {head.role, head.title} - {None}:
                found.setdefault(str(label), []).append(number)
        return found

    def passages_of(self, documents: Iterable[str]) -> list[Passage]:
        """The passages of these documents in order."""
        rows = self.documents.rows_among(self.documents.number(one) for one in documents)
        return [self.passages[row] for row in rows.tolist()]

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
            if (checked := _checked(aside)).is_file():
                checked.replace(_checked(target))
            _sync(self._folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
            _checked(aside).unlink(missing_ok=True)
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


def vectors_line(manifest: Mapping[str, Any]) -> str:
    """How the vectors of a version are kept, and how many of the nearest were found when that was measured."""
    chosen = manifest.get("vectors") or {}
    searched = [f"{chosen['nprobe']} lists searched"] if "nprobe" in chosen else []
    searched += [f"ef_search {chosen['ef_search']}"] if "ef_search" in chosen else []
    recall = [f"recall@10 {chosen['recall@10']:.3f}"] if "measured_on" in chosen else ["exact"] if chosen else []
    is_short = bool(chosen.get("graph")) and chosen["recall@10"] < RECALL and chosen.get("ef_search", 0) < WIDEST_WALK
    remedy = ["set postgres_ef_search higher"] if is_short else []
    return ", ".join([*filter(None, [chosen.get("factory")]), *searched, *recall, *remedy])


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
    """Opens the current version, or `version`, after a check of every byte of it, but for large files that were checked
    before and not touched since.

    Raises IndexMismatch if it was made with other settings than these, IndexDamaged or IndexMissing.
    """
    version = version or current(folder)
    manifest = read_manifest(folder, version)
    inputs = manifest["inputs"]
    _check_format(manifest)
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
    if found := faults(home, unless_known=True):
        raise IndexDamaged(f"{found[0]}. Build the index again: {BUILD_COMMAND}")
    documents = StoredDocuments(home)
    passages = StoredPassages(home, documents)
    vectors = store.open_vectors(home / "vectors.faiss")
    lexical = store.open_lexical(home / "lexical")
    if len(vectors) != len(passages) or len(passages) != manifest["counts"]["passages"]:
        raise IndexDamaged(
            f"index {version} has {len(passages)} passages and {len(vectors)} vectors where its manifest counts "
            f"{manifest['counts']['passages']}. Build it again: {BUILD_COMMAND}"
        )
    return IndexVersion(manifest, documents, passages, vectors, lexical, _read_json(home / "words.json"))


def read_texts(folder: Path, version: str | None = None) -> StoredDocuments:
    """The documents of a version as they are stored, without opening its searchable halves."""
    version = version or current(folder)
    _check_format(read_manifest(folder, version))
    return StoredDocuments(folder / version)


def _check_format(manifest: Mapping[str, Any]) -> None:
    if manifest["inputs"]["format"] < FORMAT:
        raise IndexMismatch(
            f"index {manifest['version']} was written by an older Rolewise. Build it again: {BUILD_COMMAND}"
        )


def faults(home: Path, *, unless_known: bool = False) -> list[str]:
    """What differs between a version's folder and its manifest, a line each; none if it is sound.

    With `unless_known` a large file is not hashed again that had its hash before and that nobody wrote to since: size,
    times and place on the disk are as they were then. Its bytes may have decayed on the disk all the same.
    """
    manifest = read_manifest(home.parent, home.name)
    known = _read_checked(home) if unless_known else {}
    found, large = [], {}
    for name, expected in manifest["files"].items():
        path = home / name
        if not path.is_file():
            found.append(f"{path} is missing")
            continue
        stamp = [*_stamp(path), expected]
        if known.get(name) != stamp and sha256_of(path) != expected:
            found.append(f"{path} was altered")
        elif mapped.is_large(path):
            large[name] = stamp
    if large != known and not found:
        _keep_checked(home, large)
    return found


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file is written to or put in the place of another. Nobody can set the last of them back."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_ctime_ns


def _checked(home: Path) -> Path:
    return home.parent / f"{CHECKED}{home.name}"


def _read_checked(home: Path) -> dict[str, Any]:
    """The stamps that large files had when they were last hashed; what cannot be read counts as nothing."""
    try:
        known = json.loads(_checked(home).read_text(encoding="utf-8"))
        return known["files"] if known == sealed(known) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _keep_checked(home: Path, files: Mapping[str, Any]) -> None:
    """Where the folder cannot be written to, nothing is kept, and the next opening hashes again."""
    with contextlib.suppress(OSError):
        aside = home.parent / f"{CHECKED}{home.name}.{os.getpid()}"
        aside.write_text(json.dumps(sealed({"files": files})), encoding="utf-8")
        aside.replace(_checked(home))


def prune(folder: Path, keep: int, needed: Collection[str] = ()) -> list[str]:
    """Deletes all but the current version, those `needed` and the `keep` newest others. Returns the ids that went."""
    with Writing(folder):
        in_use = current(folder)
        others = [version for version in versions(folder) if version not in (in_use, *needed)]
        doomed = others[: max(0, len(others) - keep)]
        for version in doomed:
            gone = folder / f".{version}"  # half a version is never seen under its name
            (folder / version).rename(gone)
            shutil.rmtree(gone)
            _checked(folder / version).unlink(missing_ok=True)
    return doomed


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
