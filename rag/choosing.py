"""Which evidence is said beside the best: what completes it, what contradicts it, and what other documents say.

Rows are those of candidate sentences; `order` has all of them, best first; `chosen` are those that will be said anyway.
`nearness` is (n, w): how near candidate i comes to word j of the question, as a cosine. The limits
are cosines or sums of two, and were chosen on the development questions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from rag.figures import figures
from rag.words import stems

LEFT_OUT = 0.3
"""A piece of evidence complements the best if it comes this much nearer to a word of the question,"""
SPOKEN_OF = 0.55
"""and at least this near,"""
FAR = 0.4
"""unless its score lies this far below the best."""
ALIKE = 0.75
"""Share of the words of the shorter of two sentences that the other has too if they speak of the same thing;"""
RIVAL = 0.65
"""no further than this may the score of the one lie below the best,"""
IDENTIFYING = 0.25
"""nor the one be this much further from a number that the question names its subject by."""
MOST_RIVALS = 6
HEARD = 0.35
"""Another document is heard too if its best sentence scores no further than this below the best of all."""
MOST_HEARD = 5
_UNIT = re.compile(r"[$€£¥%]")
_NAME = re.compile(r"(?<=\w )[A-Z]\w+")
"""A word that is written large within a sentence. Two sentences that name different things do not contradict."""
_TELLING = re.compile(r"[^\W\d_a-z]\w+|\d[\d,.]*")
"""A name or a figure: what answers give, and may differ in."""
Rows = Sequence[int]
Cosines = npt.NDArray[Any]


def complements(nearness: Cosines, rarity: Cosines, scores: Cosines, order: Rows, chosen: Rows) -> list[int]:
    """For each rarer word of the question that the chosen ones leave out, the best candidate that speaks of it."""
    found: list[int] = []
    for word in range(nearness.shape[1]):
        nearest = nearness[:, word].max()
        said = nearness[[*chosen, *found], word].max()
        if rarity[word] >= rarity.mean() and nearest >= max(SPOKEN_OF, said + LEFT_OUT):
            row = next(row for row in order if nearness[row, word] >= nearest - LEFT_OUT / 6)
            if scores[row] >= scores[order[0]] - FAR:
                found.append(row)
    return found


def rivals(texts: Sequence[str], naming: Cosines, scores: Cosines, order: Rows, chosen: Rows) -> list[int]:
    """Candidates that give another figure for the same thing as one of the three best that are chosen.

    `naming` is the nearness to those words of the question that tell its subject from others of its kind.
    """
    said = [frozenset(stem for stem in stems(text) if not stem[0].isdigit()) for text in texts]
    stated = [figures(text) for text in texts]
    units = [set(_UNIT.findall(text)) for text in texts]
    named = [set(_NAME.findall(text)) for text in texts]

    def contradicts(row: int, best: int) -> bool:
        common = len(said[row] & said[best])
        return (
            bool(stated[row])
            and stated[row] != stated[best]
            and units[row] == units[best]
            and (named[row] <= named[best] or named[best] <= named[row])
            and common >= 2
            and common >= ALIKE * min(len(said[row]), len(said[best]))
            and scores[row] >= scores[order[0]] - RIVAL
            and bool((naming[best] - naming[row] <= IDENTIFYING).all())
        )

    bests = [row for row in chosen[:3] if stated[row]]
    found = [row for row in order if row not in chosen and any(contradicts(row, best) for best in bests)]
    return found[:MOST_RIVALS]


def other_voices(
    question: str, texts: Sequence[str], documents: Sequence[str], scores: Cosines, order: Rows, chosen: Rows
) -> list[int]:
    """Of each document that the chosen ones are not from its best candidate, if it names what nothing before does.

    So that where one of several documents is wrong, what it says does not stand alone.
    """
    heard = {documents[row] for row in chosen}
    told = {name.casefold() for row in chosen for name in _TELLING.findall(texts[row])}
    told |= {word.casefold() for word in re.findall(r"\w+", question)}
    found: list[int] = []
    for row in order:
        if documents[row] in heard or scores[row] < scores[order[0]] - HEARD:
            continue
        heard.add(documents[row])
        if {name.casefold() for name in _TELLING.findall(texts[row])} - told:
            found.append(row)
    return found[:MOST_HEARD]
