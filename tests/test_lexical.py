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


def test_a_vocabulary_that_is_gone_or_cut_short_is_named(tmp_path: Path) -> None:
    Bm25Index.build(TEXTS).save(tmp_path)
    (tmp_path / "columns.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(IndexDamaged, match="is not a readable bm25s index. Build it again"):
        Bm25Index.open(tmp_path)
    (tmp_path / "columns.npy").unlink()
    with pytest.raises(IndexDamaged, match="is not a readable bm25s index. Build it again"):
        Bm25Index.open(tmp_path)
