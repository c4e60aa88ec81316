"""How many of the nearest an index finds: some of its own vectors ask it, and a scan of all tells what is right.

Lists find as many of what is nearest to their own vectors as to others. A graph finds more, since a walk ends at the
vector itself, whose links lead on; so it is asked by vectors that are moved a little away.
"""

from __future__ import annotations

import numpy as np

from rag.protocols import Rows, VectorIndex, Vectors

NEAREST = 10
RECALL = 0.95
"""Of so many nearest of a vector, the share that an index of very many is to find."""
MOVED = 0.4
"""Of the difference between two other vectors, made as long as one, how much a vector is moved away. Among 95,000
sentences of public sets a graph found .963 of the nearest to vectors that were moved so, .986 of those to its own,
.959 of those to other sentences and .970 of those to questions; with five times as many rows in view .992, .996, .994
and .994. Lists found .963, .965, .964 and .967."""
SAMPLE = 200
"""Vectors of its own by which an index is measured."""
CHUNK = 20_000
"""Vectors that are in memory at once while an index is built and measured."""


class Sample:
    """Some vectors of an index, each of which asks for the ten nearest of the others, `moved` so far or not at all."""

    def __init__(self, vectors: Vectors, *, moved: float = 0.0) -> None:
        self._vectors = vectors
        self._rows = some_rows(len(vectors), SAMPLE)
        self._queries = np.ascontiguousarray(vectors[self._rows], dtype=np.float32)
        if moved:
            one, other = np.random.default_rng(0).choice(self._rows, (2, len(self._rows)))
            difference = np.asarray(vectors[one], dtype=np.float32) - np.asarray(vectors[other], dtype=np.float32)
            away = self._queries + np.float32(moved / 2**0.5) * difference  # differences of unit rows are so long
            self._queries = away / np.linalg.norm(away, axis=1, keepdims=True)
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
