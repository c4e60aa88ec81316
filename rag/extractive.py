"""Answers without a model: the evidence sentences themselves, each with its marker."""

from __future__ import annotations

from collections.abc import Sequence

from rag.citations import spoken
from rag.packing import is_near
from rag.protocols import Draft, Tokenizer
from rag.types import Evidence, GeneratorInfo, Message


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
        for number, one in enumerate(evidence, start=1):
            if not is_near(one, evidence):
                continue
            line = f"{spoken(one.quote)} [{number}]\n"
            written += self._tokenizer.count(line)
            if number > 1 and written > max_tokens:
                break
            yield line
