"""Texts that are much alike, and paragraphs that come again: what would crowd the passages of a question.

Likeness is the Jaccard index of the sets of word 5-grams ("shingles": Broder, "On the resemblance and containment of
documents", 1997). Candidates come from MinHash signatures in buckets (datasketch), and each is verified on the whole
sets, so that none is named in error; one of likeness 0.8 is missed with a probability of 5 in 100,000.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.words import fold

SHINGLE = 5
"""Words in a shingle, as in Lee et al., "Deduplicating training data makes language models better" (ACL 2022)."""
ALIKE = 0.8
"""Jaccard index from which two texts are near-duplicates, as there. One word in 45 changed, each in a sentence of its
own, leaves just that; two texts on one subject in words of their own share next to nothing."""
_BANDS, _ROWS = 25, 5
"""A pair of likeness j shares a bucket with probability 1 - (1 - j^5)^25: .99995 at 0.8, .06 at 0.3."""
_COMPARED = 100
"""Texts that one is compared with at the most, those of the most similar signatures: thousands of filled-in copies of
one form would otherwise all be compared with one another."""
IN_MANY = 3
"""Documents from which on a paragraph counts as boilerplate: two may quote one another, three have it from a mould."""

Shingles = NDArray[np.uint64]
"""(n,) uint64, ascending, none twice: the hashes of a text's shingles."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A text, the one it repeats, and the Jaccard index of the two."""

    name: str
    other: str
    jaccard: float


def shingles_of(words: Sequence[str]) -> Shingles:
    """Of a text shorter than a shingle the one that it is; of no words none."""
    hashes = np.array([zlib.crc32(word.encode()) for word in words], dtype=np.uint64)
    if not len(hashes):
        return hashes
    width = min(SHINGLE, len(hashes))
    rolled = np.zeros(len(hashes) - width + 1, dtype=np.uint64)
    for shift in range(width):  # a polynomial in an odd number, modulo 2^64
        rolled = rolled * np.uint64(0x9E3779B97F4A7C15) + hashes[shift : shift + len(rolled)]
    return np.unique(rolled)


def jaccard(one: Shingles, other: Shingles) -> float:
    """Shingles of both by shingles of either; 0 where there are none."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / max(1, len(one) + len(other) - both)


def near_duplicates(texts: Mapping[str, Shingles]) -> list[Likeness]:
    """For each text, in order, the earlier one that it repeats most closely, if any.

    Only texts that repeat none themselves are compared with, so that a thousand versions of one text are a thousand
    findings and not half a million.
    """
    from datasketch import MinHash, MinHashLSH

    empty = MinHash(num_perm=_BANDS * _ROWS, hashfunc=int, scheme="affine64")
    buckets = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
    rows = np.empty((len(texts), _BANDS * _ROWS), dtype=np.uint64)
    names = list(texts)
    found: list[Likeness] = []
    for number, (name, shingles) in enumerate(texts.items()):
        if not len(shingles):
            continue
        signature = empty.copy()
        signature.update_batch(shingles.tolist())
        rows[number] = signature.hashvalues
        others = np.array(sorted(buckets.query(signature)), dtype=np.intp)
        agreeing = (rows[others] == rows[number]).sum(axis=1)
        likely = others[np.argsort(-agreeing, kind="stable")[:_COMPARED]]
        alike = [Likeness(name, names[other], jaccard(shingles, texts[names[other]])) for other in likely]
        nearest = max(alike, key=lambda one: one.jaccard, default=None)
        if nearest and nearest.jaccard >= ALIKE:
            found.append(nearest)
        else:
            buckets.insert(number, signature)
    return found


@dataclass(frozen=True, slots=True)
class Repetitions:
    """`shares` is the part of each text's words that stand in boilerplate, 0 to 1; `paragraphs` are those that stand
    in many texts, as (paragraph, texts), the ones that take most words of all texts first."""

    shares: Mapping[str, float]
    paragraphs: Sequence[tuple[str, Sequence[str]]]


def repetitions(texts: Mapping[str, str]) -> Repetitions:
    """Finds boilerplate: paragraphs, entries and rows that stand in many texts, or more than once in one."""
    counts = {name: Counter(_paragraphs(text)) for name, text in texts.items()}
    holders: dict[str, list[str]] = {}
    for name, count in counts.items():
        for paragraph in count:
            holders.setdefault(paragraph, []).append(name)
    shares = {}
    for name, count in counts.items():
        sizes = {paragraph: len(paragraph.split()) * times for paragraph, times in count.items()}
        again = sum(size for one, size in sizes.items() if count[one] > 1 or len(holders[one]) >= IN_MANY)
        shares[name] = again / max(1, sum(sizes.values()))
    many = [(paragraph, names) for paragraph, names in holders.items() if len(names) >= IN_MANY]
    many.sort(key=lambda item: (-len(item[0].split()) * len(item[1]), item[0]))
    return Repetitions(shares, many)


def _paragraphs(text: str) -> Iterator[str]:
    """A text's lines, which are its paragraphs, entries and rows, folded."""
    return filter(None, (" ".join(fold(line).split()) for line in text.splitlines()))
