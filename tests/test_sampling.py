"""How well an index finds the nearest of its own vectors, against what a scan by hand says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rag.protocols import Rows, Vectors
from rag.sampling import MOVED, SAMPLE, Sample, some_rows


class Scan:
    """Implements protocols.VectorIndex by comparing all; `spoilt` may put others into the rows that it found."""

    def __init__(self, vectors: Vectors, spoilt: Callable[[Rows], None]) -> None:
        self._vectors, self._spoilt = vectors, spoilt
        self.dimension = vectors.shape[1]

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: Vectors, k: int, rows: Rows | None = None) -> tuple[Vectors, Rows]:
        assert rows is None
        scores = queries @ self._vectors.T
        found = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        self._spoilt(found)
        return np.take_along_axis(scores, found, axis=1), found

    def nearest(self, query: Vectors, k: int, rows: Rows | None = None) -> Vectors:
        kept: Vectors = self._vectors[self.search(query, k, rows)[1][0]]
        return kept


def nothing(_: Rows) -> None:
    pass


def two_missing(found: Rows) -> None:
    """Of the ten behind a vector itself the last are two that nothing was found for."""
    found[:, -2:] = -1


def scattered(count: int) -> Vectors:
    """Unit rows in all directions."""
    rows = np.random.default_rng(1).normal(size=(count, 64))
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def on_a_line(count: int) -> Vectors:
    """Unit rows on a quarter of a circle: whose numbers are near, they are near."""
    angles = np.linspace(0, np.pi / 2, count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.parametrize("moved", [0.0, MOVED])
@pytest.mark.parametrize(("spoilt", "recall"), [(nothing, 1.0), (two_missing, 0.8)])
def test_the_share_of_the_nearest_others_that_are_found(
    spoilt: Callable[[Rows], None], recall: float, moved: float
) -> None:
    vectors = scattered(300)
    sample = Sample(vectors, moved=moved)
    assert sample.recall(Scan(vectors, spoilt)) == pytest.approx(recall)


def test_a_vector_is_not_counted_among_its_own_nearest() -> None:
    vectors = scattered(30)

    def only_the_first(found: Rows) -> None:
        found[:, 1:] = -1

    assert Sample(vectors).recall(Scan(vectors, only_the_first)) == 0.0


def test_a_vector_is_moved_away_but_not_far() -> None:
    vectors, asked = scattered(1000), []

    class Asked(Scan):
        def search(self, queries: Vectors, k: int, rows: Rows | None = None) -> tuple[Vectors, Rows]:
            asked.append(queries)
            return super().search(queries, k, rows)

    for moved in (0.0, MOVED):
        Sample(vectors, moved=moved).recall(Asked(vectors, nothing))
    own, away = asked
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), 1, rtol=1e-5)
    near = np.sum(own * away, axis=1)  # 1 / sqrt(1 + 0.4²) = 0.93 where the three have nothing in common
    assert 0.88 < np.median(near) < 0.96
    assert (near < 1 - 1e-4).mean() > 0.95  # one may be drawn twice, and the difference be none


def test_one_as_near_as_the_tenth_counts() -> None:
    vectors = np.repeat(on_a_line(2), 20, axis=0)  # 19 others are as near as can be

    def others(found: Rows) -> None:
        found[:] = np.where(found < 20, 19 - found, 59 - found)  # equals in another order

    assert Sample(vectors).recall(Scan(vectors, others)) == 1.0


def test_the_same_rows_are_drawn_every_time_and_all_if_there_are_few() -> None:
    assert some_rows(5, 9).tolist() == [0, 1, 2, 3, 4]
    drawn = some_rows(10_000, SAMPLE)
    assert len(set(drawn.tolist())) == SAMPLE
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, some_rows(10_000, SAMPLE))
