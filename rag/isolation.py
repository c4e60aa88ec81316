"""Files are read in a child process that can be ended, so that a parser may hang, crash or fill its memory."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from rag.errors import Unreadable
from rag.parsed import Parsed
from rag.types import Mark, Section

PROJECT = str(Path(__file__).resolve().parent.parent)
SECONDS = 60
"""Time for one file."""
AT_ONCE = min(4, os.cpu_count() or 1)
"""Children that a build reads with."""
MEMORY = 3 * 2**30
"""Bytes of address space for the child, which is more than it uses: libraries map more than they touch."""


class Isolated:
    """Reads files in children, each started for its first file and replaced when it ends. A context manager.

    As many threads as there are `children` may read at once.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY, children: int = AT_ONCE) -> None:
        self._children = [_Child(seconds, memory) for _ in range(children)]
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        for child in self._children:
            self._idle.put(child)

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            child.give_up()
        for child in [self._idle.get() for _ in self._children]:  # once no thread reads with it any more
            child.end()
            self._idle.put(child)

    def read_file(self, path: str, member: str = "") -> tuple[str, Parsed]:
        """As `rag.readers.files.read_file`. Raises Unreadable also for what took too long or ended the child."""
        child = self._idle.get()
        try:
            return child.read_file(path, member)
        finally:
            self._idle.put(child)


class _Child:
    """One process that reads."""

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds = seconds
        self._memory = memory
        self._child: subprocess.Popen[str] | None = None
        self._is_given_up = False

    def give_up(self) -> None:
        """Ends what it reads for another thread, and that it can read."""
        self._is_given_up = True
        if child := self._child:
            child.kill()

    def read_file(self, path: str, member: str) -> tuple[str, Parsed]:
        late, line = self._asked(path, member)
        if not (line or late):  # the child had ended before: after a file that filled its memory, or by another's hand
            late, line = self._asked(path, member)
        if late:
            raise Interrupted(f"took longer than {self._seconds:g} s to read; split it or save it in another format")
        if not line:
            raise Interrupted("ended the program that read it; save it anew or in another format")
        found = json.loads(line)
        if "reason" in found:
            raise Unreadable(found["reason"])
        return found["sha256"], parsed_from(found["parsed"])

    def _asked(self, path: str, member: str) -> tuple[bool, str]:
        """Whether the child had to be ended for taking too long, and its answer, "" if it gave none."""
        child = self._running()
        assert child.stdin
        assert child.stdout
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(self._seconds, end)
        timer.start()
        line = ""
        with contextlib.suppress(OSError):
            child.stdin.write(json.dumps({"path": path, "member": member}) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
        timer.cancel()
        if not line.endswith("\n"):
            self.end()
            return late.is_set(), ""
        return False, line

    def _running(self) -> subprocess.Popen[str]:
        if self._child is not None and self._child.poll() is not None:
            self.end()
        if self._child is None and not self._is_given_up:
            self._child = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", "rag.readers", str(self._memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env=os.environ | {"PYTHONPATH": PROJECT},
            )
        if self._child is None or self._is_given_up:  # which may have come while the child was started
            raise Interrupted("was not read to its end, since the reading was given up")
        return self._child

    def end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


class Interrupted(Unreadable):
    """Reading was ended; it may go better another time."""


def parsed_from(row: dict[str, Any]) -> Parsed:
    """What `dataclasses.asdict` and JSON made of it, back again."""
    sections = tuple(Section(tuple(one["path"]), one["start"], one["end"]) for one in row["sections"])
    marks = tuple(Mark(one["start"], one["label"]) for one in row["marks"])
    return Parsed(row["text"], sections, row["about"], marks, tuple(row["notes"]))
