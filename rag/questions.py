"""The words of a question, and which of them name something."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QuestionWord:
    """A content word of the question, which begins at `start`, and how near the evidence comes to it.

    `rarity` is the logarithm of how rare it is in the passages; `nearness` the cosine to the nearest word in the
    context of any piece of evidence, in 0 to 1.
    """

    text: str
    start: int
    rarity: float
    nearness: float = 0.0


def names_in(question: str, words: Sequence[QuestionWord]) -> list[QuestionWord]:
    """The words of the question that name something: a place, a company, a code, a year."""
    shouted = question == question.upper()  # capitals tell nothing
    return [word for word in words if _is_code(word.text) or (not shouted and _is_capitalised(question, word))]


def identifying(words: Sequence[QuestionWord]) -> list[int]:
    """The places of those words that tell a subject from others of its kind, like the 203 of a model."""
    return [place for place, word in enumerate(words) if any(map(str.isdigit, word.text))]


def _is_code(text: str) -> bool:
    """A year, or letters and digits mixed, like E42."""
    has_letter = any(character.isalpha() for character in text)
    return bool(re.fullmatch(r"(?:19|20)\d\d", text)) or (has_letter and any(map(str.isdigit, text)))


def _is_capitalised(question: str, word: QuestionWord) -> bool:
    """Whether the word has a capital that is not just that of a sentence's beginning."""
    before = question[: word.start].rstrip(" \"'“‘(")
    return word.text[0].isupper() and bool(before) and before[-1] not in ".!?:\n"
