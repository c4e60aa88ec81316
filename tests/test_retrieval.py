"""Passages are found by meaning and by words, within the roles asked about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag.answering import Engine
from rag.errors import SettingsError
from rag.retrieval import HybridRetriever, moved
from rag.vectors import FaissIndex


def test_a_passage_tells_its_rank_and_score_in_each_stage(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    found = engine_over(shelf).search("flour and yeast")
    assert found[0].passage.id == "baker:106-203"
    assert found[0].ranks == {"dense": 1, "lexical": 1}
    assert found[0].score == pytest.approx(1.0)
    assert set(found[0].scores) == {"dense", "lexical"}
    assert "lexical" not in found[-1].ranks  # it shares no word with the question


def test_a_role_named_in_the_question_comes_first_and_one_that_is_given_alone(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    engine = engine_over(shelf)
    assert engine.search("pay in Bern")[0].passage.role == "Miller"
    found = engine.search("pay of bakers in Bern")
    assert found[0].passage.role == "Baker"
    assert found[0].ranks == {"dense": 1, "lexical": 1, "dense in role": 1, "lexical in role": 1}
    assert found[0].score == pytest.approx(2.0)
    assert {one.passage.role for one in found} == {"Baker", "Miller"}
    assert {one.passage.role for one in engine.search("pay of millers in Bern", role="master baker")} == {"Baker"}
    with pytest.raises(SettingsError, match="no single role is called 'pilot'"):
        engine.search("pay", role="pilot")


def test_a_document_and_a_chapter_shut_out_all_others_before_ranking(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    engine = engine_over(shelf)

    def places(**within: str) -> list[tuple[str, tuple[str, ...]]]:
        found = engine.search("flour and yeast of Bern", k=9, **within)
        assert [one.ranks["dense"] for one in found if one.ranks.get("dense") == 1] == [1] * bool(found)
        return sorted((one.passage.document, one.passage.section) for one in found)

    assert places(document="miller") == [("miller", ("Pay",)), ("miller", ("Work",))]
    assert places(chapter="Pay") == [("baker", ("Pay",)), ("miller", ("Pay",))]
    assert places(document="baker", chapter="Skills") == [("baker", ("Skills",))]
    assert places(role="Baker", chapter="Pay") == [("baker", ("Pay",))]
    assert places(role="Baker", document="miller") == []
    assert places(document="baker", chapter="Work") == []
    [last] = engine.search("flour and yeast", k=1, chapter="Work")
    assert last.passage.section == ("Work",)
    assert last.score == 0  # it has nothing in common with the question, and is the nearest there is


def test_a_question_about_two_roles_has_its_shares_from_the_chapter_and_none_within_one_document(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    engine = engine_over(shelf)
    question = "What do Bakers and Millers earn in Bern?"
    found = engine.search(question, chapter="Pay")
    assert [one.passage.section for one in found] == [("Pay",), ("Pay",)]
    assert {one.passage.document for one in found} == {"baker", "miller"}
    assert {one.passage.document for one in engine.search(question, document="miller")} == {"miller"}


def test_a_document_or_chapter_that_is_not_there_is_named(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    engine = engine_over(shelf)
    with pytest.raises(SettingsError, match="there is no document 'cook'"):
        engine.search("Bern", document="cook")
    with pytest.raises(SettingsError, match="no document has a chapter 'Tools'"):
        engine.search("Bern", chapter="Tools")


def test_k_passages_come_at_the_most(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    engine = engine_over(shelf)
    assert len(engine.search("Bern", k=1)) == 1
    assert engine.search("Bern", k=1) == engine.search("Bern", k=4)[:1]


def test_one_search_alone_keeps_its_own_order(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    engine = engine_over(shelf)
    for stage in ("dense", "lexical"):
        found = HybridRetriever(engine.version, engine.embedder, stages=[stage]).retrieve("flour and yeast", 4)
        scores = [one.scores[stage] for one in found]
        assert scores == sorted(scores, reverse=True)
        assert [one.ranks for one in found] == [{stage: rank} for rank in range(1, len(found) + 1)]
    assert len(found) < 4  # passages that share no word with the question are not found by words


def test_a_question_is_moved_towards_the_mean_of_what_is_nearest() -> None:
    # By hand: the two nearest to (1, 0) are (1, 0) and (0.6, 0.8). Half of
    # their mean (0.8, 0.4) on top of it is (1.4, 0.2), whose length is the square root of 2.
    index = FaissIndex.build(np.array([[1, 0], [0.6, 0.8], [-1, 0], [0, 1]], dtype=np.float32))
    question = np.array([[1, 0]], dtype=np.float32)
    np.testing.assert_allclose(moved(question, index, 0.5), np.array([[1.4, 0.2]]) / np.sqrt(2), atol=1e-6)
    # Of (0.8, 0.6) the nearest two are (0.6, 0.8), with 0.96, and (1, 0), with 0.8.
    tilted, expected = np.array([[0.8, 0.6]], dtype=np.float32), np.array([[0.8 + 0.4, 0.6 + 0.2]])
    np.testing.assert_allclose(moved(tilted, index, 0.5), expected / np.linalg.norm(expected), atol=1e-6)
    assert moved(question, index, 0.0) is question
    assert moved(question, index, 0.5, np.array([2, 3])) is question  # neither has anything in common with it
