"""Rolewise with its defaults, by the objects that `index build` and `search` are made of.

Beside the figures it keeps its passages in `passages.json` next to them, for the bare model to embed the same.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import Search, measure

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a script finds what lies beside it, not the project

from rag.parts import make_embedder
from rag.settings import load_settings
from rag.wiring import build_index, open_engine


def load(model: str) -> Any:
    settings = load_settings(home=Path(tempfile.mkdtemp(dir=Path(sys.argv[4]).parent)), embedder=model, device="cpu")
    make_embedder(settings, for_many=True).embed_passages(["-"])
    return settings


def build(settings: Any, folder: Path) -> tuple[int, Search]:
    report, _ = build_index(settings, [folder])
    engine = open_engine(settings)

    def path_of(document: str) -> str:
        return str(folder / f"{document.replace('-', '/', 1)}.md")

    def search(question: str, k: int) -> list[str]:
        return [path_of(one.passage.document) for one in engine.search(question, k=k)]

    kept = [(path_of(one.document), one.text) for one in engine.version.passages]
    Path(sys.argv[4]).with_name("passages.json").write_text(json.dumps(kept), encoding="utf-8")
    return report.passages, search


measure(load, build)
