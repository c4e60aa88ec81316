"""Sentences are ranked in their context, and a list that is asked for comes whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag.answering import Engine
from rag.evidence import Findings, context


def found(engine: Engine, question: str, limit: int = 3) -> Findings:
    return engine.evidence.find(question, engine.search(question, k=4), limit)


def test_an_entry_is_found_by_the_heading_and_lead_above_it(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    evidence = found(engine_over(shelf), "What does a baker earn in Basel?").evidence
    assert evidence[0].quote == "Basel: 64,500 francs a year"
    assert evidence[0].sentence.lead == "A Baker earns, by place:"
    assert [one.score for one in evidence] == sorted((one.score for one in evidence), reverse=True)


def test_a_list_is_taken_whole_and_in_order_unless_an_entry_stands_out(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    (shelf / "baker.md").write_text(
        "---\ntitle: Baker\nrole: Baker\n---\n## Tools\n\nThe tools of a Baker are:\n\n- peel\n- oven\n- scale\n- whisk\n\nBakers rise early.\n"
    )
    engine = engine_over(shelf)
    evidence = found(engine, "What tools does a baker use?", 2).evidence
    assert [one.quote for one in evidence if one.is_of_list] == ["peel", "oven", "scale", "whisk"]
    assert [one.quote for one in evidence[4:]] == ["Bakers rise early."]
    assert [one.quote for one in found(engine, "Does a baker use a whisk?", 2).evidence][0] == "whisk"
    assert len(found(engine, "Does a baker use a whisk?", 2).evidence) == 2


def test_evidence_is_a_span_of_its_document_and_no_introduction(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    engine = engine_over(shelf)
    evidence = found(engine, "Bern", 50).evidence
    assert len(evidence) == 8
    for one in evidence:
        text = engine.version.documents[one.passage.document].text
        assert text[one.sentence.start : one.sentence.end] == one.quote
        assert not one.quote.endswith(":")


def test_the_words_of_the_question_tell_how_near_the_evidence_comes(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    findings = found(engine_over(shelf), "Does a baker in Zanzibar need patience?")
    nearness = {word.text: word.nearness for word in findings.words}
    assert list(nearness) == ["baker", "Zanzibar", "need", "patience"]
    assert nearness["baker"] == nearness["patience"] == pytest.approx(1.0)
    assert nearness["Zanzibar"] < 0.5
    rarity = {word.text: word.rarity for word in findings.words}
    assert rarity["Zanzibar"] > rarity["patience"] > rarity["baker"]


def test_an_acronym_is_near_to_the_words_it_stands_for(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    (shelf / "miller.md").write_text("The Swiss Milling Board pays 58,000 francs to a miller of mills built low.\n")
    nearness = {word.text: word.nearness for word in found(engine_over(shelf), "SMB or MBL francs for a miller").words}
    assert nearness["SMB"] == 1.0
    assert nearness["MBL"] < 0.5  # the initials of "mills built low", which are written small


def test_no_passages_give_no_evidence(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    assert engine_over(shelf).evidence.find("Bern", [], 5) == Findings((), ())


def test_entries_are_introduced_by_their_line_else_by_their_heading(
    shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    (shelf / "baker.md").write_text(
        "---\ntitle: Baker\n---\n## Pay\n\nPaid are:\n\n- rye\n\n## Tools\n\n- peel\n\nOnly one.\n"
    )
    evidence = found(engine_over(shelf), "Baker", 50).evidence
    contexts = {one.quote: context(one.passage, one.sentence) for one in evidence if one.passage.title == "Baker"}
    assert contexts == {
        "rye": "Baker > Pay\nPaid are:\nrye",
        "peel": "Baker > Tools\nTools:\npeel",
        "Only one.": "Baker > Tools\nOnly one.",
    }
