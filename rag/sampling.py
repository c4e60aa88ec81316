"""How many of the nearest an index finds: some of its own vectors ask it, and a scan of all tells what is right."""

from __future__ import annotations

import numpy as np

from rag.protocols import Rows, VectorIndex, Vectors

NEAREST = 10
RECALL = 0.95
"""Of so many nearest of a vector, the share that an index of very many is to find."""
SAMPLE = 200
"""Vectors of its own by which an index is measured."""
CHUNK = 20_000
"""Vectors that are in memory at once while an index is built and measured."""


class Sample:
    """Some vectors of an index, each of which asks for the ten nearest of the others."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._rows = some_rows(len(vectors), SAMPLE)
        self._queries = np.ascontiguousarray(vectors[self._rows], dtype=np.float32)
        self._least = self._exact()

    def __len__(self) -> int:
        return len(self._rows)

    def recall(self, index: VectorIndex) -> float:
        """The share of the ten nearest that the index finds; one that is just as near as the tenth counts as well."""
        _, found = index.search(self._queries, NEAREST + 1)
        right = 0
        for row, query, least, nearest in zip(self._rows, self._queries, self._least, found, strict=True):
            others = [one for one in nearest.tolist() if one not in (row, -1)][:NEAREST]
            right += int(np.sum(np.asarray(self._vectors[others]) @ query >= least))
        return right / (NEAREST * len(self._rows))

    def _exact(self) -> Vectors:
        """What the tenth nearest of the others scores for each, less what rounding may take."""
        best = np.full((len(self._rows), NEAREST), -np.inf, dtype=np.float32)
        for start in range(0, len(self._vectors), CHUNK):
            chunk = np.asarray(self._vectors[start : start + CHUNK], dtype=np.float32)
            scores = self._queries @ chunk.T
            inside = (self._rows >= start) & (self._rows < start + len(chunk))
            scores[inside, self._rows[inside] - start] = -np.inf
            best = np.partition(np.hstack([best, scores]), -NEAREST, axis=1)[:, -NEAREST:]
        least: Vectors = best.min(axis=1) - 1e-5
        return least


def some_rows(count: int, most: int) -> Rows:
    """Rows in order, drawn the same way every time."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False)).astype(np.int64)
