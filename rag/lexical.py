"""The words of an index version in a bm25s folder, scored by BM25 over English word stems."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.errors import IndexDamaged
from rag.protocols import Rows
from rag.protocols import Vectors as Scores
from rag.words import stems

K1, B = 1.2, 0.75
"""Lucene's defaults, as in the BM25 baselines of BEIR."""
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
        bm25s = _bm25s()

        corpus: Sequence[list[str]] = [list(map(sys.intern, stems(text))) for text in texts]  # each stem once in memory
        index = bm25s.BM25(method="lucene", k1=K1, b=B)
        index.index(corpus, show_progress=False)
        return cls(index)

    @classmethod
    def open(cls, folder: Path) -> Bm25Index:
        bm25s = _bm25s()
        try:
            return cls(bm25s.BM25.load(str(folder)))
        except (OSError, ValueError, KeyError) as error:
            raise IndexDamaged(
                f"{folder} is not a readable bm25s index. Build it again: python -m rag index build"
            ) from error

    def save(self, folder: Path) -> None:
        self._index.save(str(folder), show_progress=False)

    def search(self, question: str, k: int, rows: Rows | None = None) -> tuple[Scores, Rows]:
        terms = [term for term in dict.fromkeys(stems(question)) if term in self._index.vocab_dict]
        if not terms:
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
        scores = np.asarray(self._index.get_scores(terms), dtype=np.float32)
        found = np.flatnonzero(scores > 0)
        if rows is not None:
            found = np.intersect1d(found, rows)
        best = found[np.lexsort((found, -scores[found]))][:k]
        return scores[best], best.astype(np.int64)

    def frequency(self, stem: str) -> int:
        column = self._index.vocab_dict.get(stem)
        if column is None:
            return 0
        starts = self._index.scores["indptr"]
        return int(starts[column + 1] - starts[column])
