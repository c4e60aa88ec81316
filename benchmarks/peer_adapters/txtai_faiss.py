"""txtai: Embeddings, which takes each text as it is and splits none, with its default store, FAISS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timing import Search, measure
from txtai import Embeddings


def load(model: str) -> Any:
    return Embeddings(path=model, gpu=False)


def build(embedder: Any, folder: Path) -> tuple[int, Search]:
    embedder.index((str(path), path.read_text(encoding="utf-8"), None) for path in sorted(folder.rglob("*.md")))

    def search(question: str, k: int) -> list[str]:
        return [name for name, _ in embedder.search(question, k)]

    return embedder.count(), search


measure(load, build)
