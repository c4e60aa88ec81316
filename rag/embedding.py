"""Embeds texts with a sentence-transformers model read from a folder; nothing is ever fetched from here."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.errors import ModelError
from rag.protocols import TokenVectors, Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

BATCH = 32


class SentenceTransformersEmbedder:
    """Implements protocols.Embedder. The model is loaded when the first text is embedded, counting needs none of it."""

    def __init__(self, folder: Path, *, name: str, sha256: str) -> None:
        self.name = name
        self.sha256 = sha256
        self._folder = folder

    @functools.cached_property
    def _model(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            return SentenceTransformer(str(self._folder), device="cpu", local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"the embedder in {self._folder} cannot be loaded ({' '.join(str(error).split())}). "
                f"Remove that folder and pull it again: python -m rag models pull {self.name}"
            ) from error

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @property
    def dimension(self) -> int:
        return int(self._model.get_embedding_dimension() or 0)

    @functools.cached_property
    def max_tokens(self) -> int:
        import json

        path = self._folder / "sentence_bert_config.json"
        return int(json.loads(path.read_text(encoding="utf-8"))["max_seq_length"])

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text).ids)

    def has_token(self, word: str) -> bool:
        return self._tokenizer.token_to_id(word) is not None

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        vectors = self._model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        if not texts:
            return []
        outputs: Any = self._model.encode(
            list(texts), batch_size=BATCH, output_value=None, convert_to_numpy=False, show_progress_bar=False
        )
        found = []
        for text, output in zip(texts, outputs, strict=True):
            encoding = self._tokenizer.encode(text)
            words: dict[int, tuple[int, int]] = {}
            rows: list[tuple[int, int]] = []  # (row, word) of each token that is part of a word
            for row, (word, (start, end)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
                if word is not None and row < self.max_tokens - 1:
                    words[word] = (words.get(word, (start, end))[0], end)
                    rows.append((row, word))
            tokens = output["token_embeddings"].numpy()[[row for row, _ in rows]]
            meaning = _unit(output["sentence_embedding"].numpy())
            found.append(TokenVectors(meaning, _unit(tokens), tuple(words[word] for _, word in rows)))
        return found


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return unit.astype(np.float32)
