"""Sentences are ranked in their context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rag.answering import Engine


def test_an_entry_is_found_by_the_heading_and_lead_above_it(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    engine = engine_over(shelf)
    question = "What does a baker earn in Basel?"
    evidence = engine.evidence.find(question, engine.search(question), 3)
    assert evidence[0].quote == "Basel: 64,500 francs a year"
    assert evidence[0].sentence.lead == "A Baker earns, by place:"
    assert [one.score for one in evidence] == sorted((one.score for one in evidence), reverse=True)


def test_evidence_is_a_span_of_its_document_and_no_introduction(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    engine = engine_over(shelf)
    evidence = engine.evidence.find("Bern", engine.search("Bern", k=4), 50)
    assert len(evidence) == 8
    for one in evidence:
        text = engine.version.documents[one.passage.document].text
        assert text[one.sentence.start : one.sentence.end] == one.quote
        assert not one.quote.endswith(":")


def test_no_passages_give_no_evidence(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    assert engine_over(shelf).evidence.find("Bern", [], 5) == []
