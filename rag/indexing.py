"""Documents become an index version: split, embed, write aside, prove, switch.

The id of a version is the hash of everything its content depends on: documents, splitter, embedder. The same inputs
give the same id, on any machine and at any time; a version that is there already is not built again. Documents stream
through, a window of passages at a time: while some are embedded the next are split, and vectors wait in a file. What
was embedded before is taken from the cache, so that a build that was stopped goes on, and one after a small change is
short.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from rag.cache import Cache
from rag.chunking import embedded_text, split
from rag.errors import IndexDamaged, SourceError
from rag.protocols import Embedder, VectorIndex, Vectors
from rag.sources import Documents, Identity, Progress, identity_of
from rag.stored import Writer
from rag.types import Document
from rag.versions import FORMAT, Store, Writing, faults, id_of, open_version, read_manifest, sealed, sha256_of, switch
from rag.words import words

_SPLITTER = "sentences, even, 3"
VOCABULARY = 200_000
"""Words whose counts are kept at the most, the frequent ones first."""
WINDOW = 512
"""Passages that are embedded at once, after which their vectors are kept: enough for an embedder to sort by length."""
THREADS = 2
"""That embed a window each, so that none waits for the last batch of another's."""
FIRST = 32
"""Passages that are embedded at once to begin with, and then twice as many each time: the embedder waits for few."""
TIE = 5e-3
"""How far rounding may put the score of a passage from that of another with the same text, where 8 bits keep a number:
ten times what was seen."""
NOTHING = "there is no document to index. Name a folder that holds documents with text in them."
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
    store: Store
    passage_tokens: int
    cache: Cache | None = None

    def build(self, documents: Sequence[Document], folder: Path, progress: Progress = lambda *_: None) -> BuildReport:
        """Writes a version of these documents into `folder` and makes it the current one.

        Raises SourceError if there are none, and VersionError if another build is writing there.
        """
        if not documents:
            raise SourceError(NOTHING)
        known = documents.identities if isinstance(documents, Documents) else map(identity_of, documents)
        inputs = self._inputs(known)
        version = id_of(inputs)
        with Writing(folder) as writing:
            if (folder / version).is_dir() and not faults(folder / version) and self.store.holds(version):
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
            "documents": _digest(identities),
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
        waiting = aside / "vectors.raw"
        with _Embedding(self.embedder, self.cache) as embedding, waiting.open("wb") as file:
            texts = embedding.passing(self._texts(documents, aside, contents, progress), file)
            self.store.write_lexical(texts, aside / "lexical")
        if not contents.counts["passages"]:
            raise SourceError(NOTHING)
        vectors = np.memmap(waiting, np.float32, "r").reshape(contents.counts["passages"], -1)
        chosen = self.store.write_vectors(vectors, aside / "vectors.faiss")
        del vectors
        waiting.unlink()
        vocabulary = dict(contents.vocabulary.most_common(VOCABULARY))
        (aside / "words.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        files = {_name(path, aside): sha256_of(path) for path in sorted(aside.rglob("*")) if path.is_file()}
        counts = dict(contents.counts)
        manifest = {
            "version": id_of(inputs),
            "inputs": inputs,
            "counts": counts,
            "vectors": dict(chosen),
            "files": files,
        }
        text = json.dumps(sealed(manifest), indent=1, ensure_ascii=False)
        (aside / "manifest.json").write_text(text + "\n", encoding="utf-8")
        return BuildReport(id_of(inputs), **contents.counts, was_there=False, embedded=embedding.done)

    def _texts(
        self, documents: Sequence[Document], aside: Path, contents: _Contents, progress: Progress
    ) -> Iterator[str]:
        """What is embedded of each passage, while documents and passages are written and counted."""
        limit = self.embedder.max_tokens
        with Writer(aside) as writer:
            for done, document in enumerate(documents):
                progress("indexing", done, len(documents))
                report = split(document, count=self.embedder.count, limit=limit, budget=self.passage_tokens)
                writer.add(document, report.passages)
                contents.vocabulary.update(word for word in words(document.text) if word.isalpha())
                made = {"passages": len(report.passages), "tokens": report.tokens, "cut": report.cut}
                contents.counts.update(documents=1, sections=len(document.sections), **made)
                for passage in report.passages:
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
        with _Embedding(self.embedder, self.cache) as embedding:
            vectors = embedding.begun(texts)()
        for row, vector in zip(rows, vectors, strict=True):
            if not finds_itself(opened.vectors, int(row), vector):
                raise IndexDamaged(
                    f"the new index does not find {opened.passages[row].id} by its own vector; build again."
                )


def finds_itself(index: VectorIndex, row: int, vector: Vectors) -> bool:
    """Whether no row is nearer to the vector of a row than that row itself.

    FAISS searches more than some thousand rows by another sum than a few, and a large index keeps numbers rounded, so
    that the two scores differ a little.
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
    """Embeds texts that the cache has no vectors of, in threads of its own. `done` counts them. A context manager."""

    def __init__(self, embedder: Embedder, cache: Cache | None) -> None:
        self._embedder = embedder
        self._cache = cache
        self._threads = ThreadPoolExecutor(THREADS, "embedding")
        self.done = 0

    def __enter__(self) -> _Embedding:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def passing(self, texts: Iterable[str], file: BinaryIO) -> Iterator[str]:
        """The texts as they come, while their vectors are written to the file, row after row."""
        waiting: deque[Callable[[], Vectors]] = deque()
        texts, size = iter(texts), FIRST
        while window := list(itertools.islice(texts, size)):
            waiting.append(self.begun(window))
            size = min(2 * size, WINDOW)
            if len(waiting) > THREADS:
                file.write(waiting.popleft()().data)
            yield from window
        file.writelines(ready().data for ready in waiting)

    def begun(self, texts: Sequence[str]) -> Callable[[], Vectors]:
        """Begins to embed. What it returns waits for the end of it: (n, dimension) float32, unit rows, row i of text i.

        The cache is used by the thread that calls.
        """
        keys = [hashlib.sha256(f"{self._embedder.sha256}\n{text}".encode()).digest() for text in texts]
        found = self._cache.vectors(keys) if self._cache else {}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        embedded = self._threads.submit(self._embedder.embed_passages, list(missing.values()))

        def ready() -> Vectors:
            made = dict(zip(missing, embedded.result(), strict=True))
            self.done += len(made)
            if self._cache:
                self._cache.keep_vectors(made)
            found.update(made)
            return np.stack([found[key] for key in keys])

        return ready


def _digest(identities: Iterable[Identity]) -> dict[str, Any]:
    """Stands for all that an index depends on in its documents."""
    digest, count = hashlib.sha256(), 0
    for one in identities:
        row = {name: value for name, value in asdict(one).items() if name not in ("notes", "dated")}
        digest.update(_line(row).encode())
        count += 1
    return {"count": count, "sha256": digest.hexdigest()}


def _line(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
