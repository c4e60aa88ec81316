"""The words of an index version in a bm25s folder, scored by BM25 over English word stems.

A search reads the postings of its own words and nothing else; where they are many, from files that are mapped.

    data.csc.index.npy, indices.csc.index.npy, indptr.csc.index.npy    as bm25s writes them: a column for each stem
    stems.npy, columns.npy                                             all stems in a row, and the column of each
"""

from __future__ import annotations

import array
import bisect
import functools
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
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
BLOCK = 64
"""Rows that stand for one where the best of very many are sought."""
FEW = 10_000
"""Rows that are looked up in the postings; of more, all are scored."""
Postings = Sequence[tuple[Rows, Scores]]
"""Of some stems the rows that each occurs in, in order, and its share of their scores."""
_VOCABULARY = "vocab.index.json"
"""Where bm25s keeps its columns, and so do versions that were built before there were `Stems`."""
_PLACES = np.dtype([("start", "<u4"), ("column", "<u4")])


@functools.cache
def _bm25s() -> Any:
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # importing it sets DEBUG
    return bm25s


class Stems:
    """The column of each stem. They lie side by side in their order, so that each takes few bytes and none is parsed.

    A large index has a million of them: in a dictionary they would take as much memory as the postings.
    """

    def __init__(self, text: np.ndarray[Any, np.dtype[np.uint8]], places: np.ndarray[Any, Any]) -> None:
        self._text = np.asarray(text)  # what is mapped is slower to slice
        self._places = places
        self._starts, self._columns = np.asarray(places["start"]), np.asarray(places["column"])

    @classmethod
    def of(cls, columns: Mapping[str, int]) -> Stems:
        ordered = sorted((_key(stem), column) for stem, column in columns.items())
        lengths = np.array([0, *(len(key) for key, _ in ordered)], dtype=np.uint32)
        places = np.zeros(len(lengths), dtype=_PLACES)  # the last one ends the last stem
        places["start"] = np.cumsum(lengths)
        places["column"][:-1] = [column for _, column in ordered]
        return cls(np.frombuffer(b"".join(key for key, _ in ordered), dtype=np.uint8), places)

    @classmethod
    def open(cls, folder: Path) -> Stems:
        return cls(mapped.array(folder / "stems.npy"), mapped.array(folder / "columns.npy"))

    def save(self, folder: Path) -> None:
        np.save(folder / "stems.npy", self._text)
        np.save(folder / "columns.npy", self._places)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def get(self, stem: str) -> int | None:
        key = _key(stem)
        place = bisect.bisect_left(range(len(self)), key, key=self._at)
        return int(self._columns[place]) if place < len(self) and self._at(place) == key else None

    def _at(self, place: int) -> bytes:
        return self._text[self._starts[place] : self._starts[place + 1]].tobytes()


def _key(stem: str) -> bytes:
    return stem.encode("utf-8", "surrogatepass")


class Bm25Index:
    """Implements protocols.LexicalIndex."""

    def __init__(self, index: Any, known: Stems) -> None:
        self._index = index
        self._stems = known

    @classmethod
    def build(cls, texts: Iterable[str]) -> Bm25Index:
        columns: dict[str, int] = {}
        corpus = [array.array("i", [columns.setdefault(one, len(columns)) for one in stems(text)]) for text in texts]
        index = _bm25s().BM25(method="lucene", k1=K1, b=B, csc_backend="scipy")  # numpy's takes 30 bytes a posting
        with np.errstate(invalid="ignore"):  # where no text has a word, their mean length is 0
            index.index((corpus, columns), create_empty_token=False, show_progress=False)
        return cls(index, Stems.of(columns))

    @classmethod
    def open(cls, folder: Path) -> Bm25Index:
        bm25s = _bm25s()
        try:
            large = any(mapped.is_large(path) for path in folder.glob("*.npy"))
            index = bm25s.BM25.load(str(folder), mmap=large, load_vocab=False)
            older = folder / _VOCABULARY
            return cls(index, Stems.of(json.loads(older.read_bytes())) if older.is_file() else Stems.open(folder))
        except (OSError, ValueError, KeyError) as error:
            raise IndexDamaged(
                f"{folder} is not a readable bm25s index. Build it again: python -m rag index build"
            ) from error

    def save(self, folder: Path) -> None:
        self._index.save(str(folder), show_progress=False)
        (folder / _VOCABULARY).unlink()
        self._stems.save(folder)

    def search(self, question: str, k: int, rows: Rows | None = None) -> tuple[Scores, Rows]:
        known = [self._stems.get(stem) for stem in dict.fromkeys(stems(question))]
        postings = [self._postings(column) for column in known if column is not None]
        if not postings:
            return np.empty(0, dtype=np.float32), np.empty(0, dtype=np.int64)
        if rows is not None and len(rows) <= FEW:
            found = np.unique(rows)
            scores = _scores_of(found, postings)
        else:
            summed = _summed(postings, self._index.scores["num_docs"])
            found = _among_best(summed, k) if rows is None else np.unique(rows)
            scores = summed[found]
        found, scores = found[scores > 0], scores[scores > 0]
        if len(found) > k:  # sorting all that share a common word would take longer than scoring them
            least = np.partition(scores, -k)[-k]
            found, scores = found[scores >= least], scores[scores >= least]
        best = np.lexsort((found, -scores))[:k]
        return scores[best], found[best].astype(np.int64)

    def frequency(self, stem: str) -> int:
        column = self._stems.get(stem)
        return 0 if column is None else len(self._postings(column)[0])

    def _postings(self, column: int) -> tuple[Rows, Scores]:
        """The rows that a stem occurs in, and its share of their scores."""
        stored = self._index.scores
        start, end = stored["indptr"][column : column + 2]
        return stored["indices"][start:end], stored["data"][start:end]


def _summed(postings: Postings, count: int) -> Scores:
    """The score of each of so many rows, and zeros up to a whole block."""
    summed = np.zeros(-(-count // BLOCK) * BLOCK, dtype=np.float32)
    for of_stem, scores in postings:
        summed[of_stem] += scores  # a row occurs once in the postings of a stem
    return summed


def _scores_of(rows: Rows, postings: Postings) -> Scores:
    """The score of each of some rows, which are looked up: postings are in order of their rows."""
    summed = np.zeros(len(rows), dtype=np.float32)
    for of_stem, scores in postings:
        sought = rows.astype(of_stem.dtype)  # else all of the postings would be brought to the type of the rows
        places = np.minimum(np.searchsorted(of_stem, sought), len(of_stem) - 1)
        there = of_stem[places] == sought
        summed[there] += scores[places[there]]
    return summed


def _among_best(summed: Scores, k: int) -> Rows:
    """The `k` rows with the highest scores, and not many others.

    The `k` best of the blocks' best scores belong to as many rows, so no lower score is among the `k` highest.
    """
    of_blocks = summed.reshape(-1, BLOCK).max(axis=1)
    least = np.partition(of_blocks, -k)[-k] if k < len(of_blocks) else 0
    return np.flatnonzero(summed >= least if least > 0 else summed > 0)
