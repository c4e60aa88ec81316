"""An index version in PostgreSQL: tables that a build streams into, searched by meaning and by words in one statement.

What comes in are vectors and texts by row, what goes out rows with their scores; rag.statements has the SQL. Texts and
passages stay in the version's folder, which every machine that answers has. A version's tables never change once it is
listed in the table `versions`; the alias `current` moves in one transaction with the tables that go. Rows may lie on
several servers, the shards, as hash partitions behind postgres_fdw.

A database belongs to one home: what that home's folder does not list is cleared away.
"""

from __future__ import annotations

import contextlib
import functools
import re
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rag import statements
from rag.errors import EngineError, IndexDamaged, SettingsError
from rag.protocols import Vectors
from rag.settings import WIDEST_WALK
from rag.statements import COLUMNS, MOST_OCCURRENCES, SCHEMA, TABLES
from rag.words import stems

if TYPE_CHECKING:
    import psycopg
    import psycopg_pool

    Connection = psycopg.Connection[Any]

CURRENT = "current"
"""The alias of the version in use."""
FEW = 20_000
"""Rows that are compared one by one; of more, a graph is walked, which misses many of the nearest where few pass."""
MOST_DIMENSIONS = 4000
"""That pgvector's graph of 16-bit numbers takes."""
PGVECTOR = (0, 8)
"""The first version whose walks go on until enough rows passed a filter."""
PATIENCE = 5
"""Seconds to wait for a server that does not answer."""
WALKS = (100, 200, 400, 800, WIDEST_WALK)
"""Values of `hnsw.ef_search`, how many rows a walk through the graph keeps in view."""
CONNECTIONS = 16
"""Open at once at the most."""
LONGEST_STEM = 500
"""Characters that are kept of one; a tsvector refuses words of 2 kB."""
SENT = 1000
"""Rows that go to a shard at once."""
_VERSION = re.compile(r"[0-9a-f]{12}")
_EF_SEARCH = re.compile(r" *-c hnsw\.ef_search=\d+")
BUILD = "Build it again: python -m rag index build"

LabelRuns = Iterable[tuple[str, int, int]]
"""Labels, a role or a title, each with a half-open run of rows; a label may have several."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a version: how many passages, of what dimension, how many stems each on average, whether there
    is a graph, and how many rows a walk through it keeps in view."""

    version: str
    passages: int
    dimension: int
    length: float
    graph: bool
    walk: int = WALKS[0]


