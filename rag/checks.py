"""Looks at everything that Rolewise needs, and says of each thing whether it is well or what to do.

Settings come in, a finding for each check goes out, in an order in which the first that fails is often the reason for
the next. Nothing is changed and nothing is fetched; of the network only a hosted endpoint is asked, where one is set.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.metadata
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rag import models
from rag.errors import IndexDamaged, ModelMissing, RolewiseError
from rag.offline import Report, first_token, read
from rag.parts import generators, make_embedder
from rag.prompts import load_prompts
from rag.settings import SETTINGS_FILE, Settings, load_settings
from rag.stored import BUILD_COMMAND
from rag.versions import current, faults, read_manifest, sha256_of
from rag.wiring import PROJECT, PROMPTS, open_engine

State = Literal["ok", "failed", "unused"]

OLDEST = (3, 11)
DISK = 1_000_000_000
"""Bytes that should be free: an index takes a few hundred MB for a shelf of books, a log grows by 20 KB an answer."""
MEMORY = 600_000_000
"""Bytes that a question takes without a model (567 MB measured), beside which a model takes the size of its file."""
HOSTED_SECONDS = 10.0
"""A short question's answer; who needs longer will not please anybody."""
OFFLINE_SECONDS = 600
PORT = 7860
"""On which `serve` listens."""


class Fault(RolewiseError):
    """What a check found; the message names the remedy."""


class Unused(RolewiseError):
    """What a check looks at is not there and need not be; the message tells how to have it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`said` is a fact where the state is ok, and what to do where it failed."""

    check: str
    state: State
    said: str


Check = Callable[[Settings], str]
"""Returns what is well. Raises Unused, or any RolewiseError or OSError if something is not."""


def findings(home: Path | None, port: int = PORT) -> Iterator[Finding]:
    """Each finding as soon as it is there."""
    yield found("python", lambda: python(sys.version_info[:3]))
    yield found("packages", packages)
    yield found("files", files)
    try:
        settings = load_settings(home=home)
    except RolewiseError as error:
        yield Finding("settings", "failed", str(error))
        return
    yield Finding("settings", "ok", settings_told(settings))
    checks: dict[str, Check] = {
        "home": writable,
        "disk": disk,
        "memory": memory,
        "embedder": embedder,
        "models": lambda _: hashes(),
        "index": index,
        "search": finds_itself,
        "local": local,
        "hosted": hosted,
        "databases": databases,
        "port": lambda _: port_free(port),
    }
    for name, check in checks.items():
        yield found(name, lambda check=check: check(settings))  # type: ignore[misc]


def found(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, "ok", check())
    except Unused as reason:
        return Finding(name, "unused", str(reason))
    except RolewiseError as error:
        return Finding(name, "failed", str(error))
    except OSError as error:
        return Finding(name, "failed", f"{error.filename or ''} {error.strerror or error}. Mend that path.".strip())


def python(version: Sequence[int]) -> str:
    told = ".".join(map(str, version))
    if tuple(version[:2]) < OLDEST:
        raise Fault(f"Python {told} is too old. Set up with 3.11 or newer: make PYTHON=/path/to/python3.11 chat")
    return told


