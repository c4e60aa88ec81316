"""Documents become an index version: split, embed, write aside, prove, switch.

The id of a version is the hash of everything its content depends on: documents, splitter, embedder, tokenizer. The same
inputs give the same id, on any machine and at any time; a version that is there already is not built again. Documents
stream through, a window of passages at a time. What was embedded before is taken from the cache, so that a build that
was stopped goes on, and one after a small change is short.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rag.cache import Cache
from rag.chunking import embedded_text, split
from rag.errors import IndexDamaged, SourceError
from rag.protocols import Embedder, Tokenizer, VectorIndex, Vectors
from rag.sources import Documents, Identity, Progress, identity_of
from rag.types import Document, Passage
from rag.versions import FORMAT, Store, Writing, faults, id_of, open_version, read_manifest, sealed, sha256_of, switch
from rag.words import words

_SPLITTER = "sentences, even, 1"
VOCABULARY = 200_000
"""Words whose counts are kept at the most, the frequent ones first."""
WINDOW = 128
"""Passages after which their vectors are kept: what a stopped build embeds again at the most."""
STEP = 64
"""Passages that the embedder is given at once."""
TIE = 1e-5
"""How far rounding may put the score of a passage from that of another with the same text."""
PROVED = 20
"""Passages that a new version must find by their own vector before it is switched to."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    version: str
    documents: int
    sections: int
    passages: int
    tokens: int
    cut: int
    was_there: bool
    """Whether this very version existed already, so that nothing had to be done."""
    embedded: int = 0
    """Passages that the embedder was given; the vectors of the others were kept from before."""


