"""Writes docs/performance.md from the tables that are kept in `benchmarks/results/`, and draws their plots.

What no table can say, what was tried and did not pay, stands in `benchmarks/notes.md` and is put behind them.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.tables import Table, load

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
HEAD = """# Performance

Every table here was written by `python -m benchmarks NAME --keep` and put on this page by `python -m benchmarks page`.
The machines are shared and noisy: read ratios within one table, which were measured side by side, and not figures
across tables.
"""
CHAPTERS = {
    "Building": ("peers", "reading", "builds"),
    "Asking": ("asking", "first_sentence"),
    "Starting": ("starting",),
    "Retrieval quality": ("ranking",),
    "Size": ("scale",),
    "More than one machine": ("postgres",),
    "Many people at once": ("load",),
}
WIDTH, HEIGHT = 6.4, 3.6
"""Inches of a plot."""


def page(folder: Path = HERE / "results", notes: Path = HERE / "notes.md") -> str:
    """The page's text. Chapters without a kept table are left out."""
    parts = [HEAD]
    for chapter, names in CHAPTERS.items():
        tables = {name: load(folder / f"{name}.json") for name in names if (folder / f"{name}.json").is_file()}
        if tables:
            parts.append(f"## {chapter}\n")
            parts += [
                _shown(table, f"{name}-{number}")
                for name, all_of in tables.items()
                for number, table in enumerate(all_of)
            ]
    if notes.is_file():
        parts.append(notes.read_text(encoding="utf-8").strip() + "\n")
    return "\n".join(parts)


def write() -> Path:
    """Writes page and plots."""
    for path in sorted((HERE / "results").glob("*.json")):
        for number, table in enumerate(load(path)):
            if table.plot:
                _draw(table, PAGE.parent / f"{path.stem}-{number}.svg")
    PAGE.write_text(page(), encoding="utf-8")
    return PAGE


def _shown(table: Table, name: str) -> str:
    lines = [table.as_markdown()]
    if table.plot:
        lines.append(f"![{table.title}]({name}.svg)")
    lines.append(f"`{table.command}` ({table.machine})" if table.command else table.machine)
    return "\n\n".join(lines) + "\n"


def _draw(table: Table, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "rolewise"  # the same plot has the same bytes
    from matplotlib import pyplot as plt

    assert table.plot
    figure, axes = plt.subplots(figsize=(WIDTH, HEIGHT))
    for name in table.plot.y:
        axes.plot(table.column(table.plot.x), table.column(name), marker="o", label=name)
    axes.set(xscale="log", yscale="log", xlabel=table.plot.x, title=table.title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
