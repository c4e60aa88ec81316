"""Reading and splitting alone: from files to what an embedder would be given.

    python -m benchmarks.reading --documents 1000 --folder ../shared/bench/messy-docs

Markdown are abstracts of SciFact, once each in a file of its own and once a hundred to a file. A folder of your own
adds a row for each ending in it. Nothing is taken from a cache.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from benchmarks.tables import Table, output_option, show
from eval.benches import BENCHES, bench_folder
from rag.chunking import embedded_text, split
from rag.isolation import AT_ONCE, Isolated
from rag.parts import make_embedder
from rag.protocols import Embedder
from rag.settings import Settings
from rag.sources import read_documents

TOGETHER = 100
"""Abstracts of a long file."""
FEWEST = 5
"""Files of an ending that are worth a row."""


@click.command()
@click.option("--documents", default=1000, show_default=True, help="Of SciFact.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Files of other kinds.")
@output_option
def main(documents: int, folder: Path | None, output: Path | None) -> None:
    """Megabytes a minute that are read and split."""
    settings = Settings()
    embedder = make_embedder(settings)
    embedder.count("loads the vocabulary")
    with tempfile.TemporaryDirectory() as home:
        kinds = [*_markdown(Path(home), documents), *(_by_ending(folder, Path(home)) if folder else ())]
        rows = [_measured(name, files, embedder, settings.passage_tokens) for name, files in kinds]
        rows = [row for row in rows if row[3] != "0"]  # of kinds that are read
    table = Table(
        title="Reading and splitting",
        columns=("files of", "files", "MB", "characters read", "passages", "read s", "split s", "MB/min"),
        rows=tuple(rows),
        note=f"Files are read by {AT_ONCE} children, whose start is counted; splitting counts tokens, in one thread.",
        command="python -m benchmarks.reading" + (f" --folder {folder.name}" if folder else ""),
    )
    show([table], output)


def _markdown(home: Path, documents: int) -> Iterator[tuple[str, Path]]:
    BENCHES["scifact"].read(bench_folder(), home / "short")
    files = sorted((home / "short").rglob("*.md"))
    for file in files[documents:]:
        file.unlink()
    (home / "long").mkdir()
    for start in range(0, documents, TOGETHER):
        texts = [file.read_text(encoding="utf-8") for file in files[start : min(start + TOGETHER, documents)]]
        (home / "long" / f"{start}.md").write_text("\n\n".join(texts), encoding="utf-8")
    yield "Markdown, short", home / "short"
    yield "Markdown, long", home / "long"


def _by_ending(folder: Path, home: Path) -> Iterator[tuple[str, Path]]:
    by_ending: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            by_ending[path.suffix.lower().lstrip(".")].append(path)
    for ending, files in sorted(by_ending.items()):
        if len(files) >= FEWEST and ending:
            for number, file in enumerate(files):
                copy = home / ending / f"{number}.{ending}"
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, copy)
            yield ending.upper(), home / ending


def _measured(name: str, folder: Path, embedder: Embedder, budget: int) -> Sequence[str]:
    limit, passages, characters = embedder.max_tokens, 0, 0
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    began = time.perf_counter()
    with Isolated() as children:
        documents = read_documents([folder], read=children.read_file, at_once=AT_ONCE)
        read = time.perf_counter() - began
        for document in documents:
            characters += len(document.text)
            for passage in split(document, count=embedder.count, limit=limit, budget=budget).passages:
                embedded_text(passage, count=embedder.count, limit=limit)
                passages += 1
    whole = time.perf_counter() - began
    counts = (f"{len(sizes):,}", f"{sum(sizes) / 1e6:.1f}", f"{characters:,}", f"{passages:,}")
    return (name, *counts, f"{read:.2f}", f"{whole - read:.2f}", f"{sum(sizes) / 1e6 / whole * 60:.1f}")


if __name__ == "__main__":
    main()
