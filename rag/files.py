"""Which files there are to read, and which are none: links, devices, hidden ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rag.errors import SourceError

SOURCES_FILE = "sources.toml"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not read, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class File:
    """A regular file under the folder `root`, or a `member` of that archive."""

    root: Path
    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """Path below the root with characters that cannot be shown replaced."""
        inside = [self.path.relative_to(self.root).as_posix(), *filter(None, [self.member])]
        return "".join(one if one.isprintable() else "\ufffd" for one in "/".join(inside))


def find_files(paths: Iterable[Path]) -> Iterator[File | Skipped]:
    """Every file named by or lying under `paths`, in order of path; hidden ones are left out.

    A link, and what is no regular file, is skipped: a link leads out of the folder, or to what is read anyway. Raises
    SourceError for a path that does not exist.
    """
    for path in paths:
        if path.is_file():
            yield File(path.parent, path)
        elif path.is_dir():
            yield from _files_below(path)
        else:
            raise SourceError(f"{path} does not exist. Name a file or a folder of documents.")


def _files_below(root: Path) -> Iterator[File | Skipped]:
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in links)
        for name in sorted([*names, *links]):
            file = File(root, Path(folder) / name)
            if name.startswith(".") or name == SOURCES_FILE:
                continue
            kind = file.path.lstat().st_mode
            if stat.S_ISLNK(kind):
                yield Skipped(file.name, "is a link; name the folder it leads to as well if it is meant")
            elif not stat.S_ISREG(kind):
                yield Skipped(file.name, "is no regular file")
            else:
                yield file
