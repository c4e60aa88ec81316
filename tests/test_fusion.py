import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.fusion import weighted_sum

HALVES = {"dense": 0.5, "lexical": 0.5}
found = st.dictionaries(st.integers(0, 20), st.floats(-1, 0) | st.floats(0.001, 40), max_size=10)


def test_scores_are_shares_of_their_searches_best() -> None:
    fused = weighted_sum({"dense": {7: 0.8, 3: 0.6}, "lexical": {5: 12.0, 3: 9.0}}, HALVES)
    assert fused == {7: pytest.approx(0.5), 3: pytest.approx(0.75), 5: pytest.approx(0.5)}


def test_weights_are_shares_of_the_searches_that_are_there() -> None:
    scores = {"dense": {1: 0.5, 2: 0.4}}
    assert weighted_sum(scores, {"dense": 0.2, "lexical": 0.8}) == {1: 1.0, 2: pytest.approx(0.8)}
    tilted = weighted_sum({**scores, "lexical": {2: 3.0}}, {"dense": 0.2, "lexical": 0.8})
    assert tilted == {1: pytest.approx(0.2), 2: pytest.approx(0.96)}


def test_what_points_away_counts_as_nothing() -> None:
    assert weighted_sum({"dense": {1: 0.5, 2: -0.3}, "lexical": {}}, HALVES) == {1: 0.5, 2: 0.0}
    assert weighted_sum({"dense": {1: -0.1}}, HALVES) == {1: 0.0}
    assert weighted_sum({"dense": {1: 7e-11}, "lexical": {2: 1.0}}, HALVES) == {1: 0.0, 2: 0.5}  # rounding is no best


@given(found, found)
def test_every_row_has_a_score_of_at_most_one(dense: dict[int, float], lexical: dict[int, float]) -> None:
    fused = weighted_sum({"dense": dense, "lexical": lexical}, HALVES)
    assert set(fused) == set(dense) | set(lexical)
    assert all(0 <= score <= 1 + 1e-9 for score in fused.values())


@given(found, found, st.integers(1, 8))
def test_the_scale_of_a_search_does_not_matter(dense: dict[int, float], lexical: dict[int, float], n: int) -> None:
    scaled = {row: score * 2**n for row, score in lexical.items()}  # exact in floating point
    plain = weighted_sum({"dense": dense, "lexical": lexical}, HALVES)
    assert weighted_sum({"dense": dense, "lexical": scaled}, HALVES) == plain
