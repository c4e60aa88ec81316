"""Times and peak memory of builds: the first, one without a change, one after a document was changed.

    python -m benchmarks.builds --documents 10000 --words 60

Each build is `python -m rag index build` as a user runs it, over documents of made-up words in a fresh folder.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

WORDS = Path(__file__).resolve().parent.parent / "index" / "sources"


@click.command()
@click.option("--documents", default=1000, show_default=True, help="How many.")
@click.option("--words", default=200, show_default=True, help="Of each document.")
def main(documents: int, words: int) -> None:
    """Builds an index three times and prints a row for each."""
    vocabulary = sorted({word for file in WORDS.glob("*.md") for word in re.findall(r"[a-z]{3,}", file.read_text())})
    chance = random.Random(0)  # noqa: S311 - the same documents every time
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "documents"
        for number in range(documents):
            path = folder / f"{number // 1000}" / f"{number}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_text(number, words, vocabulary, chance), encoding="utf-8")
        time.sleep(2.5)  # a file that was just written is read again
        click.echo("| build | s | peak MB | passages embedded |\n|---|--:|--:|--:|")
        for name in ("first", "without a change", "one document changed"):
            if name.startswith("one"):
                (folder / "0" / "0.md").write_text(_text(0, words, vocabulary, chance), encoding="utf-8")
            click.echo(f"| {name} | {_build(Path(home), folder)} |")


def _text(number: int, words: int, vocabulary: list[str], chance: random.Random) -> str:
    sentences = [" ".join(chance.choices(vocabulary, k=12)).capitalize() + "." for _ in range(words // 12)]
    return f"# Document {number}\n\n{' '.join(sentences)}\n"


def _build(home: Path, folder: Path) -> str:
    command = [sys.executable, "-c", _MEASURED, "--home", str(home), "index", "build", str(folder)]
    began = time.perf_counter()
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - this program
    seconds = time.perf_counter() - began
    embedded = re.search(r"embedded\s+([\d,]+)", run.stdout)
    peak = int(run.stdout.rsplit("peak", 1)[1])
    return f"{seconds:.1f} | {peak:,} | {embedded[1] if embedded else 0}"


_MEASURED = """
import atexit, resource, sys
atexit.register(lambda: print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))
from rag.__main__ import main
main()
"""

if __name__ == "__main__":
    main()
