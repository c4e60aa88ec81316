"""Settings become parts: the only file that names adapters."""

from __future__ import annotations

import atexit
import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rag import models
from rag.bert import BertEmbedder, is_bert
from rag.embedding import SentenceTransformersEmbedder, has_cuda
from rag.errors import SettingsError
from rag.extractive import ExtractiveGenerator
from rag.lexical import K1, TOKENIZER, B, Bm25Index
from rag.postgres import Database
from rag.postgres_search import PostgresHybrid, PostgresRetriever, PostgresVectors, PostgresWords, settle
from rag.protocols import Embedder, Generator, Retriever, Vectors
from rag.retrieval import DENSE, LEXICAL, HybridRetriever
from rag.settings import Settings
from rag.stored import StoredDocuments
from rag.tokens import TiktokenTokenizer
from rag.vectors import POLICY, FaissIndex
from rag.versions import IndexVersion, Store, current, versions

STAGES = {"hybrid": (DENSE, LEXICAL), "dense": (DENSE,), "lexical": (LEXICAL,)}
"""The searches that each value of the setting `retrieval` stands for."""


def make_embedder(settings: Settings, *, for_many: bool = False) -> Embedder:
    """The embedder that the settings name: a pulled model or a folder. Raises ModelMissing.

    With `for_many` texts to embed, as a build has, it runs on a graphics card where the settings and the machine allow:
    loading takes seconds that a single question would wait for. A model of another kind than OpenVINO is told of runs
    in sentence-transformers always.
    """
    folder = Path(settings.embedder)
    if not folder.is_dir():
        folder = models.path_of(settings.embedder)
    on_card = settings.device == "cuda" or (settings.device == "auto" and has_cuda())
    is_fast = is_bert(folder) and not (on_card and for_many)
    return _embedder_of(
        folder, settings.embedder, models.sha256_of(folder), "" if is_fast else "cuda" if on_card else "cpu"
    )


@functools.lru_cache(maxsize=2)
def _embedder_of(folder: Path, name: str, sha256: str, device: str) -> Embedder:
    """Loaded once for all that ask in turn; without a `device` in OpenVINO."""
    if not device:
        return BertEmbedder(folder, name=name, sha256=sha256)
    return SentenceTransformersEmbedder(folder, name=name, sha256=sha256, device=device)


def make_store(settings: Settings | None = None) -> Store:
    """Where versions are searched: in files, unless the settings name an engine."""
    if settings and settings.engine == "postgres":
        return _postgres_store(_database(settings))

    def write_vectors(vectors: Vectors, path: Path) -> Mapping[str, Any]:
        index = FaissIndex.build(vectors)
        index.save(path)
        return index.chosen

    def write_lexical(texts: Iterable[str], folder: Path) -> None:
        Bm25Index.build(texts).save(folder)

    return Store(
        vectors=f"faiss {POLICY}",
        lexical=f"bm25s lucene k1={K1} b={B}, {TOKENIZER}",
        write_vectors=write_vectors,
        open_vectors=FaissIndex.open,
        write_lexical=write_lexical,
        open_lexical=Bm25Index.open,
    )


def _postgres_store(database: Database) -> Store:
    """Nothing but texts and the manifest is in the folder of a version, whose name is that of its tables."""

    def version_of(path: Path) -> str:
        return path.parent.name.lstrip(".")

    def write_vectors(vectors: Vectors, path: Path) -> Mapping[str, Any]:
        runs = StoredDocuments(path.parent).label_runs()
        facts = database.write_vectors(vectors, runs, version_of(path))
        return {"engine": "postgresql", **settle(PostgresVectors(database, facts), vectors)}

    return Store(
        vectors="pgvector inner product, hnsw halfvec",
        lexical=f"tsvector bm25 k1={K1} b={B}, {TOKENIZER}",
        write_vectors=write_vectors,
        open_vectors=lambda path: PostgresVectors(database, database.facts(version_of(path))),
        write_lexical=lambda texts, path: database.write_words(texts, version_of(path)),
        open_lexical=lambda path: PostgresWords(database, database.facts(version_of(path))),
        holds=database.holds,
    )


def _database(settings: Settings) -> Database:
    if not (dsn := settings.postgres_dsn.get_secret_value()):
        raise SettingsError(
            "the engine postgres needs postgres_dsn. Set ROLEWISE_POSTGRES_DSN, or put it in rolewise.toml."
        )
    shards = tuple(one.get_secret_value() for one in settings.postgres_shards)
    return _database_of(dsn, shards, settings.postgres_ef_search)


@functools.cache
def _database_of(dsn: str, shards: tuple[str, ...], walk: int | None) -> Database:
    """One for each server, whose connections all threads share."""
    database = Database(dsn, k1=K1, b=B, shards=shards, walk=walk)
    atexit.register(database.close)
    return database


def follow(settings: Settings) -> None:
    """An engine's current version becomes that of the folder, and its tables of versions that the folder has not go."""
    if settings.engine == "postgres":
        _database(settings).publish(current(settings.build), versions(settings.build))


def make_retriever(settings: Settings, index: IndexVersion, embedder: Embedder) -> Retriever:
    stages = STAGES[settings.retrieval]
    if isinstance(index.vectors, PostgresVectors):
        hybrid = PostgresHybrid(index.vectors.database, index.vectors.facts)
        return PostgresRetriever(
            index, embedder, hybrid, settings.candidates, settings.meaning, settings.feedback, stages
        )
    return HybridRetriever(index, embedder, settings.candidates, settings.meaning, settings.feedback, stages)


def generators(settings: Settings) -> Callable[[str], Generator]:
    """Generators by name, each made on first use and kept. What fails is tried again: a model may be pulled since."""
    makers: dict[str, Callable[[], Generator]] = {
        "extractive": lambda: ExtractiveGenerator(TiktokenTokenizer()),
        "local": lambda: _local(settings),
        "hosted": lambda: _hosted(settings),
    }
    locks = {name: threading.Lock() for name in makers}  # one is not kept waiting while another is loaded
    made: dict[str, Generator] = {}

    def named(name: str) -> Generator:
        if name not in makers:
            raise SettingsError(f"there is no generator {name!r}. Generators: {', '.join(makers)}.")
        with locks[name]:
            if name not in made:
                made[name] = makers[name]()
            return made[name]

    return named


def _local(settings: Settings) -> Generator:
    from rag.llama import LlamaGenerator

    path = models.path_of(settings.model)
    return LlamaGenerator(
        path=path,
        model=Path(settings.model).name,
        sha256=models.sha256_of(path),
        threads=settings.threads,
        context_tokens=settings.context_tokens,
    )


def _hosted(settings: Settings) -> Generator:
    from rag.hosted import HostedGenerator

    for name in ("hosted_url", "hosted_model"):
        if not getattr(settings, name):
            raise SettingsError(
                f"the hosted generator needs {name}. Set ROLEWISE_{name.upper()}, or put it in rolewise.toml."
            )
    return HostedGenerator(
        base_url=settings.hosted_url,
        api_key=settings.hosted_key.get_secret_value(),
        model=settings.hosted_model,
        timeout=settings.hosted_timeout,
        retries=settings.hosted_retries,
        context_tokens=settings.hosted_context_tokens,
        tokenizer=TiktokenTokenizer(),
    )
