"""Where each stem of a lexical index is kept, beside a dictionary of the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import IndexDamaged
from rag.lexical import Bm25Index, Stems

TEXTS = ["the baker bakes bread", "a mill grinds grain", "bread of rye grain"]


def test_stems_lie_side_by_side_in_their_order() -> None:
    stems = Stems.of({"grain": 0, "bake": 1, "mühle": 2})
    assert stems._text.tobytes().decode() == "bakegrainmühle"
    assert stems._places.tolist() == [(0, 1), (4, 0), (9, 2), (15, 0)]
    assert [stems.get(one) for one in ("bake", "grain", "mühle", "bak", "bakes", "zoo", "")] == [1, 0, 2, *[None] * 4]


@pytest.mark.parametrize("large", [1, 2**40])
@given(st.dictionaries(st.text(st.characters()), st.integers(0, 2**32 - 1)), st.lists(st.text()))
def test_each_stem_has_the_column_that_a_dictionary_gives(
    large: int, columns: dict[str, int], others: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("rag.mapped.LARGE", large)
        Stems.of(columns).save(Path(folder))
        stems = Stems.open(Path(folder))
        assert len(stems) == len(columns)
        assert {one: stems.get(one) for one in [*columns, *others]} == {
            one: columns.get(one) for one in [*columns, *others]
        }


def test_texts_without_a_word_make_an_index_that_finds_nothing(tmp_path: Path) -> None:
    Bm25Index.build(["– –", "!"]).save(tmp_path)
    opened = Bm25Index.open(tmp_path)
    assert (opened.search("bread", 3)[1].tolist(), opened.frequency("bread")) == ([], 0)


def test_an_index_whose_vocabulary_is_still_a_dictionary_is_read(tmp_path: Path) -> None:
    built = Bm25Index.build(TEXTS)
    built.save(tmp_path)
    columns = {stem: built._stems.get(stem) for stem in ("baker", "bake", "bread", "mill", "grind", "grain", "rye")}
    (tmp_path / "vocab.index.json").write_text(json.dumps(columns), encoding="utf-8")
    for name in ("stems.npy", "columns.npy"):
        (tmp_path / name).unlink()
    opened = Bm25Index.open(tmp_path)
    for question in ("Who bakes bread?", "What does the mill grind?", "rye", "soup"):
        for ours, theirs in zip(opened.search(question, 3), built.search(question, 3), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert opened.frequency("bread") == 2


@pytest.fixture(scope="module")
def many() -> Bm25Index:
    """Rows of words of which the first are very common and the last rare."""
    drawn = np.random.default_rng(0).zipf(1.5, size=(3000, 9)) % 400
    return Bm25Index.build(" ".join(f"w{one}" for one in row) for row in drawn)


def every_score(index: Bm25Index, question: str) -> dict[int, float]:
    """Of each row that shares a word, added up one by one."""
    total: dict[int, np.float32] = {}
    for stem in question.split():
        column = index._stems.get(stem)
        for row, score in zip(*index._postings(column), strict=True) if column is not None else ():
            total[int(row)] = np.float32(total.get(int(row), np.float32(0)) + score)
    return {row: float(score) for row, score in total.items()}


@pytest.mark.parametrize("k", [1, 5, 46, 47, 400, 5000])  # there are 47 blocks
@pytest.mark.parametrize("question", ["w1", "w1 w2 w399", "w399", "w250 w3", "nothing"])
def test_the_best_of_many_are_those_of_sorting_all(many: Bm25Index, question: str, k: int) -> None:
    expected = sorted(every_score(many, question).items(), key=lambda item: (-item[1], item[0]))[:k]
    scores, rows = many.search(question, k)
    assert list(zip(rows.tolist(), scores.tolist(), strict=True)) == expected


@pytest.mark.parametrize("few", [0, 10_000], ids=["all are scored", "each is looked up"])
@pytest.mark.parametrize("rows", [range(0, 3000, 7), [2999], [5, 5, 0], range(3000), []], ids=str)
def test_of_some_rows_the_best_are_the_same(
    many: Bm25Index, rows: range | list[int], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.lexical.FEW", few)
    every = every_score(many, "w1 w2 w399")
    allowed = {row: score for row, score in every.items() if row in set(rows)}
    expected = sorted(allowed.items(), key=lambda item: (-item[1], item[0]))[:20]
    scores, found = many.search("w1 w2 w399", 20, np.array(rows, dtype=np.int64))
    assert list(zip(found.tolist(), scores.tolist(), strict=True)) == expected


def test_postings_are_in_order_of_their_rows(many: Bm25Index) -> None:
    assert all((np.diff(many._postings(column)[0]) > 0).all() for column in range(len(many._stems)))


def test_a_vocabulary_that_is_gone_or_cut_short_is_named(tmp_path: Path) -> None:
    Bm25Index.build(TEXTS).save(tmp_path)
    (tmp_path / "columns.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(IndexDamaged, match="is not a readable bm25s index. Build it again"):
        Bm25Index.open(tmp_path)
    (tmp_path / "columns.npy").unlink()
    with pytest.raises(IndexDamaged, match="is not a readable bm25s index. Build it again"):
        Bm25Index.open(tmp_path)
