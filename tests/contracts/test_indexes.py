"""Every vector index and every lexical index against a slow reference."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.lexical import K1, B, Bm25Index
from rag.postgres import Database
from rag.postgres_search import PostgresVectors, PostgresWords
from rag.protocols import LexicalIndex, Rows, VectorIndex, Vectors
from rag.vectors import FEWEST_LISTS, FaissIndex
from rag.words import stems

PROJECT = Path(__file__).parents[2]


def unit_rows(count: int, seed: int) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


EXACT = ["Flat", "SQfp16"]
IN_LISTS = ["IVF32,SQ8", "IVF32,SQfp16"]


CASES = (st.integers(1, 30), st.integers(1, 35), st.integers(0, 1000), st.booleans())
VERSION = "0123456789ab"
IN_ENGINE = pytest.param("postgres", marks=pytest.mark.postgres)
MakeVectors = Callable[[Vectors], VectorIndex]
MakeWords = Callable[[Sequence[str]], LexicalIndex]


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[Database]:
    with closing(Database(postgres_server, k1=K1, b=B)) as opened:
        yield opened


@pytest.fixture(scope="module")
def in_engine(database: Database) -> MakeVectors:
    def make(vectors: Vectors) -> VectorIndex:
        database.write_words(["word"] * len(vectors), VERSION)
        return PostgresVectors(database, database.write_vectors(vectors, [], VERSION))

    return make


@pytest.fixture(params=[*EXACT, IN_ENGINE])
def make_vectors(request: pytest.FixtureRequest) -> MakeVectors:
    if request.param in EXACT:
        return partial(FaissIndex.build, factory=request.param)
    made: MakeVectors = request.getfixturevalue("in_engine")
    return made


@pytest.fixture(params=["mapped", "whole", IN_ENGINE])
def make_words(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeWords:
    def in_files(texts: Sequence[str]) -> LexicalIndex:
        monkeypatch.setattr("rag.mapped.LARGE", {"mapped": 1, "whole": 2**40}[request.param])
        Bm25Index.build(texts).save(tmp_path / "lexical")
        return Bm25Index.open(tmp_path / "lexical")

    def in_engine(texts: Sequence[str]) -> LexicalIndex:
        database: Database = request.getfixturevalue("database")
        database.write_words(texts, VERSION)
        return PostgresWords(database, database.write_vectors(unit_rows(len(texts), 0), [], VERSION))

    return in_engine if request.param == "postgres" else in_files


@pytest.mark.parametrize("factory", EXACT)
@given(*CASES)
@settings(max_examples=40)
def test_vectors_are_found_as_by_looking_at_each(factory: str, count: int, k: int, seed: int, filtered: bool) -> None:
    vectors = unit_rows(count, seed)
    if factory == "SQfp16":
        vectors = vectors.astype(np.float16).astype(np.float32)  # what it keeps
    check_vectors(partial(FaissIndex.build, factory=factory), vectors, k, seed, filtered)


@pytest.mark.postgres
@given(case=st.tuples(*CASES))
@settings(max_examples=8)
def test_vectors_are_found_so_in_an_engine(in_engine: MakeVectors, case: tuple[int, int, int, bool]) -> None:
    count, k, seed, filtered = case
    check_vectors(in_engine, unit_rows(count, seed), k, seed, filtered)


def check_vectors(make: MakeVectors, vectors: Vectors, k: int, seed: int, filtered: bool) -> None:
    count, queries = len(vectors), unit_rows(3, seed + 1)
    allowed = np.arange(0, count, 2) if filtered else np.arange(count)
    index = make(vectors)
    scores, rows = index.search(queries, k, allowed if filtered else None)
    assert len(index) == count
    assert (scores.shape, rows.shape) == ((3, k), (3, k))
    for query, of_query, found in zip(queries, scores, rows, strict=True):
        exact = sorted((-float(vectors[row] @ query), int(row)) for row in allowed)[:k]
        assert [int(row) for row in found[: len(exact)]] == [row for _, row in exact]
        np.testing.assert_allclose(of_query[: len(exact)], [-score for score, _ in exact], atol=1e-6)
        assert set(found[len(exact) :]) <= {-1}
        assert set(of_query[len(exact) :]) <= {-np.inf}


def test_equal_vectors_come_in_order_of_row(make_vectors: MakeVectors) -> None:
    vectors = np.repeat(unit_rows(1, 0), 9, axis=0)
    _, rows = make_vectors(vectors).search(vectors[:1], 5)
    assert rows.tolist() == [[0, 1, 2, 3, 4]]


def test_the_nearest_come_with_their_vectors(make_vectors: MakeVectors) -> None:
    vectors, query = unit_rows(12, 0), unit_rows(1, 1)
    index = make_vectors(vectors)
    for rows in (None, np.array([2, 5, 7])):
        (order,) = index.search(query, 3, rows)[1]
        np.testing.assert_allclose(index.nearest(query, 3, rows), vectors[order], atol=1e-3)  # half precision
    assert index.nearest(query, 3, np.array([4])).shape == (1, 8)
    assert index.nearest(query, 3, np.array([], dtype=np.int64)).shape == (0, 8)


@pytest.mark.parametrize("is_mapped", [False, True])
@pytest.mark.parametrize("factory", IN_LISTS)
def test_the_nearest_in_lists_come_with_their_vectors(
    factory: str, is_mapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.mapped.is_large", lambda _: is_mapped)
    monkeypatch.setattr("rag.vectors.FEW", 1000)
    vectors, queries = near_each_other(4000, 0), near_each_other(5, 1)
    FaissIndex.build(vectors, factory).save(tmp_path / "vectors.faiss")
    index = FaissIndex.open(tmp_path / "vectors.faiss")
    for rows in (None, np.arange(0, 4000, 2), np.arange(3, 900, 7), np.array([5])):
        for query in queries:
            (order,) = index.search(query[None], 3, rows)[1]
            np.testing.assert_allclose(index.nearest(query[None], 3, rows), vectors[order[order >= 0]], atol=0.02)
    assert index.nearest(queries[:1], 3, np.array([], dtype=np.int64)).shape == (0, 32)


def near_each_other(count: int, seed: int, clusters: int = 40) -> Vectors:
    """Rows around some centres, as passages about some things are."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(clusters, 32))
    rows = (centres[chance.integers(0, clusters, count)] + 0.6 * chance.normal(size=(count, 32))).astype(np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def nearest_by_looking(vectors: Vectors, query: Vectors, k: int, allowed: Rows) -> set[int]:
    return {int(row) for row in allowed[np.argsort(-(vectors[allowed] @ query), kind="stable")[:k]]}


@pytest.mark.parametrize("factory", IN_LISTS)
def test_lists_are_added_to_a_search_until_it_finds_nearly_all(factory: str) -> None:
    vectors, queries = near_each_other(4000, 0), near_each_other(50, 1)
    index = FaissIndex.build(vectors, factory)
    assert index.chosen["factory"] == factory
    assert index.chosen["measured_on"] == 200
    assert index.chosen["recall@10"] >= 0.95
    assert FEWEST_LISTS <= index.chosen["nprobe"] <= 32
    found = index.search(queries, 10)[1]
    everything = np.arange(len(vectors))
    right = [
        len(nearest_by_looking(vectors, one, 10, everything) & set(rows))
        for one, rows in zip(queries, found.tolist(), strict=True)
    ]
    assert np.mean(right) / 10 >= 0.9


@pytest.mark.parametrize("factory", IN_LISTS)
def test_of_few_rows_each_is_looked_at_whatever_list_it_is_in(factory: str) -> None:
    vectors, queries = near_each_other(4000, 0), near_each_other(30, 2)
    index = FaissIndex.build(vectors, factory)
    index._index.nprobe = 1  # alone it would see a small part of them
    allowed = np.arange(0, 4000, 97)
    scores, found = index.search(queries, 5, allowed)
    for query, rows, of_query in zip(queries, found.tolist(), scores, strict=True):
        assert set(rows) <= set(allowed.tolist())
        best = np.sort(vectors[allowed] @ query)[::-1][:5]
        np.testing.assert_allclose(of_query, best, atol=0.02)  # what 8 bits lose of 32 dimensions
    few = np.array([5, 17, 3999])
    scores, found = index.search(queries[:1], 5, few)
    assert sorted(found[0, :3].tolist()) == [5, 17, 3999]
    assert found[0, 3:].tolist() == [-1, -1]
    assert scores[0, 3:].tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("factory", IN_LISTS)
@pytest.mark.parametrize("k", [3, 60])
def test_few_rows_taken_out_of_their_lists_come_as_from_within_them(
    factory: str, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = near_each_other(4000, 0), near_each_other(30, 2)
    index = FaissIndex.build(vectors, factory)
    allowed = np.arange(3999, 0, -97)
    scores, found = index.search(queries, k, allowed)
    monkeypatch.setattr("rag.vectors.VERY_FEW", 0)
    others = index.search(queries, k, allowed)
    np.testing.assert_allclose(scores, others[0], atol=1e-5)
    np.testing.assert_array_equal(found, others[1])


@pytest.mark.parametrize("factory", IN_LISTS)
def test_of_many_rows_a_search_reads_more_lists_the_fewer_they_are(
    factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.vectors.FEW", 100)
    vectors, queries = near_each_other(4000, 0), near_each_other(50, 3)
    index = FaissIndex.build(vectors, factory)
    allowed = np.arange(0, 4000, 3)
    found = index.search(queries, 10, allowed)[1]
    right = [
        len(nearest_by_looking(vectors, one, 10, allowed) & set(rows))
        for one, rows in zip(queries, found.tolist(), strict=True)
    ]
    assert np.mean(right) / 10 >= 0.9


def test_where_the_lists_that_are_read_hold_too_few_all_are_read() -> None:
    vectors = near_each_other(4000, 0)
    index = FaissIndex.build(vectors, "IVF32,SQ8")
    index._index.nprobe = 1
    scores, rows = index.search(vectors[:2], 3000)
    assert (rows >= 0).all()
    assert (np.diff(scores, axis=1) <= 0).all()
    assert [len(set(one)) for one in rows.tolist()] == [3000, 3000]


@pytest.mark.parametrize(
    ("count", "factory"), [(20, "Flat"), (50, "Flat"), (51, "SQfp16"), (200, "SQfp16"), (201, "IVF57,SQ8")]
)
@pytest.mark.filterwarnings("ignore")
def test_how_vectors_are_kept_follows_from_their_number(
    count: int, factory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.vectors.MOST_PLAIN", 50)
    monkeypatch.setattr("rag.vectors.MOST_SCANNED", 200)
    assert FaissIndex.build(near_each_other(count, 0)).chosen["factory"] == factory


def test_where_eight_bits_lose_too_much_sixteen_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.vectors.MOST_PLAIN", 100)
    monkeypatch.setattr("rag.vectors.MOST_SCANNED", 100)
    monkeypatch.setattr("rag.vectors.RECALL", 1.0)
    assert FaissIndex.build(near_each_other(900, 5)).chosen["factory"] == "IVF120,SQfp16"


@pytest.mark.parametrize("factory", [*EXACT, *IN_LISTS])
@pytest.mark.parametrize("large", [1, 2**40], ids=["mapped", "whole"])
def test_a_vector_index_survives_its_file(
    factory: str, large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.mapped.LARGE", large)
    vectors = near_each_other(2000, 3)
    index = FaissIndex.build(vectors, factory)
    index.save(tmp_path / "v.faiss")
    again = FaissIndex.open(tmp_path / "v.faiss")
    (tmp_path / "v.faiss").unlink()
    assert (len(again), again.dimension) == (2000, 32)
    for rows in (None, np.arange(0, 2000, 3)):
        for one, other in zip(index.search(vectors[:50], 7, rows), again.search(vectors[:50], 7, rows), strict=True):
            np.testing.assert_array_equal(one, other)


def test_vectors_may_be_mapped_while_an_index_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.vectors.CHUNK", 300)
    vectors = near_each_other(1000, 4)
    vectors.tofile(tmp_path / "raw")
    mapped = np.memmap(tmp_path / "raw", np.float32, "r").reshape(1000, -1)
    for one, other in zip(
        FaissIndex.build(mapped).search(vectors[:9], 5), FaissIndex.build(vectors).search(vectors[:9], 5), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_file_that_cannot_be_written_to_its_end_is_named() -> None:
    with pytest.raises(OSError, match="File cannot be written to its end: '/dev/full'"):
        FaissIndex.build(near_each_other(2000, 0)).save(Path("/dev/full"))


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
def test_words_are_scored_by_bm25(question: str, make_words: MakeWords) -> None:
    scores, rows = make_words(TEXTS).search(question, 10)
    expected = bm25(question)
    assert [int(row) for row in rows] == sorted(expected, key=lambda row: (-expected[row], row))
    np.testing.assert_allclose(scores, [expected[int(row)] for row in rows], rtol=1e-5)


@given(st.lists(st.text("abc ", min_size=1, max_size=8), min_size=1, max_size=30), st.integers(1, 12), st.booleans())
@settings(max_examples=40)
def test_the_best_are_those_of_sorting_all(texts: list[str], k: int, filtered: bool) -> None:
    index = Bm25Index.build([*texts, "ab ca bcb"])
    allowed = np.arange(0, len(texts), 2) if filtered else None
    scores, rows = index.search("ab ca bcb", len(texts) + 1, allowed)
    assert sorted(zip(-scores, rows, strict=True)) == list(zip(-scores, rows, strict=True))
    assert allowed is None or set(rows.tolist()) <= set(allowed.tolist())
    best, first = index.search("ab ca bcb", k, allowed)
    assert first.tolist() == rows[:k].tolist()
    np.testing.assert_array_equal(best, scores[:k])


def test_the_same_texts_give_the_same_files_in_any_process(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from rag.lexical import Bm25Index; "
    program += "Bm25Index.build(['the baker bakes bread', 'a mill grinds grain']).save(Path(sys.argv[1]))"
    folders = [tmp_path / seed for seed in ("1", "2")]
    for folder in folders:
        command = [sys.executable, "-c", program, str(folder)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": folder.name}, cwd=PROJECT)
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names[0])


def test_only_the_given_rows_are_searched_and_only_k_come(make_words: MakeWords) -> None:
    index = make_words(TEXTS)
    assert index.search("bread grain", 10, np.array([1, 3]))[1].tolist() == [1]
    assert index.search("bread grain", 1)[1].tolist() == [4]
