"""A follow-up is made whole from the conversation, and a new subject is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rag.answering import Engine
from rag.following import made_whole
from rag.roles import Roles
from rag.types import Message

ROLES = Roles({"Baker": [], "Miller": []})
PAY = "What does a Baker earn in Bern?"


def after(*questions: str) -> list[Message]:
    turns = [(Message("user", question), Message("assistant", "61,000 francs [1]")) for question in questions]
    return [message for turn in turns for message in turn]


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("And in Basel?", f"{PAY} And in Basel?"),
        ("What about Basel?", f"{PAY} What about Basel?"),
        ("Is it more there than ten years ago?", f"{PAY} Is it more there than ten years ago?"),
        ("Basel?", f"{PAY} Basel?"),
        ("And for a miller?", "What does a Miller earn in Bern?"),
        ("And which skills does a miller need?", "What does a  earn in Bern? And which skills does a miller need?"),
        ("Which skills does a miller need?", "Which skills does a miller need?"),
        ("How many stones has the old mill?", "How many stones has the old mill?"),
        ("Different question: who grinds it?", "Different question: who grinds it?"),
        ("Thanks. Now tell me what an astronaut earns.", "Thanks. Now tell me what an astronaut earns."),
    ],
)
def test_follow_ups(question: str, whole: str) -> None:
    assert made_whole(question, after(PAY), ROLES) == whole


def test_without_a_conversation_nothing_changes() -> None:
    assert made_whole("And in Basel?", [], ROLES) == "And in Basel?"


def test_a_follow_up_of_a_follow_up_is_made_whole_from_both() -> None:
    assert (
        made_whole("And in Basel?", after(PAY, "And for a miller?"), ROLES)
        == "What does a Miller earn in Bern? And in Basel?"
    )


def test_the_answer_tells_how_the_question_was_read(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    answer = engine_over(shelf).ask("And for a miller?", history=after(PAY))
    assert answer.question == "And for a miller?"
    assert answer.read_as == "What does a Miller earn in Bern?"
    assert answer.citations[0].quote == "A Miller earns 58,000 francs a year in Bern."