class Database:
    """A PostgreSQL server and the versions in it. `shards` are the servers that hold the rows, if not it itself.

    `k1` and `b` are BM25's. `walk` is `hnsw.ef_search` for all versions, if a build is not to settle it for its own.
    """

    def __init__(
        self, dsn: str, *, k1: float, b: float, shards: Sequence[str] = (), walk: int | None = None, few: int = FEW
    ) -> None:
        self._dsn, self._shards = dsn, tuple(shards)
        self.k1, self.b, self.few = k1, b, few
        self._walk = walk
        self.walks = (walk,) if walk else WALKS
        self._widths: weakref.WeakKeyDictionary[Connection, int] = weakref.WeakKeyDictionary()
        self._walking = f"-c hnsw.iterative_scan=relaxed_order -c hnsw.max_scan_tuples={statements.MAX_SCANNED}"
        self._walking += " -c enable_seqscan=off"  # a filter is thought to leave so little that all would be scanned

    def close(self) -> None:
        if "_pool" in self.__dict__:
            self.__dict__.pop("_pool").close()

    @functools.cached_property
    def _pool(self) -> psycopg_pool.ConnectionPool[Connection]:
        import psycopg_pool
        from psycopg.conninfo import conninfo_to_dict

        with _connected(self._dsn):  # a pool that is refused tries again and does not tell why
            pass
        given = conninfo_to_dict(self._dsn).get("options") or ""
        options = f"{given} {self._walking} -c plan_cache_mode=force_custom_plan"  # one for any LIMIT walks no graph
        return psycopg_pool.ConnectionPool(
            self._dsn,
            kwargs={"autocommit": True, "connect_timeout": PATIENCE, "options": options, "prepare_threshold": None},
            check=psycopg_pool.ConnectionPool.check_connection,
            min_size=0,
            max_size=CONNECTIONS,
            timeout=PATIENCE,
            reconnect_timeout=0,
            open=True,
        )

    @contextlib.contextmanager
    def connection(self, walk: int | None = None) -> Iterator[Connection]:
        """A connection in autocommit, which keeps so many rows in view in a walk.

        Raises EngineError with what the server says of a failure.
        """
        _require()
        import psycopg_pool

        with _told(self._dsn):
            try:
                connection = self._pool.getconn()
            except psycopg_pool.PoolTimeout as error:
                with _connected(self._dsn):  # tells why, unless all are in use
                    pass
                raise EngineError(f"{place_of(self._dsn)} has no free connection. Ask again.") from error
            try:
                if walk and self._widths.get(connection) != walk:
                    connection.execute(f"SET hnsw.ef_search = {walk:d}".encode())
                    self._widths[connection] = walk
                yield connection
            finally:
                self._pool.putconn(connection)

    @contextlib.contextmanager
    def _leaves(self) -> Iterator[list[Connection]]:
        """Connections to the servers that hold the rows, for building."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(_connected(dsn)) for dsn in self._shards or [self._dsn]]

    def begin(self, version: str) -> None:
        """Makes the tables of a version, without those of vectors, after what a build that was killed left."""
        if not _VERSION.fullmatch(version):
            raise SettingsError(f"{version!r} is no index version.")
        with self.connection() as connection, self._leaves() as leaves:
            for one in [connection, *leaves]:
                one.execute(statements.CREATE.encode())
            if self._shards:
                self._name_shards(connection)
            connection.execute(f"DELETE FROM {SCHEMA}.versions WHERE version = %s".encode(), [version])
            listed = _listed(connection)
            for one in [connection, *leaves]:
                _drop(one, keep=listed)
            self._create(connection, leaves, version, "words")
            for table in ("stems", "labels"):
                connection.execute(named(f"CREATE TABLE {SCHEMA}.{table}_$t ({COLUMNS[table]})", version))

    def write_words(self, texts: Iterable[str], version: str) -> None:
        """Streams the stems of each text into the engine; row i is text i."""
        self.begin(version)
        passages: Counter[str] = Counter()
        with self.connection() as connection, connection.cursor() as cursor:
            with cursor.copy(named(f"COPY {SCHEMA}.words_$t FROM STDIN", version)) as copy:
                for row, text in enumerate(texts):
                    counts = Counter(stems_of(text))
                    passages.update(counts.keys())
                    copy.write_row((row, counts.total(), _tsvector(counts)))
            with cursor.copy(named(f"COPY {SCHEMA}.stems_$t FROM STDIN", version)) as copy:
                for one in passages.items():
                    copy.write_row(one)
        with self._leaves() as leaves:
            for leaf in leaves:
                leaf.execute(named(statements.INDEX_TERMS, version))

    def write_vectors(self, vectors: Vectors, labels: LabelRuns, version: str) -> Facts:
        """Streams (n, dimension) float32 unit rows into the engine, and lists the version."""
        count, dimension = vectors.shape
        graph = count > self.few
        if graph and dimension > MOST_DIMENSIONS:
            raise SettingsError(
                f"the embedder has {dimension} dimensions, PostgreSQL's graph of more than {self.few} passages takes "
                f"{MOST_DIMENSIONS}. Set another embedder, or engine to files."
            )
        with self.connection() as connection, self._leaves() as leaves:
            self._create(connection, leaves, version, "vectors", dimension)
            self._copy_vectors(connection, vectors, version)
            self._copy_labels(connection, labels, version)
            for leaf in leaves:
                leaf.execute(named(statements.INDEX_ROWS, version, table="vectors"))
                leaf.execute(named(statements.INDEX_ROWS, version, table="words"))
                if graph:
                    leaf.execute(named(statements.INDEX_VECTORS, version, dimension))
                for table in ("vectors", "words"):
                    leaf.execute(named(f"ANALYZE {SCHEMA}.{table}_$t", version))
            length = connection.execute(named(f"SELECT avg(length)::float8 FROM {SCHEMA}.words_$t", version)).fetchone()
            facts = Facts(version, count, dimension, length[0] if length else 0.0, graph, self.walks[0])
            insert = f"INSERT INTO {SCHEMA}.versions VALUES (%s, %s, %s, %s, %s, %s)"
            connection.execute(insert.encode(), astuple(facts))
        return facts

    def walked_by(self, facts: Facts, walk: int) -> Facts:
        """A version whose graph is walked so from now on."""
        with self.connection() as connection:
            update = f"UPDATE {SCHEMA}.versions SET walk = %s WHERE version = %s"
            connection.execute(update.encode(), [walk, facts.version])
            self._tell_shards(connection, walk)
        return replace(facts, walk=walk)

    def _copy_vectors(self, connection: Connection, vectors: Vectors, version: str) -> None:
        from pgvector.psycopg import register_vector

        register_vector(connection)
        command = named(f"COPY {SCHEMA}.vectors_$t FROM STDIN WITH (FORMAT BINARY)", version)
        with connection.cursor() as cursor, cursor.copy(command) as copy:
            copy.set_types(["int8", "vector"])
            for row, vector in enumerate(vectors):
                copy.write_row((row, np.asarray(vector, np.float32)))

    def _copy_labels(self, connection: Connection, labels: LabelRuns, version: str) -> None:
        runs: dict[str, list[tuple[int, int]]] = {}
        for label, start, end in labels:
            runs.setdefault(label, []).append((start, end))
        command = named(f"COPY {SCHEMA}.labels_$t FROM STDIN", version)
        with connection.cursor() as cursor, cursor.copy(command) as copy:
            for label, of_label in runs.items():
                copy.write_row((label, statements.multirange(of_label)))

    def _create(
        self, connection: Connection, leaves: Sequence[Connection], version: str, table: str, dimension: int = 0
    ) -> None:
        """A table that holds a row for each passage: here, or its parts on the shards and the whole of them here."""
        columns = COLUMNS[table]
        for leaf in leaves:
            leaf.execute(named(f"CREATE TABLE {SCHEMA}.{table}_$t ({columns})", version, dimension))
        if self._shards:
            parent = f"CREATE TABLE {SCHEMA}.{table}_$t ({columns}) PARTITION BY HASH (row)"
            connection.execute(named(parent, version, dimension))
            for number in range(len(leaves)):
                part = (
                    f"CREATE FOREIGN TABLE {SCHEMA}.{table}_$t_{number} PARTITION OF {SCHEMA}.{table}_$t "
                    f"FOR VALUES WITH (MODULUS {len(leaves)}, REMAINDER {number}) SERVER shard_{number + 1} "
                    f"OPTIONS (schema_name '{SCHEMA}', table_name '{table}_$t')"
                )
                connection.execute(named(part, version))

    def _name_shards(self, connection: Connection) -> None:
        """Makes the shards known to the first server, as shard_1 and so on, unless they are. See docs/cluster.md."""
        from psycopg import sql
        from psycopg.conninfo import conninfo_to_dict

        connection.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
        known = {name for (name,) in connection.execute("SELECT srvname FROM pg_foreign_server")}
        for number, dsn in enumerate(self._shards, start=1):
            if (name := f"shard_{number}") in known:
                continue
            given = conninfo_to_dict(dsn)
            who = {name: given.pop(name) for name in ("user", "password") if given.get(name)}
            options = given | {
                "extensions": "vector",  # else its operators are not computed there
                "options": f"{given.get('options') or ''} {self._walking}".strip(),
                "batch_size": str(SENT),
                "fetch_size": str(SENT),
                "async_capable": "true",
                "connect_timeout": str(PATIENCE),
            }
            identifier = sql.Identifier(name)
            connection.execute(
                sql.SQL("CREATE SERVER {} FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({})").format(
                    identifier, _options(options)
                )
            )
            connection.execute(
                sql.SQL("CREATE USER MAPPING FOR CURRENT_USER SERVER {} OPTIONS ({})").format(identifier, _options(who))
            )

    def _tell_shards(self, connection: Connection, walk: int) -> None:
        """How wide they walk their graphs: an option of each server, for whatever version is searched there."""
        from psycopg import sql

        found = connection.execute("SELECT srvname, srvoptions FROM pg_foreign_server").fetchall()
        of_server = {name: dict(one.split("=", 1) for one in given or ()) for name, given in found}
        for number in range(1, len(self._shards) + 1):
            given = of_server.get(f"shard_{number}", {}).get("options", "")
            wanted = f"{_EF_SEARCH.sub('', given)} -c hnsw.ef_search={walk}".strip()
            if given != wanted:
                change = sql.SQL("ALTER SERVER {} OPTIONS ({} options {})").format(
                    sql.Identifier(f"shard_{number}"), sql.SQL("SET" if given else "ADD"), sql.Literal(wanted)
                )
                connection.execute(change)

    def holds(self, version: str) -> bool:
        with self.connection() as connection:
            return version in _listed(connection)

    def facts(self, version: str) -> Facts:
        """Raises IndexDamaged if the engine does not hold the version."""
        with self.connection() as connection:
            if version in _listed(connection):
                row = connection.execute(f"SELECT * FROM {SCHEMA}.versions WHERE version = %s".encode(), [version])
                facts = Facts(*row.fetchone())  # type: ignore[misc]  # it is listed
                return replace(facts, walk=self._walk or facts.walk)
        raise IndexDamaged(f"{place_of(self._dsn)} does not hold the index version {version}. {BUILD}")

    def publish(self, version: str, kept: Sequence[str]) -> None:
        """In one transaction `version` becomes the current one, and all that is not `kept` goes."""
        with self.connection() as connection:
            with connection.transaction():
                move = f"INSERT INTO {SCHEMA}.aliases VALUES (%s, %s) ON CONFLICT (alias) DO UPDATE SET version = %s"
                connection.execute(move.encode(), [CURRENT, version, version])
                connection.execute(f"DELETE FROM {SCHEMA}.versions WHERE version <> ALL(%s)".encode(), [list(kept)])
                _drop(connection, keep=kept)
            if self._shards:
                if version in _listed(connection):
                    self._tell_shards(connection, self.facts(version).walk)
                with self._leaves() as leaves:
                    for leaf in leaves:
                        _drop(leaf, keep=kept)

    def current(self) -> str:
        """The version that the alias stands for; "" if there is none."""
        with self.connection() as connection:
            query = f"SELECT version FROM {SCHEMA}.aliases WHERE alias = %s"
            row = connection.execute(query.encode(), [CURRENT]).fetchone()
            return str(row[0]) if row else ""


def _listed(connection: Connection) -> list[str]:
    exists = connection.execute("SELECT to_regclass(%s)", [f"{SCHEMA}.versions"]).fetchone()
    if exists is None or exists[0] is None:
        return []
    return [version for (version,) in connection.execute(f"SELECT version FROM {SCHEMA}.versions".encode())]


def _drop(connection: Connection, keep: Sequence[str]) -> None:
    """Drops the tables of all versions but some."""
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p')", [SCHEMA]
    ).fetchall()
    for (name,) in found:
        table, _, version = name.partition("_")
        if table in TABLES and _VERSION.fullmatch(version) and version not in keep:
            connection.execute(f"DROP TABLE {SCHEMA}.{name}".encode())


def stems_of(text: str) -> list[str]:
    return [stem[:LONGEST_STEM] for stem in stems(text)]


def _tsvector(counts: Mapping[str, int]) -> str:
    """Each stem at as many positions as it occurs; which ones says nothing. No stem has a quote or a backslash."""
    return " ".join(f"'{stem}':{_POSITIONS[min(count, MOST_OCCURRENCES)]}" for stem, count in counts.items())


_POSITIONS = [",".join(map(str, range(1, count + 1))) for count in range(MOST_OCCURRENCES + 1)]


def named(text: str, version: str, dimension: int = 0, table: str = "") -> bytes:
    """A statement over the tables of a version. Nothing but checked ids and numbers becomes part of it."""
    return text.replace("$table", table).replace("$t", version).replace("$dimension", str(dimension)).encode()


def _options(values: Mapping[str, Any]) -> Any:
    from psycopg import sql

    each = [sql.SQL("{} {}").format(sql.Identifier(name), sql.Literal(str(one))) for name, one in values.items()]
    return sql.SQL(", ").join(each)


def _require() -> None:
    """Raises EngineError naming the extra that is not installed."""
    try:
        import pgvector  # noqa: F401
        import psycopg  # noqa: F401
        import psycopg_pool  # noqa: F401
    except ModuleNotFoundError as error:
        raise EngineError(
            f"the engine postgres needs {error.name}. Install it: pip install 'rolewise[postgres]'"
        ) from error


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[Connection]:
    """A connection to a server that has pgvector, which is made there if need be."""
    _require()
    import psycopg

    with _told(dsn), psycopg.connect(dsn, autocommit=True, connect_timeout=PATIENCE) as connection:
        find = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        row = connection.execute(find).fetchone()
        if row is None:
            try:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except psycopg.Error as error:
                raise EngineError(
                    f"{place_of(dsn)} has no pgvector ({_line(error)}). Install it there, then as a superuser: "
                    "CREATE EXTENSION vector"
                ) from error
            row = connection.execute(find).fetchone()
        if row and tuple(map(int, str(row[0]).split(".")[:2])) < PGVECTOR:
            raise EngineError(
                f"{place_of(dsn)} has pgvector {row[0]}, Rolewise needs {'.'.join(map(str, PGVECTOR))} or newer. "
                "Update it there, then: ALTER EXTENSION vector UPDATE"
            )
        yield connection


@contextlib.contextmanager
def _told(dsn: str) -> Iterator[None]:
    """What a server says of a failure becomes one line that names it. No password is part of it."""
    import psycopg

    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise IndexDamaged(f"{place_of(dsn)} lacks a table of the index ({_line(error)}). {BUILD}") from error
    except psycopg.errors.SqlclientUnableToEstablishSqlconnection as error:
        raise EngineError(f"{place_of(dsn)} reports: {_line(error)}. Start that server; then ask again.") from error
    except psycopg.ProgrammingError as error:
        raise EngineError(f"{place_of(dsn)} refuses: {_line(error)}. See docs/cluster.md") from error
    except psycopg.Error as error:
        raise EngineError(f"{place_of(dsn)} fails: {_line(error)}. Start it, or set postgres_dsn right.") from error


def _line(error: psycopg.Error) -> str:
    said = error.diag.message_primary or str(error) or type(error).__name__
    return said.strip().splitlines()[-1].strip().rstrip(".")


def place_of(dsn: str) -> str:
    """A server without its password."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "the server of postgres_dsn"
    where = given.get("host") or given.get("hostaddr") or "the local socket"
    return f"PostgreSQL at {where}:{given.get('port') or 5432}/{given.get('dbname') or given.get('user') or ''}"
