"""What a run came to, as Markdown tables for the terminal and the README."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from eval.measures import OUTCOMES
from eval.summary import by, latency, means, refusal

Row = dict[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Everything that is counted: outcomes by kind, measures by set, refusals, times, pairs."""
    parts = [outcomes(rows), measures(rows), *notes(rows)]
    return "\n\n".join(part for part in parts if part)


def outcomes(rows: Sequence[Row], field: str = "kind") -> str:
    """Outcomes by kind, or by another field, as a Markdown table; empty if nothing was to be answered."""
    rows = [row for row in rows if "outcome" in row]
    if not rows:
        return ""
    lines = [_line([field, "n", *OUTCOMES]), _line(["---", *["--:"] * (1 + len(OUTCOMES))])]
    for name, group in [*by(rows, field).items(), ("all", list(rows))]:
        counts = Counter(row["outcome"] for row in group)
        right = f"{counts['right']} ({counts['right'] / len(group):.0%})"
        lines.append(_line([name, str(len(group)), right, *(str(counts[one]) for one in OUTCOMES[1:])]))
    return "\n".join(lines)


def measures(rows: Sequence[Row]) -> str:
    """The mean of each measure by set, with the number of questions it is over."""
    groups = by(rows, "set")
    return side_by_side({**groups, "all": rows} if len(groups) > 1 else groups)


def side_by_side(groups: Mapping[str, Sequence[Row]]) -> str:
    """The measures of several groups of rows, such as those of several runs, a column each."""
    figures = {name: means(group) | _refusals(group) for name, group in groups.items()}
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    lines = [_line(["measure", *figures]), _line(["---", *["--:"] * len(figures)])]
    for name in names:
        cells = (found.get(name) for found in figures.values())
        lines.append(_line([name, *(f"{cell[0]:.3f} ({cell[1]})" if cell else "" for cell in cells)]))
    return "\n".join(lines)


def notes(rows: Sequence[Row]) -> list[str]:
    """One line each on times, askers, twins and errors, where there are any."""
    lines = []
    if times := latency(rows):
        stages = ", ".join(f"{stage} {median:,.0f} / {p95:,.0f}" for stage, (median, p95) in times.items())
        lines.append(f"ms since the question came, median / 95th percentile: {stages}")
    if read := [row["tokens"] for row in rows if row.get("tokens")]:
        median = {name: statistics.median(one[name] for one in read) for name in read[0]}
        lines.append(f"tokens, median: {', '.join(f'{name} {count:,.0f}' for name, count in median.items())}")
    if asked := by([row for row in rows if "same answer" in row["measures"]], "asker"):
        axes: dict[str, list[float]] = {}
        for asker, group in asked.items():
            same = [row["measures"]["same answer"] for row in group]
            axes.setdefault(asker.partition(":")[0], []).extend(same)
        shares = ", ".join(f"{axis} {sum(same):.0f}/{len(same)}" for axis, same in axes.items())
        lines.append(f"the same answer whoever asks, by what the asker tells: {shares}")
    statuses = {(row["set"], row["id"]): row["status"] for row in rows if "outcome" in row}
    twins = [(row["status"], statuses.get((row["set"], row["twin"]), "")) for row in rows if "twin" in row]
    if pairs := [tuple(status == "not_found" for status in pair) for pair in twins if pair[1]]:
        turned, back = pairs.count((True, False)), pairs.count((False, True))
        lines.append(f"refused although the twin was answered: {turned}/{len(pairs)}; the other way about: {back}")
    if failed := [row for row in rows if row.get("error")]:
        lines.append(f"errors: {len(failed)}, the first: {failed[0]['id']}: {failed[0]['error']}")
    return lines


def _refusals(rows: Sequence[Row]) -> dict[str, tuple[float, int]]:
    """Each refusal figure with what it is a share of; only what was to be answered can be refused."""
    rows = [row for row in rows if "outcome" in row]
    refused = sum(row["status"] == "not_found" for row in rows)
    due = sum(not row["answerable"] for row in rows)
    of = {"refusal precision": refused, "refusal recall": due, "refusal F1": refused + due}
    return {name: (value, of[name]) for name, value in refusal(rows).items()}


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
