"""Whatever happens to a build or to the files of an index, the last good version answers and the error names the remedy."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import rag.versions
from rag.cache import Cache
from rag.errors import IndexBusy, IndexDamaged
from rag.indexing import Builder, BuildReport
from rag.models import pull
from rag.parts import make_store
from rag.settings import Settings
from rag.sources import read_documents
from rag.versions import (
    CURRENT,
    LOCK,
    IndexVersion,
    current,
    faults,
    latest_sound,
    open_version,
    prune,
    switch,
    versions,
)
from rag.wiring import CACHE, LiveEngine, build_index
from tests.conftest import HashingEmbedder

PROJECT = Path(__file__).parents[1]


def build(documents: Path, folder: Path) -> BuildReport:
    folder.mkdir(exist_ok=True)
    with Cache(folder / CACHE) as cache:
        builder = Builder(HashingEmbedder(), make_store(), 200, cache)
        return builder.build(read_documents([documents], cache=cache), folder)


def answering(folder: Path) -> tuple[IndexVersion, str]:
    """The version that answers, and the notice that goes with it."""

    def opened(version: str) -> IndexVersion:
        return open_version(
            folder,
            embedder="hashing",
            embedder_sha256="0" * 64,
            passage_tokens=200,
            store=make_store(),
            version=version,
        )

    return latest_sound(folder, opened)


@pytest.fixture
def changed(shelf: Path, tmp_path: Path) -> Path:
    """The shelf with one document more and one that is another."""
    folder = tmp_path / "changed"
    shutil.copytree(shelf, folder)
    (folder / "cook.md").write_text("# Cook\n\nCooks cook soup.\n")
    (folder / "baker.md").write_text("# Baker\n\nBakers bake at night.\n")
    return folder


@pytest.fixture
def two_versions(shelf: Path, changed: Path, tmp_path: Path) -> tuple[Path, str, str]:
    """A folder of two versions, the second in use."""
    folder = tmp_path / "build"
    return folder, build(shelf, folder).version, build(changed, folder).version


def test_a_build_may_be_killed_at_any_step(shelf: Path, changed: Path, tmp_path: Path) -> None:
    base, folder = tmp_path / "base", tmp_path / "killed"
    first = build(shelf, base).version
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.killed_builds", changed, base, folder], check=True, cwd=PROJECT
    )
    builds = sorted(folder.iterdir(), key=lambda path: int(path.name))
    assert len(builds) > 30  # the last of them was not killed
    second = current(builds[-1])
    assert second != first
    seen = []
    for one in builds:
        version, notice = answering(one)
        assert not notice
        assert faults(one / version.info.version) == []
        seen.append(version.info.version)
    for one in builds[::7]:
        assert build(changed, one).version == second == answering(one)[0].info.version
        assert {path.name for path in one.iterdir() if path.is_dir()} == {first, second}
    switched = seen.index(second)
    assert seen == [first] * switched + [second] * (len(seen) - switched)


def test_any_altered_byte_of_an_index_is_seen_and_the_version_before_answers(
    two_versions: tuple[Path, str, str],
) -> None:
    folder, first, second = two_versions
    chance = random.Random(0)
    files = [path for path in (folder / second).rglob("*") if path.is_file()]
    assert len(files) > 8
    for path in [folder / CURRENT, *files]:
        whole = path.read_bytes()
        places = {0, len(whole) // 2, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(5))}
        for place in places:
            altered = bytearray(whole)
            altered[place] ^= 1 << chance.randrange(8)
            path.write_bytes(altered)
            version, notice = answering(folder)
            if version.info.version == second:  # white space at the end of the manifest or of CURRENT
                assert path.name in ("manifest.json", CURRENT)
                assert not bytes([whole[place]]).strip() or path.name == CURRENT
            else:
                assert version.info.version == first
                assert (path.name in notice) or path.name == CURRENT
                assert "python -m rag index build" in notice
            path.write_bytes(whole)
    assert answering(folder)[1] == ""


def test_any_file_of_an_index_may_be_cut_short_or_lost(two_versions: tuple[Path, str, str]) -> None:
    folder, first, second = two_versions
    for path in [path for path in (folder / second).rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert answering(folder)[0].info.version == first
        path.unlink()
        assert answering(folder)[0].info.version == first
        path.write_bytes(whole)
    (folder / CURRENT).unlink()
    assert answering(folder)[0].info.version == second


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were hashed; every file counts as large."""
    names: list[str] = []

    def sha256_of(path: Path) -> str:
        names.append(path.name)
        return real(path)

    real = rag.versions.sha256_of
    monkeypatch.setattr("rag.mapped.LARGE", 1)
    monkeypatch.setattr("rag.versions.sha256_of", sha256_of)
    return names


