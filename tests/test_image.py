"""The steps of the Dockerfile, taken one by one where there is no Docker: what it copies, as whom it runs, that it
starts on files that cannot be written to, and that its health check tells."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rag import checks, models

PROJECT = Path(__file__).parents[1]
PATIENCE = 180.0
"""Seconds, on a machine that does much else."""


@dataclass(frozen=True)
class Step:
    word: str
    rest: str


def steps() -> list[Step]:
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [Step(*line.split(maxsplit=1)) for line in lines]


def last_stage() -> list[Step]:
    every = steps()
    return every[max(number for number, step in enumerate(every) if step.word == "FROM") :]


def copied(stage: list[Step]) -> Iterator[tuple[str, str]]:
    for step in stage:
        if step.word == "COPY" and "--from" not in step.rest:
            *sources, target = step.rest.split()
            yield from ((source, target) for source in sources)


def environment() -> dict[str, str]:
    pairs = [pair for step in last_stage() if step.word == "ENV" for pair in step.rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def command_of(step: Step) -> list[str]:
    command: list[str] = json.loads(step.rest[step.rest.index("[") :])
    return command


def test_what_is_copied_is_there_and_is_sent_to_the_build() -> None:
    admitted = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source, _ in copied(steps()):
        assert (PROJECT / source).exists()
        assert any(source == one or source.startswith(f"{one}/") for one in admitted), source
    assert admitted <= {source for source, _ in copied(steps())}


def test_every_file_that_the_doctor_looks_for_is_in_the_image(tmp_path: Path) -> None:
    tree = laid_out(tmp_path)
    checks.files(tree)
    checks.packages(tree)


def test_the_image_runs_as_somebody_who_is_not_root_and_owns_the_volumes() -> None:
    stage = last_stage()
    [user] = [step.rest for step in stage if step.word == "USER"]
    [made] = [step.rest for step in stage if "useradd" in step.rest]
    assert user != "root"
    assert re.search(r"--uid [1-9]\d+", made)
    [volumes] = [command_of(step) for step in stage if step.word == "VOLUME"]
    assert f"chown {user}:{user} {' '.join(volumes)}" in made
    assert {environment()["ROLEWISE_HOME"], environment()["ROLEWISE_MODELS"]} == set(volumes)


def test_python_and_torch_are_those_that_are_tested() -> None:
    bases = {step.rest.split()[0] for step in steps() if step.word == "FROM"}
    [version] = {base.partition(":")[2].partition("-")[0] for base in bases}
    project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    assert version in SpecifierSet(re.search(r'requires-python = "(.+)"', project)[1])  # type: ignore[index]
    [torch] = {found for step in steps() for found in re.findall(r"torch==\S+(?=;)", step.rest)}
    assert torch in (PROJECT / "constraints.txt").read_text(encoding="utf-8").split()
    assert Requirement(torch).name == "torch"


def test_the_services_name_their_secrets_and_listen_on_this_machine_only() -> None:
    services = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    rolewise, database = services["rolewise"], services["database"]
    assert rolewise["read_only"]
    assert rolewise["cap_drop"] == ["ALL"]
    assert rolewise["ports"] == [f"127.0.0.1:{environment()['PORT']}:{environment()['PORT']}"]
    assert {one.partition(":")[2] for one in rolewise["volumes"]} == {"/data", "/models"}
    assert "ports" not in database
    text = (PROJECT / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{(\w+)", text)) == set(re.findall(r"\$\{(\w+):\?", text))  # none has a default


def laid_out(folder: Path) -> Path:
    """The tree /app of the image."""
    tree = folder / "app"
    tree.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "results")
    for source, target in copied(last_stage()):
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, tree / target, ignore=ignored)
        else:
            shutil.copyfile(PROJECT / source, tree / target / source)
    return tree


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && cd "$1" && shift && exec "$@"'


def walled(tree: Path, command: list[str]) -> list[str]:
    """The command in `tree`, which is read-only to it."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", READ_ONLY, "sh", str(tree), *command]


@pytest.mark.models
def test_the_image_starts_on_a_read_only_tree_and_its_health_check_tells(tmp_path: Path, free_port: int) -> None:
    tree = laid_out(tmp_path)
    if (
        not shutil.which("unshare")
        or subprocess.run(walled(tree, ["true"]), check=False, capture_output=True).returncode
    ):
        pytest.skip("this system gives no mount namespace")
    assert subprocess.run(walled(tree, ["touch", "a"]), check=False, capture_output=True).returncode != 0
    own = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PORT": str(free_port),
        "ROLEWISE_HOME": str(tmp_path / "data"),
        "ROLEWISE_MODELS": str(models.models_folder()),
        "ROLEWISE_GENERATOR": "extractive",
        "MPLCONFIGDIR": str(tmp_path),
        "PYTHONPATH": str(tree),
    }
    surroundings = os.environ | environment() | own
    [start] = [command_of(step) for step in last_stage() if step.word == "CMD"]
    [check] = [command_of(step) for step in last_stage() if step.word == "HEALTHCHECK"]
    start = [word.replace("0.0.0.0", "127.0.0.1") for word in start]

    def is_healthy() -> bool:
        return not subprocess.run(check, env=surroundings, check=False, capture_output=True, cwd=tmp_path).returncode

    assert not is_healthy()
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            walled(tree, start), env=surroundings, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    try:
        began = time.monotonic()
        while server.poll() is None and not is_healthy():
            assert time.monotonic() - began < PATIENCE, (tmp_path / "log").read_text()
            time.sleep(0.2)
        assert server.poll() is None, (tmp_path / "log").read_text()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(PATIENCE)
    assert (tmp_path / "data/index/build/CURRENT").is_file()
