"""Labelled questions become a fit that is stored with the index version and used by the next engine."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from rag.answerability import DEFAULT, SIGNALS, STORED, Fit, Weighing, read_fit, signals_of, write_fit
from rag.answering import Engine
from rag.calibration import Example, Labelled, Refusals, calibrated, examples, read_labelled
from rag.errors import IndexDamaged, SettingsError
from rag.evidence import Findings
from rag.logistic import fit, wilson
from rag.questions import QuestionWord
from rag.roles import Roles
from rag.types import Evidence, Passage, Sentence

ROLES = Roles({"ML Engineer": [], "Data Engineer": []})


def test_signals_by_hand() -> None:
    question = "What does a baker earn in Berlin?"
    passage = Passage("baker", "Baker", None, (), 0, 5, "Basel")
    evidence = (Evidence(passage, Sentence(0, 5, "Basel"), 0.7), Evidence(passage, Sentence(0, 5, "Basel"), 0.9))
    words = (
        QuestionWord("baker", 12, 1.0, 0.8),
        QuestionWord("earn", 18, 1.0, 0.6),
        QuestionWord("Berlin", 26, 2.0, 0.1),
    )
    signals = signals_of(question, Findings(evidence, words), ROLES, judgement=0.75)
    assert signals == pytest.approx(
        {
            "score": 0.9,
            "name": 0.9,
            "strange": (0.2 * 1 + 0.4 * 1 + 0.9 * 2) / 4,
            "role": 0.0,
            "kind": 1.0,  # it asks for an amount, and the evidence has none
            "judged": math.log(3),
        }
    )
    assert set(signals_of("?", Findings((), ()), ROLES)) == set(SIGNALS)


def test_a_judgement_is_never_certain() -> None:
    assert signals_of("?", Findings((), ()), ROLES, judgement=1.0)["judged"] == pytest.approx(math.log(99))


def test_the_probability_by_hand() -> None:
    weighing = Weighing(1.0, {"score": -2.0})
    assert weighing.probability({"score": 0.5}) == 0.5
    assert weighing.probability({"score": 1e9}) == pytest.approx(0)
    judged = Fit("both", weighing, Weighing(0.0, {"judged": -1.0}))
    assert judged.probability({"score": 0.5, "judged": 1.0}) == pytest.approx(1 / (1 + math.e))
    assert judged.probability({"score": 0.5}) == 0.5


def test_a_stored_fit_is_read_and_the_default_where_there_is_none(tmp_path: Path) -> None:
    assert read_fit(tmp_path) == read_fit(DEFAULT.parent / "nowhere")
    own = Fit("mine", Weighing(1.5, dict.fromkeys(SIGNALS, -0.25)), None)
    write_fit(own, tmp_path / STORED)
    assert read_fit(tmp_path) == own
    assert [path.name for path in tmp_path.iterdir()] == [STORED]


@pytest.mark.parametrize("text", ["{", "{}", '{"name": "x", "plain": {"intercept": 1, "weights": {"size": 1}}}'])
def test_a_damaged_fit_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / STORED).write_text(text)
    with pytest.raises(IndexDamaged, match=r"fit\.json is not a readable fit"):
        read_fit(tmp_path)


def test_a_regression_separates_what_can_be_separated() -> None:
    rows = [{"score": number / 20, "noise": float(number % 2)} for number in range(40)]
    labels = [number < 20 for number in range(40)]
    found = fit(rows, labels)
    assert found.weights["score"] < -1 < abs(found.weights["noise"]) + 1
    boundary = (-found.intercept - 0.5 * found.weights["noise"]) / found.weights["score"]
    assert boundary == pytest.approx(0.975, abs=0.05)  # half way between 19/20 and 20/20
    assert sum((value > 0.5) == label for value, label in zip(found.held_out, labels, strict=True)) >= 36


def test_an_interval_by_hand() -> None:
    # Wilson, 8 of 10: (8 + 1.92 ± 1.96 √(8·2/10 + 0.96)) / (10 + 3.84)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_refusals_are_counted_on_questions_that_were_held_out() -> None:
    rows = [Example({"score": 0.2 + 0.6 * (number % 2)}, bool(number % 2)) for number in range(40)]
    found, refusals = calibrated(rows, "mine")
    assert (found.name, found.judged) == ("mine", None)
    assert refusals == {"plain": Refusals(right=20, made=20, due=20)}
    assert str(refusals["plain"]).startswith("precision 20/20 (95 % interval 0.84 to 1.00), recall 20/20")


def test_a_judged_fit_where_there_are_judgements() -> None:
    rows = [
        Example({"score": 0.5, **({"judged": 2.0 if number % 2 else -2.0} if number < 24 else {})}, bool(number % 2))
        for number in range(40)
    ]
    found, refusals = calibrated(rows, "mine")
    assert set(found.plain.weights) == {"score"}
    assert found.judged is not None
    assert found.judged.weights["judged"] < 0
    assert refusals["judged"] == Refusals(right=12, made=12, due=12)


def test_too_few_questions_are_an_error() -> None:
    with pytest.raises(SettingsError, match="at least 6 questions that the documents answer and 6"):
        calibrated([Example({"score": 0.5}, True)] * 20, "mine")


def test_labelled_questions_are_read_by_split(write: Callable[[str, str], Path]) -> None:
    path = write("own.jsonl", '{"question": "Pay?", "answerable": true, "split": "dev"}\n\n')
    assert read_labelled(path, "dev") == read_labelled(path) == [Labelled("Pay?", True)]
    assert read_labelled(path, "test") == []
    write("own.jsonl", '{"question": "Pay?"}')
    with pytest.raises(SettingsError, match=r"own\.jsonl, line 1: KeyError\('answerable'\)"):
        read_labelled(path)


def test_examples_are_weighed_without_an_answer(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    questions = [Labelled("What does a baker earn in Basel?", True), Labelled("Which roles pay best?", True)]
    one, several = examples(engine_over(shelf), questions)
    assert one is not None
    assert set(one.signals) == set(SIGNALS)
    assert several is None


def test_the_default_fit_is_sound() -> None:
    row = json.loads(DEFAULT.read_text(encoding="utf-8"))
    assert set(row["plain"]["weights"]) == set(SIGNALS)
    assert set(row["judged"]["weights"]) == {*SIGNALS, "judged"}
    assert row["plain"]["weights"]["name"] > 0 > row["judged"]["weights"]["judged"]
