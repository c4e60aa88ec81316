"""The plots of the pages about runs, each with its caption and a table of all its figures.

In come rows, or what was found in comparing runs; out come drawings as SVG in the colours of the page that they stand
in (page.html). No text of documents, questions or answers goes into a plot; names of kinds, roles, stages and runs do,
as text that is cut, cleaned and escaped.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from eval.measures import OUTCOMES
from eval.page import counted, duration, interval, signed, spaced
from eval.summary import Row, by, latency, means, outcome_counts, reliability, risk_coverage
from rag.logistic import wilson
from rag.significance import Latency, Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RETRIEVAL = ("hit@1", "hit@5", "recall@5", "recall@10", "MRR@10", "nDCG@10")
MOST_BARS = 24
"""A plot shows the groups with most questions; its table shows all."""
MOST_NAMED = 4
"""So many differences are named below a plot."""
_LABEL = 26
"""Characters of a name beside a plot."""
_WIDTH = 4.4
"""Of a plot in inches: 317 points, so that text of 9 points is readable on a phone."""
_INKS = {
    "#00ab00": "currentColor",
    "#00ab01": "var(--right)",
    "#00ab02": "var(--wrong)",
    "#00ab03": "var(--wrongly-refused)",
    "#00ab04": "var(--wrongly-answered)",
    "#00ab05": "var(--accent)",
    "#00ab06": "var(--page)",
}
"""Colours that plots are drawn in, and what the page shows for them, which differs in light and dark."""
_INK, _RIGHT, _WRONG, _REFUSED, _ANSWERED, _ACCENT, _PAGE = _INKS
_OUTCOME_INKS = dict(zip(OUTCOMES, (_RIGHT, _WRONG, _REFUSED, _ANSWERED), strict=True))
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "rolewise",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, the first of each its heading."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing, what it shows in words, and all its figures."""

    title: str
    svg: Markup
    caption: str
    table: Table


@contextmanager
def _drawing() -> Iterator[None]:
    """Settings under which plots look alike everywhere; the settings of the process come back afterwards."""
    from matplotlib import style

    with style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the reader's fonts draw the text
        yield


@_drawing()
def plots_of(rows: Sequence[Row]) -> list[Plot]:
    """The plots of one run, as far as its rows have what they show."""
    judged = [row for row in rows if "outcome" in row]
    plots = (
        _outcomes("kind", by(judged, "kind")),
        _outcomes("role", by(judged, "role")),
        _retrieval(rows),
        _latency(rows),
        _reliability(rows),
        _risk_coverage(rows),
    )
    return [plot for plot in plots if plot]


def _outcomes(field: str, groups: Mapping[str, Sequence[Row]]) -> Plot | None:
    if not groups:
        return None
    counts = {name: outcome_counts(rows) for name, rows in groups.items()}
    most = sorted(counts, key=lambda name: -counts[name].total())[:MOST_BARS]
    shown = [name for name in counts if name in most]
    figure, axes = _figure(0.75 + 0.24 * len(shown))
    places = range(len(shown))
    left = [0.0] * len(shown)
    for outcome in OUTCOMES:
        shares = [counts[name][outcome] / counts[name].total() for name in shown]
        ink = _OUTCOME_INKS[outcome]
        axes.barh(places, shares, left=left, height=0.72, color=ink, edgecolor=_PAGE, linewidth=0.8, label=outcome)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    for place, name in enumerate(shown):
        axes.text(1.02, place, f"{counts[name]['right'] / counts[name].total():.0%}", va="center")
    axes.set_yticks(places, [f"{_label(name)} ({counts[name].total()})" for name in shown])
    axes.invert_yaxis()
    _in_percent(axes, "x")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    figure.legend(loc="outside upper left", ncols=4, handlelength=0.8, columnspacing=1.0, handletextpad=0.4)
    right = sum(one["right"] for one in counts.values())
    whole = sum(one.total() for one in counts.values())
    caption = (
        f"{right:,} of {counted(whole, 'question')} are right ({right / whole:.0%}). {_extremes(counts)}"
        "At the right of each bar stands the share that is right, after each name the number of questions."
    )
    lines = []
    for name, one in counts.items():
        low, high = wilson(one["right"], one.total())
        cells = (f"{one['right'] / one.total():.1%}", f"{low:.1%}–{high:.1%}", *(str(one[name]) for name in OUTCOMES))
        lines.append((name, str(one.total()), *cells))
    title = f"Outcomes by {field}"
    columns = (field, "n", "right, share", "95% interval", *OUTCOMES)
    return Plot(title, _svg(figure, title), caption, Table(columns, lines))


