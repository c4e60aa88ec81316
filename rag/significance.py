"""How surely two things differ: paired intervals and tests over the same questions, and two shares of others.

Numbers come in and numbers go out; what is measured, and of what, is not known here. Each question is held against
itself, so all but `rose` is paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

RESAMPLES = 10_000
"""Of the bootstrap, and the most that a permutation test tries; up to 13 differing questions it tries all 2^13."""
SEED = 20070811
"""Any fixed number: the same two runs are to give the same report."""
BLOCK = 250_000
"""Resampled questions held in memory at once."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure over `n` questions: values in 0..1, difference B - A, its 95 % interval, p of the sign flips."""

    name: str
    n: int
    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    p: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Medians and 95th percentiles in milliseconds; `ratio` of the medians, B / A, with its 95 % interval."""

    n: int
    a: float
    b: float
    a95: float
    b95: float
    ratio: float
    interval: tuple[float, float]


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact p value of the discordant pairs, 1.0 if there are none.

    McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12(2), 1947.
    """
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0


def bootstrap(statistic: Callable[[NDArray[np.int64]], Floats], n: int) -> tuple[float, float]:
    """95 % percentile interval of a statistic of `n` questions, drawn with replacement.

    `statistic` takes numbers of questions, (resamples, n) int64, and returns (resamples,) values; NaN, where it is not
    defined, is left out. A question is drawn with both its rows, so the interval is paired.

    Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; for retrieval measures Sakai, Evaluating
    evaluation metrics based on the bootstrap, SIGIR 2006.
    """
    random = np.random.default_rng(SEED)
    step = max(1, BLOCK // n)
    sizes = [min(step, RESAMPLES - start) for start in range(0, RESAMPLES, step)]
    values = np.concatenate([statistic(random.integers(n, size=(size, n))) for size in sizes])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def sign_flips(columns: Floats) -> float:
    """Two-sided p value of the difference B - A if each question's two rows might as well be exchanged.

    `columns` as `_difference` takes it, before the sum: (questions, run, numerator and denominator). Exact while 2 to
    the number of differing questions is at most `RESAMPLES`.

    Smucker, Allan & Carterette, A comparison of statistical significance tests for information retrieval evaluation,
    CIKM 2007.
    """
    from scipy.stats import permutation_test

    halves = (columns[:, 0] - columns[:, 1]) / 2
    halves = halves[halves.any(axis=1)]
    if len(halves) < 2:
        return 1.0
    middle = columns.sum(axis=(0, 1)) / 2

    def statistic(signs: Floats, axis: int) -> Floats:
        shift = np.tensordot(signs, halves, axes=(axis, 0))
        # Rounded, since sums that are equal but for their order must count as ties.
        return np.round(_difference(np.stack([middle + shift, middle - shift], axis=-2)), 12)

    result = permutation_test(
        (np.ones(len(halves)),),
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, BLOCK // len(halves)),
        random_state=np.random.default_rng(SEED),
    )
    return float(result.pvalue)


def rose(before: tuple[int, int], after: tuple[int, int]) -> float:
    """One-sided exact p value that a share rose, each given as (how many, of how many); 1.0 if one is of none.

    Fisher, The Logic of Inductive Inference, Journal of the Royal Statistical Society 98(1), 1935.
    """
    from scipy.stats import fisher_exact

    (had, n), (has, m) = before, after
    return float(fisher_exact([[has, m - has], [had, n - had]], alternative="greater").pvalue) if n and m else 1.0


def _ratios(sums: Floats) -> Floats:
    """Numerator / denominator along the last axis; 0 for 0/0, as a missing value counts."""
    above, below = sums[..., 0], sums[..., 1]
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _difference(sums: Floats) -> Floats:
    """B's ratio - A's of (..., run, numerator and denominator); NaN where both are 0/0."""
    ratios = _ratios(sums)
    return np.where((sums[..., 1] > 0).any(axis=-1), ratios[..., 1] - ratios[..., 0], np.nan)


def measured(name: str, columns: Floats) -> Measured:
    sums = columns.sum(axis=0)
    a, b = _ratios(sums)
    return Measured(
        name=name,
        n=int((columns[:, :, 1] > 0).any(axis=1).sum()),
        a=float(a),
        b=float(b),
        difference=float(b - a),
        interval=bootstrap(lambda drawn: _difference(columns[drawn].sum(axis=1)), len(columns)),
        p=sign_flips(columns),
    )


def latency(times: Floats) -> Latency:
    """Of (questions, run) milliseconds, of at least one question."""

    def ratio(drawn: NDArray[np.int64]) -> Floats:
        a, b = np.moveaxis(np.median(times[drawn], axis=1), -1, 0)
        return np.asarray(b / a)

    (a, b), (a95, b95) = np.percentile(times, [50, 95], axis=0)
    interval = bootstrap(ratio, len(times))
    return Latency(len(times), float(a), float(b), float(a95), float(b95), float(b / a), interval)
