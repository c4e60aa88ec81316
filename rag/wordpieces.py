"""Texts as the word pieces that an embedder reads, with the place of each piece in its text."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rag.protocols import Vectors

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


class WordPieces:
    """The tokenizer in a model's folder, loaded on first use: what its embedders have in common."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @functools.cached_property
    def max_tokens(self) -> int:
        path = self.folder / "sentence_bert_config.json"
        return int(json.loads(path.read_text(encoding="utf-8"))["max_seq_length"])

    def count(self, text: str) -> int:
        return len(self._whole.encode_batch_fast([text])[0])  # without the places of the pieces

    def has_token(self, word: str) -> bool:
        return self._whole.token_to_id(word) is not None

    def cut(self, texts: Sequence[str], *, with_places: bool = True) -> list[Encoding]:
        """Each text, cut to `max_tokens`; without the places of the pieces in less time."""
        encode = self._cutting.encode_batch if with_places else self._cutting.encode_batch_fast
        encodings: list[Encoding] = encode(list(texts))
        return encodings

    def words_of(self, encoding: Encoding) -> tuple[list[int], tuple[tuple[int, int], ...]]:
        """The rows of the pieces that are part of words, and for each the span of its whole word in the text."""
        words: dict[int, tuple[int, int]] = {}
        rows: list[tuple[int, int]] = []
        for row, (word, (start, end)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
            if word is not None:
                words[word] = (words.get(word, (start, end))[0], end)
                rows.append((row, word))
        return [row for row, _ in rows], tuple(words[word] for _, word in rows)

    @functools.cached_property
    def _whole(self) -> Tokenizer:
        tokenizer = self._tokenizer()
        tokenizer.no_truncation()
        return tokenizer

    @functools.cached_property
    def _cutting(self) -> Tokenizer:
        tokenizer = self._tokenizer()
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer

    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        return tokenizer


def unit(vectors: Vectors) -> Vectors:
    """The rows of `vectors`, or the one vector, at length 1."""
    scaled: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return scaled.astype(np.float32)
