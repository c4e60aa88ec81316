"""Text to comparable words: what the lexical index, the role names and the checks agree to call the same word.

A word is a run of letters and digits, folded in case and width ("ＭＬ" is "ml"), with the marks that tell languages
apart kept ("c++", "c#", ".net") and the separators inside a figure dropped ("153,000" is "153000"). A stem is what
Snowball's English stemmer leaves of a word.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any

_SEPARATOR_IN_FIGURE = re.compile(r"(?<=\d)[,\u00a0\u202f](?=\d{3}(?!\d))")
_WORD = re.compile(r"(?<!\w)\.net\b|\d+(?:\.\d+)+|\w+(?:\+\+|#)?")

LONGEST_ACRONYM = 5

STOPWORDS = frozenset(
    """a about after again all also am an and any are as at be because been before being between both but by can could
    did do does doing down during each for from further had has have having he her here hers him his how i if in
    into is it its itself just me more most my no nor not now of off on once only or other our out over own same she
    should so some such than that the their them then there these they this those through to too under until up very
    was we were what when where which while who whom whose why will with would you your much many get got please
    tell give s t re ll ve d m don doesn isn aren""".split()
)
"""English words that say nothing about a subject. Other languages simply lose none of theirs."""


def fold(text: str) -> str:
    """NFKC, case-folded. Offsets are not preserved."""
    return unicodedata.normalize("NFKC", text).casefold()


def words(text: str) -> list[str]:
    """The words of `text` in order."""
    return _WORD.findall(_SEPARATOR_IN_FIGURE.sub("", fold(text)))


def content_words(text: str) -> list[str]:
    """The words of `text` that are not stopwords, in order."""
    return [word for word in words(text) if word not in STOPWORDS]


def stems(text: str) -> list[str]:
    """The stems of the content words of `text`, in order."""
    stemmed: list[str] = _stemmer().stemWords(content_words(text))
    return stemmed


def spells_out(text: str, acronym: str) -> bool:
    """Whether the letters of an acronym are the initials of neighbouring words of `text`, all written large."""
    if not (acronym.isupper() and acronym.isalpha() and 2 <= len(acronym) <= LONGEST_ACRONYM):
        return False
    return acronym in "".join(word[0] for word in re.findall(r"\w+", text))


@functools.cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")
