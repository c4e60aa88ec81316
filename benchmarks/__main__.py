"""All benchmarks, one after the other, each in a process of its own.

    python -m benchmarks                       # every one; takes hours, most of it the scale and the peers
    python -m benchmarks asking starting       # these
    python -m benchmarks page                  # docs/performance.md from what is kept

What each measured is printed, and kept in `benchmarks/results/` with --keep.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
KEPT = HERE / "results"
NO_BENCHMARK = {"__main__", "tables", "page"}
NAMES = sorted(one.name for one in pkgutil.iter_modules([str(HERE)]) if not one.ispkg and one.name not in NO_BENCHMARK)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--keep", is_flag=True, help=f"Keep the tables in {KEPT.relative_to(HERE.parent)}.")
@click.option("--list", "only_names", is_flag=True, help="Say what there is and stop.")
def main(names: tuple[str, ...], keep: bool, only_names: bool) -> None:
    """Runs benchmarks by their NAMES, or all of them, and prints their tables."""
    if names == ("page",):
        from benchmarks.page import write

        click.echo(write())
        return
    if unknown := set(names) - set(NAMES):
        raise click.UsageError(f"there is no benchmark {', '.join(sorted(unknown))}. Benchmarks: {', '.join(NAMES)}.")
    for name in names or NAMES:
        command = importlib.import_module(f"benchmarks.{name}").main
        if only_names:
            click.echo(f"{name:15} {command.help.splitlines()[0]}")
            continue
        keeps = keep and any(option.name == "output" for option in command.params)
        words = ["-o", str(KEPT / f"{name}.json")] if keeps else []
        run = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *words], cwd=HERE.parent, check=False)  # noqa: S603 - our own
        if run.returncode:
            raise click.ClickException(f"{name} ended with status {run.returncode}; what it said stands above.")


if __name__ == "__main__":
    main()
