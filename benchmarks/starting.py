"""How long commands take from nothing: what a person waits before anything is loaded.

    python -m benchmarks.starting

Each is run as a user runs it, in a process of its own, over the bundled guides in a fresh home; the chat until its page
has come over HTTP, whatever its models are still doing.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from tqdm import tqdm

from benchmarks.tables import Table, output_option, show

PROJECT = Path(__file__).resolve().parent.parent
QUESTION = "How much could a senior ML systems engineer make in the US?"
COMMANDS = {
    "`rag --help`": ("--help",),
    "`rag index list`": ("index", "list"),
    "`rag search`": ("search", QUESTION),
    "`rag ask --generator extractive`": ("ask", QUESTION, "--generator", "extractive"),
}


@click.command()
@click.option("--runs", default=5, show_default=True, help="Of each, after one that is not counted.")
@output_option
def main(runs: int, output: Path | None) -> None:
    """How long commands take from nothing, until the answer or the page is there."""
    show([measured(runs)], output)


def measured(runs: int) -> Table:
    with tempfile.TemporaryDirectory() as home:
        program = [sys.executable, "-m", "rag", "--home", home]
        subprocess.run([*program, "index", "build"], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - this program
        ways: dict[str, Callable[[], None]] = {name: _command([*program, *words]) for name, words in COMMANDS.items()}
        ways["`rag serve` until its page is there"] = lambda: _page([*program, "serve", "--port", "0"])
        return Table(
            title="Starting",
            columns=("", "median s", "slowest s"),
            rows=tuple(_rows(ways, runs)),
            note=f"Peak memory of the largest: {_peak():,.0f} MB.",
            command=f"python -m benchmarks.starting --runs {runs}",
        )


def _rows(ways: dict[str, Callable[[], None]], runs: int) -> Iterator[tuple[str, str, str]]:
    for name, run in tqdm(ways.items(), unit="command"):
        run()
        seconds = []
        for _ in range(runs):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        yield name, f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def _command(words: list[str]) -> Callable[[], None]:
    return lambda: _run(words)


def _run(words: list[str]) -> None:
    subprocess.run(words, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - this program


def _page(words: list[str]) -> None:
    with subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603 - this program
        try:
            assert server.stdout
            address = server.stdout.readline().split()[-1]
            with urllib.request.urlopen(address) as page:  # noqa: S310 - on loopback
                page.read()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
