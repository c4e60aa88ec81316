"""A question finds its passages: by meaning and by words, fused by reciprocal ranks. Loads no generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag.errors import SettingsError
from rag.fusion import reciprocal_rank_fusion
from rag.protocols import Embedder, Rows
from rag.types import ScoredPassage
from rag.versions import IndexVersion

DENSE, LEXICAL = "dense", "lexical"
AMONG_FAVOURED = " in role"
"""Ends the name of a stage that searched among the favoured passages alone."""


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

    With one of the two `stages` alone, its order is the result.
    """

    version: IndexVersion
    embedder: Embedder
    candidates: int = 50
    rrf_k: int = 60
    stages: Sequence[str] = (DENSE, LEXICAL)

    def retrieve(
        self,
        question: str,
        k: int,
        labels: Sequence[str] = (),
        favoured: Sequence[str] = (),
        rows: Rows | None = None,
    ) -> list[ScoredPassage]:
        """As `Retriever`. Passages about the favoured labels are ranked once more among themselves."""
        found = self._found(question, k, labels, rows)
        if favoured:
            among = self._found(question, k, favoured, rows)
            found |= {f"{stage}{AMONG_FAVOURED}": scores for stage, scores in among.items()}
        ranks = {stage: {row: rank for rank, row in enumerate(scores, start=1)} for stage, scores in found.items()}
        fused = reciprocal_rank_fusion([list(scores) for scores in found.values()], self.rrf_k)
        return [
            ScoredPassage(
                self.version.passages[row],
                score,
                {stage: of_stage[row] for stage, of_stage in ranks.items() if row in of_stage},
                {stage: of_stage[row] for stage, of_stage in found.items() if row in of_stage},
            )
            for row, score in fused[:k]
        ]

    def _found(self, question: str, k: int, labels: Sequence[str], rows: Rows | None) -> dict[str, dict[int, float]]:
        """The scores of the rows that each stage finds, best first."""
        about, depth = self.version.rows_of(labels), max(k, self.candidates)
        rows = about if rows is None else rows if about is None else np.intersect1d(about, rows)
        found: dict[str, dict[int, float]] = {}
        if DENSE in self.stages:
            (scores,), (nearest,) = self.version.vectors.search(self.embedder.embed_queries([question]), depth, rows)
            found[DENSE] = {int(row): float(score) for row, score in zip(nearest, scores, strict=True) if row >= 0}
        if LEXICAL in self.stages:
            scores, sharing = self.version.lexical.search(question, depth, rows)
            found[LEXICAL] = {int(row): float(score) for row, score in zip(sharing, scores, strict=True)}
        return found
