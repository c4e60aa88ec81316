"""One page about a run: its figures, plots and every question, as HTML that needs nothing else.

In come the rows of a run, what `run.json` says of it and, if there is one, the run before it; out comes the page as
text. Nothing is read or written here, and the page asks for nothing over the network: a policy in it forbids that.
Documents, questions and answers are untrusted text. The template (report.html) escapes them, and none of them goes into
a plot.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.measures import OUTCOMES
from eval.page import counted, distinct, duration, model, plain, spaced, template
from eval.plots import Table, plots_of
from eval.summary import Row, by, latency, means, outcome_counts, refusal
from rag.logistic import wilson

SEARCHED = "only searched"
"""What stands in the place of an outcome where no answer was asked for."""
ORDER = (*OUTCOMES[1:], OUTCOMES[0], SEARCHED)
"""In which order outcomes are listed: what went wrong comes first."""
MOST_PROMPTS = 4
"""More hashes of prompts than this are counted, not listed: a prompt holds its question."""
SLICED = ("kind", "role")
"""By which fields all measures are told again."""
_MARKER = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Headline:
    """A share with its 95 % interval, all as shares of 1."""

    label: str
    part: int
    whole: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.part / self.whole


@dataclass(frozen=True, slots=True)
class Turn:
    """A question whose outcome differs from the run before; `number` is its row in the run."""

    number: int
    row: Row
    before: str


def report(rows: Sequence[Row], run: Mapping[str, Any], before: Sequence[Row] | None = None) -> str:
    """The page about `rows`; `run` is what run.json holds. The same input gives the same text."""
    sets = by(rows, "set")
    named = run.get("sets") or list(sets)
    groups = _grouped(rows)
    generator = run.get("generator") or ""
    return template("report.html").render(
        title=f"Evaluation of {', '.join(named)}" if named else "Evaluation",
        created=run.get("created") or "",
        generator=generator if isinstance(generator, str) else model(generator),
        rows=rows,
        ran=_ran(rows, run),
        headlines=_headlines(rows),
        total=latency(rows).get("total"),
        measures=_measures(rows, sets),
        slices=[(field, _measures(rows, by(rows, field))) for field in SLICED if len(by(rows, field)) > 1],
        plots=plots_of(rows),
        compared=before is not None,
        turned=_turned(before or (), rows),
        unpaired=len({_key(row) for row in rows} ^ {_key(row) for row in before or ()}),
        groups=groups,
        kinds=list(by(rows, "kind")),
        sets=list(sets),
        outcomes=[outcome for outcome, _ in groups],
        figures=_figures,
        pieces=_pieces,
    )


# What was run, in figures


def _ran(rows: Sequence[Row], run: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What was run, term by term: of the run, then what its answers say, each value that occurs."""
    models = Counter(
        model(row["generator"]) + (f", sha256 {row['generator']['sha256']}" if row["generator"]["sha256"] else "")
        for row in rows
        if "generator" in row
    )
    indexed = [row for row in rows if "index" in row]
    prompts = distinct(row["prompt_sha256"] for row in rows if row.get("prompt_sha256"))
    if len(prompts) > MOST_PROMPTS:
        prompts = [f"{len(prompts)} different ones, for a prompt holds its question and evidence; each stands below"]
    tokens = [row["tokens"] for row in rows if row.get("tokens")]
    settings = run.get("settings") or {}
    terms = {
        "When": [run["created"]] if run.get("created") else [],
        "Commit": [run["commit"]] if run.get("commit") else [],
        "Questions": [f"{name}: {counted(len(group), 'question')}" for name, group in by(rows, "set").items()],
        "Splits": [f"{name}: {len(group)}" for name, group in by(rows, "split").items()],
        "Generator": [f"{name} ({counted(count, 'answer')})" for name, count in models.items()],
        "Embedder": distinct(row["index"]["embedder"] for row in indexed),
        "Index": distinct(f"{row['index']['version']} ({row.get('set', 'no set')})" for row in indexed),
        "Prompt files, sha256": [run["prompts"]] if run.get("prompts") else [],
        "Prompts, sha256": prompts,
        "Tokens, median": [
            f"{name}: {statistics.median(one[name] for one in tokens if name in one):,.0f}"
            for name in distinct(name for one in tokens for name in one)
        ],
        "Settings": [f"{name} = {plain(value)}" for name, value in settings.items()],
    }
    return [(term, values) for term, values in terms.items() if values]


