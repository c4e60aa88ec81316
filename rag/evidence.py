"""Passages become evidence: the sentences that bear on the question, each read in its context.

The context of a sentence is its heading trail and the line that introduces its list, so that "Seattle, WA: $150,000"
under salaries by place is near to a question on pay in Seattle although it says neither "pay" nor "salary".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rag.protocols import Embedder
from rag.types import Evidence, Passage, ScoredPassage, Sentence
from rag.versions import IndexVersion
from rag.words import stems

WORD_WEIGHT = 0.6
"""Weight of the shared words beside the cosine of the context."""


@dataclass(frozen=True)
class EvidenceFinder:
    version: IndexVersion
    embedder: Embedder

    def find(self, question: str, passages: Sequence[ScoredPassage], limit: int) -> list[Evidence]:
        """The up to `limit` sentences of `passages` that bear most on the question, best first; ties by place."""
        candidates = [
            (scored.passage, sentence)
            for scored in passages
            for sentence in self.version.sentences(scored.passage)
            if not sentence.text.endswith(":")
        ]
        if not candidates:
            return []
        query = self.embedder.embed_queries([question])[0]
        vectors = self.embedder.embed_passages([context(passage, sentence) for passage, sentence in candidates])
        shared = _shared_words(question, candidates)
        scores = [float(cosine) + WORD_WEIGHT * words for cosine, words in zip(vectors @ query, shared, strict=True)]
        order = sorted(range(len(candidates)), key=lambda row: (-scores[row], row))
        return [Evidence(*candidates[row], scores[row]) for row in order[:limit]]


def context(passage: Passage, sentence: Sentence) -> str:
    """A sentence as it is to be understood: behind its heading trail and the line that introduces it."""
    return "\n".join(filter(None, [passage.trail, sentence.lead, sentence.text]))


def _shared_words(question: str, candidates: Sequence[tuple[Passage, Sentence]]) -> list[float]:
    """For each candidate the share of the question's words it contains, each weighted by its rarity among them."""
    wanted = set(stems(question))
    bags = [set(stems(context(passage, sentence))) & wanted for passage, sentence in candidates]
    rarity = {word: math.log(1 + len(bags) / count) for word in wanted if (count := sum(word in bag for bag in bags))}
    total = sum(rarity.values()) or 1.0
    return [sum(rarity[word] for word in bag) / total for bag in bags]
