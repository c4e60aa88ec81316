"""Answers without a model: the evidence sentences themselves, each with its marker."""

from __future__ import annotations

from collections.abc import Sequence

from rag.protocols import Draft, Tokenizer
from rag.types import Evidence, GeneratorInfo, Message

NEAR = 0.12
"""A sentence is added while it scores no less than this below the best one; chosen on the development questions."""


class ExtractiveGenerator:
    """Implements protocols.Generator. Same evidence, same answer."""

    info = GeneratorInfo("extractive", "extractive")
    context_tokens = 1_000_000

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        return self._tokenizer.count(text)

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:  # noqa: ARG002
        written = 0
        best = max((one.score for one in evidence), default=0.0)
        for number, one in enumerate(evidence, start=1):
            if one.score < best - NEAR:
                continue
            line = f"{' '.join(one.quote.split())} [{number}]\n"
            written += self._tokenizer.count(line)
            if number > 1 and written > max_tokens:
                break
            yield line
