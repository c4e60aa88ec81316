"""Documents become an index version: split, embed, write aside, switch.

The id of a version is the hash of everything its content depends on: documents, splitter, embedder, tokenizer. The same
inputs give the same id, on any machine and at any time; a version that is there already is not built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rag.chunking import embedded_text, split
from rag.errors import SourceError
from rag.protocols import Embedder, Tokenizer
from rag.types import Document, Passage
from rag.versions import FORMAT, Store, faults, sha256_of, switch, write_durably
from rag.words import words

_SPLITTER = "sentences, even, 1"
VOCABULARY = 200_000
"""Words whose counts are kept at the most, the frequent ones first."""

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    version: str
    documents: int
    sections: int
    passages: int
    tokens: int
    cut: int
    was_there: bool
    """Whether this very version existed already, so that nothing had to be embedded."""


def build(
    documents: Sequence[Document],
    folder: Path,
    *,
    embedder: Embedder,
    tokenizer: Tokenizer,
    store: Store,
    passage_tokens: int,
    progress: Progress = lambda *_: None,
) -> BuildReport:
    """Writes a version of these documents into `folder` and makes it the current one."""
    if not documents:
        raise SourceError(
            "there is no document to index. Name a folder that holds .md or .txt files with text in them."
        )
    limit = embedder.max_tokens
    inputs = {
        "format": FORMAT,
        "documents": [_identity(document) for document in documents],
        "splitter": {"name": _SPLITTER, "limit": limit, "budget": passage_tokens},
        "embedder": {"name": embedder.name, "sha256": embedder.sha256},
        "vectors": store.vectors,
        "lexical": store.lexical,
    }
    version = hashlib.sha256(_canonical(inputs)).hexdigest()[:12]
    passages: list[Passage] = []
    cut = 0
    for done, document in enumerate(documents):
        progress("splitting", done, len(documents))
        report = split(document, count=embedder.count, limit=limit, budget=passage_tokens)
        passages += report.passages
        cut += report.cut
    progress("splitting", len(documents), len(documents))
    counts = {
        "documents": len(documents),
        "sections": sum(len(document.sections) for document in documents),
        "passages": len(passages),
        "tokens": sum(tokenizer.count(passage.text) for passage in passages),
    }
    target = folder / version
    was_there = target.is_dir() and not faults(target)
    if not was_there:
        by_id = {document.id: document for document in documents}
        texts = [embedded_text(passage, count=embedder.count, limit=limit) for passage in passages]
        vectors = _embed(texts, embedder, progress)
        aside = folder / f".{version}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            _write_jsonl(aside / "documents.jsonl", (asdict(document) for document in documents))
            _write_jsonl(
                aside / "passages.jsonl", (_passage_row(passage, by_id[passage.document]) for passage in passages)
            )
            vocabulary = Counter(word for document in documents for word in words(document.text) if word.isalpha())
            (aside / "words.json").write_text(
                json.dumps(dict(vocabulary.most_common(VOCABULARY)), ensure_ascii=False), encoding="utf-8"
            )
            store.write_vectors(vectors, aside / "vectors.faiss")
            store.write_lexical(texts, aside / "lexical")
            files = {_name(path, aside): sha256_of(path) for path in sorted(aside.rglob("*")) if path.is_file()}
            manifest = {"version": version, "inputs": inputs, "counts": counts, "files": files}
            write_durably(aside / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
            if target.is_dir():  # damaged: the new one takes its place
                shutil.rmtree(target)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    switch(folder, version)
    return BuildReport(version, **counts, cut=cut, was_there=was_there)


def _embed(texts: Sequence[str], embedder: Embedder, progress: Progress) -> Any:
    """All texts, longest first so that a batch wastes little on padding; row i is text i."""
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    vectors = np.empty((len(texts), embedder.dimension), dtype=np.float32)
    step = 64
    for start in range(0, len(order), step):
        progress("embedding", start, len(texts))
        rows = order[start : start + step]
        vectors[rows] = embedder.embed_passages([texts[row] for row in rows])
    progress("embedding", len(texts), len(texts))
    return vectors


def _identity(document: Document) -> dict[str, Any]:
    """What of a document the index depends on. The text has its own hash: a reader may change, the file not."""
    text = hashlib.sha256(document.text.encode()).hexdigest()
    return {"id": document.id, "title": document.title, "role": document.role, "aliases": list(document.aliases)} | {
        "source": document.source,
        "sha256": document.sha256,
        "text_sha256": text,
    }


def _passage_row(passage: Passage, document: Document) -> dict[str, Any]:
    section = next(
        number
        for number, one in enumerate(document.sections)
        if one.path == passage.section and one.start <= passage.start < one.end
    )
    return {"document": passage.document, "section": section, "start": passage.start, "end": passage.end}


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _write_jsonl(path: Path, rows: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