def _extremes(counts: Mapping[str, Counter[str]]) -> str:
    shares = {name: one["right"] / one.total() for name, one in counts.items()}
    best, worst = max(shares, key=lambda name: shares[name]), min(shares, key=lambda name: shares[name])
    if shares[best] == shares[worst]:
        return ""
    return (
        f"The highest share is that of {best} ({shares[best]:.0%} of {counts[best].total():,}), "
        f"the lowest that of {worst} ({shares[worst]:.0%} of {counts[worst].total():,}). "
    )


def _retrieval(rows: Sequence[Row]) -> Plot | None:
    overall = means(rows)
    names = [name for name in RETRIEVAL if name in overall]
    groups = {kind: means(group) for kind, group in by(rows, "kind").items()}
    groups = {kind: found for kind, found in groups.items() if any(name in found for name in names)}
    if not groups:
        return None
    figure, axes = _figure(0.5 + 0.26 * len(groups))
    for place, found in enumerate(groups.values()):
        for column, name in enumerate(names):
            if name not in found:
                continue
            value = found[name][0]
            axes.barh(
                place, 0.96, left=column - 0.48, height=0.9, color=_ACCENT, alpha=0.06 + 0.44 * value, linewidth=0
            )
            axes.text(column, place, f"{value:.2f}", ha="center", va="center")
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)), names, fontsize=7.5)
    most = {kind: max(found[name][1] for name in names if name in found) for kind, found in groups.items()}
    axes.set_yticks(range(len(groups)), [f"{_label(kind)} ({most[kind]})" for kind in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    caption = (
        f"Over all kinds: {', '.join(f'{name} {overall[name][0]:.2f}' for name in names)}. "
        "Questions without relevance judgements are left out."
    )
    lines = [
        (kind, *(f"{found[name][0]:.3f} ({found[name][1]})" if name in found else "–" for name in names))
        for kind, found in groups.items()
    ]
    title = "Retrieval by kind"
    return Plot(title, _svg(figure, title), caption, Table(("kind", *names), lines))


def _latency(rows: Sequence[Row]) -> Plot | None:
    stages = latency(rows)
    if not stages:
        return None
    figure, axes = _figure(0.75 + 0.42 * len(stages))
    longest = max(p95 for _, p95 in stages.values()) or 1.0
    for shift, ink, alpha, label in ((-0.19, _ACCENT, 1.0, "median"), (0.19, _ACCENT, 0.4, "95th percentile")):
        values = [times[shift > 0] for times in stages.values()]
        places = [place + shift for place in range(len(stages))]
        axes.barh(places, values, height=0.34, color=ink, alpha=alpha, linewidth=0, label=label)
        for place, value in zip(places, values, strict=True):
            axes.text(value + longest * 0.015, place, duration(value), va="center", fontsize=8)
    axes.set_yticks(range(len(stages)), [spaced(_label(stage)) for stage in stages])
    axes.set_xlim(0, longest * 1.16)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(length=0)
    figure.legend(loc="outside upper left", ncols=2, handlelength=0.8)
    timed = sum("timings_ms" in row for row in rows)
    last, (median, p95) = list(stages.items())[-1]
    caption = (
        f"Time from the question to each mark, so a later one includes those before it. {spaced(last).capitalize()}: "
        f"median {duration(median)}, 95th percentile {duration(p95)}, over {counted(timed, 'answer')}."
    )
    lines = [(spaced(stage), f"{median:,.1f}", f"{p95:,.1f}") for stage, (median, p95) in stages.items()]
    title = "Latency"
    return Plot(title, _svg(figure, title), caption, Table(("mark", "median, ms", "95th percentile, ms"), lines))


def _reliability(rows: Sequence[Row]) -> Plot | None:
    found = reliability(rows)
    if not found.n:
        return None
    figure, axes = _figure(3.1)
    axes.plot([0, 1], [0, 1], color=_INK, alpha=0.5, linewidth=0.8, linestyle=(0, (4, 3)))
    intervals = [wilson(round(one.share * one.n), one.n) for one in found.bins]
    for one, (low, high) in zip(found.bins, intervals, strict=True):
        axes.plot([one.predicted] * 2, [low, high], color=_ACCENT, alpha=0.45, linewidth=2)
        axes.annotate(str(one.n), (one.predicted, high), (0, 5), textcoords="offset points", ha="center", fontsize=7.5)
    axes.plot(*zip(*((one.predicted, one.share) for one in found.bins), strict=True), "o-", color=_ACCENT, markersize=5)
    _unit_square(axes, "predicted probability of “unanswerable”", "share that is unanswerable")
    axes.set_ylim(-0.02, 1.1)
    caption = (
        f"Brier score {found.brier:.3f}, expected calibration error {found.error:.3f} over "
        f"{counted(found.n, 'question')} in bins of a tenth (Guo et al., ICML 2017). On the dashed line a probability "
        "tells the truth. Bars are 95% Wilson intervals, with the number of questions above them."
    )
    lines = [
        (
            f"{one.low:.1f}–{one.high:.1f}",
            str(one.n),
            f"{one.predicted:.3f}",
            f"{one.share:.3f}",
            f"{low:.3f}–{high:.3f}",
        )
        for one, (low, high) in zip(found.bins, intervals, strict=True)
    ]
    columns = ("probability", "n", "mean predicted", "share unanswerable", "95% interval")
    title = "Reliability of refusals"
    return Plot(title, _svg(figure, title), caption, Table(columns, lines))


def _risk_coverage(rows: Sequence[Row]) -> Plot | None:
    coverages, risks, area = risk_coverage(rows)
    if not coverages:
        return None
    figure, axes = _figure(3.1)
    axes.plot([0, 1], [risks[-1]] * 2, color=_INK, alpha=0.5, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.step([0.0, *coverages], [risks[0], *risks], where="pre", color=_ACCENT, linewidth=1.6)
    axes.plot(coverages[-1], risks[-1], "o", color=_ACCENT, markersize=5)
    _unit_square(axes, "coverage: share of the answers given", "risk: share not right")
    axes.set_ylim(0, min(1.0, 1.15 * max(risks) + 0.05))
    caption = (
        f"Of all answers that were given {risks[-1]:.1%} are not right (the point). The area under the curve is "
        f"{area:.3f}; a random order would have {risks[-1]:.3f} (dashed), and less is better. To the left only those "
        "least likely unanswerable are given, the others refused (Geifman and El-Yaniv, NeurIPS 2017)."
    )
    wanted = [tenth / 10 for tenth in range(1, 11)]
    at = [next(place for place, coverage in enumerate(coverages) if coverage >= least) for least in wanted]
    lines = [(f"{coverages[place]:.1%}", f"{risks[place]:.1%}") for place in dict.fromkeys(at)]
    title = "Risk and coverage"
    return Plot(title, _svg(figure, title), caption, Table(("coverage", "risk"), lines))


@_drawing()
def difference_plot(first: str, found: Mapping[str, Mapping[str, Measured]]) -> Plot | None:
    """What runs differ in from the run `first`, by measure and there by run: dots with their intervals.

    More is better in all of the measures. None if there is nothing to show.
    """
    points = [(measure, run, one) for measure, runs in found.items() for run, one in runs.items()]
    if not points:
        return None
    grouped = any(len(runs) > 1 for runs in found.values())
    figure, axes = _figure(0.75 + 0.24 * (len(points) + 1.3 * grouped * len(found)))
    place, ticks = 0.0, []
    for measure, runs in found.items():
        if grouped:
            ticks.append((place, _label(measure), "bold"))
            place += 1
        for run, one in runs.items():
            _dot(axes, place, one.difference, one.interval, middle=0)
            _beside(axes, place, signed(one.difference))
            ticks.append((place, _label(run if grouped else measure), "normal"))
            place += 1
        place += 0.3 * grouped
    axes.set_yticks([place for place, _, _ in ticks], [label for _, label, _ in ticks])
    for tick, (_, _, weight) in zip(axes.get_yticklabels(), ticks, strict=True):
        tick.set_fontweight(weight)
    bounds = [0.0, *(bound for _, _, one in points for bound in (*one.interval, one.difference))]
    margin = max(0.01, 0.06 * (max(bounds) - min(bounds)))
    axes.set_xlim(min(bounds) - margin, max(bounds) + margin)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.4g}".replace("-", "−") if abs(value) > 1e-9 else "0")
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"difference to {_label(first)}, to the right is better")
    _as_dots(axes, middle=0)
    apart = [point for point in points if leaves_out(point[2].interval, 0)]
    caption = (
        f"{len(apart)} of {counted(len(points), 'interval')} {'leaves' if len(apart) == 1 else 'leave'} out 0"
        f"{_farthest(apart)}. "
        f"A dot is the figure of a run less that of {first}, filled if the interval leaves out 0; a line is the 95% "
        "interval. Runs stand in the order of the tables."
    )
    lines = [
        (f"{measure}, {run}", signed(one.difference), interval(one.interval), str(one.n))
        for measure, run, one in points
    ]
    title = "Differences with 95% intervals"
    columns = ("measure, run", "difference", "95% interval", "n")
    return Plot(title, _svg(figure, title), caption, Table(columns, lines))


def _farthest(points: Sequence[tuple[str, str, Measured]]) -> str:
    largest = sorted(points, key=lambda point: -abs(point[2].difference))[:MOST_NAMED]
    named = ", ".join(f"{measure} of {run} {signed(one.difference)}" for measure, run, one in largest)
    return f"{', the farthest: ' if len(points) > MOST_NAMED else ': '}{named}" if named else ""


@_drawing()
def latency_ratio_plot(first: str, found: Mapping[str, Latency]) -> Plot | None:
    """How many times as long as the run `first` others take: dots with their intervals. None if there are none."""
    from matplotlib.ticker import LogLocator, NullLocator

    if not found:
        return None
    figure, axes = _figure(0.75 + 0.24 * len(found))
    for place, one in enumerate(found.values()):
        _dot(axes, place, one.ratio, one.interval, middle=1)
        _beside(axes, place, f"{one.ratio:.2f}×")
    axes.set_yticks(range(len(found)), [_label(run) for run in found])
    bounds = [bound for one in found.values() for bound in (*one.interval, one.ratio)]
    low, high = min(0.45, 0.9 * min(bounds)), max(2.2, 1.1 * max(bounds))
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 100 else (1,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.set_xlabel(f"times as long as {_label(first)}, to the left is better")
    _as_dots(axes, middle=1)
    times = "; ".join(f"{run} {duration(one.a)} and {duration(one.b)}" for run, one in found.items())
    caption = (
        f"Medians of the time to the whole answer, of {first} and of the other run over the questions that both timed: "
        f"{times}. A dot is their ratio, filled if the 95% interval, the line, leaves out 1."
    )
    lines = [
        (
            run,
            *(duration(time) for time in (one.a, one.b)),
            f"{one.ratio:.2f}",
            "{:.2f} to {:.2f}".format(*one.interval),
            *(duration(time) for time in (one.a95, one.b95)),
            str(one.n),
        )
        for run, one in found.items()
    ]
    middle = ("ratio", "95% interval")
    columns = (
        "run",
        f"median, {first}",
        "median, run",
        *middle,
        f"95th percentile, {first}",
        "95th percentile, run",
        "n",
    )
    title = "Median latency"
    return Plot(title, _svg(figure, title), caption, Table(columns, lines))


def leaves_out(bounds: tuple[float, float], value: float) -> bool:
    """Whether a value is outside of an interval."""
    return not bounds[0] <= value <= bounds[1]


def _dot(axes: Axes, place: float, value: float, bounds: tuple[float, float], *, middle: float) -> None:
    """A value on a line that is its interval, hollow if `middle`, which stands for no difference, is within that."""
    axes.plot(bounds, [place] * 2, color=_ACCENT, alpha=0.55, linewidth=2)
    fill = _ACCENT if leaves_out(bounds, middle) else _PAGE
    axes.plot(value, place, "o", color=_ACCENT, markerfacecolor=fill, markersize=5.5)


def _beside(axes: Axes, place: float, words: str) -> None:
    axes.text(1.03, place, words, transform=axes.get_yaxis_transform(), va="center")


def _as_dots(axes: Axes, *, middle: float) -> None:
    axes.axvline(middle, color=_INK, alpha=0.5, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    places = axes.get_yticks()
    axes.set_ylim(places[-1] + 0.6, places[0] - 0.6)
    axes.xaxis.grid(color=_INK, alpha=0.15, linewidth=0.6)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height))
    return figure, figure.add_subplot()


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(-0.02, 1.02)
    _in_percent(axes, "x")
    _in_percent(axes, "y")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _in_percent(axes: Axes, which: str) -> None:
    from matplotlib.ticker import PercentFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.grid(color=_INK, alpha=0.15, linewidth=0.6)


def _label(name: str) -> str:
    """A name fit to stand beside a plot: on one line, printable, cut if it is long."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return line if len(line) <= _LABEL else line[: _LABEL - 1].rstrip() + "…"


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as SVG for a page: no metadata, ids of its own, colours of the page, and a text in its place."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata=_NO_METADATA)
    root = ET.fromstring(file.getvalue())  # noqa: S314 - it was written the line above
    prefix = re.sub(r"\W+", "-", title.lower())
    for element in root.iter():
        element.tag = element.tag.partition("}")[2] or element.tag
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            element.set(name.partition("}")[2] or name, _adapted(name, value, prefix))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", f"{title}: a chart of the figures in the table below it.")
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - it was serialised by the line itself


def _adapted(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name.endswith("href"):
        return value.replace("#", f"#{prefix}-", 1)
    for ink, colour in _INKS.items():
        value = value.replace(ink, colour)
    return value.replace("url(#", f"url(#{prefix}-")
