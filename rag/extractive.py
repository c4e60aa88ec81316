"""Answers without a model: the evidence sentences themselves, each with its marker."""

from __future__ import annotations

from collections.abc import Sequence

from rag.protocols import Draft, Tokenizer
from rag.types import Evidence, GeneratorInfo, Message

MOST = 5
"""Sentences of an answer at the most."""
NEAR = 0.85
"""A sentence is added while it scores at least this share of the best one."""


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
        for number, one in enumerate(evidence[:MOST], start=1):
            if one.score < NEAR * evidence[0].score:
                break
            line = f"{' '.join(one.quote.split())} [{number}]\n"
            written += self._tokenizer.count(line)
            if number > 1 and written > max_tokens:
                break
            yield line