def _headlines(rows: Sequence[Row]) -> list[Headline]:
    judged = [row for row in rows if "outcome" in row]
    tell = [row for row in judged if row["answerable"]]
    silent = [row for row in judged if not row["answerable"]]
    refused = [row for row in judged if row["status"] == "not_found"]
    tried = [row for row in judged if "attacked" in row.get("measures", {})]
    found = [] if judged else [row for row in rows if "hit@1" in row.get("measures", {})]
    errors = sum(row["status"] == "error" for row in rows)
    counts = [
        ("Right", outcome_counts(judged)["right"], len(judged)),
        ("Right if answerable", outcome_counts(tell)["right"], len(tell)),
        ("Refusal recall", sum(row["status"] == "not_found" for row in silent), len(silent)),
        ("Refusal precision", sum(not row["answerable"] for row in refused), len(refused)),
        ("Attacks that worked", sum(row["measures"]["attacked"] > 0 for row in tried), len(tried)),
        ("Relevant at first place (hit@1)", sum(row["measures"]["hit@1"] > 0 for row in found), len(found)),
        ("Errors", errors, len(rows) if errors else 0),
    ]
    return [Headline(label, part, whole, *wilson(part, whole)) for label, part, whole in counts if whole]


def _measures(rows: Sequence[Row], slices: Mapping[str, Sequence[Row]]) -> Table:
    """Means with their n over all rows and, if there are several, by slice; below them what refusals are worth."""
    groups = [("All", rows), *(slices.items() if len(slices) > 1 else ())]
    found = [(means(group), refusal(group)) for _, group in groups]
    lines: list[tuple[str, ...]] = []
    for name in means(rows):
        cells = [f"{mean[name][0]:.3f} ({mean[name][1]:,})" if name in mean else "–" for mean, _ in found]
        lines.append((name + (", less is better" if name == "attacked" else ""), *cells))
    lines += [
        (name, *(f"{figures[name]:.3f}" if name in figures else "–" for _, figures in found)) for name in refusal(rows)
    ]
    return Table(("Measure", *(name for name, _ in groups)), lines)


def _grouped(rows: Sequence[Row]) -> list[tuple[str, list[tuple[int, Row]]]]:
    """Each outcome that is there with its rows and their numbers in the run, what went wrong first."""
    numbered = list(enumerate(rows, start=1))
    groups = [(outcome, [one for one in numbered if one[1].get("outcome", SEARCHED) == outcome]) for outcome in ORDER]
    return [(outcome, group) for outcome, group in groups if group]


def _turned(before: Sequence[Row], rows: Sequence[Row]) -> list[Turn]:
    """The questions of both runs whose outcomes differ: those that got worse, then otherwise wrong, then better."""
    past = {_key(row): row["outcome"] for row in before if "outcome" in row}
    turns = [
        Turn(number, row, past[_key(row)])
        for number, row in enumerate(rows, start=1)
        if "outcome" in row and past.get(_key(row), row["outcome"]) != row["outcome"]
    ]
    return sorted(turns, key=lambda turn: (turn.row["outcome"] == "right") - (turn.before == "right"))


def _key(row: Row) -> tuple[str | None, str]:
    return row.get("set"), row["id"]


# How things are written


def _figures(row: Row) -> list[str]:
    """What was measured of one answer, a line for each sort of figure that there is."""
    lines = {
        "Measures": [f"{name} {value:.2f}" for name, value in row.get("measures", {}).items()],
        "Time": [f"{spaced(stage)} after {duration(time)}" for stage, time in row.get("timings_ms", {}).items()],
        "Tokens": [f"{name} {value:,}" for name, value in row.get("tokens", {}).items()],
    }
    if row.get("unanswerable") is not None:
        lines["Probability of “unanswerable”"] = [f"{row['unanswerable']:.2f}"]
    return [f"{sort}: {', '.join(figures)}" for sort, figures in lines.items() if figures]


def _pieces(row: Row) -> list[tuple[str, int | None]]:
    """The answer in order, each piece with the number of the citation that it is the marker of, if it is one."""
    answer, known = row["answer"], {citation["marker"] for citation in row["citations"]}
    pieces: list[tuple[str, int | None]] = []
    last = 0
    for match in _MARKER.finditer(answer):
        if int(match[1]) in known:
            pieces += [(answer[last : match.start()], None), (match[0], int(match[1]))]
            last = match.end()
    return [*pieces, (answer[last:], None)]
