"""Roles are found in a question in any common wording of their names."""

from __future__ import annotations

import pytest

from rag.errors import SettingsError
from rag.roles import Roles

ROLES = Roles(
    {
        "ML Systems Engineer": ["Machine Learning Systems Engineer", "ML Systems Eng"],
        "Machine Learning Engineer": ["ML Engineer"],
        "ML Platform Engineer": ["Machine Learning Platform Engineer", "Platform Engineer for Machine Learning"],
        "ML Infrastructure Engineer": ["Machine Learning Infrastructure Engineer"],
        "Distinguished ML Engineer": ["Distinguished Machine Learning Engineer"],
    }
)


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("How much could a senior ML systems engineer make in the US?", ["ML Systems Engineer"]),
        ("ML INFRA ENG MEDIAN PAY???", ["ML Infrastructure Engineer"]),
        ("what do machine learning engineers earn", ["Machine Learning Engineer"]),
        ("Machine Learning (ML) Systems Engineers", ["ML Systems Engineer"]),
        ("MLE pay", ["Machine Learning Engineer"]),
        ("Infrastructure engineer for ML", ["ML Infrastructure Engineer"]),
        ("ml platform engineering skills", ["ML Platform Engineer"]),
        ("And for the distinguished role?", ["Distinguished ML Engineer"]),
        ("compare platform and infrastructure engineers", ["ML Platform Engineer", "ML Infrastructure Engineer"]),
        ("distinguished machine learning engineer vs ml engineer", ["Distinguished ML Engineer", "Machine Learning Engineer"]),
        ("compare ml systems, ml platform and ml infra engineers", ["ML Systems Engineer", "ML Platform Engineer", "ML Infrastructure Engineer"]),
        ("which cloud platforms do they use", []),
        ("how do I deploy machine learning systems", []),
        ("prompt engineer salary", []),
        ("software engineer", []),
        ("", []),
    ],
)  # fmt: skip
def test_roles_in_a_question(question: str, found: list[str]) -> None:
    assert ROLES.find(question) == found


def test_a_role_given_by_the_user_is_found_by_any_of_its_names() -> None:
    assert ROLES.resolve("ml infra engineer") == "ML Infrastructure Engineer"
    assert ROLES.resolve("Machine Learning Engineer") == "Machine Learning Engineer"


def test_an_unknown_role_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(
        SettingsError, match=r"no single role is called 'pilot'\. Roles: Distinguished ML Engineer, ML Inf"
    ):
        ROLES.resolve("pilot")


def test_documents_without_roles_have_none() -> None:
    assert Roles({}).find("any engineer") == []
    with pytest.raises(SettingsError, match="the documents name no roles"):
        Roles({}).resolve("Baker")


def test_roles_of_another_trade_work_alike() -> None:
    roles = Roles({"Registered Nurse": ["RN"], "Nurse Practitioner": ["NP"], "Head Nurse": []})
    assert roles.find("what does an RN earn?") == ["Registered Nurse"]
    assert roles.find("Nurse practitioners and head nurses") == ["Nurse Practitioner", "Head Nurse"]


def test_mentions_are_spelled_out_in_place_once_each() -> None:
    assert ROLES.spell_out("ML INFRA ENG pay?") == "ML Infrastructure Engineer pay?"
    assert ROLES.spell_out("What do MLEs and platform engineers do") == (
        "What do Machine Learning Engineer and ML Platform Engineer do"
    )
    roles = Roles({"Baker": [], "Miller": []})
    assert roles.spell_out("do bakers and millers earn") == "do Baker and Miller earn"


@pytest.mark.parametrize(
    ("question", "unknown"),
    [
        ("What does a prompt engineer earn?", ["prompt engineer"]),
        ("Do data engineers and MLOps engineers earn more?", ["data engineers", "MLOps engineers"]),
        ("What does a senior ML platform engineer earn?", []),
        ("What do engineers earn? Senior engineers?", []),
        ("Is an ML infra eng a baker?", []),
    ],
)
def test_roles_of_the_same_family_that_are_not_known(question: str, unknown: list[str]) -> None:
    assert ROLES.unknown(question) == unknown
