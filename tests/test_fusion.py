import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.fusion import reciprocal_rank_fusion

rankings = st.lists(st.lists(st.integers(0, 20), unique=True, max_size=10), max_size=4)


def test_a_row_that_both_find_beats_the_first_of_either() -> None:
    fused = reciprocal_rank_fusion([[7, 3], [5, 3]], k=60)
    assert [row for row, _ in fused] == [3, 5, 7]
    assert [score for _, score in fused] == [pytest.approx(2 / 62), pytest.approx(1 / 61), pytest.approx(1 / 61)]


@given(rankings)
def test_the_order_of_the_rankings_does_not_matter(given: list[list[int]]) -> None:
    there, back = reciprocal_rank_fusion(given), reciprocal_rank_fusion(given[::-1])
    assert {row: pytest.approx(score) for row, score in there} == dict(back)


@given(rankings)
def test_every_row_comes_once(given: list[list[int]]) -> None:
    rows = [row for row, _ in reciprocal_rank_fusion(given)]
    assert sorted(rows) == sorted({row for ranking in given for row in ranking})
