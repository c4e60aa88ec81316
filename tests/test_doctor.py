"""The doctor finds each thing that is wrong, names the remedy, and says of nothing else that it is."""

from __future__ import annotations

import hashlib
import http.server
import importlib.metadata
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag import checks, models, wiring
from rag.__main__ import cli
from rag.checks import Fault, Finding, available_memory, databases, files, findings, hashes, packages, port_free, python
from rag.doctor import line_of
from rag.offline import Answered, Report
from rag.prompts import Prompts
from rag.protocols import Embedder
from rag.settings import Settings, load_settings
from rag.wiring import PROJECT, build_index
from tests.conftest import HashingEmbedder


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hashing embedder stands in for the pulled one, and no generator's model is there."""

    def hashing(_: Settings, **__: bool) -> Embedder:
        return HashingEmbedder()

    for module in (wiring, checks):
        monkeypatch.setattr(module, "make_embedder", hashing)
    monkeypatch.setenv("ROLEWISE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def home(shelf: Path, tmp_path: Path) -> Path:
    """A home with an index over the shelf."""
    build_index(load_settings(home=tmp_path), [shelf])
    return tmp_path


def run(home: Path, port: int, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), "doctor", "--port", str(port), *arguments])


def states(home: Path, port: int) -> dict[str, str]:
    return {one.check: one.state for one in findings(home, port)}


def failing(home: Path, port: int, check: str) -> str:
    """What the one check that fails says."""
    [one] = [one for one in findings(home, port) if one.state == "failed"]
    assert one.check == check
    return one.said


def test_a_home_that_is_well_passes_and_stays_as_it_was(home: Path, free_port: int) -> None:
    before = sorted(home.rglob("*"))
    result = run(home, free_port)
    assert result.exit_code == 0, result.output
    assert "FAIL" not in result.stdout
    assert "ok    index      " in result.stdout
    assert "is sound: 2 documents, 4 passages" in result.stdout
    assert "is found by its own words" in result.stdout
    assert "–     hosted     no endpoint is set" in result.stdout
    assert sorted(home.rglob("*")) == before


def test_the_json_holds_the_same(home: Path, free_port: int) -> None:
    record = json.loads(run(home, free_port, "--json").stdout)
    assert record["ok"]
    assert {one["check"]: one["state"] for one in record["checks"]} == states(home, free_port)
    assert states(home, free_port)["local"] == states(home, free_port)["databases"] == "unused"


def test_a_home_without_an_index_is_told_how_to_build_one(tmp_path: Path, free_port: int) -> None:
    result = run(tmp_path, free_port)
    assert result.exit_code == 1
    assert "FAIL  index      there is no index in" in result.stdout
    assert "python -m rag index build" in result.stdout


def test_an_altered_file_of_the_index_is_named(home: Path, free_port: int) -> None:
    build = load_settings(home=home).build
    path = next(build.glob("*/passages.npy"))
    path.write_bytes(path.read_bytes() + b"\n")
    failed = {one.check: one.said for one in findings(home, free_port) if one.state == "failed"}
    assert set(failed) == {"index", "search"}
    assert "passages.npy was altered. Build the index again" in failed["index"]


def test_an_index_of_another_embedder_does_not_fit(home: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HashingEmbedder, "sha256", "1" * 64)
    assert "was built with the embedder hashing (00000000)" in failing(home, free_port, "search")


def test_settings_that_do_not_parse_end_what_depends_on_them(home: Path, free_port: int) -> None:
    (home / "rolewise.toml").write_text("passage = 5\n", encoding="utf-8")
    assert "unknown setting 'passage'" in failing(home, free_port, "settings")
    assert list(states(home, free_port)) == ["python", "packages", "files", "settings"]


