"""PostgreSQL as the engine: the same passages as from files, on servers that are killed, replicated and partitioned."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rag import statements
from rag.errors import EngineError, IndexDamaged, IndexMismatch, SettingsError
from rag.indexing import Builder
from rag.lexical import K1, B, Bm25Index
from rag.parts import follow, make_retriever, make_store
from rag.postgres import Database, named
from rag.postgres_search import PostgresHybrid, PostgresVectors, PostgresWords, multirange_of, settle
from rag.protocols import Vectors
from rag.retrieval import HybridRetriever
from rag.settings import Settings, load_settings
from rag.sources import read_documents
from rag.statements import SCHEMA, multirange
from rag.vectors import FaissIndex
from rag.versions import IndexVersion, current, open_version, prune, read_manifest, switch
from tests.conftest import BAKER, HashingEmbedder
from tests.servers import Server

pytestmark = pytest.mark.postgres

ONE, TWO = "0" * 11 + "1", "0" * 11 + "2"


class SmallEmbedder(HashingEmbedder):
    name = "small hashing"
    dimension = 64


def unit_rows(count: int, seed: int = 0, dimension: int = 32) -> Vectors:
    """Around 40 centres, so that they have near neighbours as texts have."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(40, dimension))
    rows = centres[chance.integers(0, 40, count)] + 0.7 * chance.normal(size=(count, dimension))
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def texts(count: int) -> list[str]:
    chance = np.random.default_rng(5)
    share = 1 / np.arange(1, 301)
    return [" ".join(f"w{one}" for one in chance.choice(300, 20, p=share / share.sum())) for _ in range(count)]


@pytest.fixture
def database(postgres: str) -> Iterator[Database]:
    with closing(Database(postgres, k1=K1, b=B, few=500)) as opened:
        yield opened


def written(database: Database, version: str, count: int = 3000, seed: int = 0) -> PostgresVectors:
    database.write_words(texts(count), version)
    facts = database.write_vectors(unit_rows(count, seed), [("Baker", 0, 30), ("Miller", 30, count)], version)
    return PostgresVectors(database, facts)


def settings_for(home: Path, postgres: str) -> Settings:
    return load_settings(home=home, engine="postgres", postgres_dsn=postgres)


def built(settings: Settings, folder: Path) -> IndexVersion:
    embedder, store = SmallEmbedder(), make_store(settings)
    Builder(embedder, store, 200).build(read_documents([folder]), settings.build)
    follow(settings)
    return opened(settings)


def opened(settings: Settings) -> IndexVersion:
    embedder = SmallEmbedder()
    return open_version(
        settings.build,
        embedder=embedder.name,
        embedder_sha256=embedder.sha256,
        passage_tokens=200,
        store=make_store(settings),
    )


QUESTIONS = [
    "What does a Baker earn in Bern?",
    "grain",
    "Who rises early?",
    "stones of the mill",
    "zebra",
    "francs a year",
]


def test_the_same_passages_are_retrieved_as_from_files(shelf: Path, tmp_path: Path, postgres: str) -> None:
    in_engine = settings_for(tmp_path / "engine", postgres)
    in_files = load_settings(home=tmp_path / "files")
    versions = [built(settings, shelf) for settings in (in_engine, in_files)]
    retrievers = [make_retriever(s, v, SmallEmbedder()) for s, v in zip((in_engine, in_files), versions, strict=True)]
    assert isinstance(retrievers[1], HybridRetriever)
    rows = np.array([0, 1, 3])
    for question in QUESTIONS:
        for labels, favoured, among in [
            ([], [], None), (["Baker"], [], None), ([], ["Miller"], None), ([], ["Miller"], rows), (["Baker"], [], rows),
        ]:  # fmt: skip
            ours, theirs = (one.retrieve(question, 10, labels, favoured, among) for one in retrievers)
            assert [one.passage for one in ours] == [one.passage for one in theirs]
            for one, other in zip(ours, theirs, strict=True):
                assert one.ranks == other.ranks
                assert one.score == pytest.approx(other.score, abs=1e-6)
                assert one.scores == pytest.approx(dict(other.scores), abs=1e-5)


