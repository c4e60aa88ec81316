"""How far to trust an answer, in words: what became of answers to test questions that were weighed alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """For a probability that the documents do not tell which is less than `below`.

    Of the `answered` questions of the bundled test split that were weighed so, `right` were answered rightly
    (eval/results/extractive-test.jsonl).
    """

    below: float
    words: str
    right: int
    answered: int


LEVELS = (
    Level(0.1, "The documents very likely tell this", 21, 23),
    Level(0.3, "The documents probably tell this", 68, 102),
    Level(1.0, "It is doubtful that the documents tell this", 26, 51),
)


def confidence(unanswerable: float | None) -> str:
    """A sentence for a person; empty where nothing was weighed."""
    if unanswerable is None:
        return ""
    level = next(one for one in LEVELS if unanswerable < one.below or one is LEVELS[-1])
    return f"{level.words}: of {level.answered} test answers like this one, {level.right} were right."
