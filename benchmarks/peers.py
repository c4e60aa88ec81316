"""Rolewise beside what people would use instead, all with their defaults and the same embedder: speed and ranking.

    python -m benchmarks.peers --documents 1000 --rounds 3 --only-speed -o benchmarks/results/peers.json

Each peer runs in an environment of its own, made on the first call from `peer_adapters/requirements.txt`. Speed is
measured in rounds in which each has its turn, so that a busy machine is busy for all; read the ratios.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from platformdirs import user_cache_path
from tqdm import tqdm

from benchmarks.tables import Table, output_option, show
from eval.benches import BENCHES, bench_folder
from eval.questions import Question
from eval.ranking import DEPTH, ranking_measures
from rag.errors import RolewiseError
from rag.models import path_of

ADAPTERS = Path(__file__).resolve().parent / "peer_adapters"
OURS = {"rolewise": "Rolewise", "bare": "sentence-transformers and a numpy scan"}
"""Run by this Python. The second takes the passages of the first, so it comes after it."""
PEERS = {
    "llamaindex": "LlamaIndex",
    "langchain_faiss": "LangChain, FAISS",
    "haystack_memory": "Haystack",
    "txtai_faiss": "txtai",
}
ALL = OURS | PEERS
Cell = str | int | float
QUIET = {"HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "False", "LANGSMITH_TRACING": "false"}
ASKED = 50
"""Questions of the speed comparison: enough for a median."""
SCANNED = 256 * 2**20
"""Bytes summed to tell the memory's bandwidth: far more than a cache holds."""


@click.command()
@click.option("--documents", default=1000, show_default=True, help="Of SciFact, in the speed comparison.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Turns of each peer.")
@click.option("--limit", type=click.IntRange(1), help="Documents and questions of the quality comparison.")
@click.option("--only-speed", is_flag=True, help="Leave out the quality comparison.")
@click.option("--environment", type=click.Path(file_okay=False, path_type=Path), help="The peers' virtual environment.")
@output_option
def main(
    documents: int, rounds: int, limit: int | None, only_speed: bool, environment: Path | None, output: Path | None
) -> None:
    """Measures all peers and prints tables."""
    try:
        python = prepared(environment or user_cache_path("rolewise") / "peers")
        tables = speed(python, documents, rounds)
        if not only_speed:
            tables.append(quality(python, limit))
    except RolewiseError as error:
        raise click.ClickException(str(error)) from error
    show(tables, output)


def prepared(folder: Path) -> Path:
    """The Python of an environment with all peers, which is made unless it is there with these very versions."""
    wanted = ADAPTERS / "requirements.txt"
    stamp, digest = folder / ".installed", hashlib.sha256(wanted.read_bytes()).hexdigest()
    python = folder / "bin" / "python"
    if not stamp.is_file() or stamp.read_text() != digest:
        _run([sys.executable, "-m", "venv", str(folder)])
        torch = next(line for line in wanted.read_text().splitlines() if line.startswith("torch=="))
        for what in ([torch], ["-r", str(wanted)]):  # torch first, so that nothing else chooses its build
            _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *what])
        stamp.write_text(digest)
    return python


def speed(python: Path, documents: int, rounds: int) -> list[Table]:
    """Building and asking in turns, and the limits of the machine."""
    with tempfile.TemporaryDirectory() as home:
        questions = _documents("scifact", Path(home) / "documents", documents)[:ASKED]
        megabytes = sum(file.stat().st_size for file in (Path(home) / "documents").rglob("*.md")) / 1e6
        turns: dict[str, list[dict[str, Any]]] = {name: [] for name in ALL}
        for name in tqdm([*ALL] * rounds, desc="speed", file=sys.stderr):
            turns[name].append(_measured(python, name, Path(home), questions))
    note = (
        f"{documents:,} abstracts of SciFact, {megabytes:.1f} MB. Medians of {rounds} turns; MB are of files, since "
        "each splits otherwise. A build is without imports and loading the model, `whole` with them."
    )
    return [building(turns, megabytes, note), asking(turns), limits()]


