"""Runs one adapter: a folder of Markdown files becomes an index, questions find files, and all of it is timed.

An adapter is a script that hands `measure` two functions: `load(model)` makes what embeds, from the folder of a model,
and `build(embedder, folder)` returns the number of passages and `search(question, k)`, which gives the paths of the
files of the k best passages, best first. The process ends with its figures in a JSON file. It is run by the peer's
own Python and imports nothing of Rolewise.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMED = 10
"""Passages that a timed search gives."""
DEEP = 50
"""Passages that the ranking of files is made of, since several may be of one file."""
Search = Callable[[str, int], list[str]]


def measure(load: Callable[[str], Any], build: Callable[[Any, Path], tuple[int, Search]]) -> None:
    """Arguments of the process: the model's folder, documents, questions (a JSON list), output, time of its start."""
    model, folder, questions, output, started = sys.argv[1:]
    embedder = load(model)
    loaded = time.time()
    passages, search = build(embedder, Path(folder))
    built = time.time()
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    from sentence_transformers import SentenceTransformer

    bare = SentenceTransformer(model, device="cpu", local_files_only=True)
    found, searched, embedded = [], [], []
    for warm in asked[:3]:
        search(warm, TIMED)
        bare.encode(warm)
    for question in asked:
        began = time.perf_counter()
        bare.encode(question)
        between = time.perf_counter()
        search(question, TIMED)
        searched.append(time.perf_counter() - between)
        embedded.append(between - began)
        found.append(
            [Path(file).resolve().relative_to(Path(folder).resolve()).as_posix() for file in search(question, DEEP)]
        )
    about = {
        "passages": passages,
        "load": loaded - float(started),
        "build": built - loaded,
        "whole": built - float(started),
        "search": searched,
        "embed": embedded,
        "found": found,
    }
    Path(output).write_text(json.dumps(about), encoding="utf-8")
