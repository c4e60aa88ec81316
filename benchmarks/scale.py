"""How building and searching grow with the number of passages: time, disk, memory, and what a search misses.

    python -m benchmarks.scale -o scale.json
    python -m benchmarks.scale --sizes 10000,100000 -o scale.json

Passages are sentences of the bundled documents, put together at random. Their vectors are those of real sentences
with noise that varies as they do: embedding a million takes hours, and searching does not ask where vectors come from.
So build times are without reading and embedding. Searches run in a process of their own, one at a time, by the bundled
questions and by vectors that are not in the index. The row of ten million is worked out on paper.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import click
import numpy as np

from benchmarks.tables import Plot, Table, output_option, show
from eval.questions import load_questions
from rag.chunking import sentences_of
from rag.errors import ModelError
from rag.indexing import Builder
from rag.parts import make_embedder, make_store
from rag.protocols import TokenVectors, Vectors
from rag.readers.files import read_file
from rag.retrieval import HybridRetriever
from rag.settings import Settings
from rag.types import Document, Section
from rag.versions import IndexVersion, open_version

PROJECT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(PROJECT / "index" / "sources").glob("*.md"), *(PROJECT / "eval" / "documents").glob("*.md")])
QUESTIONS = PROJECT / "eval" / "questions" / "roles.jsonl"
SECTIONS = 20
"""Passages of each document, a section each."""
SENTENCES = 4
"""Of each passage."""
NOISE = 1.0
"""How long the noise is, beside a vector. Of 100,000 such, 64 of 1,265 lists then hold .966 of the ten nearest, of as
many sentences of public sets .964; a graph (HNSW, m 16) finds .930 and .990."""
NOISES = 4096
ASKED = 200
NEAREST = 10
PASSAGE_TOKENS = 200
ON_PAPER = 10_000_000
COLUMNS = {
    "passages": "passages",
    "kept": "vectors",
    "build_s": "build s",
    "disk_mb": "disk MB",
    "opened_s": "opened in s",
    "resident_mb": "resident MB",
    "with_embedder_mb": "with embedder MB",
    "vectors_ms": "vectors p50 / p95 ms",
    "lexical_ms": "lexical p50 / p95 ms",
    "retrieval_ms": "retrieval p50 / p95 ms",
    "with_embedder_ms": "with embedding p50 / p95 ms",
    "recall@10": "recall@10",
}


class Varied:
    """Gives texts vectors like some real ones. Implements what a build needs of an embedder."""

    name, sha256, max_tokens = "varied", "0" * 64, 512

    def __init__(self, real: Vectors) -> None:
        self.real = real
        self.dimension = real.shape[1]
        centred = real - real.mean(axis=0)
        drawn = np.random.default_rng(1).standard_normal((NOISES, len(real)), dtype=np.float32)
        noise = drawn @ centred  # of their covariance
        self._noise = NOISE * noise / np.sqrt(np.mean(np.sum(noise**2, axis=1)))

    def count(self, text: str) -> int:
        return text.count(" ") + 3

    def has_token(self, word: str) -> bool:
        return bool(word)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        drawn = np.array([zlib.crc32(text.encode()) for text in texts], dtype=np.uint64)
        drawn = drawn * np.uint64(0x9E3779B97F4A7C15)  # spreads 32 bits over 64, after Knuth
        one, first, second = ((drawn >> np.uint64(shift)) % np.uint64(2**16) for shift in (48, 32, 16))
        noise = self._noise[first % np.uint64(NOISES)] + self._noise[second % np.uint64(NOISES)]
        vectors = self.real[one % np.uint64(len(self.real))] + noise / np.float32(np.sqrt(2))
        unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self.embed_passages([f"asked: {text}" for text in texts])

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """A text is one token here."""
        return [
            TokenVectors(vector, vector[None], ((0, len(text)),))
            for text, vector in zip(texts, self.embed_passages(texts), strict=True)
        ]


class Made(Sequence[Document]):
    """Documents of random sentences, each made when it is asked for, the same every time."""

    def __init__(self, sentences: Sequence[str], passages: int) -> None:
        self._sentences = sentences
        self._passages = passages

    def __len__(self) -> int:
        return (self._passages + SECTIONS - 1) // SECTIONS

    @overload
    def __getitem__(self, number: int) -> Document: ...
    @overload
    def __getitem__(self, number: slice) -> list[Document]: ...
    def __getitem__(self, number: int | slice) -> Document | list[Document]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if number >= len(self):
            raise IndexError(number)
        chance = np.random.default_rng(number)
        parts: list[str] = []
        sections: list[Section] = []
        start = 0
        for section in range(min(SECTIONS, self._passages - number * SECTIONS)):
            drawn = [self._sentences[one] for one in chance.integers(0, len(self._sentences), SENTENCES)]
            text = f"Item {number * SECTIONS + section}: {' '.join(drawn)}"
            sections.append(Section((f"Chapter {section % 10}", f"Part {section}"), start, start + len(text)))
            parts.append(text)
            start += len(text) + 2
        return Document(
            f"document-{number}", f"Document {number}", f"Role {number % 50}", "\n\n".join(parts), tuple(sections),
            f"{number}.md", f"{number:064}",
        )  # fmt: skip


@click.command()
@click.option("--sizes", default="10000,100000,1000000", show_default=True, help="Passages.")
@output_option
@click.option("--measure", nargs=2, type=click.Path(path_type=Path), hidden=True)
def main(sizes: str, output: Path | None, measure: tuple[Path, Path] | None) -> None:
    """Builds an index of each size, searches it, and prints a table."""
    if measure:
        click.echo(json.dumps(measured(*measure)))
        return
    sentences = real_sentences()
    varied = varied_sentences(sentences)
    rows = []
    for size in map(int, sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "real.npy", varied.real)
            rows.append(_built_and_measured(Path(folder), varied, Made(sentences, size)))
        click.echo(f"{size:,} done", err=True)
    if len(rows) > 1:
        rows.append(_on_paper(rows))
    show([table(rows, f"python -m benchmarks.scale --sizes {sizes}")], output)


def real_sentences() -> list[str]:
    """Those of the bundled documents, without the shortest and the longest."""
    documents = [_document(path) for path in SOURCES]
    found = [one.text for each in documents for section in each.sections for one in sentences_of(each, section)]
    return [text for text in found if 20 < len(text) < 200]


def varied_sentences(sentences: Sequence[str]) -> Varied:
    return Varied(make_embedder(Settings()).embed_passages(sentences))


def measured(folder: Path, nearest: Path) -> dict[str, Any]:
    """What one process sees that opens the version in `folder` and searches it."""
    asked = [one.question for one in load_questions([QUESTIONS])][:ASKED]
    varied = Varied(np.load(folder / "real.npy"))
    vectors = varied.embed_queries([str(number) for number in range(ASKED)])
    began = time.perf_counter()
    version = open_version(
        folder / "build",
        embedder=varied.name,
        embedder_sha256=varied.sha256,
        passage_tokens=PASSAGE_TOKENS,
        store=make_store(),
    )
    opened = time.perf_counter() - began
    right = 0
    for vector, expected in zip(vectors, np.load(nearest), strict=True):
        found = version.vectors.search(vector[None], NEAREST)[1][0]
        right += len(set(found.tolist()) & set(expected.tolist()))
    figures: dict[str, Any] = {
        "opened_s": opened,
        "recall@10": right / NEAREST / ASKED,
        "vectors_ms": _times(lambda number: version.vectors.search(vectors[number][None], 50)),
        "lexical_ms": _times(lambda number: version.lexical.search(asked[number % len(asked)], 50)),
        "retrieval_ms": _times(_retrieval(version, varied, asked)),
        "filtered_ms": _times(_filtered(version, varied, asked)),
        "resident_mb": _resident(),
    }
    try:
        embedder = make_embedder(Settings())
        figures["with_embedder_ms"] = _times(_retrieval(version, embedder, asked))
        figures["with_embedder_mb"] = _resident()
    except ModelError as error:
        click.echo(f"{error} Measured without.", err=True)
    return figures


def _built_and_measured(folder: Path, varied: Varied, documents: Made) -> dict[str, Any]:
    store = make_store()
    queries = varied.embed_queries([str(number) for number in range(ASKED)])
    aside = 0.0

    def write_vectors(vectors: Vectors, path: Path) -> Mapping[str, Any]:
        nonlocal aside
        began = time.perf_counter()
        np.save(folder / "nearest.npy", _exact(vectors, queries))
        aside = time.perf_counter() - began
        return store.write_vectors(vectors, path)

    builder = Builder(varied, dataclasses.replace(store, write_vectors=write_vectors), PASSAGE_TOKENS)
    began = time.perf_counter()
    report = builder.build(documents, folder / "build")
    seconds = time.perf_counter() - began - aside
    home = folder / "build" / report.version
    manifest = json.loads((home / "manifest.json").read_text(encoding="utf-8"))
    disk = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    command = [sys.executable, "-m", "benchmarks.scale", "--measure", str(folder), str(folder / "nearest.npy")]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=PROJECT)  # noqa: S603
    chosen = manifest["vectors"]
    kept = f"{chosen['factory']}, {chosen['nprobe']} lists read" if "nprobe" in chosen else chosen["factory"]
    return {
        "passages": report.passages,
        "kept": kept,
        "chosen": chosen,
        "build_s": seconds,
        "disk_mb": disk / 1e6,
        **json.loads(run.stdout),
    }


def _retrieval(version: IndexVersion, embedder: Any, asked: Sequence[str]) -> Callable[[int], object]:
    retriever = HybridRetriever(version, embedder)
    return lambda number: retriever.retrieve(asked[number % len(asked)], NEAREST)


def _filtered(version: IndexVersion, embedder: Any, asked: Sequence[str]) -> Callable[[int], object]:
    """Of one role in fifty."""
    retriever = HybridRetriever(version, embedder)
    return lambda number: retriever.retrieve(asked[number % len(asked)], NEAREST, [f"Role {number % 50}"])


def _times(work: Callable[[int], object]) -> list[float]:
    """The median and the 95th percentile of some calls in milliseconds, after a few that warm up."""
    for number in range(10):
        work(number)
    taken = []
    for number in range(ASKED):
        began = time.perf_counter()
        work(number)
        taken.append(1000 * (time.perf_counter() - began))
    return [float(one) for one in np.percentile(taken, [50, 95])]


def _resident() -> float:
    """MB of this process that are in memory, pages of mapped files included."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


