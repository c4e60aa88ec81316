"""Logistic regression on labelled examples, by scikit-learn, as plain numbers that need no library to be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

INVERSE_PENALTY = 0.3
"""scikit-learn's C for standardised signals: with a few hundred examples, strong enough that no signal runs away."""
FOLDS = 6


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model of `probability = 1 / (1 + exp(-(intercept + Σ weight · signal)))`.

    `held_out` has for each example the probability that a model fitted without it gives.
    """

    intercept: float
    weights: dict[str, float]
    held_out: tuple[float, ...]


def fit(rows: Sequence[Mapping[str, float]], labels: Sequence[bool]) -> Fitted:
    """Fits the probability that the label is True. Rows have the same signals; each label occurs in `FOLDS` or more."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = list(rows[0])
    signals = np.array([[row[name] for name in names] for row in rows])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    held_out = cross_val_predict(model, signals, labels, cv=folds, method="predict_proba")[:, 1]
    scaler, regression = (step for _, step in model.fit(signals, labels).steps)
    weights = regression.coef_[0] / scaler.scale_
    intercept = float(regression.intercept_[0] - weights @ scaler.mean_)
    return Fitted(intercept, dict(zip(names, map(float, weights), strict=True)), tuple(map(float, held_out)))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927); (0, 1) where nothing was tried."""
    from scipy.stats import binomtest

    if not trials:
        return 0.0, 1.0
    low, high = binomtest(successes, trials).proportion_ci(0.95, "wilson")
    return float(low), float(high)
