"""Embeds texts with a sentence-transformers model read from a folder; nothing is ever fetched from here.

It runs any such model, on the processor or a graphics card, and is what the faster `rag/bert.py` must agree with.
"""

from __future__ import annotations

import functools
import importlib.metadata
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.errors import ModelError
from rag.protocols import TokenVectors, Vectors
from rag.wordpieces import WordPieces, unit

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = {"cpu": 32, "cuda": 256}
"""Texts at once by device: the library's own number, and enough to fill a card."""
_REMEDY = {
    "cpu": "Remove that folder and pull it again: python -m rag models pull {}",
    "cuda": "Set ROLEWISE_DEVICE=cpu, or install a torch and a driver for the card.",
}
_DRIVER = Path("/proc/driver/nvidia/version")


def has_cuda() -> bool:
    """Whether there is a driver for a card and a torch that is built for it; told without importing torch."""
    return _DRIVER.is_file() and not importlib.metadata.version("torch").endswith("+cpu")


class SentenceTransformersEmbedder(WordPieces):
    """Implements protocols.Embedder. The model is loaded when the first text is embedded, counting needs none of it.

    `device` is "cpu" or "cuda". Several threads may embed; they wait for one another.
    """

    def __init__(self, folder: Path, *, name: str, sha256: str, device: str = "cpu") -> None:
        super().__init__(folder)
        self.name = name
        self.sha256 = sha256
        self._device = device
        self._turn = threading.RLock()

    @functools.cached_property
    def _model(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            return SentenceTransformer(str(self.folder), device=self._device, local_files_only=True)
        except (OSError, ValueError, KeyError, AssertionError, RuntimeError) as error:  # the last two: no such device
            raise ModelError(
                f"the embedder in {self.folder} cannot be loaded on {self._device} ({' '.join(str(error).split())}). "
                f"{_REMEDY[self._device].format(self.name)}"
            ) from error

    @property
    def dimension(self) -> int:
        with self._turn:
            return int(self._model.get_embedding_dimension() or 0)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        vectors = self._encode(texts, normalize_embeddings=True, convert_to_numpy=True)
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def _encode(self, texts: Sequence[str], **options: Any) -> Any:
        with self._turn:
            return self._model.encode(list(texts), batch_size=BATCH[self._device], show_progress_bar=False, **options)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        if not texts:
            return []
        outputs = self._encode(texts, output_value=None, convert_to_numpy=False)
        found = []
        for encoding, output in zip(self.cut(texts), outputs, strict=True):
            rows, spans = self.words_of(encoding)
            tokens = output["token_embeddings"].cpu().numpy()[rows]
            found.append(TokenVectors(unit(output["sentence_embedding"].cpu().numpy()), unit(tokens), spans))
        return found
