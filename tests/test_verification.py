"""A sentence stands only if a quotation bears it."""

from __future__ import annotations

import pytest

from rag.citations import DraftSentence
from rag.roles import Roles
from rag.types import Evidence, Passage, Sentence
from rag.verification import verify


def evidence(text: str, *section: str, lead: str = "") -> Evidence:
    passage = Passage("baker", "Baker", "Baker", section, 0, len(text), text)
    return Evidence(passage, Sentence(0, len(text), text, lead), 1.0)


BERN = evidence("Bern: 61,000 francs a year", "Pay", lead="A Baker earns, by place:")
BASEL = evidence("Basel: 64,500 francs a year", "Pay", lead="A Baker earns, by place:")


def test_a_sentence_with_the_figures_and_words_of_its_quotation_stands() -> None:
    verdict = verify(DraftSentence("A baker in Bern earns 61k francs a year.", (1,)), [BERN, BASEL])
    assert (verdict.evidence, verdict.reason, verdict.unknown) == ((BERN,), "", 0)


def test_a_figure_that_no_quotation_holds_is_named() -> None:
    verdict = verify(DraftSentence("A baker in Bern earns 99,000 francs.", (1,)), [BERN, BASEL])
    assert (verdict.evidence, verdict.reason) == ((), "its quotation does not contain 99,000")


def test_a_wrong_or_missing_marker_is_mended_from_the_evidence() -> None:
    for markers in ((1,), (), (7,)):
        verdict = verify(DraftSentence("A baker in Basel earns 64,500 francs.", markers), [BERN, BASEL])
        assert verdict.evidence == (BASEL,)


def test_a_sentence_that_says_more_than_the_quotation_it_holds_is_cut_to_it() -> None:
    verdict = verify(DraftSentence("Since 2024 it is Bern: 61,000 francs a year", (1,)), [BERN])
    assert (verdict.text, verdict.evidence) == ("Bern: 61,000 francs a year", (BERN,))
    assert verdict.reason == "its quotation does not contain 2024; shortened to the quotation it holds"


def test_markers_that_point_nowhere_are_counted() -> None:
    assert verify(DraftSentence("A baker in Bern earns 61,000 francs.", (1, 0, 9)), [BERN, BASEL]).unknown == 2


def test_a_sentence_in_words_of_its_own_is_not_borne() -> None:
    verdict = verify(DraftSentence("Unicorns graze on purple meadows in Bern.", (1,)), [BERN])
    assert (verdict.evidence, verdict.reason) == ((), "only 20% of its words are in its quotation")


def test_a_sentence_may_need_several_quotations() -> None:
    verdict = verify(DraftSentence("Bakers earn 61,000 francs in Bern and 64,500 in Basel.", (1, 2)), [BERN, BASEL])
    assert verdict.evidence == (BERN, BASEL)


@pytest.mark.parametrize("notation", ["61k", "61 000", "61\u202f000", "CHF 61,000"])
def test_the_notation_of_a_figure_does_not_matter(notation: str) -> None:
    assert verify(DraftSentence(f"A baker in Bern earns {notation} a year.", (1,)), [BERN]).evidence == (BERN,)


def test_a_name_that_no_quotation_holds_is_named() -> None:
    verdict = verify(DraftSentence("A baker in Thun or Zug earns 61,000 francs.", (1,)), [BERN])
    assert (verdict.evidence, verdict.reason) == ((), "its quotation does not name Thun, Zug")


def test_an_acronym_stands_for_the_words_it_is_made_of() -> None:
    american = evidence("In the United States bakers earn 61,000 dollars.", "Pay")
    assert verify(DraftSentence("Bakers in the US earn 61,000 dollars.", (1,)), [american]).evidence == (american,)


def test_a_sentence_about_another_role_falls() -> None:
    roles = Roles({"Baker": [], "Miller": []})
    verdict = verify(DraftSentence("A Miller in Bern earns 61,000 francs a year.", (1,)), [BERN], roles)
    assert verdict.evidence == ()
    of_mills = evidence("Millers and bakers in Bern earn 61,000 francs a year", "Pay")
    verdict = verify(DraftSentence("Millers in Bern earn 61,000 francs a year.", (1,)), [of_mills], roles)
    assert verdict.reason == "it speaks of Miller, its quotation of Baker"


def test_a_heading_alone_bears_nothing() -> None:
    planted = evidence("At least 3 years on the job", "Machines have replaced all Bell Keepers")
    verdict = verify(DraftSentence("Machines have replaced all Bell Keepers.", (1,)), [planted])
    assert verdict.evidence == ()
    assert verdict.reason == "only 0% of its words are in its quotation, the rest in the headings above it"


def test_the_label_of_a_note_is_no_part_of_the_sentence() -> None:
    dated = evidence("Bern: 61,000 francs a year", "Pay", lead="A Baker earns, by place (2024):")
    for copied in ("Bern: 61,000 francs a year", "61,000 francs a year"):
        verdict = verify(DraftSentence(f"Baker > Pay > A Baker earns, by place (2024): {copied}", (1,)), [dated])
        assert (verdict.text, verdict.evidence, verdict.reason) == (copied, (dated,), "")
