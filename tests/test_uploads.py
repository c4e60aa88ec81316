"""A person's own documents are taken whole or not at all, answered from alone, and gone when they are removed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from rag import uploads, wiring
from rag.errors import IndexMissing, SettingsError
from rag.files import Skipped
from rag.parsed import Parsed
from rag.readers.files import read_file
from rag.settings import Settings
from rag.uploads import Added, Collection, CollectionError, Totals, Uploads, safe_name
from rag.versions import LOCK, current, versions
from rag.wiring import CACHE, LiveEngine, build_collection
from tests.conftest import BAKER, MILLER, HashingEmbedder

PROJECT = Path(__file__).parents[1]
OWNER = "0123456789abcdef" * 2
COOK = "# Cook\n\n## Work\n\nCooks cook soup in Basel.\n"
RICHER = MILLER.replace("58,000", "59,000")


class InProcess:
    """Reads files as `Isolated` does, without the second that its child takes to start."""

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_file(self, path: str, member: str = "") -> tuple[str, Parsed]:
        return read_file(path, member)


def live_over(home: Path, shelf: Path) -> LiveEngine:
    settings = Settings(home=home, generator="extractive", refusal=1.0)
    build_collection(settings, [shelf], HashingEmbedder())
    return LiveEngine(settings, HashingEmbedder())


def collections_in(live: LiveEngine, home: Path) -> Uploads:
    return Uploads(live, Settings(home=home, generator="extractive", refusal=1.0))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "Isolated", InProcess)


@pytest.fixture
def live(quick: None, tmp_path: Path) -> LiveEngine:
    """The engine over a main index with one document, which no collection has."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "baker.md").write_text(BAKER)
    return live_over(tmp_path / "main", shelf)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def own(live: LiveEngine, home: Path) -> Collection:
    return collections_in(live, home).of()


