"""How well a search ranks: the standard measures over graded judgements, computed by ir-measures (trec_eval).

Judgements (qrels) are the set's own documents where it has them; else a gold quotation makes each passage relevant that
holds it whole, or, where the splitting has cut it, each that it reaches into. So they survive another splitting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ir_measures
from ir_measures import RR, R, Success, nDCG

from eval.questions import Gold, Question
from rag.types import Passage

MEASURES = {
    "hit@1": Success @ 1,
    "hit@5": Success @ 5,
    "recall@5": R @ 5,
    "recall@10": R @ 10,
    "MRR@10": RR @ 10,
    "nDCG@10": nDCG @ 10,
}
"""nDCG with linear gains (Järvelin and Kekäläinen, TOIS 2002, as trec_eval computes it)."""
DEPTH = 10
"""Results that a measure looks at, at the most."""


def ranking_measures(qrels: Mapping[str, int], ranking: Sequence[str]) -> dict[str, float]:
    """Each of MEASURES, in 0 to 1, for ids in their order, best first. `qrels` has the grades of the relevant ids."""
    run = {"q": {name: float(-rank) for rank, name in enumerate(ranking)}}
    found = {metric.measure: metric.value for metric in ir_measures.iter_calc(MEASURES.values(), {"q": qrels}, run)}
    return {name: found.get(measure, 0.0) for name, measure in MEASURES.items()}


def relevant_passages(gold: Sequence[Gold], passages: Sequence[Passage]) -> dict[str, int]:
    """The ids of the passages that hold a gold quotation, each with grade 1."""
    found: dict[str, int] = {}
    for one in gold:
        near = [each for each in passages if each.document == one.document]
        touching = [each for each in near if each.start < one.end and one.start < each.end]
        whole = [each for each in touching if each.start <= one.start and one.end <= each.end]
        found |= dict.fromkeys([each.id for each in whole or touching], 1)
    return found


def judged(
    question: Question, gold: Sequence[Gold], passages: Sequence[Passage], found: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """The ranking measures of the passage records `found`, best first; empty where nothing is judged relevant."""
    if question.relevant:
        names = list(dict.fromkeys(one["document"] for one in found))
        return ranking_measures(dict(question.relevant), names[:DEPTH])
    qrels = relevant_passages(gold, passages)
    return ranking_measures(qrels, [one["id"] for one in found][:DEPTH]) if qrels else {}
