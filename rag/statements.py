"""The SQL of the PostgreSQL engine: text in which `$t` stands for the version whose tables are searched,
and `$dimension` for that of its vectors.

What comes in are the shape of a search and the number of its parts, what goes out is one statement with named
parameters; values never become part of the text. Nothing here knows a connection.

A filter is a set of rows as an `int8multirange`: a document is one run of rows, a role a few. Where it leaves few rows
they are compared one by one; else the graph is walked until enough rows of the filter were met.

The score of words is BM25 (Lucene's form), as in the file engine. `ts_rank` is not: it knows no rarity of a word and no
length of a passage, and it takes a word's third occurrence for nearly nothing. But for a single word it depends on
nothing but how often the word occurs, n: it is the sum of 1/j² for j to n, divided by pi²/6. So n is read off it, and
rarity and length come from the tables.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.fusion import ROUNDING

SCHEMA = "rolewise"
TABLES = ("vectors", "words", "stems", "labels")
"""Each version has one of each; the first two hold a row for each passage."""
MOST_OCCURRENCES = 255
"""Of a word in a passage, that are counted: positions of a lexeme that a tsvector keeps."""
MOST_SCORED = 200_000
"""Pairs of a passage and a word whose score a search computes. Beyond, only passages with one of the rarer words of the
question are scored, by all of its words: those with its common words alone come last anyway. 200,000 take 0.2 s."""
OVERSAMPLED = 2
"""Rows that the graph, whose numbers have 16 bits, gives for each that is wanted; the nearest are then chosen in 32."""
MAX_SCANNED = 200_000
"""Rows that a walk through the graph meets at the most before it gives up finding more that pass the filter."""

CREATE = f"""
    CREATE SCHEMA IF NOT EXISTS {SCHEMA};
    CREATE TABLE IF NOT EXISTS {SCHEMA}.versions (version text PRIMARY KEY, passages bigint NOT NULL,
        dimension integer NOT NULL, length double precision NOT NULL, graph boolean NOT NULL);
    ALTER TABLE {SCHEMA}.versions ADD COLUMN IF NOT EXISTS walk integer NOT NULL DEFAULT 100;
    CREATE TABLE IF NOT EXISTS {SCHEMA}.aliases (alias text PRIMARY KEY, version text NOT NULL);
