"""What several searches found becomes one ranking. A row is a number; nothing here knows what it stands for."""

from __future__ import annotations

from collections.abc import Mapping

ROUNDING = 1e-4
"""What the score of a text that has nothing in common with a question may come to."""


def weighted_sum(scores: Mapping[str, Mapping[int, float]], weights: Mapping[str, float]) -> dict[int, float]:
    """Of each row the sum of its scores, each as a share of its search's best, times the weight of that search.

    A score of 0 is the least that a cosine of related texts or BM25 gives, so nothing depends on how bad the last row
    is: the theoretical minimum of Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", TOIS
    2023. What falls below counts as 0, and so does what may be rounding; a search without other scores says nothing.
    The weights are taken as shares of those of the searches that are there, so that the best possible row has 1.
    """
    whole = sum(weights[search] for search in scores)
    total: dict[int, float] = {}
    for search, of_search in scores.items():
        best = max(of_search.values(), default=0.0)
        for row, score in of_search.items():
            share = score / best if score > ROUNDING else 0.0
            total[row] = total.get(row, 0.0) + weights[search] / whole * share
    return total
