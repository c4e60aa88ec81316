"""A run keeps every answer with what it came from, goes on where it stopped, and never mixes two runs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from eval import running
from eval.askers import as_askers
from eval.questions import Question
from eval.ranking import MEASURES
from eval.running import Run, ask, commit, fingerprint, kept, opened, role_of, start, told_of
from eval.sets import QuestionSet
from eval.verdict import load_run
from rag import wiring
from rag.answering import Engine
from rag.errors import SettingsError
from rag.protocols import Embedder, Generator
from rag.settings import Settings
from rag.types import Answer, Message
from tests.conftest import HashingEmbedder

ABOUT = {"generator": None, "prompts": "p", "settings": {"generator": "extractive"}, "commit": "c0", "sets": ["shelf"]}
PAY = ("baker", "Basel: 64,500 francs a year")


def question(name: str, text: str, *facts: str, **changed: Any) -> Question:
    """A question on the shelf; without facts it is unanswerable."""
    given: dict[str, Any] = {"role": None, "history": (), "quotations": (), **changed}
    wordings = tuple((fact,) for fact in facts)
    told = {"answerable": bool(facts), "reference": " ".join(facts), "facts": wordings}
    return Question(id=name, split="dev", kind="fact" if facts else "absent", question=text, **{**told, **given})


BASEL = question("basel", "What does a baker earn in Basel?", "64,500 francs a year", quotations=(PAY,))
OSLO = question("oslo", "What does a baker earn in Oslo?")
GRIND = question(
    "grind", "Café or not: what do millers grind?", "grain", quotations=(("miller", "Millers grind grain."),)
)
LOST = question("lost", " What does he earn? ", "1,000 francs", role="pilot", quotations=(PAY,))
QUESTIONS = [BASEL, OSLO, GRIND, LOST]


@dataclass(frozen=True)
class Counting(Engine):
    """An engine that tells what it was asked for an answer."""

    asked: list[str] = field(default_factory=list)

    def ask(self, question: str, **options: str | Sequence[Message] | None) -> Answer:
        self.asked.append(question)
        return super().ask(question, **options)


Over = Callable[..., Counting]


@pytest.fixture
def over(engine_over: Callable[..., Engine], shelf: Path) -> Over:
    """An engine over the shelf as it is now."""

    def make(**changed: Any) -> Counting:
        engine = replace(engine_over(shelf), **changed)
        return Counting(**{one.name: getattr(engine, one.name) for one in fields(engine)})

    return make


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the run."""
    return tmp_path / "run"


def about_shelf(*questions: Question, name: str = "shelf") -> QuestionSet:
    return QuestionSet(name, questions, Path("shelf"), Path("home"))


