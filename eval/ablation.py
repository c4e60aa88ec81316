"""One page about several runs of the same questions, such as those of a grid of settings: what each setting brought.

In come the rows of each run and what its `run.json` says; out comes an HTML page as text, in the look of the report on
a single run. All other runs are held against the first. Nothing is read or written here. Names of runs and settings are
untrusted text: the template (ablation.html) escapes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup

from eval.page import counted, distinct, duration, interval, model, plain, signed, template
from eval.plots import Table, difference_plot, latency_ratio_plot, leaves_out
from eval.summary import Row, by, latency, means, refusal
from eval.verdict import LESS_IS_BETTER, Comparison, compare
from rag.errors import SettingsError
from rag.significance import RESAMPLES, Measured

PLOTTED = ("right", "facts", "citation precision", "refusal F1", "recall@10", "nDCG@10")
"""Measures whose differences are drawn; more of each is better."""
MEDIAN, SLOWEST, ERRORS = "median latency", "95th percentile of latency", "errors"
_LESS = LESS_IS_BETTER | {MEDIAN, SLOWEST, ERRORS}
_HASH = 12
"""Characters that are shown of a hash."""


class Cell(NamedTuple):
    """A figure, how it is written, and what stands behind it."""

    value: float
    text: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A run against the first one, in a table and in words."""

    run: str
    table: Table
    notes: list[str]


def ablation(runs: Mapping[str, tuple[Sequence[Row], Mapping[str, Any]]]) -> str:
    """The page about one run or more, by name: (rows, what run.json holds). The same input gives the same text.

    Raises SettingsError that names two runs if they have no question in common, or one that reads differently in them.
    """
    first, *others = runs
    found = {run: _compared(first, run, runs) for run in others}
    settings, equal = _parted("Setting", {run: _settings(about) for run, (_, about) in runs.items()}, "default")
    circumstances, same = _parted("Circumstance", {run: _circumstances(*one) for run, one in runs.items()}, "not told")
    plots = (
        difference_plot(first, _differences(found)),
        latency_ratio_plot(first, {run: one.latency for run, one in found.items() if one.latency}),
    )
    common, left_out = _common({run: rows for run, (rows, _) in runs.items()})
    everything = [row for rows, _ in runs.values() for row in rows]
    sets = distinct(name for _, about in runs.values() for name in about.get("sets") or ()) or list(
        by(everything, "set")
    )
    order = list(_figures(everything))
    return template("ablation.html").render(
        title=f"Runs compared on {', '.join(sets)}" if sets else "Runs compared",
        lead=_lead(runs),
        first=first,
        settings=settings,
        circumstances=circumstances,
        same=[*same, *equal],
        plots=[plot for plot in plots if plot],
        measures=_measures({run: _figures(rows) for run, rows in common.items()}, order),
        left_out=left_out,
        held=[_held(first, run, one, order) for run, one in found.items()],
        resamples=RESAMPLES,
    )


def _compared(first: str, run: str, runs: Mapping[str, tuple[Sequence[Row], Mapping[str, Any]]]) -> Comparison:
    try:
        return compare(runs[first][0], runs[run][0])
    except SettingsError as error:
        raise SettingsError(f"{first} (A) and {run} (B) cannot be held against each other. {error}") from error


def _lead(runs: Mapping[str, tuple[Sequence[Row], Mapping[str, Any]]]) -> str:
    sizes = sorted({len(rows) for rows, _ in runs.values()})
    questions = counted(sizes[-1], "question") if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,} questions"
    first, *others = runs
    told = f"the first, {first}, is what {'the other is' if len(others) == 1 else 'the others are'} held against"
    return f"{counted(len(runs), 'run')} of {questions}; {told if others else 'there is no other to hold against it'}."


# What differs


def _settings(run: Mapping[str, Any]) -> dict[str, str]:
    return {name: plain(value) for name, value in (run.get("settings") or {}).items()}


def _circumstances(rows: Sequence[Row], run: Mapping[str, Any]) -> dict[str, str]:
    """What beside the settings may make a difference, as far as it is told; of a hash its beginning."""
    generator = run.get("generator") or ""
    if not isinstance(generator, str):
        sha256 = (generator.get("sha256") or "")[:_HASH]
        generator = model(generator) + (f", sha256 {sha256}" if sha256 else "")
    sets = by(rows, "set")
    indexed = {name: [row["index"] for row in group if "index" in row] for name, group in sets.items()}
    told = {
        "Questions": ", ".join(f"{name}: {len(group):,}" for name, group in sets.items()),
        "Generator": generator,
        "Prompt files, sha256": (run.get("prompts") or "")[:_HASH],
        "Embedder": ", ".join(distinct(one["embedder"] for group in indexed.values() for one in group)),
        **{f"Index of {name}": ", ".join(distinct(one["version"] for one in group)) for name, group in indexed.items()},
        "Commit": run.get("commit") or "",
    }
    return {term: value for term, value in told.items() if value}