@dataclass(frozen=True)
class Builder:
    """What makes versions. Without a `cache` everything is embedded anew."""

    embedder: Embedder
    tokenizer: Tokenizer
    store: Store
    passage_tokens: int
    cache: Cache | None = None

    def build(self, documents: Sequence[Document], folder: Path, progress: Progress = lambda *_: None) -> BuildReport:
        """Writes a version of these documents into `folder` and makes it the current one.

        Raises SourceError if there are none, and VersionError if another build is writing there.
        """
        if not documents:
            raise SourceError("there is no document to index. Name a folder that holds documents with text in them.")
        known = documents.identities if isinstance(documents, Documents) else map(identity_of, documents)
        inputs = self._inputs(known)
        version = id_of(inputs)
        with Writing(folder) as writing:
            if (folder / version).is_dir() and not faults(folder / version):
                report = BuildReport(version, **read_manifest(folder, version)["counts"], was_there=True)
            else:
                with writing.aside(version) as aside:
                    report = self._write(documents, aside, inputs, progress)
                    self._prove(aside)
            switch(folder, version)
        return report

    def _inputs(self, identities: Iterable[Identity]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "documents": [
                {name: value for name, value in asdict(one).items() if name != "notes"} for one in identities
            ],
            "splitter": {"name": _SPLITTER, "limit": self.embedder.max_tokens, "budget": self.passage_tokens},
            "embedder": {"name": self.embedder.name, "sha256": self.embedder.sha256},
            "vectors": self.store.vectors,
            "lexical": self.store.lexical,
        }

    def _write(
        self, documents: Sequence[Document], aside: Path, inputs: Mapping[str, Any], progress: Progress
    ) -> BuildReport:
        """Writes all files of a version. Its passages pass once: through the embedder, then into the lexical index."""
        contents = _Contents()
        vectors: list[Vectors] = []
        embedding = _Embedding(self.embedder, self.cache)

        def texts() -> Iterator[str]:
            window: list[str] = []
            for text in self._texts(documents, aside, contents, progress):
                window.append(text)
                if len(window) == WINDOW:
                    vectors.append(embedding.of(window))
                    yield from window
                    window.clear()
            if window:
                vectors.append(embedding.of(window))
                yield from window

        self.store.write_lexical(texts(), aside / "lexical")
        self.store.write_vectors(np.concatenate(vectors), aside / "vectors.faiss")
        vocabulary = dict(contents.vocabulary.most_common(VOCABULARY))
        (aside / "words.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        files = {_name(path, aside): sha256_of(path) for path in sorted(aside.rglob("*")) if path.is_file()}
        manifest = {"version": id_of(inputs), "inputs": inputs, "counts": dict(contents.counts), "files": files}
        text = json.dumps(sealed(manifest), indent=1, ensure_ascii=False)
        (aside / "manifest.json").write_text(text + "\n", encoding="utf-8")
        return BuildReport(id_of(inputs), **contents.counts, was_there=False, embedded=embedding.done)

    def _texts(
        self, documents: Sequence[Document], aside: Path, contents: _Contents, progress: Progress
    ) -> Iterator[str]:
        """What is embedded of each passage, while documents and passages are written and counted."""
        limit = self.embedder.max_tokens
        with (
            (aside / "documents.jsonl").open("w", encoding="utf-8") as documents_file,
            (aside / "passages.jsonl").open("w", encoding="utf-8") as passages_file,
        ):
            for done, document in enumerate(documents):
                progress("indexing", done, len(documents))
                report = split(document, count=self.embedder.count, limit=limit, budget=self.passage_tokens)
                documents_file.write(_line(asdict(document)))
                contents.vocabulary.update(word for word in words(document.text) if word.isalpha())
                contents.counts.update(documents=1, sections=len(document.sections), cut=report.cut)
                for passage in report.passages:
                    passages_file.write(_line(_passage_row(passage, document)))
                    contents.counts.update(passages=1, tokens=self.tokenizer.count(passage.text))
                    yield embedded_text(passage, count=self.embedder.count, limit=limit)
        progress("indexing", len(documents), len(documents))

    def _prove(self, aside: Path) -> None:
        """Opens a version as a reader would and lets it find some of its passages. Raises IndexDamaged."""
        opened = open_version(
            aside.parent,
            embedder=self.embedder.name,
            embedder_sha256=self.embedder.sha256,
            passage_tokens=self.passage_tokens,
            store=self.store,
            version=aside.name,
        )
        rows = np.linspace(0, len(opened.passages) - 1, min(PROVED, len(opened.passages)), dtype=np.int64)
        limit = self.embedder.max_tokens
        texts = [embedded_text(opened.passages[row], count=self.embedder.count, limit=limit) for row in rows]
        for row, vector in zip(rows, _Embedding(self.embedder, self.cache).of(texts), strict=True):
            if not finds_itself(opened.vectors, int(row), vector):
                raise IndexDamaged(
                    f"the new index does not find {opened.passages[row].id} by its own vector; build again."
                )


def finds_itself(index: VectorIndex, row: int, vector: Vectors) -> bool:
    """Whether no row is nearer to the vector of a row than that row itself.

    FAISS searches more than some thousand rows by another sum than a few, so that the two scores differ by rounding.
    """
    best, own = (index.search(vector[None, :], 1, among)[0][0][0] for among in (None, np.array([row])))
    return bool(abs(best - own) <= TIE)


@dataclass(frozen=True)
class _Contents:
    """What is counted while a version is written."""

    counts: Counter[str] = field(
        default_factory=lambda: Counter(dict.fromkeys(("documents", "sections", "passages", "tokens", "cut"), 0))
    )
    vocabulary: Counter[str] = field(default_factory=Counter)


class _Embedding:
    """Embeds texts that the cache has no vectors of. `done` counts them."""

    def __init__(self, embedder: Embedder, cache: Cache | None) -> None:
        self._embedder = embedder
        self._cache = cache
        self.done = 0

    def of(self, texts: Sequence[str]) -> Vectors:
        """(n, dimension) float32 unit rows; row i is text i."""
        keys = [hashlib.sha256(f"{self._embedder.sha256}\n{text}".encode()).digest() for text in texts]
        found = self._cache.vectors(keys) if self._cache else {}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        longest_first = sorted(missing, key=lambda key: -len(missing[key]))  # a batch wastes little on padding
        for start in range(0, len(longest_first), STEP):
            some = longest_first[start : start + STEP]
            found |= zip(some, self._embedder.embed_passages([missing[key] for key in some]), strict=True)
        self.done += len(missing)
        if self._cache and missing:
            self._cache.keep_vectors({key: found[key] for key in missing})
        return np.stack([found[key] for key in keys])


def _passage_row(passage: Passage, document: Document) -> dict[str, Any]:
    section = next(
        number
        for number, one in enumerate(document.sections)
        if one.path == passage.section and one.start <= passage.start < one.end
    )
    return {"document": passage.document, "section": section, "start": passage.start, "end": passage.end}


def _line(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