def test_a_large_file_is_hashed_when_it_is_built_and_then_only_if_it_was_touched(
    shelf: Path, hashed: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "build"
    version = build(shelf, folder).version
    assert "vectors.faiss" in hashed
    hashed.clear()
    assert answering(folder)[0].info.version == version
    assert hashed == []
    assert faults(folder / version) == []
    assert {"vectors.faiss", "documents.jsonl", "passages.npy"} <= set(hashed)
    hashed.clear()
    os.utime(folder / version / "vectors.faiss")
    assert answering(folder)[1] == ""
    assert hashed == ["vectors.faiss"]
    hashed.clear()
    assert answering(folder)[1] == ""
    assert hashed == []


@pytest.mark.usefixtures("hashed")
def test_an_altered_byte_of_a_large_file_is_seen_though_its_time_is_set_back(
    two_versions: tuple[Path, str, str],
) -> None:
    folder, first, second = two_versions
    for path in [path for path in (folder / second).rglob("*") if path.is_file() and path.name != "manifest.json"]:
        answering(folder)
        facts = path.stat()
        with path.open("r+b") as file:
            file.seek(facts.st_size // 2)
            byte = file.read(1)[0]
            file.seek(facts.st_size // 2)
            file.write(bytes([byte ^ 1]))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert answering(folder)[0].info.version == first
        with path.open("r+b") as file:
            file.seek(facts.st_size // 2)
            file.write(bytes([byte]))
        assert answering(folder)[0].info.version == second


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": {"vectors.faiss": 1}}', '{"files": 3, "seal": 4}'])
def test_a_damaged_note_of_what_was_checked_counts_as_none(
    content: str, shelf: Path, hashed: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "build"
    version = build(shelf, folder).version
    (folder / f".checked.{version}").write_text(content)
    hashed.clear()
    assert answering(folder)[0].info.version == version
    assert "vectors.faiss" in hashed


def test_a_note_of_what_was_checked_goes_with_its_version(
    hashed: list[str], two_versions: tuple[Path, str, str]
) -> None:
    folder, first, second = two_versions
    assert hashed
    assert {path.name for path in folder.glob(".checked.*")} == {f".checked.{first}", f".checked.{second}"}
    prune(folder, keep=0)
    assert [path.name for path in folder.glob(".checked.*")] == [f".checked.{second}"]


def test_where_no_version_is_sound_the_error_names_the_remedy(shelf: Path, tmp_path: Path) -> None:
    version = build(shelf, tmp_path / "build").version
    (tmp_path / "build" / version / "vectors.faiss").write_bytes(b"")
    with pytest.raises(
        IndexDamaged, match=r"vectors\.faiss was altered\. Build the index again: python -m rag index build"
    ):
        answering(tmp_path / "build")
    assert build(shelf, tmp_path / "build").version == version
    assert answering(tmp_path / "build")[1] == ""


def test_an_altered_cache_changes_no_index(shelf: Path, changed: Path, tmp_path: Path) -> None:
    expected = build(changed, tmp_path / "other").version
    wanted = (tmp_path / "other" / expected / "vectors.faiss").read_bytes()
    chance = random.Random(1)
    build(changed, tmp_path / "build")
    whole = (tmp_path / "build" / CACHE).read_bytes()
    for _ in range(40):
        altered = bytearray(whole)
        for _ in range(20):
            altered[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        shutil.rmtree(tmp_path / "build")
        (tmp_path / "build").mkdir()
        (tmp_path / "build" / CACHE).write_bytes(altered)
        assert build(changed, tmp_path / "build").version == expected
        assert (tmp_path / "build" / expected / "vectors.faiss").read_bytes() == wanted


def test_of_two_builds_at_once_the_second_is_told(shelf: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / LOCK), pytest.raises(IndexBusy, match="another build is writing to .* Wait"):
        build(shelf, tmp_path)
    assert build(shelf, tmp_path).version == current(tmp_path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tests.test_faults import build
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # no file may grow beyond it, as on a disk that is full
try:
    build(Path(sys.argv[1]), Path(sys.argv[2]))
except OSError as error:
    print(error)
"""


def test_a_build_on_a_full_disk_leaves_the_last_version(
    two_versions: tuple[Path, str, str], write: Callable[[str, str], Path]
) -> None:
    folder, first, second = two_versions
    switch(folder, first)
    documents = write("more/soup.md", "Soup is hot.\n\n" * 20).parent
    command = [sys.executable, "-c", FULL_DISK, str(documents), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=True)
    assert "File too large" in run.stdout
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {first, second}
    assert answering(folder)[0].info.version == current(folder) == first


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("chattr"), reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_named(shelf: Path, tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file where the folder should be")
    command = [sys.executable, "-m", "rag", "--home", str(tmp_path), "index", "build", str(shelf)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: {tmp_path}/index")
    assert len(run.stderr.splitlines()) == 1


def test_an_opened_version_answers_while_others_are_built_switched_to_and_pruned(
    two_versions: tuple[Path, str, str],
) -> None:
    folder, first, _ = two_versions
    opened, _ = answering(folder)
    vector = HashingEmbedder().embed_queries(["soup"])
    before = opened.vectors.search(vector, 3)[1].tolist()
    switch(folder, first)
    prune(folder, keep=0)
    assert versions(folder) == [first]
    assert opened.vectors.search(vector, 3)[1].tolist() == before
    assert opened.lexical.search("soup", 3)[1].tolist()
    assert [one.text for one in opened.sentences(opened.passages[0])]


def after(seconds: float) -> Callable[[], bool]:
    """Whether so many seconds have passed since it was first asked."""
    began: list[float] = []

    def is_now() -> bool:
        began.append(time.monotonic())
        return began[-1] - began[0] > seconds

    return is_now


def vectors_in(cache: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{cache}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM vectors").fetchone()[0])


@pytest.mark.models
def test_a_real_build_may_be_killed_at_any_moment_and_goes_on(shelf: Path, tmp_path: Path) -> None:
    pull("all-MiniLM-L6-v2", progress=lambda *_: None)
    settings = Settings(home=tmp_path / "home")
    first = build_index(settings, [shelf])[0].version
    many = tmp_path / "many"
    many.mkdir()
    for number in range(240):
        (many / f"{number}.md").write_text(
            "".join(f"Bread {number}-{line} is baked. " * 9 + "\n\n" for line in range(9))
        )
    chance = random.Random(2)
    command = [sys.executable, "-m", "rag", "--home", str(settings.home), "index", "build", str(many)]
    moments: list[Callable[[], bool]] = [
        *(after(chance.uniform(0.2, 4)) for _ in range(6)),
        lambda: any(settings.build.glob(".*/documents.jsonl")),
        lambda: vectors_in(settings.build / CACHE) > 10,
    ]
    for is_now in moments:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PROJECT)
        while child.poll() is None and not is_now():
            time.sleep(0.01)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        assert current(settings.build) == first
        assert faults(settings.build / first) == []
    report = build_index(settings, [many])[0]
    assert report.documents == 240
    assert report.embedded < report.passages
    assert current(settings.build) == report.version


@pytest.mark.models
def test_a_chat_picks_up_a_new_version_and_keeps_a_good_one(shelf: Path, changed: Path, tmp_path: Path) -> None:
    pull("all-MiniLM-L6-v2", progress=lambda *_: None)
    settings = Settings(home=tmp_path, generator="extractive")
    first = build_index(settings, [shelf])[0].version
    engine = LiveEngine(settings)
    before = engine()
    assert before is engine()
    second = build_index(settings, [changed])[0].version
    assert engine().version.info.version == second
    assert before.ask("How much does a baker earn in Bern?").index.version == first
    assert "soup" in engine().ask("What do cooks cook?").text
    (settings.build / CURRENT).write_text("nonsense\n")
    assert engine().version.info.version == second
    notice = engine().ask("What do cooks cook?").notice
    assert "Until then" in notice
    assert str(tmp_path) not in notice
    shutil.rmtree(settings.build)
    assert engine().version.info.version == second


BUILD = """
import os, sys
from pathlib import Path
from rag import wiring
from rag.readers.files import read_file
from rag.tokens import TiktokenTokenizer
from tests.conftest import HashingEmbedder
import bm25s, faiss, rag.__main__, rag.readers.markdown

class InProcess(wiring.Isolated):
    def read_file(self, path, member=""):
        return read_file(path, member)

wiring.make_embedder, wiring.Isolated = (lambda settings, **_: HashingEmbedder()), InProcess
TiktokenTokenizer().count("load the vocabulary")
if sys.argv[1] == "nobody" and not os.geteuid():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.argv[1:] = ["--home", sys.argv[2], "index", "build", sys.argv[3]]
rag.__main__.main()
"""
"""The real command, but for an embedder and a reader that need not be loaded."""


def built_by_command(home: Path, documents: Path, user: str = "") -> tuple[int, str]:
    """The exit status of `index build`, and the error it prints amid its progress."""
    command = [sys.executable, "-W", "ignore", "-c", BUILD, user, str(home), str(documents)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
    return run.returncode, "".join(re.findall(r"error: .*", run.stderr))


def test_a_build_into_a_folder_that_is_read_only_leaves_the_last_version(shelf: Path, changed: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # the folders of pytest are closed to others
        home, documents = Path(name) / "home", Path(name) / "documents"
        Path(name).chmod(0o755)
        shutil.copytree(changed, documents)
        (home / "index").mkdir(parents=True)
        version = build(shelf, home / "index/build").version
        for path in [home, *home.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        status, errors = built_by_command(home, documents, user="nobody")
        for path in [home, *home.rglob("*")]:
            path.chmod(0o755)
        assert (status, errors) == (
            1,
            f"error: {home}/index/build/.lock Permission denied. Check that path and the space on disk.",
        )
        assert answering(home / "index/build")[0].info.version == version


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_build_on_a_file_system_that_is_full_leaves_the_last_version(shelf: Path, tmp_path: Path) -> None:
    home, documents = tmp_path / "home", tmp_path / "documents"
    home.mkdir()
    documents.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(home)]
    if (run := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"mounting is not permitted here: {run.stderr.strip()}")
    try:
        (home / "index").mkdir()
        version = build(shelf, home / "index/build").version
        for number in range(200):  # 16 KB a vector
            (documents / f"{number}.md").write_text(f"Bread {number} is baked.\n")
        status, errors = built_by_command(home, documents)
        assert status == 1
        assert re.fullmatch(rf"error: {home}/index/build\S* .*\. Check that path and the space on disk\.", errors)
        assert answering(home / "index/build")[0].info.version == version
        assert [path.name for path in (home / "index/build").iterdir() if path.is_dir()] == [version]
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)
