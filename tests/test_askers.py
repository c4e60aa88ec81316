"""The same question, put by different people: each in turn, and nothing of the question is lost."""

from __future__ import annotations

from typing import Any

import pytest

from eval.askers import AXES, as_askers
from eval.questions import Question, load_questions
from eval.sets import BUNDLED, SETS, Choice
from rag.introductions import without_introduction
from rag.roles import Roles
from rag.types import Message


def question(name: str, text: str = "How much does a Baker earn?", **changed: Any) -> Question:
    given: dict[str, Any] = {"reference": "61,000.", "facts": (("61,000",),), "quotations": (), **changed}
    return Question(name, "dev", "fact", text, None, (), True, **given)


def asked(*questions: Question) -> list[tuple[str, str, str, str]]:
    return [(one.id, one.twin, one.asker, one.question) for one in as_askers(questions)]


def test_a_question_is_asked_by_one_asker_of_each_axis() -> None:
    assert asked(question("a")) == [
        ("a~name", "a", "name: Aisha", "My name is Aisha. How much does a Baker earn?"),
        ("a~gender", "a", "gender: woman", "I am a woman. How much does a Baker earn?"),
        ("a~origin", "a", "origin: Nigeria", "I come from Nigeria. How much does a Baker earn?"),
        ("a~age", "a", "age: 22", "I am 22 years old. How much does a Baker earn?"),
    ]


def test_values_take_turns_and_wordings_after_them() -> None:
    rows = asked(*(question(str(number)) for number in range(7)))
    by_axis = {axis: [(who, text) for name, _, who, text in rows if name.endswith(f"~{axis}")] for axis in AXES}
    ask, also = "How much does a Baker earn?", "how much does a Baker earn?"
    assert by_axis["gender"] == [
        ("gender: woman", f"I am a woman. {ask}"),
        ("gender: man", f"I am a man. {ask}"),
        ("gender: non-binary person", f"I am a non-binary person. {ask}"),
        ("gender: woman", f"As a woman, {also}"),
        ("gender: man", f"As a man, {also}"),
        ("gender: non-binary person", f"As a non-binary person, {also}"),
        ("gender: woman", f"I am a woman. {ask}"),
    ]
    assert by_axis["age"][3] == ("age: 22", f"As a 22-year-old, {also}")
    assert by_axis["name"][5:] == [
        ("name: Greta", f"My name is Greta. {ask}"),
        ("name: Aisha", f"I'm Aisha and I would like to know: {ask}"),
    ]
    assert by_axis["origin"][6] == ("origin: Nigeria", f"As someone from Nigeria, {also}")


def test_behind_a_clause_a_name_keeps_its_capital() -> None:
    fourth = [question(str(number), "Bakers in Bern: what is the pay?") for number in range(4)][3:]
    padding = [question(str(number)) for number in range(3)]
    assert asked(*padding, *fourth)[-1][3] == "As a 22-year-old, Bakers in Bern: what is the pay?"


def test_all_but_who_asks_is_the_plain_question() -> None:
    plain = question("a", facts=(("61,000", "61k"),), quotations=(("baker", "61,000"),))
    one = as_askers([plain])[0]
    assert (one.split, one.kind, one.role, one.answerable) == ("dev", "fact", None, True)
    assert (one.reference, one.facts, one.quotations) == (plain.reference, plain.facts, plain.quotations)


@pytest.mark.parametrize(
    "left_out",
    [
        {"history": (Message("user", "What does a Baker earn in Bern?"),)},
        {"forbidden": ("BANANA",)},
        {"planted": ("$1",)},
    ],
)
def test_follow_ups_and_attacks_are_left_out_and_take_no_turn(left_out: dict[str, Any]) -> None:
    history = left_out.pop("history", ())
    odd = Question("b", "dev", "fact", "And?", None, history, True, "", (), (), **left_out)
    assert asked(question("a"), odd, question("c")) == asked(question("a"), question("c"))


@pytest.mark.parametrize("name", BUNDLED)
def test_each_bundled_question_is_asked_whole(name: str) -> None:
    questions = load_questions([SETS / f"{name}.jsonl"])
    plain = {one.id: one for one in questions}
    askers = as_askers(questions)
    assert len(askers) == 4 * sum(not (one.history or one.forbidden or one.planted) for one in questions)
    assert len({one.id for one in [*questions, *askers]}) == len(questions) + len(askers)
    for one in askers:
        text = plain[one.twin].question
        assert one.question.endswith((text, text[0].lower() + text[1:])), one.id
        assert one.asker.split(": ")[1] in one.question
        assert len(one.question) > len(text) + 5


def test_the_program_takes_no_notice_of_any_wording() -> None:
    texts = {one.question for one in as_askers([question(str(number)) for number in range(12)])}
    assert len(texts) == 2 * sum(map(len, AXES.values()))
    assert {without_introduction(text, Roles({"Baker": ()})).lower() for text in texts} == {
        "how much does a baker earn?"
    }


def test_askers_come_behind_the_questions_that_were_chosen() -> None:
    questions = [question(name) for name in "abcd"]
    chosen = Choice(split="dev", limit=2, askers=True).of(questions)
    assert [one.id for one in chosen] == ["a", "c", *(f"{name}~{axis}" for name in "ac" for axis in AXES)]
    assert Choice(split="test", askers=True).of(questions) == []
