"""Typing errors in a question, mended from the words of the documents.

Only a word that cannot be meant is touched: the documents do not have it, with or without an s at its end, the embedder
has no token of its own for it (as it has for common words and well-known names), it is no code, and a word of the
documents is one or two strokes away (Damerau and Levenshtein's distance).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_WORD = re.compile(r"[^\W\d_]{4,}")
_LONG = 7
"""Letters from which on two wrong strokes are forgiven instead of one."""


def mend(question: str, vocabulary: Mapping[str, int], is_common: Callable[[str], bool]) -> str:
    """The question with its typing errors mended. `vocabulary` counts the documents' words, in small letters."""

    def mended(match: re.Match[str]) -> str:
        word = match[0].casefold()
        if not vocabulary.keys().isdisjoint({word, word.removesuffix("s"), f"{word}s"}) or is_common(word):
            return match[0]
        return _nearest(word, vocabulary) or match[0]

    return _WORD.sub(mended, question)


def _nearest(word: str, vocabulary: Mapping[str, int]) -> str | None:
    """The word fewest strokes away, of several the more frequent; it begins with the same letter."""
    from rapidfuzz.distance import DamerauLevenshtein

    most = 2 if len(word) >= _LONG else 1
    near = [
        (distance, -count, other)
        for other, count in vocabulary.items()
        if other[0] == word[0]
        and abs(len(other) - len(word)) <= most
        and (distance := DamerauLevenshtein.distance(word, other, score_cutoff=most)) <= most
    ]
    return min(near)[2] if near else None
