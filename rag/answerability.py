"""Whether the documents tell, decided before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from rag.retrieval import DENSE
from rag.types import ScoredPassage

NEAREST = 0.25
"""Cosine below which the best passage has nothing to do with the question; `eval/README.md` tells how it was chosen."""

NOT_FOUND = "The documents do not tell."


def bears_on(passages: Sequence[ScoredPassage]) -> bool:
    """Whether any passage found is near enough to the question to be worth reading."""
    return max((one.scores.get(DENSE, 0.0) for one in passages), default=0.0) >= NEAREST