def _exact(vectors: Vectors, queries: Vectors) -> Any:
    best = np.full((len(queries), NEAREST), -np.inf, dtype=np.float32)
    rows = np.zeros((len(queries), NEAREST), dtype=np.int64)
    for start in range(0, len(vectors), 50_000):
        chunk = np.asarray(vectors[start : start + 50_000])
        scores = np.hstack([best, queries @ chunk.T])
        among = np.hstack([rows, np.broadcast_to(np.arange(start, start + len(chunk)), (len(queries), len(chunk)))])
        kept = np.argpartition(-scores, NEAREST, axis=1)[:, :NEAREST]
        best, rows = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(among, kept, axis=1)
    return rows


def _on_paper(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What grows with the number of passages goes on along the line through the last two sizes.

    A search of vectors in lists takes as long as the lists it reads are, which is the square root of the number; a
    retrieval is made of both searches and the same rest.
    """
    last, before = rows[-1], rows[-2]
    steps = (ON_PAPER - last["passages"]) / (last["passages"] - before["passages"])

    def grown(name: str, number: int | None = None) -> float:
        one, other = ((row[name] if number is None else row[name][number]) for row in (last, before))
        return float(max(one, one + steps * (one - other)))

    found: dict[str, Any] = {"passages": ON_PAPER, "kept": "on paper"}
    lines = ("build_s", "disk_mb", "opened_s", "resident_mb")
    found |= {name: grown(name) for name in lines if name in last}
    longer = np.sqrt(ON_PAPER / last["passages"])
    found["vectors_ms"] = [float(one * longer) for one in last["vectors_ms"]]
    found["lexical_ms"] = [grown("lexical_ms", number) for number in (0, 1)]
    searches = ("vectors_ms", "lexical_ms")
    added = [sum(found[name][number] - last[name][number] for name in searches) for number in (0, 1)]
    for name in ("retrieval_ms", "with_embedder_ms"):
        if name in last:
            found[name] = [one + more for one, more in zip(last[name], added, strict=True)]
    return found


def table(rows: Sequence[Mapping[str, Any]], command: str = "") -> Table:
    """A row for each size. Sizes that were measured are drawn."""
    return Table(
        title="From ten thousand to a million passages",
        columns=tuple(COLUMNS.values()),
        rows=tuple(tuple(_cell(name, row.get(name)) for name in COLUMNS) for row in rows),
        note="Vectors are real ones with noise that varies as they do; building is without reading and "
        "embedding. The last row is the line through the two before it, not measured.",
        command=command,
        plot=Plot("passages", ("build s", "disk MB", "resident MB")),
    )


def _cell(name: str, value: Any) -> str:
    match value:
        case None:
            return "–"
        case list():
            return " / ".join(f"{one:.1f}" for one in value)
        case float() if name == "recall@10":
            return f"{value:.3f}"
        case float():
            return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def _document(path: Path) -> Document:
    sha256, parsed = read_file(str(path))
    return Document(path.stem, path.stem, None, parsed.text, parsed.sections, path.name, sha256)


if __name__ == "__main__":
    main()