@pytest.mark.parametrize("retrieval", ["dense", "lexical"])
def test_one_stage_alone_gives_its_own_order(shelf: Path, tmp_path: Path, postgres: str, retrieval: str) -> None:
    both = []
    for settings in (settings_for(tmp_path / "engine", postgres), load_settings(home=tmp_path / "files")):
        chosen = settings.model_copy(update={"retrieval": retrieval})
        both.append(make_retriever(chosen, built(chosen, shelf), SmallEmbedder()).retrieve("grain of Bern", 10))
    assert [(one.passage, one.ranks) for one in both[0]] == [(one.passage, one.ranks) for one in both[1]]


def test_the_manifest_names_the_engine_and_what_it_finds(shelf: Path, tmp_path: Path, postgres: str) -> None:
    settings = settings_for(tmp_path, postgres)
    version = built(settings, shelf)
    manifest = read_manifest(settings.build, version.info.version)
    assert manifest["vectors"] == {"engine": "postgresql", "graph": False, "recall@10": 1.0}
    assert json.loads(json.dumps(manifest["inputs"]["lexical"])).startswith("tsvector bm25 k1=1.2")


def test_a_graph_finds_what_a_scan_finds_under_any_filter(database: Database) -> None:
    index, vectors = written(database, ONE), unit_rows(3000)
    assert settle(index, vectors)["recall@10"] >= 0.95
    queries = unit_rows(20, seed=7)
    chance = np.random.default_rng(1)
    for among in (None, np.arange(40), np.arange(0, 3000, 10), np.sort(chance.permutation(3000)[:1500]), np.arange(9)):
        exact = FaissIndex.build(vectors).search(queries, 10, among)
        scores, rows = index.search(queries, 10, among)
        found = np.mean(
            [len({*one} & {*other}) / len({*one}) for one, other in zip(exact[1].tolist(), rows.tolist(), strict=True)]
        )
        assert found >= (0.95 if among is None or len(among) > 500 else 1.0)
        assert (np.diff(scores, axis=1)[np.isfinite(scores[:, 1:])] <= 0).all()
        assert (rows >= 0).sum() == 20 * min(10, 3000 if among is None else len(among))


@pytest.mark.parametrize("count", [None, 1500, 600, 40], ids=["all", "half", "a fifth", "few"])
def test_a_graph_is_walked_unless_a_filter_leaves_few(database: Database, count: int | None) -> None:
    """The planner thinks that any filter leaves little, and would scan all rows."""
    index = written(database, ONE)
    limits = "" if count is None else "limits"
    tables = [statements.within(limits, labels=False, rows=True)] if limits else []
    query = "EXPLAIN ANALYZE " + statements.statement(tables, statements.nearest(limits, graph=True))
    values = index.for_vector(unit_rows(1, seed=7)[0], 10) | {"rows": multirange_of(np.arange(count or 0))}
    plan = [line for (line,) in index.run(query, values)]
    assert not any("Seq Scan" in line for line in plan)
    walks = [line for line in plan if "_embedding_idx" in line]
    assert len(walks) == 1
    assert ("never executed" in walks[0]) == (count == 40)


