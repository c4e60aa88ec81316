"""Small real parts: an embedder without a model and an index over a few documents for the fast suite, and for the rest a
small model and a server that speaks OpenAI's protocol."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import secrets
import shutil
import socket
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from rag.answerability import Fit, Weighing
from rag.answering import Engine
from rag.evidence import EvidenceFinder
from rag.extractive import ExtractiveGenerator
from rag.indexing import Builder
from rag.languages import language_of
from rag.models import pull
from rag.parts import make_store
from rag.prompts import load_prompts
from rag.protocols import Generator, TokenVectors, Vectors
from rag.retrieval import HybridRetriever
from rag.sources import read_documents
from rag.tokens import TiktokenTokenizer
from rag.versions import IndexVersion, open_version
from rag.wiring import PROMPTS
from rag.words import stems
from tests.servers import Server, binaries, owner_of, servers_folder

# How long an example takes tells of the machine, which may do much else.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


class HashingEmbedder:
    """A bag of word stems, each hashed to a place and a sign: texts that share words are near. No model, no state."""

    name = "hashing"
    sha256 = "0" * 64
    dimension = 4096
    max_tokens = 256

    def count(self, text: str) -> int:
        return len(text.split()) + 2

    def has_token(self, word: str) -> bool:
        return bool(word)

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vector(text) for text in texts]) if texts else np.empty((0, self.dimension), np.float32)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return self.embed_passages(texts)

    def embed_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        found = []
        for text in texts:
            spans = [match.span() for match in re.finditer(r"\w+", text)]
            words = np.stack([self._vector(text[start:end]) for start, end in spans] or [self._vector("")])
            found.append(TokenVectors(self._vector(text), words[: len(spans)], tuple(spans)))
        return found

    def _vector(self, text: str) -> Vectors:
        vector = np.zeros(self.dimension, dtype=np.float32)
        for stem in stems(text) or [text]:
            digest = hashlib.sha256(stem.encode()).digest()
            vector[int.from_bytes(digest[:2]) % self.dimension] += 1.0 if digest[2] % 2 else -1.0
        if not vector.any():
            vector[0] = 1.0
        unit: Vectors = vector / np.linalg.norm(vector)
        return unit


BAKER = """\
---
title: Baker
role: Baker
aliases: [Master Baker]
---
# Baker

## Pay

A Baker earns, by place:

- Bern: 61,000 francs a year
- Basel: 64,500 francs a year

## Skills

Bakers rise early. They know flour, water and yeast (see p. 3).
A Baker needs patience above all.
"""

MILLER = """\
---
title: Miller
role: Miller
---
# Miller

## Pay

A Miller earns 58,000 francs a year in Bern.

## Work

Millers grind grain. The mill of Bern has two stones.
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder with two small documents about two roles."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "baker.md").write_text(BAKER, encoding="utf-8")
    (folder / "miller.md").write_text(MILLER, encoding="utf-8")
    return folder


@pytest.fixture
def open_shelf(tmp_path: Path) -> Callable[[Path], IndexVersion]:
    """Builds an index version from a folder and opens it, through real FAISS and bm25s files."""

    def opened(folder: Path) -> IndexVersion:
        documents = read_documents([folder])
        embedder, store = HashingEmbedder(), make_store()
        Builder(embedder, store, 200).build(documents, tmp_path / "build")
        return open_version(
            tmp_path / "build", embedder=embedder.name, embedder_sha256=embedder.sha256, passage_tokens=200, store=store
        )

    return opened


STRICT = Fit("names decide", Weighing(9.0, {"score": -20.0, "name": 40.0}))
"""Refuses evidence that scores less than 0.45, and names that have no counterpart in it."""


@pytest.fixture
def engine_over(open_shelf: Callable[[Path], IndexVersion]) -> Callable[..., Engine]:
    """An engine over a folder; further generators by name."""

    def make(folder: Path, generator: str = "extractive", **others: Generator) -> Engine:
        version, embedder = open_shelf(folder), HashingEmbedder()
        named: dict[str, Generator] = {"extractive": ExtractiveGenerator(TiktokenTokenizer()), **others}
        return Engine(
            version=version,
            embedder=embedder,
            retriever=HybridRetriever(version, embedder),
            evidence=EvidenceFinder(version, embedder),
            generator_named=named.__getitem__,
            prompts=load_prompts(PROMPTS),
            fit=STRICT,
            language_of=language_of,
            generator=generator,
        )

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a dedented text to a file under the test's own folder."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return written


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith("ROLEWISE_") and name != "ROLEWISE_MODELS":
            monkeypatch.delenv(name)


@pytest.fixture
def free_port() -> int:
    """Below those that Linux gives to whoever asks for any, so that nobody takes it before it is needed."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A small real model, pulled once and kept in the user's cache folder."""
    return pull("smollm2-135m", progress=lambda *_: None)


@dataclass(frozen=True)
class Endpoint:
    url: str
    key: str


@pytest.fixture(scope="session")
def endpoint(smollm2: Path) -> Iterator[Endpoint]:
    """A real OpenAI-compatible server on loopback: llama.cpp serving the small model over HTTP."""
    import xllamacpp

    key = secrets.token_urlsafe()
    params = xllamacpp.CommonParams()
    params.model.path = str(smollm2)
    params.verbosity = -1
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx = 1, 2048  # one at a time, or what is read together changes the numbers a little
    params.cache_prompt, params.cache_ram_mib = False, 0  # for the same reason
    params.warmup = params.ui = False
    params.api_keys = [key]
    server = xllamacpp.Server(params)
    yield Endpoint(f"{server.listening_address}/v1", key)
    del server


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[tuple[Path, Path]]:
    """A folder for real PostgreSQL servers, and their programs."""
    with servers_folder() as folder:
        try:
            programs = binaries(folder)
        except ImportError as error:
            pytest.skip(str(error))
        yield folder, programs


@pytest.fixture
def server(postgres_folder: tuple[Path, Path]) -> Iterator[Callable[[str], Server]]:
    """Makes servers by name, which are stopped and gone when the test is over."""
    folder, programs = postgres_folder
    own = folder / secrets.token_hex(4)
    made: list[Server] = []

    def make(name: str) -> Server:
        if not own.is_dir():
            own.mkdir()
            shutil.chown(own, *owner_of(folder))
        made.append(Server(own, programs, name))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    shutil.rmtree(own, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(postgres_folder: tuple[Path, Path]) -> Iterator[str]:
    folder, programs = postgres_folder
    shared = Server(folder, programs, "shared").create().start()
    yield shared.dsn
    shared.stop()


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """How to reach a real PostgreSQL that holds nothing yet."""
    import psycopg

    from rag.statements import SCHEMA

    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE".encode())
    return postgres_server
