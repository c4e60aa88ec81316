"""Files are read in a child process: whatever a parser does to it, the parent goes on and says why."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rag.errors import Unreadable
from rag.isolation import Interrupted, Isolated
from rag.readers.files import read_file
from rag.sources import read_documents

Write = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def child() -> Iterator[Isolated]:
    with Isolated() as isolated:
        yield isolated


def reasons(folder: Path, child: Isolated) -> dict[str, str]:
    return {one.source: one.reason for one in read_documents([folder], read=child.read_file).skipped}


def test_a_child_reads_what_its_parent_would(write: Write, child: Isolated) -> None:
    path = str(write("a.md", "---\ntitle: Baker\nrole: Baker\n---\n# Pay\n\n- Bern: 1\n- Basel: 2\n"))
    assert child.read_file(path) == read_file(path)


def test_a_child_that_hangs_or_dies_is_replaced(write: Write, tmp_path: Path) -> None:
    path = str(write("a.txt", "Bread."))
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    with Isolated(seconds=6) as isolated:
        began = time.monotonic()
        with pytest.raises(Interrupted, match="took longer than 6 s to read"):
            isolated.read_file(str(pipe))
        assert time.monotonic() - began < 60
        isolated._children[-1]._seconds = 60  # for the next to start on a machine that does much else
        assert isolated.read_file(path)[1].text == "Bread.\n"
        running = isolated._children[-1]._running()
        running.kill()
        running.wait()
        assert isolated.read_file(path)[1].text == "Bread.\n"


def test_threads_read_at_once_each_in_a_child_of_its_own(write: Write, tmp_path: Path) -> None:
    for number in range(20):
        folder = write(f"many/{number:02}.md", f"Stone {number}.\n").parent
    os.mkfifo(tmp_path / "pipe.txt")
    with Isolated(children=3) as isolated, ThreadPoolExecutor(1) as other:
        hangs = other.submit(isolated.read_file, str(tmp_path / "pipe.txt"))
        found = read_documents([folder], read=isolated.read_file, at_once=2)
        assert [one.title for one in found] == [f"{number:02}" for number in range(20)]
        assert not hangs.done()
        (tmp_path / "pipe.txt").write_text("Bread.")
        assert hangs.result()[1].text == "Bread.\n"


def test_what_is_being_read_is_given_up_when_the_reading_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    began = time.monotonic()
    with ThreadPoolExecutor(1) as other:
        with Isolated(seconds=120) as isolated:
            hangs = other.submit(isolated.read_file, str(tmp_path / "pipe.txt"))
            while isolated._children[-1]._child is None:
                assert time.monotonic() - began < 60
                time.sleep(0.01)
        with pytest.raises(Interrupted, match="given up"):
            hangs.result()
    assert time.monotonic() - began < 60


def test_memory_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_bytes(b"bread " * 20_000_000)
    with Isolated(memory=400 * 2**20) as isolated:
        with pytest.raises(Unreadable, match="memory|ended its reader"):
            isolated.read_file(str(tmp_path / "large.txt"))
        (tmp_path / "small.txt").write_text("Bread.")
        assert isolated.read_file(str(tmp_path / "small.txt"))[1].text == "Bread.\n"


def test_links_and_what_is_no_file_are_left_out(write: Write, tmp_path: Path, child: Isolated) -> None:
    write("outside/secret.md", "Secret.")
    folder = write("docs/a.md", "Bread.").parent
    (folder / "out.md").symlink_to(tmp_path / "outside" / "secret.md")
    (folder / "up").symlink_to(tmp_path / "outside")
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.md")
    documents = read_documents([folder], read=child.read_file)
    assert [one.text for one in documents] == ["Bread.\n"]
    assert {one.source: one.reason.split(";")[0] for one in documents.skipped} == {
        "out.md": "is a link",
        "up": "is a link",
        "round": "is a link",
        "pipe.md": "is no regular file",
    }


def test_names_that_cannot_be_shown_are_made_so(tmp_path: Path, child: Isolated) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in (b"red\x1b[31m.md", b"line\nbreak.md", b"b\xe4d.md"):
        (folder / os.fsdecode(name)).write_text(f"Bread {len(name)}.")
    documents = read_documents([folder], read=child.read_file)
    assert sorted(one.source for one in documents) == ["b\ufffdd.md", "line\ufffdbreak.md", "red\ufffd[31m.md"]
    assert not documents.skipped


def archive(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)


def test_an_archive_holds_documents_and_nothing_is_unpacked(tmp_path: Path, child: Isolated) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    archive(
        folder / "all.zip",
        {
            "a.md": b"# A\n\nBread.\n",
            "deep/b.txt": b"Soup.",
            "../../climbs.md": b"Out.",
            ".hidden.md": b"Hidden.",
            "__MACOSX/._a.md": b"junk",
            "photo.png": b"junk",
            "inner.zip": b"PK",
        },
    )
    documents = read_documents([folder], read=child.read_file)
    assert {one.source: one.text for one in documents} == {
        "all.zip/a.md": "A\n\nBread.\n",
        "all.zip/deep/b.txt": "Soup.\n",
        "all.zip/../../climbs.md": "Out.\n",
    }
    assert {one.source for one in documents.skipped} == {"all.zip/photo.png", "all.zip/inner.zip"}
    assert reasons(folder, child)["all.zip/inner.zip"] == "is an archive inside an archive; unpack it"
    assert {path.name for path in tmp_path.rglob("*")} == {"docs", "all.zip"}


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path: Path, child: Isolated) -> None:
    archive(tmp_path / "bomb.zip", {"a.txt": b"0" * 30_000_000})
    (tmp_path / "torn.zip").write_bytes((tmp_path / "bomb.zip").read_bytes()[:200])
    found = reasons(tmp_path, child)
    assert "packed over 200 times" in found["bomb.zip"]
    assert "damaged or cut short" in found["torn.zip"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("quotes.md", b">" * 100_000 + b" deep"),
        ("lists.md", b"".join(b"  " * level + b"- x\n" for level in range(2000))),
        ("brackets.md", b"[" * 50_000),
        ("stars.md", b"*a_" * 50_000),
        ("line.txt", b"word " * 2_000_000),
        ("letters.txt", b"x" * 5_000_000),
        (
            "front.md",
            b"---\na: &a [x]\n"
            + b"".join(b"b%d: &b%d [*a,*a,*a,*a,*a,*a,*a,*a]\n" % (n, n) for n in range(9))
            + b"---\nText.\n",
        ),
        ("deep.md", b"---\n" + b"[" * 5000 + b"\n---\nText.\n"),
        ("deep.json", b"[" * 200_000 + b"]" * 200_000),
        ("wide.json", b'{"a":' * 2000 + b"1" + b"}" * 2000),
        ("divs.html", b"<div>" * 100_000 + b"text"),
        ("tags.html", b"<" * 500_000),
        ("cells.csv", b'"' + b"a," * 500_000),
        (
            "loop.pdf",
            b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R]/Count 9>>endobj\ntrailer<</Root 1 0 R>>\n",
        ),
        ("null.docx", b"\0" * 1000),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_files_end_in_bounded_time(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    began = time.monotonic()
    with Isolated(seconds=30) as isolated:
        documents = read_documents([tmp_path], read=isolated.read_file)
    assert time.monotonic() - began < 120
    assert len(documents) + len(documents.skipped) == 1
    for one in documents.skipped:
        assert one.reason
        assert "Traceback" not in one.reason


def test_a_file_that_makes_its_reader_reach_out_is_told(child: Isolated, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<html><body><img src="http://127.0.0.1:9/x.png"><link rel="stylesheet" href="http://127.0.0.1:9/x.css">'
        '<script src="http://127.0.0.1:9/x.js"></script><p>Bread is baked here every single day of the year.</p></body></html>'
    )
    [document] = read_documents([tmp_path], read=child.read_file)
    assert document.text.strip() == "Bread is baked here every single day of the year."
