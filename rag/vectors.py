"""The vectors of an index version in a FAISS file, searched by inner product: all while that is quick, else by lists.

How they are kept follows from how many there are: as they are, in 16 bits, or in 8 bits and in lists of near ones, of
which a search reads some. How many lists are read is settled when the index is built, by measuring on its own vectors.
A large file is mapped, so that a search has only what it reads in memory. An index is never changed once it is written.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rag import mapped
from rag.errors import IndexDamaged
from rag.protocols import Rows, Vectors
from rag.sampling import CHUNK, NEAREST, RECALL, Sample, some_rows

POLICY = "by size, 1"
"""Names what follows; it is part of what a version's id depends on."""
MOST_PLAIN = 50_000
"""Vectors that are kept as they are: a scan of them takes less time than embedding a question."""
MOST_SCANNED = 200_000
"""Vectors that are scanned one and all, in 16 bits."""
LISTS = 4
"""Lists for each unit of the square root of the number of vectors, as FAISS's guidelines have it."""
TRAINED = 64
"""Vectors for each list that the lists are learnt from; FAISS wants 39."""
FEWEST_LISTS = 8
VERY_FEW = 1000
"""Rows whose vectors are taken out of their lists and compared: less work than going through all lists for them."""
FEW = 20_000
"""Rows that are compared one and all where a search is limited to them: lists that hold few of them would miss some."""
ALONE = 8
"""Queries that one thread searches for: FAISS shares out no single query, but lets its threads wait for each other,
which takes 30 ms on a busy machine."""


class FaissIndex:
    """Implements protocols.VectorIndex. Equal scores come in order of row, as the Protocol asks.

    Of more vectors than are scanned one and all, a search may miss some of the nearest; `chosen` tells what was
    measured when the index was built.
    """

    def __init__(self, index: Any, chosen: Mapping[str, Any] | None = None) -> None:
        self._index = index
        self.chosen = dict(chosen or {})
        self._mapping = threading.Lock()

    @classmethod
    def build(cls, vectors: Vectors, factory: str = "") -> FaissIndex:
        """From (n, dimension) float32, unit rows; row i of the index is row i of `vectors`, which may be mapped.

        Without a `factory`, in the words of `faiss.index_factory`, the number of vectors decides.
        """
        if factory:
            return _built(vectors, factory)
        count = len(vectors)
        if count <= MOST_PLAIN:
            return _built(vectors, "Flat")
        if count <= MOST_SCANNED:
            return _built(vectors, "SQfp16")
        lists = round(LISTS * count**0.5)
        found = _built(vectors, f"IVF{lists},SQ8")
        return found if found.chosen["recall@10"] >= RECALL else _built(vectors, f"IVF{lists},SQfp16")

    @classmethod
    def open(cls, path: Path) -> FaissIndex:
        import faiss

        try:
            return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped.is_large(path) else 0))
        except (OSError, RuntimeError) as error:
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
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        lists = self._lists(None if rows is None else len(rows))
        if lists and rows is not None and len(rows) <= VERY_FEW:
            return self._compared(queries, k, np.unique(rows))
        scores, found = self._search(queries, k, rows, lists)
        existing = min(k, len(self) if rows is None else len(rows))
        if lists and lists < self._index.nlist and (found[:, :existing] < 0).any():  # the lists hold too few
            scores, found = self._search(queries, k, rows, self._index.nlist)
        scores[found < 0] = -np.inf
        order = np.lexsort((found, -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(found, order, axis=1)

    def nearest(self, query: Vectors, k: int, rows: Rows | None = None) -> Vectors:
        query = np.ascontiguousarray(query, dtype=np.float32)
        kept: Vectors
        if rows is not None and self._lists(len(rows)):  # of lists FAISS gives vectors only if all rows are searched
            _, (found,) = self.search(query, k, rows)
            kept = self._kept(found[found >= 0])
        else:
            with _threads(1):
                _, (found,), (vectors,) = self._index.search_and_reconstruct(query, k, params=self._parameters(rows))
            kept = vectors[found >= 0]
        return kept

    def _compared(self, queries: Vectors, k: int, rows: Rows) -> tuple[Vectors, Rows]:
        """As `search`, by the vectors of these rows, in order, instead of by the lists that hold them."""
        every = queries @ self._kept(rows).T
        order = np.lexsort((np.broadcast_to(rows, every.shape), -every), axis=1)[:, :k]
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        found = np.full((len(queries), k), -1, dtype=np.int64)
        scores[:, : order.shape[1]] = np.take_along_axis(every, order, axis=1)
        found[:, : order.shape[1]] = rows[order]
        return scores, found

    def _kept(self, rows: Rows) -> Vectors:
        """The vectors of some rows of lists."""
        with self._mapping:
            if self._index.direct_map.no():
                self._index.make_direct_map()
        kept: Vectors = self._index.reconstruct_batch(rows)
        return kept

    def _lists(self, among: int | None) -> int:
        """How many lists are read, the more the fewer vectors are searched; 0 where there are none."""
        import faiss

        if not isinstance(self._index, faiss.IndexIVF):
            return 0
        if among is None:
            return int(self._index.nprobe)
        if among <= FEW:
            return int(self._index.nlist)
        return int(min(self._index.nlist, -(-self._index.nprobe * len(self) // among)))

    def _parameters(self, rows: Rows | None, lists: int | None = None) -> Any:
        """To search among `rows` in so many lists, or in as many as are needed."""
        import faiss

        lists = self._lists(None if rows is None else len(rows)) if lists is None else lists
        given: dict[str, Any] = {"nprobe": lists} if lists else {}
        if rows is not None:
            among = np.zeros(len(self), dtype=bool)
            among[rows] = True
            given["sel"] = faiss.IDSelectorBitmap(np.packbits(among, bitorder="little"))  # type: ignore[call-arg, arg-type]
        return faiss.SearchParametersIVF(**given) if lists else faiss.SearchParameters(**given)

    def _search(self, queries: Vectors, k: int, rows: Rows | None, lists: int) -> tuple[Vectors, Rows]:
        import faiss

        with _threads(1 if len(queries) <= ALONE else faiss.omp_get_max_threads()):
            found: tuple[Vectors, Rows] = self._index.search(queries, k, params=self._parameters(rows, lists))
        return found


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads for what this thread has FAISS do."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _built(vectors: Vectors, factory: str) -> FaissIndex:
    import faiss

    count, dimension = vectors.shape
    index: Any = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    is_in_lists = isinstance(index, faiss.IndexIVF)
    if not index.is_trained:
        index.train(_drawn(vectors, TRAINED * index.nlist if is_in_lists else MOST_PLAIN))
    for start in range(0, count, CHUNK):
        index.add(np.ascontiguousarray(vectors[start : start + CHUNK], dtype=np.float32))
    built = FaissIndex(index, {"factory": factory})
    if factory != "Flat" and count > NEAREST:
        sample = Sample(vectors)
        if is_in_lists:
            index.nprobe = min(FEWEST_LISTS, index.nlist)
        recall = sample.recall(built)
        while is_in_lists and recall < RECALL and index.nprobe < index.nlist:
            index.nprobe = min(2 * index.nprobe, index.nlist)
            recall = sample.recall(built)
        built.chosen |= {"nprobe": index.nprobe} if is_in_lists else {}
        built.chosen |= {"recall@10": round(recall, 4), "measured_on": len(sample)}
    else:
        built.chosen["recall@10"] = 1.0
    return built


def _drawn(vectors: Vectors, most: int) -> Vectors:
    return np.ascontiguousarray(vectors[some_rows(len(vectors), most)], dtype=np.float32)
