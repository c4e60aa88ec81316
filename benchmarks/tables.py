"""What a benchmark measured: a table that is printed as Markdown, kept as JSON and drawn as a plot."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Plot:
    """Columns of a table drawn against one of them, by their headings; the axes are logarithmic."""

    x: str
    y: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under their headings. The first column names the rows; `note` says what to know when reading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    command: str = ""
    plot: Plot | None = None
    machine: str = ""

    def as_markdown(self) -> str:
        head = [
            " | ".join(self.columns),
            "|".join("---" if column == 0 else "--:" for column in range(len(self.columns))),
        ]
        lines = [f"| {head[0]} |", f"|{head[1]}|", *(f"| {' | '.join(row)} |" for row in self.rows)]
        return "\n".join(filter(None, [f"**{self.title}**\n", *lines, f"\n{self.note}" if self.note else ""]))

    def column(self, name: str) -> list[float]:
        """The numbers of a column; separators of thousands and a percent sign are read."""
        place = self.columns.index(name)
        return [float(row[place].replace(",", "").rstrip("%")) for row in self.rows]


def machine() -> str:
    """Processor, cores that may be used and Python, in a line; no name that tells one machine from another."""
    model = platform.processor() or platform.machine()
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        named = [
            line.partition(":")[2].strip() for line in facts.read_text().splitlines() if line.startswith("model name")
        ]
        model = named[0] if named else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{model}, {cores} cores, Python {platform.python_version()}"


def show(tables: Sequence[Table], output: Path | None = None) -> None:
    """Prints the tables, and keeps them in a file if one is named."""
    for table in tables:
        click.echo(f"{table.as_markdown()}\n")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        rows = [asdict(table) | {"machine": table.machine or machine()} for table in tables]
        output.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> list[Table]:
    """The tables that `show` kept."""
    return [_table(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _table(row: dict[str, Any]) -> Table:
    plot = Plot(row["plot"]["x"], tuple(row["plot"]["y"])) if row["plot"] else None
    return Table(**{**row, "columns": tuple(row["columns"]), "rows": tuple(map(tuple, row["rows"])), "plot": plot})


output_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to keep the tables in."
)
