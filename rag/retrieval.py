"""A question finds its passages: by meaning and by words, whose scores are added up. Loads no generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rag.errors import SettingsError
from rag.fusion import ROUNDING, weighted_sum
from rag.protocols import Embedder, Rows, VectorIndex, Vectors
from rag.types import ScoredPassage
from rag.versions import IndexVersion

DENSE, LEXICAL = "dense", "lexical"
FEEDBACK = 2
"""Passages that a question is moved towards."""
Search = Callable[[int, Rows | None], dict[int, float]]
"""At most so many rows, of those given or of all, with their scores, best first."""
AMONG_FAVOURED = " in role"
"""Ends the name of a stage that searched among the favoured passages alone."""


def moved(vector: Vectors, index: VectorIndex, by: float, rows: Rows | None = None) -> Vectors:
    """(1, dimension): a question's vector moved towards the mean of the passages nearest to it, `by` so much.

    A question names its subject in few words; what lies nearest adds those that such passages have in common. Rocchio's
    feedback without judgements, as Li and others put it for dense retrieval in "Pseudo Relevance Feedback with Deep
    Language Models and Dense Retrievers", TOIS 2023.
    """
    if not by:
        return vector
    nearest = index.nearest(vector, FEEDBACK, rows)
    nearest = nearest[nearest @ vector[0] > ROUNDING]  # others have nothing in common with it
    if not len(nearest):
        return vector
    towards: Vectors = vector + np.float32(by) * nearest.mean(axis=0, keepdims=True)
    return towards / np.float32(np.linalg.norm(towards))


def rows_about(version: IndexVersion, labels: Sequence[str], rows: Rows | None = None) -> Rows | None:
    """Those of the `rows` that are about one of the labels; None, meaning all, where neither limits them."""
    about = version.rows_of(labels)
    return about if rows is None else rows if about is None else np.intersect1d(about, rows)


def rows_within(version: IndexVersion, document: str | None = None, chapter: str | None = None) -> Rows | None:
    """The rows of a document's passages, of those in a chapter of any document, or of both; None, meaning all, for
    neither. Raises SettingsError if no passage is of that document, or of that chapter."""
    if document and document not in version.documents:
        raise SettingsError(f"there is no document {document!r}.")
    if chapter and chapter not in version.chapters:
        raise SettingsError(f"no document has a chapter {chapter!r}.")
    return version.rows_within(document, chapter)


@dataclass(frozen=True)
class HybridRetriever:
    """Implements protocols.Retriever over an index version. `candidates` is how many rows each search contributes.

    Each search scores what the other one found too, so that a passage that one of them ranks just below its candidates
    is not taken for one that it finds nothing in. `meaning` is the weight of the search by meaning, the rest that of
    the words; before it searches, the question is moved towards what is nearest to it by `feedback`. With one of the
    two `stages` alone, its order is the result.
    """

    version: IndexVersion
    embedder: Embedder
    candidates: int = 50
    meaning: float = 0.5
    feedback: float = 0.3
    stages: Sequence[str] = (DENSE, LEXICAL)

    def retrieve(
        self,
        question: str,
        k: int,
        labels: Sequence[str] = (),
        favoured: Sequence[str] = (),
        rows: Rows | None = None,
    ) -> list[ScoredPassage]:
        """As `Retriever`. Passages about the favoured labels are scored once more among themselves."""
        within = rows_about(self.version, labels, rows)
        searches = self._searches(question, within)
        found = _found(searches, max(k, self.candidates), within)
        total = self._scored(searches, found)
        if favoured:
            among = _found(searches, max(k, self.candidates), rows_about(self.version, favoured, rows))
            for row, score in self._scored(searches, among).items():
                total[row] = total.get(row, 0.0) + score
            found |= {f"{stage}{AMONG_FAVOURED}": scores for stage, scores in among.items()}
        ranks = {stage: {row: rank for rank, row in enumerate(scores, start=1)} for stage, scores in found.items()}
        best = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:k]
        return [
            ScoredPassage(
                self.version.passages[row],
                score,
                {stage: of_stage[row] for stage, of_stage in ranks.items() if row in of_stage},
                {stage: of_stage[row] for stage, of_stage in found.items() if row in of_stage},
            )
            for row, score in best
        ]

    def _searches(self, question: str, within: Rows | None) -> dict[str, Search]:
        """The stages, each as a search for this question, which is asked of the rows `within`."""
        searches: dict[str, Search] = {}
        if DENSE in self.stages:
            vector = moved(self.embedder.embed_queries([question]), self.version.vectors, self.feedback, within)

            def dense(k: int, rows: Rows | None) -> dict[int, float]:
                (scores,), (nearest,) = self.version.vectors.search(vector, k, rows)
                return {int(row): float(score) for row, score in zip(nearest, scores, strict=True) if row >= 0}

            searches[DENSE] = dense
        if LEXICAL in self.stages:

            def lexical(k: int, rows: Rows | None) -> dict[int, float]:
                scores, sharing = self.version.lexical.search(question, k, rows)
                return {int(row): float(score) for row, score in zip(sharing, scores, strict=True)}

            searches[LEXICAL] = lexical
        return searches

    def _scored(self, searches: Mapping[str, Search], found: Mapping[str, Mapping[int, float]]) -> dict[int, float]:
        """The fused scores of all rows that any search found."""
        everything = set().union(*found.values())
        scores = {}
        for stage, search in searches.items():
            others = np.array(sorted(everything - found[stage].keys()), dtype=np.int64)
            scores[stage] = {**found[stage], **(search(len(others), others) if len(others) else {})}
        return weighted_sum(scores, {DENSE: self.meaning, LEXICAL: 1 - self.meaning})


def _found(searches: Mapping[str, Search], depth: int, rows: Rows | None) -> dict[str, dict[int, float]]:
    """The scores of the rows that each search finds, best first."""
    return {stage: search(depth, rows) for stage, search in searches.items()}
