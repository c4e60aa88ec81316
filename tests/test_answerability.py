"""A question about something that the documents do not treat is refused even when all else matches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag.answerability import not_found, unknown_names
from rag.answering import Engine
from rag.questions import QuestionWord


def words(question: str, **nearness: float) -> list[QuestionWord]:
    return [QuestionWord(name, question.index(name), 1.0, near) for name, near in nearness.items()]


@pytest.mark.parametrize(
    ("question", "nearness", "missing"),
    [
        ("What does a baker earn in Berlin?", {"baker": 0.9, "Berlin": 0.2}, ["Berlin"]),
        ("What does a baker earn in Basel?", {"baker": 0.9, "Basel": 0.95}, []),
        ("what does a baker earn on vacation?", {"vacation": 0.2}, []),  # no name: the words do not decide alone
        ("Vacation days of a baker?", {"Vacation": 0.2}, []),  # a capital at the beginning tells nothing
        ("Hello. Vacation days?", {"Vacation": 0.2}, []),
        ("PAY OF A BAKER IN BERLIN", {"BERLIN": 0.2}, []),  # nor do capitals all over
        ("what does error e42 mean", {"error": 0.8, "e42": 0.3}, ["e42"]),
        ("bakers' pay in 1999 and in 61000 villages", {"1999": 0.3, "61000": 0.1}, ["1999"]),
    ],
)
def test_names_without_a_counterpart(question: str, nearness: dict[str, float], missing: list[str]) -> None:
    assert unknown_names(question, words(question, **nearness)) == missing


def test_the_refusal_says_what_is_missing() -> None:
    assert not_found([]) == "The documents do not tell."
    assert not_found(["Berlin", "E42"]) == (
        "The documents do not tell. What was found on the question says nothing about Berlin or E42."
    )


def test_a_place_that_no_document_names_is_refused(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    answer = engine_over(shelf).ask("What does a baker earn in Oslo?")
    assert (answer.status, answer.citations) == ("not_found", ())
    assert answer.text.endswith("says nothing about Oslo.")
    assert answer.passages
