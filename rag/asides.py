"""What stands beside a question but has to do with neither it nor the documents is no part of it.

"My cousin plays the accordion. Also, what does a baguette cost?" asks what a baguette costs. The sentence that asks and
is nearest to the documents always stays, and with it all that it may be about: what is near to it, what is nearly as
near to the documents as it is, and whatever stands before a word that points back.
"""

from __future__ import annotations

import re

from rag.chunking import sentence_spans
from rag.introductions import points_back
from rag.orders import asks
from rag.protocols import Embedder, VectorIndex

APART = 0.15
"""Cosine of two sentences below which they have nothing to do with each other."""
FARTHER = 0.2
"""How much farther than the question an aside is from the passage that is nearest to it, as a cosine. Both were chosen
on the development questions, with and without sentences of our own before and behind them."""
_BACK = re.compile(
    r"\b(?:it|its|they|them|their|theirs|he|him|his|she|her|hers|that|this|these|those|such|the same)\b"
    r"|\b(?:any|ones?)\W*$",
    re.IGNORECASE,
)


def without_asides(question: str, embedder: Embedder, passages: VectorIndex) -> str:
    """The question without sentences that neither it nor the documents have to do with; itself if it is one sentence.

    `passages` are the vectors of the documents' passages.
    """
    sentences = [question[start:end] for start, end in sentence_spans(question, 0, len(question))]
    if len(sentences) < 2 or not len(passages):
        return question
    vectors = embedder.embed_queries(sentences)
    nearest = passages.search(vectors, 1)[0][:, 0]
    asking = [number for number, sentence in enumerate(sentences) if asks(sentence)] or range(len(sentences))
    asked = max(asking, key=lambda number: nearest[number])
    related = vectors @ vectors[asked] >= APART
    near = nearest >= nearest[asked] - FARTHER
    leads = [number < asked and any(map(_points_back, sentences[number + 1 :])) for number in range(len(sentences))]
    kept = [one for number, one in enumerate(sentences) if related[number] or near[number] or leads[number]]
    return " ".join(kept) if len(kept) < len(sentences) else question


def _points_back(sentence: str) -> bool:
    return bool(_BACK.search(sentence)) or points_back(sentence)