def test_an_endpoint_that_cannot_be_reached_fails(home: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLEWISE_HOSTED_URL", f"http://127.0.0.1:{free_port}/v1")
    monkeypatch.setenv("ROLEWISE_HOSTED_MODEL", "m")
    assert "cannot be reached. Check hosted_url" in failing(home, free_port, "hosted")


def test_a_home_that_cannot_be_written_to_fails(home: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")  # which root meets too, other than a folder's permissions

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    said = failing(home, free_port, "home")
    assert said.endswith(
        "cannot be written to (Read-only file system). Mend its permissions, or choose another --home."
    )


def test_a_full_disk_and_a_full_memory_fail(home: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "DISK", 10**18)
    assert "Make room (python -m rag index prune)" in failing(home, free_port, "disk")
    monkeypatch.undo()


def test_memory_is_what_linux_and_the_container_leave(tmp_path: Path) -> None:
    assert available_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n", encoding="ascii")
    assert available_memory(tmp_path) == 4_096_000
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("1000000\n", encoding="ascii")
    for limit, free in (("max", 4_096_000), ("3000000", 2_000_000), ("9000000", 4_096_000)):
        (group / "memory.max").write_text(f"{limit}\n", encoding="ascii")
        assert available_memory(tmp_path) == free


def test_too_little_memory_names_smaller_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "available_memory", lambda: 100_000_000)
    with pytest.raises(Fault, match=r"0\.1 GB free, 0\.6 GB needed\. End other programs, or choose a smaller"):
        checks.memory(load_settings(home=tmp_path))


def test_an_old_python_is_told_how_to_set_up_with_a_newer_one() -> None:
    assert python((3, 11, 7)) == "3.11.7"
    with pytest.raises(Fault, match=r"Python 3\.10\.12 is too old"):
        python((3, 10, 12))


def project(folder: Path, dependencies: str, locked: str) -> Path:
    (folder / "pyproject.toml").write_text(f"[project]\ndependencies = [{dependencies}]\n", encoding="utf-8")
    (folder / "constraints.txt").write_text(f"# exactly\n{locked}\n", encoding="utf-8")
    return folder


def test_packages_are_held_against_what_is_admitted_and_what_was_tested(tmp_path: Path) -> None:
    version = importlib.metadata.version("click")
    assert packages(project(tmp_path, '"click>=8"', f"Click=={version}")) == (
        "1, each in a version that is admitted and tested"
    )
    assert packages(project(tmp_path, '"click>=8"', "click==8.0.0")).endswith(
        f"admitted; other than those tested: click {version}"
    )
    with pytest.raises(Fault, match=rf"click {version} is not >=99; nowhere-to-be-found is missing\. Install them: "):
        packages(project(tmp_path, '"click>=99", "nowhere-to-be-found"', ""))


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("index/sources/machine-learning-engineer.md", "# Another\n", "is not the file that is registered"),
        ("prompts/question.md", "$notes $who", "prompts/question.md and the program disagree on: question, who"),
        ("prompts/judge.md", None, "cannot be read"),
        ("rag/default_fit.json", None, "Restore it: git checkout rag/default_fit.json"),
    ],
)
def test_a_file_of_the_program_that_is_missing_or_changed_is_named(
    tmp_path: Path, path: str, text: str | None, said: str
) -> None:
    copy = tmp_path / "project"
    for folder in ("prompts", "index/sources"):
        shutil.copytree(PROJECT / folder, copy / folder)
    (copy / "rag").mkdir()
    for name in ("app.py", "constraints.txt", "rag/default_fit.json"):
        shutil.copyfile(PROJECT / name, copy / name)
    assert files(copy).startswith(f"5 guides as registered; {len(Prompts.__slots__)} prompts, SHA-256 of all ")
    if text is None:
        (copy / path).unlink()
    else:
        (copy / path).write_text(text, encoding="utf-8")
    one = checks.found("files", lambda: files(copy))
    assert (one.state, said in one.said) == ("failed", True), one.said


def test_a_pulled_model_of_other_bytes_is_found_though_its_size_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = b"GGUF and more"
    file = models.File("tiny.gguf", len(right), hashlib.sha256(right).hexdigest(), ())
    monkeypatch.setattr(models, "MODELS", (models.Model("tiny", "generator", "", "MIT", "", "", (file,)),))
    path = tmp_path / "models" / "tiny" / "tiny.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(right)
    assert hashes() == "tiny: SHA-256 as pinned"
    path.write_bytes(right[::-1])
    with pytest.raises(Fault, match=r"is not the file that is pinned\. Remove .*python -m rag models pull tiny"):
        hashes()


def test_a_damaged_database_is_named_and_a_sound_one_told(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    settings = load_settings(home=tmp_path)
    with sqlite3.connect(tmp_path / "var" / "receipts.sqlite") as database:
        database.execute("CREATE TABLE receipts (text)")
        database.executemany("INSERT INTO receipts VALUES (?)", [("x" * 1000,)] * 100)
    database.close()
    assert databases(settings) == "receipts.sqlite sound"
    whole = (tmp_path / "var" / "receipts.sqlite").read_bytes()
    (tmp_path / "var" / "receipts.sqlite").write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])
    with pytest.raises(Fault, match=r"receipts\.sqlite: .*Restore it from a backup, or move it away"):
        databases(settings)


class Alive(http.server.BaseHTTPRequestHandler):
    said = b'{"status":"alive"}'

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which something answers."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Alive)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_taken_port_fails_unless_a_rolewise_answers_there(
    taken: int, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert port_free(free_port) == f"{free_port} is free"
    assert port_free(taken) == f"Rolewise is serving at http://127.0.0.1:{taken}/"
    monkeypatch.setattr(Alive, "said", b"<html>another</html>")
    with pytest.raises(Fault, match=rf"port {taken} is taken \(.*\)\. Serve on another: --port 0"):
        port_free(taken)


def test_what_a_document_says_cannot_steer_the_terminal() -> None:
    assert line_of(Finding("search", "ok", "a\x1b[31m\nb")) == "ok    search     a[31m b"


def test_an_offline_report_names_what_was_tried_and_how_it_was_watched() -> None:
    answers = (Answered("extractive", "extractive", "answered", ""),)
    assert checks.offline_told(Report("What?", answers, (), 0)) == (
        "“What?” extractive answered, in a network namespace with nothing but loopback; no other connection was tried"
    )
    told = checks.offline_told(Report("What?", answers, ("connect 192.0.2.1:80",), 2))
    assert "a network was tried: connect 192.0.2.1:80, 2 by native code. " in told
    assert "native code could not be watched here" in checks.offline_told(Report("What?", answers, (), None))


def test_offline_tells_what_kept_the_question_from_its_answer(tmp_path: Path, free_port: int) -> None:
    result = run(tmp_path, free_port, "--offline")
    assert result.exit_code == 1
    assert "nothing was tried beyond this machine. " in result.stdout
    assert "python -m rag models pull all-MiniLM-L6-v2" in result.stdout
