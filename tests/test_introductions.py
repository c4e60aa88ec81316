"""Who asks is dropped from a question, and nothing else is."""

from __future__ import annotations

import pytest

from rag.introductions import without_introduction
from rag.roles import Roles

ROLES = Roles({"Master Baker": [], "Miller": []})
ASKED = "what does a baguette cost?"


@pytest.mark.parametrize(
    "told",
    [
        "My name is Aisha.",
        "my name is jamal,",
        "Hello! I'm José and I would like to know:",
        "I am a woman.",
        "As a non-binary person,",
        "As a 67-year-old,",
        "I am 41 years old.",
        "I come from Nigeria.",
        "As someone from Viet Nam,",
        "As a young Polish woman from Gdansk,",
        "I am Wei. I am from China.",
        "I am Wei, from China.",
        "I'm Ada, a woman from Peru.",
        "I'm a 22-year-old Mexican man named Luis Ortega, and I want to know:",
    ],
)
def test_name_gender_origin_and_age_are_dropped(told: str) -> None:
    assert without_introduction(f"{told} {ASKED}", ROLES) == ASKED


def test_there_points_back_only_where_it_is_a_place() -> None:
    for asked in ("Is there rye bread?", "what bread there is?", "Which ovens are there?"):
        assert without_introduction(f"I come from Peru. {asked}", ROLES) == asked


@pytest.mark.parametrize(
    "question",
    [
        ASKED,
        "I am a miller. What do I earn?",
        "As a Master Baker, what do I earn?",
        "I am a senior engineer. What do I earn?",
        "I come from Nigeria. What does a baker earn there?",
        "As a 67-year-old, may I work nights at my age?",
        "My name is Aisha.",
        "As a rule, who opens the shop?",
        "As in 2024, is rye dearer?",
        "I am allergic to nuts. Which breads can I eat?",
        "Iron ovens: who builds them?",
    ],
)
def test_all_else_stays(question: str) -> None:
    assert without_introduction(question, ROLES) == question
