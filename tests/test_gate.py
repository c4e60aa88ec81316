"""A change that makes answers worse turns the gate red, on the real documents with the real embedder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from eval.questions import load_questions
from eval.running import ask, fingerprint, opened, start
from eval.sets import BUNDLED, SETS, Choice, QuestionSet
from eval.verdict import DEFAULT_TOLERANCES, breaches, compare
from rag.protocols import Retriever, Rows
from rag.settings import load_settings
from rag.types import Passage, ScoredPassage


@dataclasses.dataclass(frozen=True)
class OffByOne:
    """A retriever whose rows are those of an index that had one passage less: each result is the one behind it."""

    inner: Retriever
    passages: Sequence[Passage]

    def retrieve(
        self,
        question: str,
        k: int,
        labels: Sequence[str] = (),
        favoured: Sequence[str] = (),
        rows: Rows | None = None,
    ) -> list[ScoredPassage]:
        found = self.inner.retrieve(question, k, labels, favoured, rows)
        behind = [self.passages[(self.passages.index(one.passage) + 1) % len(self.passages)] for one in found]
        return [dataclasses.replace(one, passage=passage) for one, passage in zip(found, behind, strict=True)]


@pytest.mark.models
def test_a_retriever_with_the_rows_of_another_index_turns_the_gate_red(tmp_path: Path) -> None:
    settings = load_settings(generator="extractive")
    engine = opened(BUNDLED["roles"], tmp_path, settings)
    questions = Choice("dev", 20).of(load_questions([SETS / "roles.jsonl"]))
    roles = QuestionSet("roles", questions, BUNDLED["roles"], tmp_path)
    broken = dataclasses.replace(engine, retriever=OffByOne(engine.retriever, engine.version.passages))
    before, after = (list(ask(start(None, fingerprint(one, settings)), roles, one)) for one in (engine, broken))
    assert breaches(compare(before, before), DEFAULT_TOLERANCES) == []
    worse = " ".join(breaches(compare(before, after), DEFAULT_TOLERANCES))
    assert "right" in worse
    assert "recall@10" in worse