def packages(project: Path = PROJECT) -> str:
    """Every direct dependency is there in a version that the project admits; what differs from the lock is told."""
    wanted = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    lines = (project / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = {
        canonicalize_name(name): version
        for name, separator, version in (line.partition("==") for line in lines)
        if separator
    }
    wrong, other = [], []
    for requirement in map(Requirement, wanted):
        name = requirement.name
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{name} {version} is not {requirement.specifier}")
        elif version.partition("+")[0] != locked.get(canonicalize_name(name)):  # "+cpu" is the same torch
            other.append(f"{name} {version}")
    if wrong:
        raise Fault(f"{'; '.join(wrong)}. Install them: {sys.executable} -m pip install -c constraints.txt -e .")
    told = f"{len(wanted)}, each in a version that is admitted"
    return f"{told}; other than those tested: {', '.join(other)}" if other else f"{told} and tested"


def files(project: Path = PROJECT) -> str:
    """The prompts agree with the program, and the bundled guides are those that are registered."""
    prompts = load_prompts(project / PROMPTS.name)
    prompts.to_draft("", "")
    prompts.to_judge("", "")
    for name in ("app.py", "constraints.txt", "rag/default_fit.json"):
        if not (project / name).is_file():
            raise Fault(f"{project / name} is missing. Restore it: git checkout {name}")
    guides = project / "index" / "sources"
    register = tomllib.loads((guides / "sources.toml").read_text(encoding="utf-8"))
    for row in register["source"]:
        guide = guides / row["file"]
        if not guide.is_file() or sha256_of(guide) != row["sha256"]:
            raise Fault(
                f"{guide} is not the file that is registered. Restore it: git checkout index/sources; or, if "
                f"the change is meant: python -m rag index register {guides}"
            )
    shas = "".join(getattr(prompts, name).sha256 for name in prompts.__slots__)
    told = hashlib.sha256(shas.encode()).hexdigest()[:12]
    return f"{len(register['source'])} guides as registered; {len(prompts.__slots__)} prompts, SHA-256 of all {told}…"


def settings_told(settings: Settings) -> str:
    file = settings.home / SETTINGS_FILE
    given = sorted(settings.model_fields_set - {"home"})
    where = f"{file} and the environment" if file.is_file() else "the environment"
    return f"{', '.join(given)} from {where}; defaults otherwise" if given else "all defaults"


def writable(settings: Settings) -> str:
    """Where index versions and logs go; nothing stays behind."""
    for folder in (settings.build, settings.conversations.parent):
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        try:
            with tempfile.TemporaryFile(dir=there) as file:
                file.write(b"x")
        except OSError as error:
            raise Fault(
                f"{there} cannot be written to ({error.strerror}). Mend its permissions, or choose another --home."
            ) from error
    return str(settings.home.absolute())


def disk(settings: Settings) -> str:
    told = []
    for what, folder in (("home", settings.home), ("models", models.models_folder())):
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        free = shutil.disk_usage(there).free
        if free < DISK:
            raise Fault(
                f"{free / 1e6:,.0f} MB are free in {there}, where {DISK / 1e6:,.0f} should be. Make room "
                "(python -m rag index prune), or choose another --home or ROLEWISE_MODELS."
            )
        told.append(f"{free / 1e9:,.1f} GB free for {what}")
    return ", ".join(told)


def memory(settings: Settings) -> str:
    free = available_memory()
    if free is None:
        raise Unused("this system does not tell how much is free.")
    needed = MEMORY
    with contextlib.suppress(RolewiseError):
        needed += models.path_of(settings.model).stat().st_size if settings.generator == "local" else 0
    told = f"{free / 1e9:,.1f} GB free, {needed / 1e9:,.1f} GB needed"
    if free < needed:
        raise Fault(f"{told}. End other programs, or choose a smaller ROLEWISE_MODEL or ROLEWISE_GENERATOR=extractive.")
    return told


def available_memory(system: Path = Path("/")) -> int | None:
    """Bytes that this process may still take, by Linux and by the limit of a container; None elsewhere."""
    try:
        lines = (system / "proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        group = system / "sys/fs/cgroup"
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        free = min(free, limit - used)
    return free


def embedder(settings: Settings) -> str:
    made = make_embedder(settings)
    (vector,) = made.embed_queries(["Is anybody there?"])
    return f"{made.name}, {len(vector)} dimensions"


def hashes() -> str:
    """Every byte of every model that was pulled is what was pinned."""
    whole = []
    for row in models.listing():
        if not row.is_pulled:
            continue
        folder = row.path if row.path.is_dir() else row.path.parent
        for file in row.model.files:
            if sha256_of(folder / file.name) != file.sha256:
                raise Fault(
                    f"{folder / file.name} is not the file that is pinned. Remove {folder} and pull it again: "
                    f"python -m rag models pull {row.model.name}"
                )
        whole.append(row.model.name)
    if not whole:
        raise Unused("none is pulled. python -m rag models list shows those that can be.")
    return f"{', '.join(whole)}: SHA-256 as pinned"


def index(settings: Settings) -> str:
    folder = settings.build
    version = current(folder)
    if wrong := faults(folder / version):
        raise IndexDamaged(f"{'; '.join(wrong)}. Build the index again: {BUILD_COMMAND}")
    counts = read_manifest(folder, version)["counts"]
    return f"{version} is sound: {counts['documents']:,} documents, {counts['passages']:,} passages"


def finds_itself(settings: Settings) -> str:
    """The index fits embedder and settings, and the words of a passage find that passage."""
    engine = open_engine(settings)
    if engine.notice:
        raise Fault(engine.notice)
    passages = engine.version.passages
    if not passages:
        raise Fault(f"the index holds no passage. Build it from documents: {BUILD_COMMAND} PATH")
    passage = passages[len(passages) // 2]
    nearest = engine.retriever.retrieve(passage.text, 5)
    if passage.text not in [one.passage.text for one in nearest]:  # its copy in another document will do
        raise Fault(f"passage {passage.id} is not found by its own words. Build the index again: {BUILD_COMMAND}")
    return f"{passage.id} is found by its own words"


def local(settings: Settings) -> str:
    try:
        models.path_of(settings.model)
    except ModelMissing as reason:
        raise Unused(f"{reason} Until then the documents' own sentences answer.") from None
    first_token(generators(settings)("local"))
    return f"{settings.model} loads and writes"


def hosted(settings: Settings) -> str:
    if not (settings.hosted_url or settings.generator == "hosted"):
        raise Unused("no endpoint is set (ROLEWISE_HOSTED_URL).")
    patience = min(settings.hosted_timeout, HOSTED_SECONDS)
    once = settings.model_copy(update={"hosted_retries": 0, "hosted_timeout": patience})
    first_token(generators(once)("hosted"))
    return f"{settings.hosted_model} answers"


def databases(settings: Settings) -> str:
    """Conversations, receipts and whatever else lies in `var`, read without a change."""
    sound = []
    for path in sorted(settings.conversations.parent.glob("*.sqlite")):
        try:
            with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
                answer = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            answer = str(error)
        if answer != "ok":
            answer = " ".join(answer.split())
            raise Fault(f"{path}: {answer}. Restore it from a backup, or move it away: the next start begins it anew.")
        sound.append(path.name)
    if not sound:
        raise Unused("nothing was kept yet.")
    return f"{', '.join(sound)} sound"


def port_free(port: int) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if is_ours(port):
                return f"Rolewise is serving at http://127.0.0.1:{port}/"
            raise Fault(f"port {port} is taken ({error.strerror}). Serve on another: --port 0") from error
    return f"{port} is free"


def is_ours(port: int) -> bool:
    """Whether what answers there is a Rolewise."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        return response.status == http.HTTPStatus.OK and json.load(response) == {"status": "alive"}
    return False


def offline(settings: Settings) -> Finding:
    """A whole question is answered in a process that reaches no network."""
    names = ["extractive"]
    with contextlib.suppress(RolewiseError):
        models.path_of(settings.model)
        names.append("local")
    command = [sys.executable, "-m", "rag.offline", str(settings.home.absolute()), *names]
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            command, cwd=PROJECT, capture_output=True, text=True, timeout=OFFLINE_SECONDS, check=False
        )
        report = read(json.loads(done.stdout))
    except (subprocess.TimeoutExpired, ValueError) as error:
        return Finding("offline", "failed", f"the question did not end ({error}). Ask it: python -m rag ask QUESTION")
    return Finding("offline", "ok" if report.is_clean else "failed", offline_told(report))


def offline_told(report: Report) -> str:
    where = (
        "in a network namespace with nothing but loopback"
        if report.unrouted is not None
        else "with Python's sockets refused (native code could not be watched here)"
    )
    if not report.is_clean:
        tried = [*report.denied, *([f"{report.unrouted} by native code"] if report.unrouted else [])]
        told = f"a network was tried: {', '.join(tried)}" if tried else "nothing was tried beyond this machine"
        return f"{where}: {told}. {report.error or 'Tell it to whoever maintains Rolewise.'}"
    answered = ", ".join(f"{one.generator} {one.status}" for one in report.answers)
    return f"“{report.question}” {answered}, {where}; no other connection was tried"
