"""The words of an index version in a bm25s folder, scored by BM25 over English word stems.

A search reads the postings of its own words and nothing else; where they are many, from files that are mapped.
"""

from __future__ import annotations

import array
import functools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rag import mapped
from rag.errors import IndexDamaged
from rag.protocols import Rows
from rag.protocols import Vectors as Scores
from rag.words import stems

K1, B = 1.2, 0.5
"""Lucene's k1. Of its b, 0.75, less: passages are cut to like lengths, so that a long one is seldom long-winded."""
TOKENIZER = "words 1, stemmer english"


@functools.cache
def _bm25s() -> Any:
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # importing it sets DEBUG
    return bm25s


class Bm25Index:
    """Implements protocols.LexicalIndex."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, texts: Iterable[str]) -> Bm25Index:
        columns: dict[str, int] = {}
        corpus = [array.array("i", [columns.setdefault(one, len(columns)) for one in stems(text)]) for text in texts]
        index = _bm25s().BM25(method="lucene", k1=K1, b=B, csc_backend="scipy")  # numpy's takes 30 bytes a posting
        index.index((corpus, columns), create_empty_token=False, show_progress=False)
        return cls(index)

    @classmethod
    def open(cls, folder: Path) -> Bm25Index:
        bm25s = _bm25s()
        try:
            large = any(mapped.is_large(path) for path in folder.glob("*.npy"))
            return cls(bm25s.BM25.load(str(folder), mmap=large))
        except (OSError, ValueError, KeyError) as error:
            raise IndexDamaged(
                f"{folder} is not a readable bm25s index. Build it again: python -m rag index build"
            ) from error

    def save(self, folder: Path) -> None:
        self._index.save(str(folder), show_progress=False)

    def search(self, question: str, k: int, rows: Rows | None = None) -> tuple[Scores, Rows]:
        postings = [self._postings(stem) for stem in dict.fromkeys(stems(question)) if stem in self._index.vocab_dict]
        if not postings:
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
        summed = np.zeros(self._index.scores["num_docs"], dtype=np.float32)
        for of_stem, scores in postings:
            summed[of_stem] += scores  # a row occurs once in the postings of a stem
        found = np.flatnonzero(summed > 0) if rows is None else np.unique(rows)
        scores = summed[found]
        if rows is not None:
            found, scores = found[scores > 0], scores[scores > 0]
        if len(found) > k:  # sorting all that share a common word would take longer than scoring them
            least = np.partition(scores, -k)[-k]
            found, scores = found[scores >= least], scores[scores >= least]
        best = np.lexsort((found, -scores))[:k]
        return scores[best], found[best].astype(np.int64)

    def frequency(self, stem: str) -> int:
        return len(self._postings(stem)[0]) if stem in self._index.vocab_dict else 0

    def _postings(self, stem: str) -> tuple[Rows, Scores]:
        """The rows that a known stem occurs in, and its share of their scores."""
        column, stored = self._index.vocab_dict[stem], self._index.scores
        start, end = stored["indptr"][column : column + 2]
        return stored["indices"][start:end], stored["data"][start:end]
