"""Documents of a person's own: files that were given, and an index over them alone.

    var/collections/OWNER/files.json                which files there are, and the index version made of them
                          documents/HASH/NAME       their bytes, never changed once they lie there
                          index/build/              as in any home

`files.json` is what counts, and is replaced by one rename after the new index is there. A change happens whole or not
at all, wherever it fails or is killed: what the list does not know is removed by the next change or the next start.
What is removed is gone from the index and its cache too. Several threads and processes may use a collection; they take
turns at changing it, and whoever asks goes on with the version before. What was handed over is left to the caller.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from filelock import FileLock, Timeout

from rag.answering import Engine
from rag.errors import IndexMissing, RolewiseError, SettingsError, Unreadable, VersionError
from rag.files import Skipped
from rag.readers import READERS
from rag.readers.files import ARCHIVE
from rag.readings import SETTLED
from rag.safety import without_paths
from rag.settings import Settings
from rag.sources import Documents, Progress
from rag.versions import LOCK, current, prune, read_texts, switch, versions
from rag.wiring import CACHE, LiveEngine, build_collection, forget_others

logger = logging.getLogger(__name__)

FORMATS = (*READERS, ARCHIVE)
"""The name endings that are taken."""
LARGEST = 50 * 10**6
"""Bytes of a file."""
MOST_FILES = 200
MOST_BYTES = 500 * 10**6
"""Of all files of a collection together."""
LONGEST_NAME = 120
"""Characters, and twice as many bytes: file systems allow 255."""
MOST_OPEN = 16
"""Collections whose index is kept in memory, those that were asked last."""
WAIT_SECONDS = 10.0
"""For another process that is changing the collection. Threads of this one wait as long as it takes."""
OWN = "own"
"""The folder's name where there is one person only."""

