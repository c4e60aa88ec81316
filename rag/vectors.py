"""The vectors of an index version in a FAISS file, searched exactly by inner product."""

from __future__ import annotations

import errno
import functools
from pathlib import Path
from typing import Any

import numpy as np

from rag.errors import IndexDamaged
from rag.protocols import Rows, Vectors

FACTORY = "Flat"


class FaissIndex:
    """Implements protocols.VectorIndex. FAISS returns equal scores in order of row, as the Protocol asks."""

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: Vectors) -> FaissIndex:
        """From (n, dimension) float32, unit rows; row i of the index is row i of `vectors`."""
        import faiss

        index = faiss.index_factory(vectors.shape[1], FACTORY, faiss.METRIC_INNER_PRODUCT)
        index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return cls(index)

    @classmethod
    def open(cls, path: Path) -> FaissIndex:
        import faiss

        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            raise IndexDamaged(
                f"{path} is not a readable FAISS index. Build it again: python -m rag index build"
            ) from error

    def save(self, path: Path) -> None:
        import faiss

        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:
            raise OSError(errno.EIO, "File cannot be written to its end", str(path)) from error

    @functools.cached_property
    def dimension(self) -> int:
        return int(self._index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: Vectors, k: int, rows: Rows | None = None) -> tuple[Vectors, Rows]:
        import faiss

        parameters = None
        if rows is not None:
            selector = faiss.IDSelectorBatch(np.asarray(rows, dtype=np.int64))
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, found = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=parameters)
        scores[found < 0] = -np.inf
        order = np.lexsort((found, -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)