def building(turns: Mapping[str, Sequence[Mapping[str, Any]]], megabytes: float, note: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, found in turns.items():
        build, whole = (statistics.median(one[what] for one in found) for what in ("build", "whole"))
        passages = found[0]["passages"]
        rows.append((ALL[name], passages, passages / build, megabytes / build, build, whole, megabytes / whole))
    columns = ("built by", "passages", "passages/s", "MB/s", "build s", "whole s", "MB/s, whole")
    return Table("From files to an index", columns, _shown(rows), note)


def asking(turns: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """The embedding of the same question by the bare model is timed just before each search."""
    rows: list[tuple[Cell, ...]] = []
    for name, found in turns.items():
        search, embed = (np.concatenate([one[what] for one in found]) * 1000 for what in ("search", "embed"))
        rows.append((ALL[name], *(float(np.median(one)) for one in (search, embed, search - embed, search / embed))))
    columns = ("asked of", "search ms", "bare embedding ms", "more than that, ms", "ratio")
    note = "Medians over the questions; each has its 10 nearest passages found, its embedding included."
    return Table("From a question to ten passages", columns, _shown(rows), note)


def limits() -> Table:
    numbers = np.ones(SCANNED // 4, dtype=np.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - began)
    vector = SCANNED / min(seconds) / 1e9
    rows: list[tuple[Cell, ...]] = [("memory read by one thread, GB/s", vector)]
    note = "An exact scan of n passages reads n × 1,536 bytes."
    return Table("Limits of the machine", ("limit", "value"), _shown(rows), note)


def quality(python: Path, limit: int | None) -> Table:
    """Files ranked by their best passages: nDCG@10 on SciFact, both gold paragraphs in the top ten on HotpotQA."""
    figures: dict[str, list[Cell]] = {name: [] for name in ALL}
    for bench, split in (("scifact", "test"), ("hotpotqa", None)):
        with tempfile.TemporaryDirectory() as home:
            questions = _documents(bench, Path(home) / "documents", limit)
            questions = [one for one in questions if split in (None, one.split)][:limit]
            for name in tqdm(ALL, desc=bench, file=sys.stderr):
                found = _measured(python, name, Path(home), questions)["found"]
                score = ndcg if bench == "scifact" else both_found
                figures[name].append(statistics.mean(map(score, questions, found)))
    rows = [(ALL[name], *cells) for name, cells in figures.items()]
    columns = ("ranked by", "nDCG@10, SciFact test", "both found @10, HotpotQA")
    note = "Each by its default retriever; a file ranks where the best of its passages does."
    return Table("Ranking", columns, _shown(rows), f"{note} Only {limit} documents and questions." if limit else note)


def ranked(paths: Sequence[str]) -> list[str]:
    """The names in the index of files, each once, the best first, ten at the most."""
    return list(dict.fromkeys(path.removesuffix(".md").replace("/", "-") for path in paths))[:DEPTH]


def ndcg(question: Question, paths: Sequence[str]) -> float:
    return ranking_measures(dict(question.relevant), ranked(paths))["nDCG@10"]


def both_found(question: Question, paths: Sequence[str]) -> float:
    """1.0 if every relevant document is among the ten."""
    return float({name for name, _ in question.relevant} <= set(ranked(paths)))


def _shown(rows: Sequence[tuple[Cell, ...]]) -> tuple[tuple[str, ...], ...]:
    """Numbers with three significant figures, thousands parted."""

    def shown(cell: Cell) -> str:
        if isinstance(cell, float):
            return f"{cell:,.{0 if abs(cell) >= 100 else 1 if abs(cell) >= 10 else 2 if abs(cell) >= 1 else 3}f}"
        return f"{cell:,}" if isinstance(cell, int) else cell

    return tuple(tuple(map(shown, row)) for row in rows)


def _documents(bench: str, folder: Path, limit: int | None) -> list[Question]:
    """Writes the documents of a public set, no more than `limit`, and returns its questions."""
    questions = BENCHES[bench].read(bench_folder(), folder)
    for file in sorted(folder.rglob("*.md"))[limit:] if limit else ():
        file.unlink()
    return questions


def _measured(python: Path, name: str, home: Path, questions: Sequence[Question]) -> dict[str, Any]:
    asked, found = home / "questions.json", home / f"{name}.json"
    asked.write_text(json.dumps([one.question for one in questions]), encoding="utf-8")
    interpreter = sys.executable if name in OURS else str(python)
    arguments = [str(path_of("all-MiniLM-L6-v2")), str(home / "documents"), str(asked), str(found), str(time.time())]
    _run([interpreter, str(ADAPTERS / f"{name}.py"), *arguments])
    for one in home.glob("tmp*"):
        shutil.rmtree(one)  # the index of Rolewise: the next turn builds anew
    about: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return about


def _run(words: list[str]) -> None:
    environment = os.environ | QUIET
    run = subprocess.run(  # noqa: S603 - our own
        words, check=False, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise click.ClickException(f"{' '.join(words[:3])} failed: {last}")


if __name__ == "__main__":
    main()