def _parted(head: str, told: Mapping[str, Mapping[str, str]], absent: str) -> tuple[Table, list[tuple[str, str]]]:
    """What is told of each run, parted into a table of what differs and a list of what is the same in all of them."""
    differ, same = [], []
    for term in distinct(term for terms in told.values() for term in terms):
        values = [terms.get(term) for terms in told.values()]
        if len(set(values)) > 1:
            differ.append((term, *(absent if value is None else value for value in values)))
        else:
            same.append((term, values[0] or ""))
    return Table((head, *told), differ), same


# The measures of each run


def _common(runs: Mapping[str, Sequence[Row]]) -> tuple[dict[str, list[Row]], int]:
    """The rows of the questions that all runs have, so that means are over the same; the number of other questions."""
    asked = [{(row["set"], row["id"]) for row in rows} for rows in runs.values()]
    shared = set.intersection(*asked)
    common = {run: [row for row in rows if (row["set"], row["id"]) in shared] for run, rows in runs.items()}
    return common, len(set.union(*asked) - shared)


def _figures(rows: Sequence[Row]) -> dict[str, Cell]:
    """All that is measured of a run, in the order in which it is shown; times in milliseconds."""
    cells = {name: Cell(value, f"{value:.3f}", f" ({n:,})") for name, (value, n) in means(rows).items()}
    cells |= {name: Cell(value, f"{value:.3f}") for name, value in refusal(rows).items()}
    if total := latency(rows).get("total"):
        cells |= {name: Cell(time, duration(time)) for name, time in zip((MEDIAN, SLOWEST), total, strict=True)}
    errors = sum(row["status"] == "error" for row in rows)
    return cells | {ERRORS: Cell(errors, f"{errors:,}")}


def _measures(figures: Mapping[str, Mapping[str, Cell]], order: Sequence[str]) -> Table:
    lines = []
    for name in order:
        cells = [cells.get(name) for cells in figures.values()]
        lines.append((_titled(name), *_marked(cells, best=min if name in _LESS else max)))
    return Table(("Measure", *figures), lines)


def _marked(cells: Sequence[Cell | None], best: Callable[[Sequence[Cell]], Cell]) -> list[str]:
    """The cells as they are shown, the best in bold unless all look the same."""
    there = [cell for cell in cells if cell]
    top = best(there).text if len({cell.text for cell in there}) > 1 else None
    return ["–" if cell is None else _bold(cell.text, cell.of, when=cell.text == top) for cell in cells]


def _bold(text: str, more: str = "", *, when: bool) -> str:
    return Markup("<strong>{}</strong>{}").format(text, more) if when else text + more


def _titled(measure: str) -> str:
    return measure + (", less is better" if measure in _LESS else "")


# Each run against the first


def _differences(found: Mapping[str, Comparison]) -> dict[str, dict[str, Measured]]:
    """The differences that are drawn, by measure and then by run."""
    measured = {run: {one.name: one for one in comparison.measures} for run, comparison in found.items()}
    differences = {
        name: {run: measures[name] for run, measures in measured.items() if name in measures} for name in PLOTTED
    }
    return {name: runs for name, runs in differences.items() if runs}


def _held(first: str, run: str, comparison: Comparison, order: Sequence[str]) -> Held:
    lines = [
        (
            _titled(one.name),
            f"{one.n:,}",
            f"{one.a:.3f}",
            f"{one.b:.3f}",
            _bold(signed(one.difference), when=leaves_out(one.interval, 0)),
            interval(one.interval),
            _p(one.p),
        )
        for one in sorted(comparison.measures, key=lambda one: order.index(one.name))
    ]
    columns = ("Measure", "n", first, run, "Difference", "95% interval", "p")
    return Held(run, Table(columns, lines), _notes(first, run, comparison))


def _notes(first: str, run: str, comparison: Comparison) -> list[str]:
    """What the table does not say of a comparison, a sentence or two each."""
    notes = []
    if comparison.only_a or comparison.only_b:
        left = f"{len(comparison.only_a):,} only in {first} and {len(comparison.only_b):,} only in {run}"
        notes.append(f"Compared are the {counted(comparison.n, 'question')} of both; {left} are left out.")
    if any(one.name == "right" for one in comparison.measures):
        turns = comparison.right
        notes.append(
            f"Right in {first} only: {turns.lost:,}, in {run} only: {turns.won:,}; exact McNemar p {_p(turns.p)}."
        )
    if times := comparison.latency:
        notes.append(
            f"Median latency of {counted(times.n, 'question')}: {duration(times.a)} in {first}, {duration(times.b)} in "
            f"{run}, {times.ratio:.2f} times as long, 95% interval {times.interval[0]:.2f} to {times.interval[1]:.2f}."
        )
    names = {"A": first, "B": run}
    notes += [f"Not measured in {names[lacks]} and so not compared: {name}." for name, lacks in comparison.unmeasured]
    changed = [line for line in comparison.changed if line.startswith(("prompt: ", "labels: "))]
    return notes + [f"{line[0].upper()}{line[1:]}." for line in changed]


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