"""
COLUMNS = {
    "vectors": "row bigint NOT NULL, embedding vector($dimension) NOT NULL",
    "words": "row bigint NOT NULL, length integer NOT NULL, terms tsvector NOT NULL",
    "stems": "stem text PRIMARY KEY, passages bigint NOT NULL",
    "labels": "label text PRIMARY KEY, rows int8multirange NOT NULL",
}
INDEX_ROWS = f"ALTER TABLE {SCHEMA}.$table_$t ADD PRIMARY KEY (row)"
INDEX_TERMS = f"CREATE INDEX ON {SCHEMA}.words_$t USING gin (terms)"
INDEX_VECTORS = f"CREATE INDEX ON {SCHEMA}.vectors_$t USING hnsw ((embedding::halfvec($dimension)) halfvec_ip_ops)"


def thresholds() -> list[float]:
    """Between what `ts_rank` gives for n - 1 and for n occurrences, for each n."""
    sums = itertools.accumulate(1 / n**2 for n in range(1, MOST_OCCURRENCES + 1))
    ranks = [0.0, *(one / (math.pi**2 / 6) for one in sums)]
    return [(low + high) / 2 for low, high in itertools.pairwise(ranks)]


def within(name: str, *, labels: bool, rows: bool) -> str:
    """Common table `name`: the rows that a search is limited to, and how many they are.

    Parameters `rows`, and `labels` behind the name.
    """
    labelled = f"SELECT coalesce(range_agg(rows), '{{}}') FROM {SCHEMA}.labels_$t WHERE label = ANY(%({name}_labels)s)"
    both = " * ".join([f"({labelled})"] * labels + ["%(rows)s::int8multirange"] * rows)
    count = "(SELECT coalesce(sum(upper(run) - lower(run)), 0) FROM unnest(rows) run)"
    return f"{name} AS MATERIALIZED (SELECT rows, {count} AS count FROM (SELECT {both} AS rows) given)"


def multirange(runs: Sequence[tuple[int, int]]) -> str:
    """Runs of rows as an int8multirange is written."""
    return "{" + ",".join(f"[{start},{end})" for start, end in runs) + "}"


def nearest(limits: str, *, graph: bool) -> str:
    """The `depth` rows nearest to `vector` by inner product, among those of the common table `limits` if it has a name.

    `graph` tells whether there is one to walk. Parameters `vector`, `depth`, `near`, `few`.
    """
    table = f"{SCHEMA}.vectors_$t"
    if not graph:
        return _best(f"{table} WHERE row <@ (SELECT rows FROM {limits})" if limits else table)
    cast = "halfvec($dimension)"
    walk = f"ORDER BY embedding::{cast} <#> %(vector)s::vector::{cast} LIMIT %(near)s"
    if not limits:
        return _best(f"(SELECT row, embedding FROM {table} {walk}) walked")
    listed = (
        f"SELECT generate_series(lower(run), upper(run) - 1) FROM {limits}, unnest(rows) run WHERE count <= %(few)s"
    )
    passing = f"(SELECT count FROM {limits}) > %(few)s AND row <@ (SELECT rows FROM {limits})"
    scanned = _best(f"{table} WHERE row = ANY(ARRAY({listed}))")
    walked = _best(f"(SELECT row, embedding FROM {table} WHERE {passing} {walk}) walked")
    return f"({scanned}) UNION ALL ({walked})"


def _best(source: str) -> str:
    score = "-(embedding <#> %(vector)s::vector)"
    return f"SELECT row, {score} AS score FROM {source} ORDER BY score DESC, row LIMIT %(depth)s"


def asked() -> str:
    """Common tables of the question's stems: how rare each is, which ones find passages, what to read counts off.

    Parameters `stems`, `passages`, `scored`, `thresholds`.
    """
    rarity = "ln(1 + (%(passages)s - passages + 0.5::float8) / (passages + 0.5::float8))"
    return f"""asked AS MATERIALIZED (
        SELECT stem, {rarity} AS rarity, sum(passages) OVER (ORDER BY passages, stem) AS matching
        FROM {SCHEMA}.stems_$t WHERE stem = ANY(%(stems)s)),
    telling AS MATERIALIZED (
        SELECT string_agg('''' || stem || '''', ' | ')::tsquery AS query FROM asked
        WHERE matching <= %(scored)s OR matching = (SELECT min(matching) FROM asked)),
    counting AS MATERIALIZED (SELECT %(thresholds)s::float8[] AS steps)"""


def nearness_of(rows: str) -> str:
    """The score by meaning of each of the rows that a query gives. Parameter `vector`."""
    return f"""SELECT row, -(embedding <#> %(vector)s::vector) AS score FROM {SCHEMA}.vectors_$t
        WHERE row = ANY(ARRAY({rows}))"""


def sharing(limits: str, stems: int) -> str:
    """The `depth` rows with the highest BM25, among those of the common table `limits` if it has a name.

    Parameters `stem_0`, `query_0` and so on, `least` and `slope` (what saturates a count at length 0, and by length).
    """
    limited = f" AND row <@ (SELECT rows FROM {limits})" if limits else ""
    scored = _bm25(f"terms @@ (SELECT query FROM telling){limited}", stems)
    return f"{scored} ORDER BY score DESC, row LIMIT %(depth)s"


def sharing_of(rows: str, stems: int) -> str:
    """The BM25 of each of the rows that a query gives. Parameters as of `sharing`."""
    return _bm25(f"row = ANY(ARRAY({rows}))", stems)


def _bm25(condition: str, stems: int) -> str:
    steps = "(SELECT steps FROM counting)"
    parts = []
    for number in range(stems):
        rank = f"ts_rank('{{1,1,1,1}}', terms, %(query_{number})s::tsquery)"
        count = f"width_bucket({rank}::float8, {steps})::float8"
        rarity = f"(SELECT rarity FROM asked WHERE stem = %(stem_{number})s)"
        parts.append(f"coalesce({rarity} * (1 - saturating / (saturating + {count})), 0)")
    return f"""SELECT row, ({" + ".join(parts)})::real AS score FROM (
        SELECT row, terms, %(least)s::float8 + %(slope)s::float8 * length AS saturating
        FROM {SCHEMA}.words_$t WHERE {condition} OFFSET 0) matching"""


def statement(tables: Sequence[str], query: str) -> str:
    """A query with its common tables before it."""
    return f"WITH {', '.join(tables)} {query}" if tables else query


@dataclass(frozen=True, slots=True)
class Stage:
    """One search: what it finds, how it scores given rows, and its weight among those over the same passages."""

    found: str
    scored: Callable[[str], str]
    weight: float


def fused(tables: Sequence[str], groups: Sequence[Sequence[Stage]]) -> str:
    """The `k` best rows by the weighted sum of their shares in each group of stages, as rag.fusion does it.

    Each stage scores what the others of its group found too. Row, score, and of each stage that found it the number,
    rank and score; stages are numbered through all groups. Parameter `k`.
    """
    numbers = itertools.count()
    numbered = [[(next(numbers), stage) for stage in group] for group in groups]
    stages = [one for group in numbered for one in group]
    searched = [f"stage_{number} AS MATERIALIZED ({stage.found})" for number, stage in stages]
    ranked = " UNION ALL ".join(
        f"SELECT {number} AS stage, row, score::float8, rank() OVER (ORDER BY score DESC, row) AS rank "
        f"FROM stage_{number}"
        for number, _ in stages
    )
    further = [
        f"SELECT {number}, row, score::float8 FROM ({stage.scored(_found_but_by(number, group))}) others"
        for group in numbered
        if len(group) > 1
        for number, stage in group
    ]
    weights = " ".join(f"WHEN {number} THEN {stage.weight!r}::float8" for number, stage in stages)
    counted = f"CASE WHEN score > {ROUNDING!r} THEN score ELSE 0 END"
    share = f"(CASE stage {weights} END) * {counted} / nullif(max({counted}) OVER (PARTITION BY stage), 0)"
    return statement(
        [
            *tables,
            *searched,
            f"found AS MATERIALIZED ({ranked})",
            f"scored AS ({' UNION ALL '.join(['SELECT stage, row, score FROM found', *further])})",
            f"shares AS (SELECT stage, row, coalesce({share}, 0) AS share FROM scored)",
            "best AS (SELECT row, sum(share ORDER BY stage) AS fused FROM shares GROUP BY row)",
        ],
        "SELECT row, fused, array_agg(stage ORDER BY stage), array_agg(rank ORDER BY stage), "
        "array_agg(score ORDER BY stage) FROM best JOIN found USING (row) "
        "GROUP BY row, fused ORDER BY fused DESC, row LIMIT %(k)s",
    )


def _found_but_by(number: int, group: Sequence[tuple[int, Stage]]) -> str:
    others = " UNION ".join(f"SELECT row FROM stage_{other}" for other, _ in group if other != number)
    return f"({others}) EXCEPT SELECT row FROM stage_{number}"
