"""What the rows of a run add up to: counts, means, intervals and curves, as pure functions over rows.

In come rows as `eval run` writes them, one per question; out come plain numbers. Nothing is read, printed or drawn
here. A row of status "error" lacks index, timings and probability: it is never right, and is left out where only
answers can be measured. A row without an outcome was only searched for: it counts in means, not in outcomes.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.questions import KINDS

Row = dict[str, Any]

MEASURES = (
    "right",
    "facts",
    "token F1",
    "citation precision",
    "citation recall",
    "exact",
    "hit@1",
    "hit@5",
    "recall@5",
    "recall@10",
    "MRR@10",
    "nDCG@10",
    "attacked",
    "same answer",
)
"""The order in which measures are shown."""


@dataclass(frozen=True, slots=True)
class Bin:
    """The `n` questions whose probability lies in [low, high): its mean, and the share that is unanswerable."""

    low: float
    high: float
    n: int
    predicted: float
    share: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far probabilities tell the truth. `bins` holds the bins that are not empty; figures over no row are nan."""

    bins: tuple[Bin, ...]
    n: int
    brier: float
    error: float
    """Expected calibration error."""


def outcome_counts(rows: Sequence[Row]) -> Counter[str]:
    return Counter(row["outcome"] for row in rows if "outcome" in row)


def means(rows: Sequence[Row]) -> dict[str, tuple[float, int]]:
    """Of every measure its mean and the number of rows that have it; an error scores 0 in "right".

    Measures come in the order of MEASURES, then others by name.
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        wrong = {"right": 0.0} if row["status"] == "error" and "outcome" in row else {}
        for name, value in (row.get("measures", {}) | wrong).items():
            values.setdefault(name, []).append(value)
    names = sorted(values, key=lambda name: (MEASURES.index(name) if name in MEASURES else len(MEASURES), name))
    return {name: (statistics.fmean(values[name]), len(values[name])) for name in names}


def refusal(rows: Sequence[Row]) -> dict[str, float]:
    """Precision, recall and F1 of refusing, where "unanswerable" is the positive class; one that is 0/0 is absent."""
    rows = [row for row in rows if "outcome" in row]
    refused = sum(row["status"] == "not_found" for row in rows)
    due = sum(not row["answerable"] for row in rows)
    rightly = sum(row["status"] == "not_found" and not row["answerable"] for row in rows)
    figures = {
        "refusal precision": (rightly, refused),
        "refusal recall": (rightly, due),
        "refusal F1": (2 * rightly, refused + due),
    }
    return {name: part / whole for name, (part, whole) in figures.items() if whole}


def by(rows: Sequence[Row], field: str) -> dict[str, list[Row]]:
    """The rows by their value of a field, rows without one left out: kinds in the order of KINDS, else as they come."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.get(field) is not None:
            groups.setdefault(row[field], []).append(row)
    if field == "kind":
        order = sorted(groups, key=lambda kind: KINDS.index(kind) if kind in KINDS else len(KINDS))
        return {kind: groups[kind] for kind in order}
    return groups


def latency(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """Median and 95th percentile of each stage's time, in ms since the question came, of the rows that reached it.

    Stages come as they first come in the rows; between two rows' times percentiles are linear.
    """
    times: dict[str, list[float]] = {}
    for row in rows:
        for stage, time in row.get("timings_ms", {}).items():
            times.setdefault(stage, []).append(time)
    percentiles = {stage: np.percentile(values, [50, 95]) for stage, values in times.items()}
    return {stage: (float(median), float(p95)) for stage, (median, p95) in percentiles.items()}


def reliability(rows: Sequence[Row], bins: int = 10) -> Reliability:
    """Predicted probability against the share that really is unanswerable, of the rows that have a probability.

    Bins are equally wide, the last one closed. Expected calibration error: the distance of the two, averaged over the
    questions (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3, here of the one class
    "unanswerable"). Brier score: the mean square of probability minus truth (Brier, Monthly Weather Review 78, 1950).
    """
    pairs = [(row["unanswerable"], not row["answerable"]) for row in rows if row.get("unanswerable") is not None]
    if not pairs:
        return Reliability((), 0, math.nan, math.nan)
    predicted, true = np.array(pairs, dtype=np.float64).T
    edges = np.arange(bins + 1) / bins  # linspace misses 0.3
    places = np.digitize(predicted, edges[1:-1])
    found = tuple(
        Bin(
            low=float(edges[place]),
            high=float(edges[place + 1]),
            n=int((places == place).sum()),
            predicted=float(predicted[places == place].mean()),
            share=float(true[places == place].mean()),
        )
        for place in np.unique(places)
    )
    error = sum(one.n * abs(one.predicted - one.share) for one in found) / len(pairs)
    return Reliability(found, len(pairs), float(np.mean((predicted - true) ** 2)), error)


def risk_coverage(rows: Sequence[Row]) -> tuple[list[float], list[float], float]:
    """What refusing more would bring: coverages, ascending, the risk at each, and the area under the curve.

    Counted are the answers that were given (no refusals, no errors) and have a probability, the most certain first: at
    coverage c the risk is the share not right among the first c of them. Answers of equal probability are taken
    together, so a point stands for a threshold. The area is the mean over the answers of the risk at their own
    probability as threshold, nan if there is no answer. Geifman and El-Yaniv, "Selective Classification for Deep
    Neural Networks", NeurIPS 2017; area: Geifman, Uziel and El-Yaniv, ICLR 2019.
    """
    given = [
        (row["unanswerable"], row["outcome"] != "right")
        for row in rows
        if row["status"] not in ("not_found", "error") and row.get("unanswerable") is not None
    ]
    coverages, risks, area = [], [], 0.0
    taken = faults = 0
    for _, group in itertools.groupby(sorted(given), key=lambda one: one[0]):
        together = [fault for _, fault in group]
        taken, faults = taken + len(together), faults + sum(together)
        coverages.append(taken / len(given))
        risks.append(faults / taken)
        area += faults / taken * len(together) / len(given)
    return coverages, risks, area if given else math.nan
