"""Searching an index version in PostgreSQL: by meaning, by words, or by both fused in one statement.

What comes in are questions, their vectors and the rows to search among, what goes out rows or passages with scores, as
from the files' indexes. Nothing here knows how a server is reached, and nothing writes but `settle`, when a build ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from rag import statements
from rag.errors import IndexMismatch
from rag.postgres import BUILD, LONGEST_STEM, Database, Facts, named, stems_of
from rag.protocols import Embedder, Rows, Vectors
from rag.retrieval import AMONG_FAVOURED, DENSE, LEXICAL, moved, rows_about
from rag.sampling import MOVED, RECALL, Sample
from rag.statements import SCHEMA
from rag.types import ScoredPassage
from rag.versions import IndexVersion


@dataclass(frozen=True)
class _Searching:
    """A version in a database. Few rows are searched one by one; among many a walk goes on until enough are met."""

    database: Database
    facts: Facts

    def __len__(self) -> int:
        return self.facts.passages

    def run(self, query: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self.database.connection(self.facts.walk) as connection:
            return connection.execute(named(query, self.facts.version, self.facts.dimension), values).fetchall()

    def for_vector(self, vector: Vectors, k: int) -> dict[str, Any]:
        if len(vector) != self.facts.dimension:
            raise IndexMismatch(
                f"index {self.facts.version} has vectors of {self.facts.dimension} dimensions, the embedder gives "
                f"{len(vector)}. {BUILD}"
            )
        near = statements.OVERSAMPLED * k
        few = max(self.database.few, near * self.facts.passages // statements.MAX_SCANNED)
        return {"vector": str(np.asarray(vector, np.float32).tolist()), "depth": k, "near": near, "few": few}

    def forstems_of(self, asked: Sequence[str], k: int) -> dict[str, Any]:
        k1, b = self.database.k1, self.database.b
        return {
            "stems": list(asked),
            "passages": self.facts.passages,
            "scored": statements.MOST_SCORED // max(1, len(asked)),
            "thresholds": statements.thresholds(),
            "least": k1 * (1 - b),
            "slope": k1 * b / self.facts.length if self.facts.length else 0.0,
            "depth": k,
            **{f"stem_{number}": stem for number, stem in enumerate(asked)},
            **{f"query_{number}": f"'{stem}'" for number, stem in enumerate(asked)},
        }


class PostgresVectors(_Searching):
    """Implements protocols.VectorIndex. Among more than `few` rows a search may miss some of the nearest."""

    def search(self, queries: Vectors, k: int, rows: Rows | None = None) -> tuple[Vectors, Rows]:
        tables = [] if rows is None else [statements.within("limits", labels=False, rows=True)]
        stage = statements.nearest("limits" if tables else "", graph=self.facts.graph)
        query = statements.statement(tables, f"SELECT row, score FROM ({stage}) found ORDER BY score DESC, row")
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        found = np.full((len(queries), k), -1, dtype=np.int64)
        limits = {} if rows is None else {"rows": multirange_of(rows)}
        for number, vector in enumerate(queries):
            for place, (row, score) in enumerate(self.run(query, self.for_vector(vector, k) | limits)):
                found[number, place], scores[number, place] = row, score
        return scores, found

    def nearest(self, query: Vectors, k: int, rows: Rows | None = None) -> Vectors:
        tables = [] if rows is None else [statements.within("limits", labels=False, rows=True)]
        stage = statements.nearest("limits" if tables else "", graph=self.facts.graph)
        of_rows = f"({stage}) found JOIN {SCHEMA}.vectors_$t USING (row)"
        limits = {} if rows is None else {"rows": multirange_of(rows)}
        found = self.run(
            statements.statement(tables, f"SELECT embedding FROM {of_rows} ORDER BY score DESC, row"),
            self.for_vector(query[0], k) | limits,
        )
        return np.array([vector.to_numpy() for (vector,) in found], dtype=np.float32).reshape(-1, self.facts.dimension)


class PostgresWords(_Searching):
    """Implements protocols.LexicalIndex."""

    def search(self, question: str, k: int, rows: Rows | None = None) -> tuple[Vectors, Rows]:
        asked = list(dict.fromkeys(stems_of(question)))
        found: list[tuple[Any, ...]] = []
        if asked:
            tables = [] if rows is None else [statements.within("limits", labels=False, rows=True)]
            query = statements.sharing("limits" if tables else "", len(asked))
            limits = {} if rows is None else {"rows": multirange_of(rows)}
            found = self.run(
                statements.statement([*tables, statements.asked()], query), self.forstems_of(asked, k) | limits
            )
        scores = np.array([score for _, score in found], dtype=np.float32)
        return scores, np.array([row for row, _ in found], dtype=np.int64)

    def frequency(self, stem: str) -> int:
        found = self.run(f"SELECT passages FROM {SCHEMA}.stems_$t WHERE stem = %(stem)s", {"stem": stem[:LONGEST_STEM]})
        return int(found[0][0]) if found else 0


@dataclass(frozen=True, slots=True)
class Fused:
    """A row with its fused score, and by the number of the stage its rank and score there."""

    row: int
    score: float
    ranks: Mapping[int, int]
    scores: Mapping[int, float]


class PostgresHybrid(_Searching):
    """Searches by meaning and by words and fuses both, in one statement."""

    def search(
        self,
        question: str,
        vector: Vectors | None,
        k: int,
        *,
        candidates: int,
        meaning: float,
        by_words: bool,
        labels: Sequence[Sequence[str]],
        rows: Rows | None,
    ) -> list[Fused]:
        """The `k` best rows. For each of `labels` (roles and titles; none for all) a stage by meaning if there is a
        vector, which has the weight `meaning`, then one by words if they are wanted, which has the rest."""
        asked = list(dict.fromkeys(stems_of(question))) if by_words else []
        depth = max(k, candidates)
        tables: list[str] = [statements.asked()] if asked else []
        groups: list[list[statements.Stage]] = []
        by_meaning, by_both = vector is not None, vector is not None and by_words
        values: dict[str, Any] = {"k": k} | self.forstems_of(asked, depth)
        if vector is not None:
            values |= self.for_vector(vector, depth)
        if rows is not None:
            values["rows"] = multirange_of(rows)
        numbers = []
        for number, among in enumerate(labels):
            limits = f"limits_{number}" if among or rows is not None else ""
            if limits:
                tables.append(statements.within(limits, labels=bool(among), rows=rows is not None))
                values[f"{limits}_labels"] = list(among)
            group = []
            if by_meaning:
                nearest = statements.nearest(limits, graph=self.facts.graph)
                group.append(statements.Stage(nearest, statements.nearness_of, meaning if by_both else 1.0))
                numbers.append(2 * number)
            if asked:
                sharing = statements.sharing(limits, len(asked))
                scored = partial(statements.sharing_of, stems=len(asked))
                group.append(statements.Stage(sharing, scored, 1 - meaning if by_both else 1.0))
                numbers.append(2 * number + 1)
            groups.append(group)
        if not numbers:
            return []
        return [
            Fused(
                row,
                score,
                {numbers[stage]: rank for stage, rank in zip(found, ranks, strict=True)},
                {numbers[stage]: one for stage, one in zip(found, scores, strict=True)},
            )
            for row, score, found, ranks, scores in self.run(statements.fused(tables, groups), values)
        ]


@dataclass(frozen=True)
class PostgresRetriever:
    """Implements protocols.Retriever as retrieval.HybridRetriever does, and gives the same passages and scores, by one
    statement for each question. `candidates` is how many rows each search contributes."""

    version: IndexVersion
    embedder: Embedder
    index: PostgresHybrid
    candidates: int = 50
    meaning: float = 0.5
    feedback: float = 0.3
    stages: Sequence[str] = (DENSE, LEXICAL)

    def retrieve(
        self,
        question: str,
        k: int,
        labels: Sequence[str] = (),
        favoured: Sequence[str] = (),
        rows: Rows | None = None,
    ) -> list[ScoredPassage]:
        """As `Retriever`. Passages about the favoured labels are ranked once more among themselves."""
        vector = self.embedder.embed_queries([question]) if DENSE in self.stages else None
        if vector is not None:
            within = rows_about(self.version, labels, rows)
            (vector,) = moved(vector, self.version.vectors, self.feedback, within)
        found = self.index.search(
            question,
            vector,
            k,
            candidates=self.candidates,
            meaning=self.meaning,
            by_words=LEXICAL in self.stages,
            labels=[labels, favoured] if favoured else [labels],
            rows=rows,
        )
        names = [stage + among for among in ("", AMONG_FAVOURED) for stage in (DENSE, LEXICAL)]
        return [
            ScoredPassage(
                self.version.passages[one.row],
                one.score,
                {names[stage]: rank for stage, rank in one.ranks.items()},
                {names[stage]: score for stage, score in one.scores.items()},
            )
            for one in found
        ]


def settle(index: PostgresVectors, vectors: Vectors) -> dict[str, Any]:
    """Has a graph walked as little as finds enough, or as the settings say. Returns what the manifest tells of it."""
    if not index.facts.graph:
        return {"graph": False, "recall@10": 1.0}
    sample, recall = Sample(vectors, moved=MOVED), 0.0
    for walk in index.database.walks:
        index = replace(index, facts=index.database.walked_by(index.facts, walk))
        recall = sample.recall(index)
        if recall >= RECALL:
            break
    return {"graph": True, "ef_search": index.facts.walk, "recall@10": round(recall, 4), "measured_on": len(sample)}


def multirange_of(rows: Rows) -> str:
    """Rows in any order as runs, in PostgreSQL's writing of an int8multirange."""
    ordered = np.unique(np.asarray(rows, dtype=np.int64))
    breaks = np.flatnonzero(np.diff(ordered) > 1)
    starts = ordered[np.concatenate([[0], breaks + 1])] if len(ordered) else ordered
    ends = ordered[np.concatenate([breaks, [len(ordered) - 1]])] + 1 if len(ordered) else ordered
    return statements.multirange(list(zip(starts.tolist(), ends.tolist(), strict=True)))
