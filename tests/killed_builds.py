"""A program that builds an index over and over, killed each time at a later step: `CHANGED BASE FOLDER`.

Each build is of the documents in CHANGED, in a copy of the index BASE below FOLDER. A step is a file or a folder there
that is opened, made, renamed or removed. A build is a forked child, so that what it imports is loaded once.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from rag.cache import Cache
from rag.indexing import Builder
from rag.parts import make_store
from rag.sources import read_documents
from rag.tokens import TiktokenTokenizer
from rag.wiring import CACHE
from tests.conftest import HashingEmbedder

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect"}


def build(documents: Path, folder: Path) -> None:
    with Cache(folder / CACHE) as cache:
        Builder(HashingEmbedder(), make_store(), 200, cache).build(read_documents([documents], cache=cache), folder)


def killed_at(step: int, documents: Path, folder: Path) -> bool:
    """Whether a build in a child was killed at its `step`; False if it had no such step and ended well."""
    child = os.fork()
    if not child:
        steps = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal steps
            if event in STEPS and str(folder) in str(arguments):
                steps += 1
                if steps >= step:  # threads may count two at once
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        build(documents, folder)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"step {step} ended with {status}"
    return os.WIFSIGNALED(status)


if __name__ == "__main__":
    changed, base, folder = map(Path, sys.argv[1:])
    TiktokenTokenizer().count("load the vocabulary")
    import bm25s  # noqa: F401
    import faiss  # noqa: F401

    step, killed = 0, True
    while killed:
        step += 1
        shutil.copytree(base, folder / str(step))
        killed = killed_at(step, changed, folder / str(step))