@pytest.fixture
def temporary(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes a temporary file as a browser's upload makes it."""
    folder = tmp_path / "temporary"
    folder.mkdir()

    def made(content: str | bytes) -> Path:
        path = folder / str(len(list(folder.iterdir())))
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return made


Temporary = Callable[[str | bytes], Path]


def told(collection: Collection, question: str) -> str:
    return collection.engine().ask(question).text


def on_disk(home: Path) -> list[str]:
    """The files of the one-person collection."""
    return sorted(path.name for path in (home / "var/collections/own/documents").rglob("*") if path.is_file())


def test_an_answer_quotes_the_documents_of_ones_own_and_no_others(
    live: LiveEngine, own: Collection, temporary: Temporary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real reader, once
    stages: list[tuple[str, int, int]] = []
    added = own.add([("miller.md", temporary(MILLER))], lambda *stage: stages.append(stage))
    assert added == Added(added=("miller.md",))
    assert stages == [("reading", 0, 1), ("reading", 1, 1), ("indexing", 0, 1), ("indexing", 1, 1)]
    answer = own.engine().ask("How much does a Miller earn in Bern?")
    assert [one.quote for one in answer.citations] == ["A Miller earns 58,000 francs a year in Bern."]
    assert list(own.engine().version.documents) == ["miller"]
    assert list(live().version.documents) == ["baker"]
    assert own.engine().embedder is live.embedder
    assert own.engine().generator_named is live().generator_named


def test_the_list_tells_what_is_held_and_outlives_the_program(
    live: LiveEngine, own: Collection, home: Path, temporary: Temporary
) -> None:
    assert (own.is_empty, own.files(), own.totals()) == (True, (), Totals(0, 0, 0))
    assert not home.exists()
    own.add([("C:\\mine\\Miller.md", temporary(MILLER)), ("../cook.md", temporary(COOK))])
    miller, cook = collections_in(live, home).of().files()
    assert (miller.name, miller.title, miller.passages, miller.problem) == ("Miller.md", "Miller", 2, "")
    assert (cook.name, cook.title, cook.passages, cook.bytes) == ("cook.md", "cook", 1, len(COOK))
    assert miller.sha256 == hashlib.sha256(MILLER.encode()).hexdigest()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", miller.added)
    assert not own.is_empty
    assert own.totals() == Totals(2, len(MILLER) + len(COOK), 3)
    assert (home / "var/collections/own").stat().st_mode & 0o777 == 0o700


def test_the_same_name_is_replaced_and_the_same_bytes_are_nothing_new(own: Collection, temporary: Temporary) -> None:
    own.add([("miller.md", temporary(MILLER))])
    added = own.add(
        [
            ("miller.md", temporary(MILLER)),
            ("copy.md", temporary(MILLER)),
            ("cook.md", temporary(COOK)),
            ("other/cook.md", temporary(RICHER)),
        ]
    )
    assert (added.added, added.replaced, added.unchanged) == (("cook.md",), (), ("miller.md",))
    assert added.refused == (
        Skipped("copy.md", "holds the same bytes as miller.md, which is there already"),
        Skipped("cook.md", "has the name of another that was added with it; rename one"),
    )
    before = own.engine()
    assert own.add([("miller.md", temporary(RICHER))]) == Added(replaced=("miller.md",))
    assert "59,000" in told(own, "How much does a Miller earn in Bern?")
    assert "58,000" in before.ask("How much does a Miller earn in Bern?").text
    assert [one.name for one in own.files()] == ["miller.md", "cook.md"]


def test_what_is_not_taken_has_its_reason(
    own: Collection, home: Path, temporary: Temporary, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(uploads, "LARGEST", 10**6)
    monkeypatch.setattr(uploads, "MOST_BYTES", 2 * 10**6)
    monkeypatch.setattr(uploads, "MOST_FILES", 2)
    large = [temporary(f"no PDF {number}".ljust(10**6)) for number in range(3)]
    added = own.add(
        [
            ("virus.exe", temporary("x")),
            ("none", temporary("x")),
            ("..", temporary("x")),
            ("empty.md", temporary("")),
            ("large.md", temporary(b"x" * (10**6 + 1))),
            ("gone.md", tmp_path / "gone"),
        ]
    )
    formats = ".md, .markdown, .txt, .text, .html, .htm, .xhtml, .epub, .pdf, .docx, .pptx, .xlsx, .csv, .tsv, .json, .jsonl, .ndjson, .zip"
    assert added == Added(
        refused=(
            Skipped("virus.exe", f"is of no format that is read ({formats})"),
            Skipped("none", f"is of no format that is read ({formats})"),
            Skipped("a file without a name", f"is of no format that is read ({formats})"),
            Skipped("empty.md", "is empty"),
            Skipped("large.md", "is larger than 1 MB; split it"),
            Skipped("gone.md", "cannot be opened: No such file or directory"),
        )
    )
    assert on_disk(home) == []
    added = own.add([("0.pdf", large[0]), ("1.pdf", temporary(COOK)), ("2.pdf", temporary(MILLER))])
    assert added.refused == (Skipped("2.pdf", "is one too many: 2 files are kept at the most; remove others first"),)
    monkeypatch.setattr(uploads, "MOST_FILES", 3)
    added = own.add([("1.pdf", large[1]), ("2.pdf", large[2])])
    assert added.replaced == ("1.pdf",)
    assert added.refused == (Skipped("2.pdf", "is too much: 2 MB are kept at the most; remove others first"),)
    assert own.totals().bytes == 2 * 10**6
    assert on_disk(home) == ["0.pdf", "1.pdf"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("C:\\Users\\me\\Report.PDF", "Report.PDF"),
        ("../../etc/passwd.txt", "passwd.txt"),
        ("a\u202efdp.md", "afdp.md"),
        ("a\x00\n\tb.md", "a b.md"),
        (".hidden.md", "hidden.md"),
        ("..", ""),
        ("e\u0301te\u0301.md", "\u00e9t\u00e9.md"),
        ("CON.md", "_CON.md"),
        ("com1 .tar.md", "_com1 .tar.md"),
        ("console.md", "console.md"),
        ('what? "no".md', "what_ _no_.md"),
        ("tab\u00a0\u2028s.md", "tab s.md"),
        ("x" * 200 + ".docx", "x" * 115 + ".docx"),
        ("界" * 200 + ".md", "界" * 79 + ".md"),
        ("שלום.md", "שלום.md"),
        ("dots. . .md", "dots.md"),
    ],
)
def test_a_name_is_made_safe(given: str, kept: str) -> None:
    assert safe_name(given) == kept


@given(st.text(max_size=300))
def test_any_name_is_safe_and_stays_as_it_is_once_it_is(text: str) -> None:
    name = safe_name(text)
    assert safe_name(name) == name
    assert len(name) <= 121  # one more for that before a device
    assert len(name.encode()) <= 241
    assert not set(name) & set('/\\<>:"|?*')
    assert all(one.isprintable() for one in name)
    assert name == name.strip(" .") == unicodedata.normalize("NFC", name)


def test_what_cannot_be_read_is_listed_until_it_is_removed(own: Collection, temporary: Temporary) -> None:
    problem = "is not a PDF, damaged or cut short; fetch it again or save it anew"
    added = own.add([("scan.pdf", temporary("%PDF nonsense"))])
    assert added == Added(added=("scan.pdf",), problems=(Skipped("scan.pdf", problem),))
    with pytest.raises(IndexMissing, match=r"none of your own documents can be read\. The list says why; add others\."):
        own.engine()
    own.add([("miller.md", temporary(MILLER))])
    assert [(one.name, one.passages, one.problem) for one in own.files()] == [
        ("scan.pdf", 0, problem),
        ("miller.md", 2, ""),
    ]
    assert "58,000" in told(own, "How much does a Miller earn in Bern?")
    assert own.remove(["miller.md"]) == ("miller.md",)
    with pytest.raises(IndexMissing, match="none of your own documents can be read"):
        own.engine()
    assert own.remove(["scan.pdf", "nothing.md"]) == ("scan.pdf",)
    with pytest.raises(IndexMissing, match=r"there are no documents of your own yet\. Add some, then ask\."):
        own.engine()


def test_an_archive_is_one_file_of_many_documents(own: Collection, temporary: Temporary) -> None:
    path = temporary(b"")
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {"a/miller.md": MILLER, "cook.md": COOK, "photo.png": "x"}.items():
            archive.writestr(name, text)
    empty = temporary(b"")
    zipfile.ZipFile(empty, "w").close()
    own.add([("all.zip", path), ("empty.zip", empty)])
    archive_held, empty_held = own.files()
    assert (archive_held.title, archive_held.passages) == ("", 3)
    assert archive_held.problem.startswith("photo.png: no reader for .png")
    assert (empty_held.passages, empty_held.problem) == (0, "holds no file that can be read")
    assert sorted(own.engine().version.documents) == ["all-zip-a-miller", "all-zip-cook"]


def test_owners_are_apart_and_named_by_32_digits(live: LiveEngine, home: Path, temporary: Temporary) -> None:
    both = collections_in(live, home)
    both.of(OWNER).add([("miller.md", temporary(MILLER))])
    assert both.of().is_empty
    assert both.of(OWNER) is both.of(OWNER)
    assert [path.name for path in (home / "var/collections").iterdir()] == [OWNER]
    for owner in ("own", "..", OWNER[:-1], OWNER.upper(), f"{OWNER}\n", "٠" * 32, "g" * 32):
        with pytest.raises(SettingsError, match="an owner of documents is 32 hexadecimal digits, or nothing"):
            both.of(owner)


def longest_in(cache: Path) -> bytes:
    """A stretch of the longest text that the cache keeps, as it is compressed there."""
    with contextlib.closing(sqlite3.connect(cache)) as database:
        (blob,) = database.execute("SELECT body FROM texts ORDER BY length(body) DESC").fetchone()
    return bytes(blob[40:80])


def texts_in(cache: Path) -> set[str]:
    """The hashes of the files whose texts are kept."""
    with contextlib.closing(sqlite3.connect(cache)) as database:
        return {key[:64] for (key,) in database.execute("SELECT key FROM texts")}


def bytes_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_what_is_removed_is_gone_from_the_disk(own: Collection, home: Path, temporary: Temporary) -> None:
    folder = home / "var/collections/own"
    secret = "# Zebra\n\n" + "".join(f"The zebra {number} is secret.\n\n" for number in range(60))
    own.add([("miller.md", temporary(MILLER)), ("zebra.md", temporary(secret))])
    kept = longest_in(folder / "index/build" / CACHE)
    before = own.engine()
    assert (kept in bytes_below(folder), b"zebra" in bytes_below(folder)) == (True, True)
    assert own.remove(["zebra.md"]) == ("zebra.md",)
    assert (kept in bytes_below(folder), b"zebra" in bytes_below(folder)) == (False, False)
    assert b"Zebra" not in bytes_below(folder)
    assert versions(home / "var/collections/own/index/build") == [own.engine().version.info.version]
    assert list(own.engine().version.documents) == ["miller"]
    assert sorted(before.version.documents) == ["miller", "zebra"]
    assert "secret" in before.ask("Which zebra is secret?").text
    own.clear()
    assert bytes_below(folder) == b""
    assert own.is_empty
    with pytest.raises(IndexMissing):
        own.engine()


def test_one_more_document_embeds_and_reads_only_that(
    own: Collection, temporary: Temporary, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    class Counting(InProcess):
        def read_file(self, path: str, member: str = "") -> tuple[str, Parsed]:
            read.append(Path(path).name)
            return read_file(path, member)

    monkeypatch.setattr(wiring, "Isolated", Counting)
    own.add([("miller.md", temporary(MILLER)), ("scan.pdf", temporary("nonsense"))])
    own.add([("cook.md", temporary(COOK))])
    own.remove(["miller.md"])
    assert sorted(read) == ["cook.md", "miller.md", "scan.pdf"]  # files are read side by side, in no order


class Stopped(Exception):
    pass


def test_a_stopped_addition_leaves_all_as_it_was(own: Collection, home: Path, temporary: Temporary) -> None:
    own.add([("miller.md", temporary(MILLER))])
    before, folder = own.files(), home / "var/collections/own"

    def stop(stage: str, *_: int) -> None:
        if stage == "indexing":
            raise Stopped

    secret = "# Zebra\n\n" + "".join(f"The zebra {number} is secret.\n\n" for number in range(60))
    with pytest.raises(Stopped):
        own.add([("zebra.md", temporary(secret)), ("miller.md", temporary(RICHER))], stop)
    assert (own.files(), on_disk(home)) == (before, ["miller.md"])
    assert "58,000" in told(own, "How much does a Miller earn in Bern?")
    assert texts_in(folder / "index/build" / CACHE) == {one.sha256 for one in before}
    own.add([("cook.md", temporary(COOK))])
    with pytest.raises(Stopped):
        own.remove(["miller.md"], stop)
    assert on_disk(home) == ["cook.md", "miller.md"]


def test_additions_at_once_take_turns(
    own: Collection, home: Path, temporary: Temporary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "WAIT_SECONDS", 120)  # for three before it, on a machine that does much else
    outcomes: list[Added] = []

    def add(name: str, path: Path) -> None:
        outcomes.append(own.add([(name, path)]))

    given = {f"{number}.md": temporary(f"# Cook {number}\n\nCooks cook soup {number}.\n") for number in range(4)}
    threads = [threading.Thread(target=add, args=one) for one in given.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for one in outcomes for name in one.added) == sorted(given) == on_disk(home)
    assert len(own.engine().version.documents) == 4


def test_another_program_that_is_at_it_is_waited_for_but_not_for_ever(
    live: LiveEngine, own: Collection, home: Path, temporary: Temporary, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.add([("miller.md", temporary(MILLER))])
    with FileLock(home / "var/collections/own" / LOCK):
        other = collections_in(live, home).of()  # does not wait to clear up
        monkeypatch.setattr(uploads, "WAIT_SECONDS", 0.1)
        with pytest.raises(CollectionError, match=r"another program is changing these documents\. Wait until it"):
            other.clear()
        assert "58,000" in told(other, "How much does a Miller earn in Bern?")
    own.add([("cook.md", temporary(COOK))])
    assert sorted(other.engine().version.documents) == ["cook", "miller"]
    own.clear()
    with pytest.raises(IndexMissing):
        other.engine()


def test_only_so_many_indexes_stay_open(
    live: LiveEngine, home: Path, temporary: Temporary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_OPEN", 2)
    all_of_them = collections_in(live, home)
    owners = [all_of_them.of(digit * 32) for digit in "123"]
    for owner in owners:
        owner.add([("miller.md", temporary(MILLER))])
    first, second, third = (owner.engine() for owner in owners)
    assert (owners[2].engine() is third, owners[1].engine() is second, owners[0].engine() is first) == (
        True,
        True,
        False,
    )


def test_damage_is_told_and_mended(own: Collection, home: Path, temporary: Temporary) -> None:
    own.add([("miller.md", temporary(MILLER)), ("cook.md", temporary(COOK))])
    folder = home / "var/collections/own"
    build = folder / "index/build"
    (build / current(build) / "vectors.faiss").write_bytes(b"x")
    with pytest.raises(CollectionError, match=r"^the index of your own documents is damaged or .*\. Build it again\.$"):
        own.engine()
    own.rebuild()
    assert "58,000" in told(own, "How much does a Miller earn in Bern?")
    next(folder.glob("documents/*/cook.md")).unlink()
    own.rebuild()
    assert [(one.name, one.problem) for one in own.files()] == [
        ("miller.md", ""),
        ("cook.md", "is gone from the disk; add it again"),
    ]
    assert own.add([("cook.md", temporary(COOK))]) == Added(replaced=("cook.md",))
    (folder / "files.json").write_text('{"version": 1')
    with pytest.raises(CollectionError, match=r"the list of your own documents is damaged\. Remove all of them, then"):
        own.add([("baker.md", temporary(BAKER))])
    assert on_disk(home) == ["cook.md", "miller.md"]
    own.clear()
    assert own.add([("baker.md", temporary(BAKER))]) == Added(added=("baker.md",))


KILLED = """
import sys
from pathlib import Path
from rag import wiring
from tests import killed_builds
from tests.test_uploads import InProcess, collections_in, live_over
from rag.tokens import TiktokenTokenizer
import bm25s, faiss

wiring.Isolated = InProcess
shelf, base, folder = map(Path, sys.argv[1:4])
live = live_over(folder.parent / "main", shelf)
TiktokenTokenizer().count("load the vocabulary")

def add(documents, home):
    collections_in(live, home).of().add([("cook.md", shelf / "cook.md"), ("miller.md", shelf / "richer.md")])

def remove(documents, home):
    collections_in(live, home).of().remove(["miller.md"])

for name, change in {"add": add, "remove": remove}.items():
    killed_builds.build = change
    step, killed = -10, True
    while killed:
        step += 11
        home = folder / f"{name} {step}"
        killed_builds.shutil.copytree(base, home)
        killed = killed_builds.killed_at(step, shelf, home)
"""


def test_a_change_may_be_killed_at_any_step(live: LiveEngine, own: Collection, home: Path, tmp_path: Path) -> None:
    folder, shelf = tmp_path / "killed", tmp_path / "shelf"
    folder.mkdir()
    for name, text in {"miller.md": MILLER, "richer.md": RICHER, "cook.md": COOK}.items():
        (shelf / name).write_text(text)
    own.add([("miller.md", shelf / "miller.md"), ("baker.md", shelf / "baker.md")])
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(shelf), str(home), str(folder)]
    subprocess.run(command, check=True, cwd=PROJECT)
    before = {"miller.md": "58,000", "baker.md": ""}
    after = {"add": {"miller.md": "59,000", "baker.md": "", "cook.md": ""}, "remove": {"baker.md": ""}}
    for change, wanted in after.items():
        seen = []
        killed = sorted(folder.glob(f"{change} *"), key=lambda path: int(path.name.split()[1]))
        assert len(killed) > 5  # the last of them was not killed
        for one in killed:
            collection = collections_in(live, one).of()
            names = [held.name for held in collection.files()]
            state = before if names == list(before) else wanted
            assert names == list(state)
            assert on_disk(one) == sorted(state)
            version = collection.engine().version
            assert sorted(document.source for document in version.documents.values()) == sorted(state)
            build = one / "var/collections/own/index/build"
            assert [path.name for path in build.iterdir() if path.is_dir()] == [version.info.version]
            if "miller.md" in state:
                assert state["miller.md"] in told(collection, "How much does a Miller earn in Bern?")
            assert texts_in(build / CACHE) <= {held.sha256 for held in collection.files()}
            seen.append(state is before)
        assert seen == sorted(seen, reverse=True)
        assert (seen[0], seen[-1]) == (True, False)
    again = collections_in(live, folder / "add 1").of()
    assert again.add([("cook.md", shelf / "cook.md")]) == Added(added=("cook.md",))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root may mount")
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if (run := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"mounting is not permitted here: {run.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_full_disk_all_stays_as_it_was(live: LiveEngine, small_disk: Path, temporary: Temporary) -> None:
    own = collections_in(live, small_disk).of()
    own.add([("miller.md", temporary(MILLER)), ("cook.md", temporary(COOK))])
    before = own.files()
    line = r"^your own documents cannot be changed \(.*\)\. Check the folder's rights and the space on the disk\.$"
    many = "".join(f"# Chapter {number}\n\nA word of its own is {number}.\n\n" for number in range(300))
    for content in ("word " * 10**6, many):  # it cannot be copied, it can be copied but not indexed
        with pytest.raises(CollectionError, match=line) as raised:
            own.add([("large.md", temporary(content))])
        assert str(small_disk) not in str(raised.value)
        assert own.files() == before
        assert on_disk(small_disk) == ["cook.md", "miller.md"]
        assert "58,000" in told(own, "How much does a Miller earn in Bern?")
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(CollectionError, match=line):
        own.remove(["cook.md"])
    assert own.files() == before
    assert "58,000" in told(collections_in(live, small_disk).of(), "How much does a Miller earn in Bern?")
    own.clear()
    assert on_disk(small_disk) == []
    ballast.unlink()
    assert own.add([("miller.md", temporary(MILLER))]) == Added(added=("miller.md",))


READ_ONLY = """
import os, sys
from pathlib import Path
from rag import wiring
from rag.errors import RolewiseError
from tests.test_uploads import InProcess, collections_in, live_over
wiring.Isolated = InProcess
main, home, shelf = map(Path, sys.argv[1:])
live = live_over(main, shelf)
live().ask("What is loaded?")
if not os.geteuid():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
own = collections_in(live, home).of()
for change in (lambda: own.add([("baker.md", shelf / "baker.md")]), lambda: own.remove(["miller.md"]), own.clear):
    try:
        change()
    except RolewiseError as error:
        print(error)
print(own.engine().ask("How much does a Miller earn in Bern?").text)
"""


def test_where_nothing_may_be_written_all_stays_as_it_was(live: LiveEngine, temporary: Temporary) -> None:
    with tempfile.TemporaryDirectory() as name:  # the folders of pytest are closed to others
        folder = Path(name)
        folder.chmod(0o755)
        shelf, home = folder / "shelf", folder / "home"
        shelf.mkdir()
        (shelf / "baker.md").write_text(BAKER)
        collections_in(live, home).of().add([("miller.md", temporary(MILLER))])
        inside = [home, *home.rglob("*")]
        for path in inside:
            path.chmod(0o555 if path.is_dir() else 0o444)
        command = [sys.executable, "-W", "ignore", "-c", READ_ONLY, f"{folder}/main", str(home), str(shelf)]
        run = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
        for path in inside:
            path.chmod(0o755)
    line = (
        "your own documents cannot be changed (Permission denied). Check the folder's rights and the space on the disk."
    )
    assert run.stdout.splitlines() == [line, line, line, "A Miller earns 58,000 francs a year in Bern. [1]"], run.stderr
    assert set(run.stderr.splitlines()) <= {line}
