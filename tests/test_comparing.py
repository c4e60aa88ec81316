"""Questions about several roles or documents are answered for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rag.answering import Engine
from rag.comparing import labels_asked, question_about
from rag.types import Finished, Token


def test_labels_are_those_named_or_all(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    version = engine_over(shelf).version
    assert labels_asked("Do millers or bakers earn more?", version) == ["Miller", "Baker"]
    assert labels_asked("Which of the jobs is paid in Bern?", version) == ["Baker", "Miller"]
    assert labels_asked("Who needs patience?", version) == ["Baker", "Miller"]
    assert labels_asked("Which flour does a baker know?", version) == []
    assert labels_asked("What is paid in Bern?", version) == []


def test_the_question_about_one_label_names_no_other(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    version = engine_over(shelf).version
    question = "Compare the pay of bakers and millers in Bern"
    assert question_about(question, "Miller", version) == "Compare the pay of Miller and in Bern"
    assert question_about("Who is paid in Bern?", "Miller", version) == "Miller: Who is paid in Bern?"


def test_each_role_has_its_line_and_its_own_quotation(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    engine = engine_over(shelf)
    question = "What do bakers and millers earn in Bern?"
    events = list(engine.stream_answer(question))
    assert isinstance(events[-1], Finished)
    answer = events[-1].answer
    assert answer.text.split("\n") == [
        "Baker: Bern: 61,000 francs a year [1]",
        "Miller: A Miller earns 58,000 francs a year in Bern. [2]",
    ]
    assert "".join(event.text for event in events if isinstance(event, Token)) == answer.text
    assert [(one.passage.document, one.quote) for one in answer.citations] == [
        ("baker", "Bern: 61,000 francs a year"),
        ("miller", "A Miller earns 58,000 francs a year in Bern."),
    ]
    assert answer.status == "answered"
    assert [one.passage.id for one in answer.passages] == [one.passage.id for one in engine.search(question)]


def test_a_role_whose_documents_do_not_tell_is_not_stated(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    answer = engine_over(shelf).ask("What do bakers and millers earn in Basel?")
    assert answer.text == "Baker: Basel: 64,500 francs a year [1]\nMiller: not stated"
    assert answer.status == "partial"
    answer = engine_over(shelf).ask("What do bakers and millers earn in Oslo?")
    assert (answer.status, answer.citations) == ("not_found", ())


def test_documents_without_roles_go_by_their_titles(shelf: Path, engine_over: Callable[..., Engine]) -> None:
    for name, text in (("ferry", "# Ferry\n\nDogs travel free.\n"), ("library", "# Library\n\nDogs stay outside.\n")):
        (shelf / f"{name}.md").write_text(f"---\ntitle: {name.title()}\n---\n{text}")
    (shelf / "baker.md").unlink()
    (shelf / "miller.md").unlink()
    answer = engine_over(shelf).ask("In which documents do dogs stay or travel?")
    assert answer.text == "Ferry: Dogs travel free. [1]\nLibrary: Dogs stay outside. [2]"
