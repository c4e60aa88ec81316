"""The page of how answers went, made of a report as JSON: warnings first, then figures, a chart and tables.

It is whole without a script and without colours: each bar of the chart stands in a table too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rag.pages.frame import page
from rag.pages.markup import as_html

VALUES = {
    "score": "Score of the best evidence",
    "unanswerable": "Probability of no answer",
    "words": "Words of a question",
}
ENDED = {
    "answered": "Answered",
    "partial": "Answered in part",
    "not_found": "Refused",
    "error": "Failed",
    "stopped": "Not waited for",
}
WEIGHED = ("", "A quarter below", "Half below", "Three quarters below")
HEIGHT = 120
"""Of the chart, in its own units; each day is STEP wide."""
STEP = 20
GAP = 4


def monitor_page(found: Mapping[str, Any]) -> str:
    """`found` is a `monitoring.Report` as JSON."""
    asked = found["asked"]
    since = found["since"][:10]
    parts = [
        f"<h1>Monitor</h1>{_problems(found['problems'], asked)}",
        _section("asked", f"{asked:,} question{'' if asked == 1 else 's'} since {since}", _asked(found)),
    ]
    if found["times"]:
        rows = [
            (name, stage, *(f"{value:.2f}" for value in values))
            for name, stages in found["times"].items()
            for stage, values in stages.items()
        ]
        parts.append(_section("times", "Seconds", _table(["Written by", "Until", "Half", "95 %", "99 %"], rows, 2)))
    if found["scores"]:
        rows = [(VALUES[name], *(f"{value:.2f}" for value in values)) for name, values in found["scores"].items()]
        parts.append(_section("scores", "What was weighed", _table(WEIGHED, rows, 1)))
    if found["drifts"]:
        rows = [
            (VALUES[one["what"]], f"{one['distance']:.2f}", f"{one['recent']:,}", f"{one['before']:,}")
            for one in found["drifts"]
        ]
        note = f'<p class="quiet">The last days against {as_html(found["compared_with"])}: 0 is the same.</p>'
        parts.append(_section("drift", "Drift", note + _table(["", "Distance", "Questions", "Against"], rows, 1)))
    for name, title in (("most_asked", "Asked most"), ("most_refused", "Refused most")):
        if found[name]:
            rows = [(question, f"{count:,}") for question, count in found[name]]
            parts.append(_section(name, title, _table(["Question", "Times"], rows, 1)))
    return page("Monitor", f'<main class="monitor">{"".join(parts)}</main>')


def _problems(problems: Sequence[Mapping[str, str]], asked: int) -> str:
    if not problems:
        return f'<p class="quiet">{"Nothing needs looking at." if asked else "Nothing was asked yet."}</p>'
    items = "".join(
        f'<li class="notice"><strong>{as_html(one["message"])}</strong> {as_html(one["remedy"])}</li>'
        for one in problems
    )
    return f'<ul class="problems" aria-label="Warnings">{items}</ul>'


def _asked(found: Mapping[str, Any]) -> str:
    counts: dict[str, Any] = {ENDED.get(name, name): count for name, count in found["statuses"].items()}
    counts |= {
        "Sentences struck": found["struck"],
        "Fallbacks": found["fell_back"],
        "Drafts of which nothing stood": found["nothing_stood"],
    }
    counts |= {f"Rated {verdict}": count for verdict, count in found["ratings"].items()}
    counts |= {f"Through {door}": count for door, count in found["doors"].items()}
    facts = "".join(f"<div><dt>{as_html(name)}</dt><dd>{count:,}</dd></div>" for name, count in counts.items())
    return f'<dl class="facts">{facts}</dl>{_chart(found["days"]) if found["days"] else ""}'


def _chart(days: Sequence[Mapping[str, Any]]) -> str:
    """Bars by day, the refused part of each filled; and the same as a table."""
    most = max(day["asked"] for day in days) or 1
    bars = []
    for place, day in enumerate(days):
        for name, count in (("asked", day["asked"]), ("refused", day["refused"])):
            height = round(HEIGHT * count / most, 1)
            bars.append(
                f'<rect class="{name}" x="{place * STEP}" y="{HEIGHT - height}" width="{STEP - GAP}" '
                f'height="{height}"><title>{day["date"]}: {count} {name}</title></rect>'
            )
    label = f"Questions by day, at most {most:,}; refused ones filled"
    drawn = (
        f'<svg class="chart" role="img" aria-label="{label}" viewBox="0 0 {STEP * len(days)} {HEIGHT}" '
        f'preserveAspectRatio="none">{"".join(bars)}</svg>'
    )
    rows = [(day["date"], day["asked"], day["refused"], day["failed"]) for day in days if day["asked"]]
    table = _table(["Day", "Asked", "Refused", "Failed"], rows, 1)
    return (
        f'<figure>{drawn}<figcaption class="quiet">{label}.</figcaption></figure>'
        f"<details><summary>By day</summary>{table}</details>"
    )


def _section(name: str, title: str, body: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{as_html(title)}</h2>{body}</section>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], texts: int) -> str:
    """The first `texts` columns are words, the others figures."""
    kinds = ["words" if number < texts else "figure" for number in range(len(heads))]
    head = "".join(
        f'<th scope="col" class="{kind}">{as_html(text)}</th>' if text else "<td></td>"
        for text, kind in zip(heads, kinds, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row" class="words">{as_html(str(cell))}</th>'
            if not number
            else f'<td class="{kind}">{as_html(str(cell))}</td>'
            for number, (cell, kind) in enumerate(zip(row, kinds, strict=True))
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
