"""Rankings are worth what the definitions say, and gold quotations find their passages however they were split."""

from __future__ import annotations

from math import log2
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.questions import Gold, Question
from eval.ranking import MEASURES, judged, ranking_measures, relevant_passages
from rag.types import Passage


def passage(document: str, start: int, end: int) -> Passage:
    return Passage(document, document.title(), None, (), start, end, "x" * (end - start))


def question(*relevant: tuple[str, int]) -> Question:
    return Question("a", "dev", "fact", "Pay?", None, (), True, "", (), (), relevant=relevant)


def found(*documents: str) -> list[dict[str, Any]]:
    """Passages of the documents, in this order."""
    return [{"id": f"{document}:{place}", "document": document} for place, document in enumerate(documents)]


def test_graded_judgements_by_hand() -> None:
    # gains 0, 2, 1 at ranks 1, 2, 3; at best 2, 1, 1
    expected = (2 / log2(3) + 1 / log2(4)) / (2 / log2(2) + 1 / log2(3) + 1 / log2(4))
    assert ranking_measures({"a": 2, "b": 1, "c": 1}, ["x", "a", "b"]) == pytest.approx(
        {"hit@1": 0, "hit@5": 1, "recall@5": 2 / 3, "recall@10": 2 / 3, "MRR@10": 1 / 2, "nDCG@10": expected}
    )


def test_a_measure_looks_no_further_than_its_depth() -> None:
    others = [f"x{place}" for place in range(20)]
    sixth = ranking_measures({"a": 1}, [*others[:5], "a"])
    assert sixth == pytest.approx(
        {"hit@1": 0, "hit@5": 0, "recall@5": 0, "recall@10": 1, "MRR@10": 1 / 6, "nDCG@10": 1 / log2(7)}
    )
    assert ranking_measures({"a": 1}, [*others[:9], "a"])["MRR@10"] == pytest.approx(1 / 10)
    assert ranking_measures({"a": 1}, [*others[:10], "a"]) == dict.fromkeys(MEASURES, 0.0)


def test_the_best_ranking_scores_1_and_an_empty_one_0() -> None:
    assert ranking_measures({"a": 1, "b": 3}, ["b", "a", "x"]) == pytest.approx(dict.fromkeys(MEASURES, 1.0))
    assert ranking_measures({"a": 1, "b": 3}, []) == dict.fromkeys(MEASURES, 0.0)


def slowly(qrels: dict[str, int], ranking: list[str]) -> dict[str, float]:
    """The definitions, term by term."""
    gains = [qrels.get(name, 0) for name in ranking]
    ideal = sorted(qrels.values(), reverse=True)

    def hit(depth: int) -> float:
        return float(any(gains[:depth]))

    def recall(depth: int) -> float:
        return sum(gain > 0 for gain in gains[:depth]) / len(qrels)

    def discounted(values: list[int]) -> float:
        return sum(value / log2(rank + 1) for rank, value in enumerate(values[:10], start=1))

    return {
        "hit@1": hit(1),
        "hit@5": hit(5),
        "recall@5": recall(5),
        "recall@10": recall(10),
        "MRR@10": next((1 / rank for rank, gain in enumerate(gains[:10], start=1) if gain), 0.0),
        "nDCG@10": discounted(gains) / discounted(ideal),
    }


NAMES = [f"d{number}" for number in range(25)]


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3), min_size=1),
    st.permutations(NAMES),
    st.integers(0, len(NAMES)),
)
def test_random_rankings_are_measured_as_the_definitions_say(
    qrels: dict[str, int], order: list[str], length: int
) -> None:
    assert ranking_measures(qrels, order[:length]) == pytest.approx(slowly(qrels, order[:length]))


def test_the_passages_that_hold_a_quotation_whole_are_relevant() -> None:
    passages = [
        passage("baker", 0, 20),
        passage("baker", 10, 40),  # overlaps the one before
        passage("miller", 10, 40),
        passage("baker", 40, 60),
    ]
    assert relevant_passages([Gold("baker", 12, 20)], passages) == {"baker:0-20": 1, "baker:10-40": 1}
    assert relevant_passages([Gold("baker", 12, 21)], passages) == {"baker:10-40": 1}
    assert relevant_passages([Gold("baker", 40, 60), Gold("baker", 40, 41)], passages) == {"baker:40-60": 1}


def test_where_the_splitting_has_cut_a_quotation_each_part_is_relevant() -> None:
    passages = [passage("baker", 0, 20), passage("baker", 20, 40), passage("baker", 40, 60), passage("miller", 0, 99)]
    assert relevant_passages([Gold("baker", 19, 40)], passages) == {"baker:0-20": 1, "baker:20-40": 1}
    assert relevant_passages([Gold("baker", 20, 41)], passages) == {"baker:20-40": 1, "baker:40-60": 1}
    assert relevant_passages([Gold("oven", 0, 5)], passages) == {}
    assert relevant_passages([], passages) == {}


def test_gold_quotations_judge_passages() -> None:
    passages = [passage("baker", 0, 20), passage("baker", 20, 40)]
    gold = [Gold("baker", 0, 5)]
    ranking = [{"id": one.id, "document": one.document} for one in reversed(passages)]
    assert judged(question(), gold, passages, ranking)["MRR@10"] == 0.5
    assert judged(question(), gold, passages, []) == dict.fromkeys(MEASURES, 0.0)
    assert judged(question(), [], passages, ranking) == {}


def test_a_document_counts_once_at_the_rank_of_its_best_passage() -> None:
    one = judged(question(("b", 1), ("c", 2)), [], [], found("a", "a", "b", "a", "c", "b"))
    assert one == pytest.approx(
        {
            "hit@1": 0,
            "hit@5": 1,
            "recall@5": 1,
            "recall@10": 1,
            "MRR@10": 1 / 2,  # a, b, c
            "nDCG@10": (1 / log2(3) + 2 / log2(4)) / (2 / log2(2) + 1 / log2(3)),
        }
    )
    crowded = judged(question(("b", 1)), [], [], found(*["a"] * 30, "b"))
    assert crowded["MRR@10"] == 0.5
