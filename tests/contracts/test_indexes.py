"""Every vector index and every lexical index against a slow reference."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.lexical import K1, B, Bm25Index
from rag.protocols import Vectors
from rag.vectors import FaissIndex
from rag.words import stems


def unit_rows(count: int, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@given(st.integers(1, 30), st.integers(1, 35), st.integers(0, 1000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_vectors_are_found_as_by_looking_at_each(count: int, k: int, seed: int, filtered: bool) -> None:
    vectors, queries = unit_rows(count, seed), unit_rows(3, seed + 1)
    allowed = np.arange(0, count, 2) if filtered else np.arange(count)
    scores, rows = FaissIndex.build(vectors).search(queries, k, allowed if filtered else None)
    assert (scores.shape, rows.shape) == ((3, k), (3, k))
    for query, of_query, found in zip(queries, scores, rows, strict=True):
        exact = sorted((-float(vectors[row] @ query), int(row)) for row in allowed)[:k]
        assert [int(row) for row in found[: len(exact)]] == [row for _, row in exact]
        np.testing.assert_allclose(of_query[: len(exact)], [-score for score, _ in exact], atol=1e-6)
        assert set(found[len(exact) :]) <= {-1}
        assert set(of_query[len(exact) :]) <= {-np.inf}


def test_equal_vectors_come_in_order_of_row() -> None:
    vectors = np.repeat(unit_rows(1, 0), 5, axis=0)
    _, rows = FaissIndex.build(vectors).search(vectors[:1], 5)
    assert rows.tolist() == [[0, 1, 2, 3, 4]]


def test_a_vector_index_survives_its_file(tmp_path: Path) -> None:
    vectors = unit_rows(20, 3)
    index = FaissIndex.build(vectors)
    index.save(tmp_path / "v.faiss")
    again = FaissIndex.open(tmp_path / "v.faiss")
    assert (len(again), again.dimension) == (20, 8)
    for one, other in zip(index.search(vectors, 7), again.search(vectors, 7), strict=True):
        np.testing.assert_array_equal(one, other)


TEXTS = ["the baker bakes bread", "bread and butter", "a mill grinds grain", "the miller", "grain grain grain"]


def bm25(question: str) -> dict[int, float]:
    """Lucene's BM25 by its formula: idf = ln(1 + (N - n + 0.5) / (n + 0.5))."""
    bags = [stems(text) for text in TEXTS]
    average = sum(map(len, bags)) / len(bags)
    scores = {}
    for row, bag in enumerate(bags):
        score = 0.0
        for term in set(stems(question)):
            n = sum(term in other for other in bags)
            frequency = bag.count(term)
            idf = math.log(1 + (len(bags) - n + 0.5) / (n + 0.5))
            score += idf * frequency / (frequency + K1 * (1 - B + B * len(bag) / average))
        if score > 0:
            scores[row] = score
    return scores


@pytest.mark.parametrize("question", ["grain", "baking bread", "who bakes the grain", "millers", "zebra", ""])
def test_words_are_scored_by_bm25(question: str, tmp_path: Path) -> None:
    Bm25Index.build(TEXTS).save(tmp_path / "lexical")
    scores, rows = Bm25Index.open(tmp_path / "lexical").search(question, 10)
    expected = bm25(question)
    assert [int(row) for row in rows] == sorted(expected, key=lambda row: (-expected[row], row))
    np.testing.assert_allclose(scores, [expected[int(row)] for row in rows], rtol=1e-5)


def test_only_the_given_rows_are_searched_and_only_k_come() -> None:
    index = Bm25Index.build(TEXTS)
    assert index.search("bread grain", 10, np.array([1, 3]))[1].tolist() == [1]
    assert index.search("bread grain", 1)[1].tolist() == [4]
