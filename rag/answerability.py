"""Whether the documents tell, decided before anything is written.

Two signs are read so far: nothing that was found is near the question at all, or the question names something (a place,
a company, a code, a year) that no piece of evidence comes near to, even if all else in it matches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.evidence import QuestionWord
from rag.types import Evidence

NEAREST = 0.45
"""Score of the best evidence below which nothing that was found has to do with the question."""
NAMED = 0.5
"""Cosine below which a name in the question has no counterpart in the evidence.

Both were chosen on the development questions: 23 of the 27 refusals were right, and 23 of 46 were found."""

BEHIND = 0.3
"""How far the evidence for one of several roles may lie behind that for the best of them and still be stated."""

NOT_FOUND = "The documents do not tell."


def bears_on(evidence: Sequence[Evidence], best: float = 0.0) -> bool:
    """Whether any evidence is near enough to the question, and not far behind the `best` there is for other roles."""
    return max((one.score for one in evidence), default=0.0) >= max(NEAREST, best - BEHIND)


def unknown_names(question: str, words: Sequence[QuestionWord]) -> list[str]:
    """The names in the question that no evidence comes near to, in their order."""
    shouted = question == question.upper()  # capitals tell nothing
    return list(
        dict.fromkeys(
            word.text
            for word in words
            if word.nearness < NAMED and (_is_code(word.text) or (not shouted and _is_capitalised(question, word)))
        )
    )


def not_found(missing: Sequence[str]) -> str:
    """The answer that the documents do not tell, with what they do not speak of."""
    if not missing:
        return NOT_FOUND
    return f"{NOT_FOUND} What was found on the question says nothing about {' or '.join(missing)}."


def _is_code(text: str) -> bool:
    """A year, or letters and digits mixed, like E42."""
    has_letter = any(character.isalpha() for character in text)
    return bool(re.fullmatch(r"(?:19|20)\d\d", text)) or (has_letter and any(map(str.isdigit, text)))


def _is_capitalised(question: str, word: QuestionWord) -> bool:
    """Whether the word has a capital that is not just that of a sentence's beginning."""
    before = question[: word.start].rstrip(" \"'“‘(")
    return word.text[0].isupper() and bool(before) and before[-1] not in ".!?:\n"