def test_a_build_settles_how_wide_its_graph_is_walked(
    postgres: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = unit_rows(3000)
    narrow = settle(written(database, ONE), vectors)
    assert narrow["ef_search"] == database.facts(ONE).walk == 100  # finds enough
    monkeypatch.setattr("rag.postgres_search.RECALL", 1.1)  # which nothing finds
    wide = settle(written(database, TWO), vectors)
    assert wide["ef_search"] == database.facts(TWO).walk == 1000
    assert wide["recall@10"] >= narrow["recall@10"] - 0.01  # no two graphs are the same
    with closing(Database(postgres, k1=K1, b=B, few=500, walk=60)) as given:
        told = settle(PostgresVectors(given, given.facts(TWO)), vectors)
        assert (told["ef_search"], given.facts(TWO).walk, database.facts(TWO).walk) == (60, 60, 60)


def test_each_version_is_searched_by_its_own_walk(database: Database) -> None:
    """One after the other, whichever connection of the pool is taken."""
    for version, walk in ((ONE, 100), (TWO, 400), (ONE, 100), (TWO, 400)):
        if not database.holds(version):
            written(database, version)
        facts = database.walked_by(database.facts(version), walk)
        assert PostgresVectors(database, facts).run("SHOW hnsw.ef_search", {}) == [(str(walk),)]


def test_words_of_many_passages_are_scored_by_bm25(database: Database) -> None:
    ours, theirs = PostgresWords(database, written(database, ONE).facts), Bm25Index.build(texts(3000))
    for question in ("w200", "w1 w50 w200", "w0 w1", "w299 w150 w80 w40"):
        for among in (None, np.arange(100, 900)):
            scores, rows = ours.search(question, 20, among)
            exact_scores, exact_rows = theirs.search(question, 3000, among)
            of_row = dict(zip(exact_rows.tolist(), exact_scores.tolist(), strict=True))
            np.testing.assert_allclose(scores, exact_scores[:20], rtol=1e-5)  # equal ones may come in another order
            np.testing.assert_allclose(scores, [of_row[row] for row in rows.tolist()], rtol=1e-5)
        assert ours.frequency(question.split()[0]) == theirs.frequency(question.split()[0])


def test_of_many_matches_those_of_the_rarer_words_are_scored(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = PostgresWords(database, written(database, ONE).facts)
    exact = index.search("w0 w250", 5)
    monkeypatch.setattr("rag.statements.MOST_SCORED", 200)  # w0 is in nearly all passages, w250 in some thirty
    scores, rows = index.search("w0 w250", 5)
    assert rows.tolist() == exact[1].tolist()
    np.testing.assert_array_equal(scores, exact[0])
    assert len(index.search("w0 w250", 3000)[1]) == index.frequency("w250")


def test_rows_are_written_as_runs() -> None:
    assert multirange([(0, 3), (7, 8)]) == "{[0,3),[7,8)}"


def test_a_new_version_is_seen_all_at_once(shelf: Path, tmp_path: Path, postgres: str) -> None:
    """Who reads the alias and searches finds one version or the other, never none and never half of one."""
    settings = settings_for(tmp_path, postgres)
    first = built(settings, shelf)
    seen: list[tuple[str, int]] = []
    done, failures = threading.Event(), []

    def read() -> None:
        with closing(Database(postgres, k1=K1, b=B)) as database:
            while not done.is_set():
                try:
                    version = database.current()
                    facts = database.facts(version)
                    found = PostgresWords(database, facts).search("Bern bakers grain", 50)[1]
                    assert len(found) == facts.passages
                    seen.append((version, facts.passages))
                except (AssertionError, EngineError, IndexDamaged) as error:
                    failures.append(error)

    def looked() -> None:
        """Waits until it was read anew: twice, since one reading may have begun before."""
        wanted, deadline = len(seen) + 2, time.monotonic() + 120
        while len(seen) < wanted and not failures and time.monotonic() < deadline:
            time.sleep(0.01)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        looked()
        (shelf / "third.md").write_text(BAKER.replace("Baker", "Bern Roaster"), encoding="utf-8")
        second = built(settings, shelf)
        switch(settings.build, first.info.version)
        follow(settings)
        looked()
        switch(settings.build, second.info.version)
        follow(settings)
        looked()
    finally:
        done.set()
        reader.join()
    assert not failures
    assert set(seen) == {(first.info.version, 4), (second.info.version, 6)}
    switch(settings.build, first.info.version)
    assert prune(settings.build, keep=0) == [second.info.version]
    follow(settings)
    with closing(Database(postgres, k1=K1, b=B)) as database:
        assert (database.current(), database.holds(second.info.version)) == (first.info.version, False)
        assert tables(database) == {f"{name}_{first.info.version}" for name in ("vectors", "words", "stems", "labels")}


def tables(database: Database) -> set[str]:
    with database.connection() as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [SCHEMA]).fetchall()
    return {name for (name,) in found if name not in ("versions", "aliases")}


def test_tables_that_are_gone_are_built_again(shelf: Path, tmp_path: Path, postgres: str) -> None:
    settings = settings_for(tmp_path, postgres)
    version = built(settings, shelf)
    with closing(Database(postgres, k1=K1, b=B)) as database:
        database.publish("", [])
    with pytest.raises(IndexDamaged, match=r"does not hold the index version .* python -m rag index build"):
        opened(settings)
    assert built(settings, shelf).info.version == version.info.version


def test_a_server_that_is_killed_during_a_build_answers_again_from_the_last_version(
    server: Callable[[str], Server],
) -> None:
    one = server("one").create().start()
    with closing(Database(one.dsn, k1=K1, b=B, few=500)) as database:
        index = written(database, ONE, 1000)
        database.publish(ONE, [ONE])
        before = index.search(unit_rows(3, seed=3), 10)

        def interrupted() -> Iterator[str]:
            yield from texts(2000)
            one.kill()
            yield from texts(200_000 // 20)

        with pytest.raises(EngineError, match=r"PostgreSQL at .*one\.sockets:5432/postgres fails: "):
            database.write_words(interrupted(), TWO)
        one.start()
        for ours, theirs in zip(index.search(unit_rows(3, seed=3), 10), before, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert (database.current(), database.holds(TWO)) == (ONE, False)
        assert len(written(database, TWO, 800)) == 800
        database.publish(TWO, [ONE, TWO])
        assert database.current() == TWO
        assert not {name for name in tables(database) if name.rpartition("_")[2] not in (ONE, TWO)}


def test_a_replica_takes_over_from_a_primary_that_is_killed(server: Callable[[str], Server]) -> None:
    primary = server("primary").create().start()
    replica = server("replica").follow(primary).start()
    both = f"host={primary.dsn.split()[0][5:]},{replica.dsn.split()[0][5:]} user=postgres dbname=postgres"
    with closing(Database(both, k1=K1, b=B, few=500)) as database:
        index = written(database, ONE, 1000)
        database.publish(ONE, [ONE])
        before = index.search(unit_rows(3, seed=3), 10)
        with closing(Database(replica.dsn, k1=K1, b=B, few=500)) as reading:
            deadline = time.monotonic() + 120
            while not reading.current() and time.monotonic() < deadline:
                time.sleep(0.02)  # what was committed is on its way
            found = PostgresVectors(reading, index.facts).search(unit_rows(3, seed=3), 10)
            np.testing.assert_array_equal(found[1], before[1])
        primary.kill()
        np.testing.assert_array_equal(index.search(unit_rows(3, seed=3), 10)[1], before[1])
        replica.promote()
        assert len(written(database, TWO, 800)) == 800


def test_rows_lie_on_two_servers_and_one_that_is_gone_is_named(server: Callable[[str], Server]) -> None:
    first, *shards = (server(name).create().start() for name in ("first", "left", "right"))
    vectors, queries = unit_rows(3000), unit_rows(10, seed=7)
    with closing(Database(first.dsn, k1=K1, b=B, few=500, shards=[one.dsn for one in shards])) as database:
        index = written(database, ONE)
        counts = []
        for shard in shards:
            with closing(Database(shard.dsn, k1=K1, b=B)) as part, part.connection() as connection:
                row = connection.execute(named(f"SELECT count(*) FROM {SCHEMA}.vectors_$t", ONE)).fetchone()
                counts.append(row[0] if row else 0)
        assert sum(counts) == 3000
        assert min(counts) > 1300
        assert settle(index, vectors)["recall@10"] >= 0.95
        assert walks_of_shards(database) == {100}
        narrow = index.search(queries, 10)
        wide = replace(index, facts=database.walked_by(index.facts, 400))
        assert walks_of_shards(database) == {400}
        assert wide.search(queries, 10)[0].mean() >= narrow[0].mean() - 1e-3
        database.walked_by(wide.facts, 100)
        few = np.arange(0, 3000, 10)
        np.testing.assert_array_equal(
            index.search(queries, 10, few)[1], FaissIndex.build(vectors).search(queries, 10, few)[1]
        )
        theirs = Bm25Index.build(texts(3000)).search("w1 w50 w200", 20)
        words = PostgresWords(database, index.facts)
        np.testing.assert_allclose(words.search("w1 w50 w200", 20)[0], theirs[0], rtol=1e-5)
        hybrid = PostgresHybrid(database, index.facts)

        def fused() -> list[int]:
            found = hybrid.search(
                "w1 w50 w200",
                queries[0],
                10,
                candidates=50,
                meaning=0.5,
                by_words=True,
                labels=[[], ["Baker"]],
                rows=None,
            )
            return [one.row for one in found]

        before = fused()
        assert len(before) == 10
        shards[1].kill()
        with pytest.raises(EngineError, match=r"shard_2"):
            fused()
        shards[1].start()
        assert fused() == before
        database.publish(TWO, [])
        assert not tables(database)


def walks_of_shards(database: Database) -> set[int]:
    """What the shards are told when they are connected to."""
    with database.connection() as connection:
        given = connection.execute("SELECT unnest(srvoptions) FROM pg_foreign_server").fetchall()
    options = [one for (one,) in given if one.startswith("options=")]
    assert len(options) == 2
    assert all("hnsw.iterative_scan=relaxed_order" in one and one.count("ef_search") == 1 for one in options)
    return {int(one.partition("hnsw.ef_search=")[2].split()[0]) for one in options}


def test_a_server_that_cannot_be_reached_or_used_is_told_with_its_remedy(
    server: Callable[[str], Server], tmp_path: Path
) -> None:
    with closing(Database(f"host={tmp_path} dbname=x password=secret", k1=K1, b=B)) as database:
        with pytest.raises(EngineError, match=r"PostgreSQL at .*:5432/x fails: .*set postgres_dsn right") as told:
            database.current()
        assert "secret" not in str(told.value)
        assert "\n" not in str(told.value)
    with pytest.raises(SettingsError, match=r"needs postgres_dsn\. Set ROLEWISE_POSTGRES_DSN"):
        make_store(load_settings(engine="postgres"))
    bare = server("bare").create().start()
    import psycopg

    with psycopg.connect(bare.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
    guest = bare.dsn.replace("user=postgres", "user=guest")
    refused = r"has no pgvector \(permission denied .*as a superuser: CREATE EXTENSION vector"
    with closing(Database(guest, k1=K1, b=B)) as database, pytest.raises(EngineError, match=refused):
        database.current()


def test_vectors_of_another_dimension_are_refused(database: Database) -> None:
    index = written(database, ONE, 100)
    with pytest.raises(IndexMismatch, match=r"vectors of 32 dimensions, the embedder gives 8\. Build it again"):
        index.search(unit_rows(1, dimension=8), 3)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pgvector", None)
    with pytest.raises(EngineError, match=r"needs pgvector\. Install it: pip install 'rolewise\[postgres\]'"):
        Database("host=x", k1=K1, b=B).current()


def test_the_current_version_is_that_of_the_folder(shelf: Path, tmp_path: Path, postgres: str) -> None:
    settings = settings_for(tmp_path, postgres)
    built(settings, shelf)
    with closing(Database(postgres, k1=K1, b=B)) as database:
        assert database.current() == current(settings.build)
