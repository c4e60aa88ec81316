"""The limits: sentence-transformers alone over the passages of Rolewise, and an exact scan of the vectors by numpy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from timing import Search, measure


def load(model: str) -> Any:
    from sentence_transformers import SentenceTransformer

    embedder = SentenceTransformer(model, device="cpu", local_files_only=True)
    embedder.encode("-")
    return embedder


def build(embedder: Any, folder: Path) -> tuple[int, Search]:  # noqa: ARG001 - the passages are there already
    kept = json.loads(Path(sys.argv[4]).with_name("passages.json").read_text(encoding="utf-8"))
    files, texts = zip(*kept, strict=True)
    vectors = embedder.encode(texts, normalize_embeddings=True, show_progress_bar=False)  # sorts them by length itself

    def search(question: str, k: int) -> list[str]:
        scores = vectors @ embedder.encode(question, normalize_embeddings=True)
        best = np.argpartition(-scores, min(k, len(scores)) - 1)[:k]
        return [files[row] for row in best[np.argsort(-scores[best], kind="stable")]]

    return len(texts), search


measure(load, build)