_LIST = "files.json"
_ADDING = ".adding"
_LOST = "is gone from the disk; add it again"
_CHUNK = 2**20
_OWNER = re.compile(r"[0-9a-f]{32}")
_FORBIDDEN = re.compile(r'[<>:"|?*]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)
"""Names that mean a device on Windows, whatever their ending."""


class CollectionError(RolewiseError):
    """A collection cannot be read or changed. It is as it was before."""


@dataclass(frozen=True, slots=True)
class Held:
    """A file of a collection. `added` is UTC: "2026-01-31T23:59:59Z".

    `title` and `passages` are those of its document; an archive of several has no title. `problem` says why the file,
    or a part of it, could not be read. Names and titles are untrusted text.
    """

    name: str
    sha256: str
    bytes: int
    added: str
    title: str = ""
    passages: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """What became of the files that were given, by the names under which they are kept, or would have been.

    `problems` are those of files that are kept but could not be read.
    """

    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """They took the place of other content of the same name."""
    unchanged: tuple[str, ...] = ()
    refused: tuple[Skipped, ...] = ()
    problems: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    files: int
    bytes: int
    passages: int


@dataclass(frozen=True, slots=True)
class _State:
    """What `files.json` holds. The version is "" where no file can be read."""

    version: str = ""
    files: tuple[Held, ...] = ()


class Uploads:
    """The collections of all owners. They share the embedder and the generators of the engine over the main index."""

    def __init__(self, engine: LiveEngine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._lock = threading.Lock()
        self._collections: dict[str, Collection] = {}
        self._open: OrderedDict[Collection, None] = OrderedDict()

    def of(self, owner: str = "") -> Collection:
        """The collection of an owner: 32 hexadecimal digits, or "" where there is one person only.

        Raises SettingsError for any other. What a change that was killed left behind is cleared away.
        """
        if owner and not _OWNER.fullmatch(owner):
            raise SettingsError("an owner of documents is 32 hexadecimal digits, or nothing.")
        with self._lock:
            if known := self._collections.get(owner):
                return known
            home = self._settings.home / "var" / "collections" / (owner or OWN)
            settings = self._settings.model_copy(update={"home": home, "engine": "files"})
            made = self._collections[owner] = Collection(self._engine, settings, self._asked)
        made.recover()
        return made

    def _asked(self, collection: Collection) -> None:
        with self._lock:
            self._open[collection] = None
            self._open.move_to_end(collection)
            oldest = self._open.popitem(last=False)[0] if len(self._open) > MOST_OPEN else None
        if oldest:
            oldest.close()


class Collection:
    """The files of one owner and the index over them. Made by `Uploads`; any thread may use it."""

    def __init__(self, engine: LiveEngine, settings: Settings, asked: Callable[[Collection], None]) -> None:
        self._live = engine
        self._settings = settings
        self._asked = asked
        self._home = settings.home
        self._documents = settings.home / "documents"
        self._turn = threading.Lock()
        self._opening = threading.Lock()
        self._opened: tuple[str, Engine] | None = None

    @property
    def is_empty(self) -> bool:
        return not self._state().files

    def files(self) -> Sequence[Held]:
        """In the order in which they were first added."""
        return self._state().files

    def totals(self) -> Totals:
        files = self.files()
        return Totals(len(files), sum(one.bytes for one in files), sum(one.passages for one in files))

    def engine(self) -> Engine:
        """The engine over the documents as they are now.

        Raises IndexMissing where there is none to ask, CollectionError where the index must be built again.
        """
        while True:
            state = self._state()
            with self._opening:
                if self._opened and self._opened[0] != state.version:
                    self._opened = None
                if not state.version:
                    raise IndexMissing(
                        "none of your own documents can be read. The list says why; add others."
                        if state.files
                        else "there are no documents of your own yet. Add some, then ask."
                    )
                try:
                    opened = self._opened or (state.version, self._live.over(self._settings, state.version))
                except (VersionError, OSError) as error:
                    if self._state().version != state.version:
                        continue  # it was changed meanwhile
                    raise CollectionError(
                        "the index of your own documents is damaged or was built with other settings. Build it again."
                    ) from error
                self._opened = opened
            self._asked(self)
            return opened[1]

    def close(self) -> None:
        """Lets go of the opened index. The next question opens it again."""
        with self._opening:
            self._opened = None

    def add(self, files: Iterable[tuple[str, Path]], progress: Progress = lambda *_: None) -> Added:
        """Takes copies of files, each with the name that the person gave it, and builds the index over all.

        A file of the same name is replaced. A file that cannot be read is kept with its `problem`. Raises
        CollectionError, and whatever `progress` raises to stop it; then none of them is taken.
        """
        with self._changing() as state:
            batch = _Batch(self._documents, state.files)
            for given, path in files:
                batch.take(given, path)
            if batch.new:
                state = self._changed(tuple(batch.files.values()), progress)
        problems = (Skipped(one.name, one.problem) for one in state.files if one.problem and one.name in batch.new)
        return Added(
            added=tuple(name for name, was_there in batch.new.items() if not was_there),
            replaced=tuple(name for name, was_there in batch.new.items() if was_there),
            unchanged=tuple(batch.unchanged),
            refused=tuple(batch.refused),
            problems=tuple(problems),
        )

    def remove(self, names: Iterable[str], progress: Progress = lambda *_: None) -> tuple[str, ...]:
        """Deletes the files with these names, with all that was made of them, and tells which were there.

        Raises as `add`; then none of them is gone.
        """
        doomed = set(names)
        with self._changing() as state:
            gone = tuple(one.name for one in state.files if one.name in doomed)
            if gone:
                self._changed(tuple(one for one in state.files if one.name not in doomed), progress)
        return gone

    def rebuild(self, progress: Progress = lambda *_: None) -> None:
        """Reads all files again and builds the index: after damage, or for another embedder. Raises as `add`."""
        with self._changing() as state:
            self._changed(tuple(replace(one, problem="") for one in state.files), progress)

    def clear(self) -> None:
        """Deletes all files and all that was made of them. Needs no space on the disk, and no list that is sound."""
        if self._home.is_dir():
            with self._locked():
                (self._home / _LIST).unlink(missing_ok=True)
                self._settle(_State())
                self.close()

    def recover(self) -> None:
        """Clears away what a change that was killed has left, unless one is going on."""
        if self._home.is_dir():
            try:
                with self._changing(wait=0):
                    pass
            except CollectionError as error:
                logger.warning("%s", error)

    @contextlib.contextmanager
    def _locked(self, wait: float | None = None) -> Iterator[None]:
        with self._turn, _told():
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)  # nobody else on this machine may read it
            lock = FileLock(self._home / LOCK)
            try:
                lock.acquire(timeout=WAIT_SECONDS if wait is None else wait)
            except Timeout as error:
                raise CollectionError(
                    "another program is changing these documents. Wait until it is done, then try again."
                ) from error
            try:
                yield
            finally:
                lock.release()

    @contextlib.contextmanager
    def _changing(self, wait: float | None = None) -> Iterator[_State]:
        """The right to change the collection, and what it holds. Where the block fails, what the list lacks goes."""
        with self._locked(wait):
            self._restore()
            try:
                yield self._state()
            except BaseException as error:
                with contextlib.suppress(OSError, RolewiseError):
                    if isinstance(error, OSError):  # the disk may be full of what was embedded so far
                        for path in self._settings.build.glob(f"{CACHE}*"):
                            path.unlink()
                    self._restore()
                raise

    def _changed(self, files: tuple[Held, ...], progress: Progress) -> _State:
        """Builds the index over these files, makes them what the collection holds, and removes all else."""
        files = tuple(one if self._path(one).is_file() else _unread(one, _LOST) for one in files)
        to_read = [one for one in files if one.passages or not one.problem]  # the others are no better by now
        state = _State("", files)
        if to_read:
            paths = [self._path(one) for one in to_read]
            version, documents = build_collection(self._settings, paths, self._live.embedder, progress)
            passages = read_texts(self._settings.build, version).counts() if version else {}
            found = {one.name: _described(one, documents, passages) for one in to_read}
            state = _State(version, tuple(found.get(one.name, one) for one in files))
        _write(self._home / _LIST, json.dumps(asdict(state), ensure_ascii=False))
        self._settle(state)
        return state

    def _state(self) -> _State:
        """Raises CollectionError where the list cannot be read."""
        with _told():
            try:
                row = json.loads((self._home / _LIST).read_text(encoding="utf-8"))
                return _State(row["version"], tuple(Held(**one) for one in row["files"]))
            except FileNotFoundError:
                return _State()
            except (ValueError, KeyError, TypeError) as error:
                raise CollectionError(
                    "the list of your own documents is damaged. Remove all of them, then add them again."
                ) from error

    def _path(self, file: Held) -> Path:
        return _place(self._documents, file.sha256, file.name)

    def _restore(self) -> None:
        """Makes the folder what the list says, and forgets what was read of files that were not taken."""
        state = self._state()
        if self._settle(state) and (self._settings.build / CACHE).is_file():
            forget_others(self._settings, [path for path in map(self._path, state.files) if path.is_file()])

    def _settle(self, state: _State) -> bool:
        """Removes what is not of this state, and tells whether there were other files."""
        kept = {self._path(one) for one in state.files}
        others = [path for path in self._documents.rglob("*") if path.is_file() and path not in kept]
        for path in others:
            path.unlink()
        for folder in self._documents.glob("*"):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        build = self._settings.build
        if state.version in versions(build):
            if _current(build) != state.version:
                switch(build, state.version)
            prune(build, keep=0)
        elif not state.version and build.is_dir():
            shutil.rmtree(build)
        return bool(others)


class _Batch:
    """Files that are being taken into a collection: what it will hold, and what became of each."""

    def __init__(self, documents: Path, files: Iterable[Held]) -> None:
        self._documents = documents
        self.files = {one.name: one for one in files}
        self.new: dict[str, bool] = {}
        """Whether there was a file of that name before."""
        self.unchanged: list[str] = []
        self.refused: list[Skipped] = []

    def take(self, given: str, path: Path) -> None:
        """Raises OSError where the copy cannot be written."""
        name = safe_name(given)
        aside = self._documents / _ADDING
        self._documents.mkdir(exist_ok=True)
        try:
            if PurePosixPath(name).suffix.lower() not in FORMATS:
                raise Unreadable(f"is of no format that is read ({', '.join(FORMATS)})")
            self._keep(name, *_copied(path, aside), aside)
        except Unreadable as error:
            self.refused.append(Skipped(name or "a file without a name", str(error)))
        finally:
            aside.unlink(missing_ok=True)

    def _keep(self, name: str, sha256: str, size: int, aside: Path) -> None:
        before = self.files.get(name)
        if before and before.sha256 == sha256 and not before.problem:
            self.unchanged.append(name)
            return
        if name in self.new:
            raise Unreadable("has the name of another that was added with it; rename one")
        others = [one for one in self.files.values() if one is not before]
        if same := [one.name for one in others if one.sha256 == sha256]:
            raise Unreadable(f"holds the same bytes as {same[0]}, which is there already")
        if len(others) >= MOST_FILES:
            raise Unreadable(f"is one too many: {MOST_FILES} files are kept at the most; remove others first")
        if sum(one.bytes for one in others) + size > MOST_BYTES:
            raise Unreadable(f"is too much: {MOST_BYTES // 10**6} MB are kept at the most; remove others first")
        target = _place(self._documents, sha256, name)
        target.parent.mkdir(exist_ok=True)
        aside.replace(target)
        _sync(target.parent)
        self.new[name] = before is not None
        added = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.files[name] = Held(name, sha256, size, added)


def safe_name(given: str) -> str:
    """The last part of a name that a person or a program gave, as a file may be called on any system; "" if nothing.

    No folders, no control characters or others that cannot be seen or turn the direction of writing, no device of
    Windows, not hidden, not too long; the ending stays.
    """
    last = re.split(r"[/\\]", given)[-1]
    shown = "".join(one if one.isprintable() else " " if one.isspace() else "" for one in last)
    plain = unicodedata.normalize("NFC", _FORBIDDEN.sub("_", " ".join(shown.split()))).strip(" .")
    if _RESERVED.fullmatch(plain):
        plain = f"_{plain}"
    ending = PurePosixPath(plain).suffix[:LONGEST_NAME]
    stem = plain.removesuffix(ending)[: LONGEST_NAME - len(ending)]
    while len(f"{stem}{ending}".encode()) > 2 * LONGEST_NAME:
        stem = stem[:-1]
    return f"{stem.rstrip(' .')}{ending}"


def _place(documents: Path, sha256: str, name: str) -> Path:
    return documents / sha256[:16] / name


def _copied(source: Path, target: Path) -> tuple[str, int]:
    """Copies a file to the disk: its SHA-256 and its bytes. Raises Unreadable for one that is not taken."""
    try:
        read = source.open("rb")
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from error
    digest, size = hashlib.sha256(), 0
    with read, target.open("wb") as written:
        while chunk := read.read(_CHUNK):
            size += len(chunk)
            if size > LARGEST:
                raise Unreadable(f"is larger than {LARGEST // 10**6} MB; split it")
            digest.update(chunk)
            written.write(chunk)
        if not size:
            raise Unreadable("is empty")
        written.flush()
        os.fsync(written.fileno())
    settled = time.time() - 2 * SETTLED  # it never changes, so that the next build need not read it again
    os.utime(target, (settled, settled))
    return digest.hexdigest(), size


def _described(file: Held, documents: Documents, passages: Mapping[str, int]) -> Held:
    """The file with what the reader and the index made of it."""
    made = [one for one in documents.identities if _file_of(one.source) == file.name]
    faults = [one for one in documents.skipped if _file_of(one.source) == file.name]
    if not made:
        return _unread(file, faults[0].reason if faults else "holds no file that can be read")
    problem = f"{faults[0].source.removeprefix(f'{file.name}/')}: {faults[0].reason}" if faults else ""
    title = made[0].title if len(made) == 1 else ""
    return replace(file, title=title, passages=sum(passages[one.id] for one in made), problem=problem)


def _unread(file: Held, problem: str) -> Held:
    return replace(file, title="", passages=0, problem=problem)


def _file_of(source: str) -> str:
    """The file that a document stands in: itself, or the archive."""
    return source.partition("/")[0]


def _current(build: Path) -> str:
    try:
        return current(build)
    except IndexMissing:
        return ""


def _write(path: Path, text: str) -> None:
    """Puts the text in the place of what the file holds, whole or not at all."""
    aside = path.with_name(f".{path.name}")
    try:
        aside.write_text(text, encoding="utf-8")
        _sync(aside)
        aside.replace(path)
        _sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Returns when a file, or what a folder lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """An expected failure becomes a CollectionError, without a path of the machine."""
    try:
        yield
    except CollectionError:
        raise
    except OSError as error:
        raise CollectionError(
            f"your own documents cannot be changed ({error.strerror or 'the disk fails'}). "
            "Check the folder's rights and the space on the disk."
        ) from error
    except RolewiseError as error:
        raise CollectionError(without_paths(str(error))) from error
