"""What is said of an answer's confidence is what the kept run measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rag.confidence import LEVELS, confidence

KEPT = Path(__file__).parents[1] / "eval" / "results" / "extractive-test.jsonl"


def test_the_shares_are_those_of_the_kept_run() -> None:
    rows = [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]
    weighed = [row for row in rows if row["unanswerable"] is not None and row["status"] == "answered"]
    lower = 0.0
    for level in LEVELS:
        outcomes = [row["outcome"] for row in weighed if lower <= row["unanswerable"] < level.below]
        assert (outcomes.count("right"), len(outcomes)) == (level.right, level.answered), level.words
        lower = level.below
    assert level.below >= 1


@pytest.mark.parametrize(
    ("unanswerable", "said"),
    [
        (None, ""),
        (0.0999, "The documents very likely tell this: of 23 test answers like this one, 21 were right."),
        (0.1, "The documents probably tell this: of 102 test answers like this one, 68 were right."),
        (0.49, "It is doubtful that the documents tell this: of 51 test answers like this one, 26 were right."),
    ],
)
def test_in_words(unanswerable: float | None, said: str) -> None:
    assert confidence(unanswerable) == said
