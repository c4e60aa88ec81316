"""Typing errors are mended; what may be meant is left alone."""

from __future__ import annotations

import pytest

from rag.spelling import mend

VOCABULARY = {"salary": 9, "seattle": 2, "engineer": 30, "platform": 8, "salaries": 4, "bern": 3, "possible": 1}
COMMON = {"berlin", "dogs", "what", "salad"}


@pytest.mark.parametrize(
    ("question", "mended"),
    [
        ("ML SALRY SEATLE", "ML salary seattle"),
        ("platfrom enginer?", "platform engineer?"),
        ("what salad in Berlin", "what salad in Berlin"),  # common words
        ("engineers like platforms and salary", "engineers like platforms and salary"),  # with or without an s
        ("Terraform in Zermatt", "Terraform in Zermatt"),  # far from any word of the documents
        ("E42 sal3ry Bren", "E42 sal3ry bern"),
        ("Xern", "Xern"),  # the first letter is right as a rule
        ("teh", "teh"),  # too short to tell
        ("", ""),
    ],
)
def test_typing_errors(question: str, mended: str) -> None:
    assert mend(question, VOCABULARY, COMMON.__contains__) == mended


def test_of_equally_near_words_the_frequent_one_is_meant() -> None:
    assert mend("lorse", {"lorde": 1, "lorte": 5}, COMMON.__contains__) == "lorte"
