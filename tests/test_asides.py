"""Sentences that have to do with neither the question nor the documents are dropped, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag.answering import Engine
from rag.asides import without_asides
from rag.types import Message
from rag.versions import IndexVersion
from tests.conftest import HashingEmbedder

ASKED = "What does a Baker earn in Bern?"
ASIDE = "My cousin plays the accordion."


class _NoPassages:
    def search(self, *_: object) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError

    def nearest(self, *_: object) -> np.ndarray:
        raise AssertionError

    def __len__(self) -> int:
        return 0


@pytest.fixture
def kept(shelf: Path, open_shelf: Callable[[Path], IndexVersion]) -> Callable[[str], str]:
    passages = open_shelf(shelf).vectors
    return lambda question: without_asides(question, HashingEmbedder(), passages)


@pytest.mark.parametrize("aside", [ASIDE, "Who won the chess final?", "Write a limerick about penguins."])
def test_asides_before_and_behind_a_question_are_dropped(kept: Callable[[str], str], aside: str) -> None:
    assert kept(f"{aside} {ASKED}") == ASKED
    assert kept(f"{ASKED} {aside}") == ASKED
    assert kept(f"{ASIDE} {ASKED} {aside}") == ASKED


@pytest.mark.parametrize(
    "question",
    [
        ASIDE,
        ASKED,
        f"{ASIDE} Who won the chess final?",  # neither is nearer to the documents
        f"The mill of Bern has three stones. {ASKED}",  # a premise that is near to the question
        "The mill has two stones. What does a Baker earn in Basel?",  # nearly as near to the documents
        "A Miller earns 58,000 francs in Bern. Who won the chess final?",  # the only one that asks
    ],
)
def test_what_may_be_part_of_the_question_stays(kept: Callable[[str], str], question: str) -> None:
    assert kept(question) == question


@pytest.mark.parametrize(
    "asked", ["What does that earn a Baker?", "Do Bakers earn any?", "Could a Baker earn more there?"]
)
def test_what_is_pointed_back_to_stays_but_not_what_stands_behind(kept: Callable[[str], str], asked: str) -> None:
    assert kept(f"{ASIDE} {asked}") == f"{ASIDE} {asked}"
    assert kept(f"{asked} {ASIDE}") == asked


def test_without_passages_nothing_is_compared() -> None:
    question = f"{ASIDE} {ASKED}"
    assert without_asides(question, HashingEmbedder(), _NoPassages()) == question


def test_an_answer_tells_what_was_read(engine_over: Callable[..., Engine], shelf: Path) -> None:
    answer = engine_over(shelf).ask(f"{ASIDE} {ASKED}")
    assert answer.read_as == ASKED
    assert "Bern: 61,000 francs a year" in answer.text


def test_a_follow_up_that_was_made_whole_keeps_all(engine_over: Callable[..., Engine], shelf: Path) -> None:
    history = [Message("user", ASKED), Message("assistant", "61,000 francs a year")]
    engine = engine_over(shelf)
    assert engine.understood(f"And in Basel? {ASIDE}", history) == f"{ASKED} And in Basel? {ASIDE}"
    assert engine.understood(f"{ASIDE} What does a Miller earn in Bern?", history) == "What does a Miller earn in Bern?"