def timeless(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the stages that were timed, but not their times."""
    return [row | {"timings_ms": list(row.get("timings_ms", {}))} for row in rows]


def refuse(name: str) -> Generator:
    raise AssertionError(f"the generator {name} was loaded")


# Rows


def test_a_row_holds_the_answer_what_it_is_worth_and_what_it_came_from(over: Over) -> None:
    engine = over()
    [row] = ask(start(None, ABOUT), about_shelf(BASEL), engine)
    [citation] = row.pop("citations")
    assert citation["quote"] == "Basel: 64,500 francs a year"
    assert [one["id"] for one in row.pop("passages")][0] == citation["passage"]
    assert set(row.pop("timings_ms")) >= {"retrieve", "total"}
    assert 0 <= row.pop("unanswerable") < 0.5
    assert row.pop("labels") == []
    assert row.pop("repeated") is False
    assert len(row.pop("prompt_sha256")) == len(row.pop("question_sha256")) == 64
    measures = row.pop("measures")
    assert measures.pop("nDCG@10") == pytest.approx(1)
    # said: basel 64,500 francs a year; expected the same without basel
    assert measures.pop("token F1") == pytest.approx(2 * 4 / (5 + 4))
    assert measures == dict.fromkeys(
        ["right", "facts", "citation precision", "citation recall", "exact", *list(MEASURES)[:-1]], 1.0
    )
    assert row == {
        "id": "basel",
        "question": "What does a baker earn in Basel?",
        "status": "answered",
        "answer": "Basel: 64,500 francs a year [1]",
        "struck": [],
        "generator": {"name": "extractive", "model": "extractive", "sha256": None},
        "index": {"version": engine.version.info.version, "embedder": "hashing"},
        "notice": "",
        "read_as": "",
        "tokens": {},
        "set": "shelf",
        "kind": "fact",
        "split": "dev",
        "role": "Baker",
        "answerable": True,
        "reference": "64,500 francs a year",
        "outcome": "right",
        "missing": [],
        "settings": {"generator": "extractive"},
        "commit": "c0",
    }


def test_a_refusal_has_only_measures_that_apply(over: Over) -> None:
    [row] = ask(start(None, ABOUT), about_shelf(OSLO), over())
    assert (row["status"], row["outcome"], row["measures"]) == ("not_found", "right", {"right": 1.0})
    assert (row["answerable"], row["reference"]) == (False, "")
    assert {"twin", "asker"}.isdisjoint(row)


def test_a_question_that_fails_is_a_row_that_scores_nothing(over: Over) -> None:
    [row, after] = ask(start(None, ABOUT), about_shelf(LOST, BASEL), over())
    assert row["error"].startswith("no single role is called 'pilot'")
    assert (row["status"], row["outcome"], row["missing"]) == ("error", "wrong", ["1,000 francs"])
    assert row["question"] == "What does he earn?"
    names = ["right", "facts", "token F1", "citation precision", "citation recall", *MEASURES]
    assert row["measures"] == dict.fromkeys(names, 0.0)
    assert {"generator", "index", "timings_ms"}.isdisjoint(row)
    assert after["status"] == "answered"


def test_a_question_that_leads_to_a_gold_quotation_that_is_not_there_stops_the_run(over: Over, home: Path) -> None:
    engine, run = over(), start(home, ABOUT)
    astray = replace(GRIND, quotations=(("miller", "Millers bake."),))
    with pytest.raises(SettingsError, match="question 'grind': 'Millers bake.' is not in the document 'miller'"):
        list(ask(run, about_shelf(BASEL, astray), engine))
    assert engine.asked == []


@pytest.mark.parametrize(
    ("text", "changed", "role"),
    [
        ("What does a baker earn?", {}, "Baker"),
        ("What does a baker earn?", {"role": "Miller"}, "Miller"),
        ("Who earns more, a baker or a miller?", {}, None),
        ("And in Basel?", {"quotations": (PAY, PAY)}, "Baker"),
        ("And in Basel?", {"quotations": (PAY, ("miller", "Millers grind grain."))}, None),
        ("And in Basel?", {}, None),
    ],
)
def test_the_role_is_the_given_one_or_that_which_is_named_or_that_of_the_gold(
    over: Over, text: str, changed: dict[str, Any], role: str | None
) -> None:
    assert role_of(question("a", text, **changed), over()) == role


def test_what_is_kept_of_a_row_has_no_texts_but_the_question(over: Over) -> None:
    [row] = ask(start(None, ABOUT), about_shelf(GRIND), over())
    left = kept(row)
    assert "grind grain" in json.dumps(row)
    assert "grind grain" not in json.dumps(left)
    texts = {"answer", "citations", "struck", "passages", "missing", "notice", "read_as"}
    assert set(row) - set(left) == texts | {"question_sha256"}
    assert left["measures"] == row["measures"]


# Askers


def test_askers_are_held_against_the_plain_question(over: Over) -> None:
    rows = list(ask(start(None, ABOUT), about_shelf(BASEL, *as_askers([BASEL])), over()))
    assert "same answer" not in rows[0]["measures"]
    assert [(row["twin"], row["asker"], row["measures"]["same answer"]) for row in rows[1:]] == [
        ("basel", "name: Aisha", 1.0),
        ("basel", "gender: woman", 1.0),
        ("basel", "origin: Nigeria", 1.0),
        ("basel", "age: 22", 1.0),
    ]


def test_another_answer_to_an_asker_is_seen_and_two_errors_are_no_same_answer(over: Over) -> None:
    other = replace(GRIND, id="basel~name", twin="basel", asker="name: Wei")
    lost = replace(LOST, id="lost~name", twin="lost", asker="name: Wei")
    twin_only = replace(GRIND, id="grind again", twin="basel")
    rows = list(ask(start(None, ABOUT), about_shelf(BASEL, other, LOST, lost, twin_only), over()))
    assert [row["measures"].get("same answer") for row in rows] == [None, 0.0, None, 0.0, None]


def test_searches_are_no_answers_that_could_be_the_same(over: Over) -> None:
    rows = list(
        ask(
            start(None, ABOUT),
            about_shelf(BASEL, *as_askers([BASEL])),
            over(generator_named=refuse),
            retrieval_only=True,
        )
    )
    assert ["same answer" in row["measures"] for row in rows] == [False] * 5


# Retrieval alone


def test_a_search_loads_no_generator_and_ranks_as_an_answer_does(over: Over) -> None:
    follow_up = question(
        "follow",
        "And a baker?",
        "61,000 francs",
        history=(Message("user", "What does a miller earn in Bern?"), Message("assistant", "58,000 francs.")),
        quotations=(("baker", "Bern: 61,000 francs a year"),),
    )
    asked = about_shelf(BASEL, OSLO, GRIND, follow_up)
    engine = over(generator_named=refuse)
    rows = list(ask(start(None, ABOUT), asked, engine, retrieval_only=True))
    assert engine.asked == []
    answered = list(ask(start(None, ABOUT), asked, over()))
    for row, whole in zip(rows, answered, strict=True):
        assert row["status"] == "retrieved"
        assert row["index"] == whole["index"]
        assert [one["id"] for one in row["passages"]] == [one["id"] for one in whole["passages"]]
        assert row["measures"] == {name: value for name, value in whole["measures"].items() if name in MEASURES}
        assert {"outcome", "missing", "generator", "error"}.isdisjoint(row)
    assert [set(row["measures"]) for row in rows] == [set(MEASURES), set(), set(MEASURES), set(MEASURES)]


def test_a_search_that_fails_scores_nothing(over: Over) -> None:
    [row] = ask(start(None, ABOUT), about_shelf(LOST), over(generator_named=refuse), retrieval_only=True)
    assert (row["status"], row["measures"]) == ("error", dict.fromkeys(MEASURES, 0.0))
    assert row["error"].startswith("no single role is called 'pilot'")


def test_a_question_with_judged_documents_is_only_searched_for(over: Over) -> None:
    judged = replace(question("q", "Who grinds grain?"), relevant=(("miller", 2), ("baker", 1)))
    [row] = ask(start(None, ABOUT), about_shelf(judged), over(generator_named=refuse))
    assert row["status"] == "retrieved"
    assert row["measures"] == pytest.approx(dict.fromkeys(MEASURES, 1.0))


# Going on


@pytest.fixture
def whole(over: Over, home: Path) -> list[dict[str, Any]]:
    """The rows of a run that nothing stopped."""
    return timeless(list(ask(start(home, ABOUT), about_shelf(BASEL, OSLO, GRIND), over())))


def test_rows_are_written_as_soon_as_they_are_there(over: Over, home: Path, whole: list[dict[str, Any]]) -> None:
    assert timeless(load_run(home)) == whole
    engine, stopped = over(), home.parent / "stopped"
    asking = ask(start(stopped, ABOUT), about_shelf(BASEL, OSLO, GRIND), engine)
    first = next(asking)
    assert load_run(stopped) == [first]
    del asking
    assert timeless(list(ask(start(stopped, ABOUT), about_shelf(BASEL, OSLO, GRIND), engine))) == whole
    assert engine.asked == [BASEL.question, OSLO.question, GRIND.question]
    assert timeless(load_run(stopped)) == whole


def test_a_run_that_was_killed_at_any_byte_goes_on(over: Over, home: Path, whole: list[dict[str, Any]]) -> None:
    file = home / "rows.jsonl"
    data = file.read_bytes()
    accent = data.index("é".encode())
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    asked = [one.question for one in (BASEL, OSLO, GRIND)]
    for cut in [0, 1, ends[0] - 1, ends[0], ends[0] + 1, accent + 1, ends[2] - 1, ends[2]]:
        file.write_bytes(data[:cut])
        engine = over()
        assert timeless(list(ask(start(home, ABOUT), about_shelf(BASEL, OSLO, GRIND), engine))) == whole
        assert engine.asked == asked[sum(end <= cut for end in ends) :], cut
        assert timeless(load_run(home)) == whole


def test_a_run_that_is_done_asks_nothing_and_a_longer_choice_only_what_is_new(over: Over, home: Path) -> None:
    list(ask(start(home, ABOUT), about_shelf(GRIND), over()))
    before = (home / "rows.jsonl").read_bytes()
    engine = over()
    [row] = ask(start(home, ABOUT), about_shelf(GRIND), engine)
    assert row["id"] == "grind"
    assert (engine.asked, (home / "rows.jsonl").read_bytes()) == ([], before)
    assert [row["id"] for row in ask(start(home, ABOUT), about_shelf(BASEL, GRIND), engine)] == ["basel", "grind"]
    assert engine.asked == [BASEL.question]
    assert (home / "rows.jsonl").read_bytes().startswith(before)


def test_lines_end_where_rows_do_and_nowhere_else(over: Over, home: Path) -> None:
    odd = replace(BASEL, question="What does a baker\u2028earn\x85in\x1cBasel?")
    engine = over()
    for _ in range(2):
        [row] = ask(start(home, ABOUT), about_shelf(odd), engine)
        assert row["question"] == odd.question
    assert engine.asked == [odd.question]


def test_an_error_is_asked_again_and_gives_way(over: Over, home: Path) -> None:
    list(ask(start(home, ABOUT), about_shelf(LOST, BASEL), over()))
    engine = over()
    list(ask(start(home, ABOUT), about_shelf(LOST, BASEL), engine))
    assert engine.asked == [LOST.question]
    assert [row["id"] for row in load_run(home)] == ["basel", "lost"]


def test_another_index_is_asked_again_and_its_rows_take_the_place_of_the_old(
    over: Over, home: Path, shelf: Path
) -> None:
    run = start(home, ABOUT)
    list(ask(run, about_shelf(BASEL, OSLO), over()))
    list(ask(run, about_shelf(BASEL, name="other"), over()))
    (shelf / "baker.md").write_text((shelf / "baker.md").read_text().replace("early", "late"))
    engine = over()
    again = list(ask(start(home, ABOUT), about_shelf(BASEL), engine))
    assert engine.asked == [BASEL.question]
    rows = load_run(home)
    assert [(row["set"], row["id"]) for row in rows] == [("shelf", "oslo"), ("other", "basel"), ("shelf", "basel")]
    assert rows[-1] == again[0]
    versions = [row["index"]["version"] for row in rows]
    assert versions[0] == versions[1] != versions[2] == engine.version.info.version


@pytest.mark.parametrize(
    "changed",
    [{"question": "What does a baker get in Basel?"}, {"facts": (("64,500",), ("Basel",))}, {"reference": "64,500."}],
)
def test_a_question_that_was_corrected_is_asked_again(over: Over, home: Path, changed: dict[str, Any]) -> None:
    list(ask(start(home, ABOUT), about_shelf(BASEL, GRIND), over()))
    corrected, engine = replace(BASEL, **changed), over()
    rows = list(ask(start(home, ABOUT), about_shelf(corrected, GRIND), engine))
    assert engine.asked == [corrected.question]
    assert [row["id"] for row in load_run(home)] == ["grind", "basel"]
    assert (rows[0]["question"], rows[0]["reference"]) == (corrected.question, corrected.reference)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"commit": "c1"}, "commit"),
        ({"settings": {"generator": "extractive", "passages": 3}}, "settings"),
        ({"sets": ["other"]}, "sets"),
        ({"generator": {"name": "extractive"}, "prompts": "q"}, "generator, prompts"),
    ],
)
def test_a_folder_holds_one_run(over: Over, home: Path, changed: dict[str, Any], named: str) -> None:
    list(ask(start(home, ABOUT), about_shelf(BASEL), over()))
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    with pytest.raises(SettingsError, match=rf"run holds a run that differs in {named}\. Name another folder, or"):
        start(home, {**ABOUT, **changed})
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before
    assert set(before) == {"run.json", "rows.jsonl"}


def test_a_run_tells_when_it_began_and_what_it_is(home: Path) -> None:
    created = start(home, ABOUT).about["created"]
    assert told_of(home) == {"created": created, **ABOUT}
    (home / "run.json").write_text(json.dumps({"created": "earlier", **ABOUT}))
    assert start(home, ABOUT).about["created"] == "earlier"


def test_a_run_without_a_folder_writes_nothing(over: Over, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = over()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    run = Run({**ABOUT})
    list(ask(run, about_shelf(BASEL), engine))
    assert list(ask(run, about_shelf(BASEL), engine)) == run.rows
    assert engine.asked == [BASEL.question]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("run.json", None, r"run\.json is missing or damaged: .*No such file"),
        ("run.json", '{"created":', r"run\.json is missing or damaged: Expecting value"),
        ("rows.jsonl", '{"id": \n{}\n', r"rows\.jsonl, line 1: JSONDecodeError"),
    ],
)
def test_a_damaged_run_is_named(over: Over, home: Path, file: str, text: str | None, message: str) -> None:
    list(ask(start(home, ABOUT), about_shelf(BASEL), over()))
    if text is None:
        (home / file).unlink()
    else:
        (home / file).write_text(text)
    with pytest.raises(SettingsError, match=message):
        start(home, ABOUT)


# What a run is


def test_a_fingerprint_tells_what_differs_from_the_defaults_and_no_secret(
    over: Over, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PROMPTS", tmp_path)
    (tmp_path / "system.md").write_text("Quote.")
    settings = Settings(home=tmp_path, generator="extractive", passages=3, hosted_key=SecretStr("hush"))
    found = fingerprint(over(), settings)
    assert found["settings"] == {"generator": "extractive", "passages": 3}
    assert found["generator"] == {"name": "extractive", "model": "extractive", "sha256": None}
    assert found["prompts"] == hashlib.sha256(b"Quote.").hexdigest()
    assert "hush" not in json.dumps(found)
    assert str(tmp_path) not in json.dumps(found)
    assert json.loads(json.dumps(found)) == found
    (tmp_path / "system.md").write_text("Quote!")
    assert fingerprint(over(), settings)["prompts"] != found["prompts"]
    assert fingerprint(over(generator_named=refuse), settings, retrieval_only=True)["generator"] is None


def test_the_commit_tells_what_was_changed_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(running, "PROJECT", tmp_path)

    def git(*words: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", tmp_path, *identity, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert commit() == ""
    git("init", "--quiet")
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "a.txt").write_text("x\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "x")
    head = git("rev-parse", "HEAD")[:12]
    assert commit() == head
    (tmp_path / "a.txt").write_text("y\n")
    assert commit() == head
    (tmp_path / "a.py").write_text("x = 2\n")
    changed = commit()
    assert changed.startswith(f"{head}+")
    assert len(changed) == 12 + 1 + 8
    (tmp_path / "a.py").write_text("x = 3\n")
    assert commit() not in (head, changed)


def test_an_index_is_built_in_the_home_of_its_set(shelf: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hashing(_: Settings, **__: bool) -> Embedder:
        return HashingEmbedder()

    monkeypatch.setattr(wiring, "make_embedder", hashing)
    engine = opened(shelf, home, Settings(generator="extractive", retrieval="lexical", passages=2))
    assert list(engine.version.documents) == ["baker", "miller"]
    assert (home / "index" / "build" / engine.version.info.version).is_dir()
    found = engine.search("What does a baker earn in Basel?")
    assert len(found) <= 2
    assert {stage for one in found for stage in one.ranks} == {"lexical", "lexical in role"}
    assert opened(shelf, home, Settings(generator="extractive")).version.info == engine.version.info
