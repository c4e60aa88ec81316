"""The log on the command line, and questions of it asked again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag import wiring
from rag.__main__ import cli
from rag.conversations import Store
from rag.protocols import Embedder
from rag.receipts import Receipts
from rag.settings import Settings
from rag.versions import current
from tests.conftest import BAKER, HashingEmbedder

PAY = "What does a baker earn in Basel?"


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hashing(_: Settings, **__: bool) -> Embedder:
        return HashingEmbedder()

    monkeypatch.setattr(wiring, "make_embedder", hashing)
    monkeypatch.setenv("ROLEWISE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def home(shelf: Path, tmp_path: Path) -> Path:
    settings(tmp_path)
    assert run(tmp_path, "index", "build", str(shelf)).exit_code == 0
    return tmp_path


def settings(home: Path, *lines: str) -> None:
    (home / "rolewise.toml").write_text("\n".join(['embedder = "hashing"', *lines]))


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), *arguments])


def ask(home: Path, question: str, *options: str) -> str:
    """The id of the receipt."""
    result = run(home, "ask", question, "--generator", "extractive", "--json", *options)
    return str(json.loads(result.stdout).get("receipt", ""))


def test_every_front_door_of_the_terminal_leaves_receipts(home: Path) -> None:
    assert ask(home, PAY).startswith("1-")
    rows = home / "rows.jsonl"
    rows.write_text(json.dumps({"question": PAY}) + "\n" + json.dumps({"question": ""}) + "\n")
    run(home, "batch", str(rows), "-o", str(home / "answers.jsonl"), "--generator", "extractive")
    CliRunner().invoke(cli, ["--home", str(home), "chat", "--generator", "extractive"], input="Do bakers know flour?\n")
    run(home, "search", PAY)
    lines = run(home, "log", "list").stdout.splitlines()
    assert [line.split()[2:4] for line in lines] == [
        ["terminal", "answered"],
        ["batch", "answered"],
        ["batch", "error"],
        ["terminal", "answered"],
    ]
    assert lines[0].endswith(PAY)
    assert [line.split()[3] for line in run(home, "log", "list", "--status", "error").stdout.splitlines()] == ["error"]
    whole = [json.loads(line) for line in run(home, "log", "list", "--last", "2", "--json").stdout.splitlines()]
    assert [one["door"] for one in whole] == ["batch", "terminal"]


def test_the_log_can_be_turned_off(home: Path) -> None:
    settings(home, "receipts = false")
    assert ask(home, PAY) == ""
    assert run(home, "log", "list").stdout == ""
    assert not (home / "var").exists()


def test_a_receipt_is_shown_with_all_that_made_the_answer(home: Path) -> None:
    id_ = ask(home, f"I am Wei. {PAY}", "--role", "Baker")
    shown = run(home, "log", "show", id_).stdout
    assert f"receipt      {id_}" in shown
    assert "question     I am [name]. What does a baker earn in Basel?" in shown
    assert "replaced     name" in shown
    assert "role         Baker" in shown
    assert f"index        {current(home / 'index' / 'build')} hashing" in shown
    assert "[1] baker:" in shown
    assert "“Basel: 64,500 francs a year”" in shown
    assert re.search(r"baker:\d+-\d+  0\.\d{4}  dense 0\.\d+", shown)
    kept = json.loads(run(home, "log", "show", id_, "--json").stdout)
    used = kept["settings"]
    assert used["refusal"] == 0.5
    assert used["generator"] == "extractive"
    assert used["sampling"] == {"temperature": 0, "seed": 0}
    assert {"system", "question"} <= set(used["prompts"])
    assert used["fit"]
    assert not {"home", "token", "hosted_key", "hosted_url"} & set(used)
    assert kept["rating"] is None


def test_sampling_is_what_the_generators_ask_for() -> None:
    package = Path(wiring.__file__).parent
    assert '"temperature": 0, "seed": 0' in (package / "llama.py").read_text()
    assert "temperature=0" in (package / "hosted.py").read_text()
    assert wiring.SAMPLING == {"temperature": 0, "seed": 0}


def test_what_a_person_thought_of_it_stands_with_the_conversation_alone(home: Path) -> None:
    CliRunner().invoke(cli, ["--home", str(home), "chat", "--generator", "extractive"], input=f"{PAY}\n")
    with Store(home / "var" / "conversations.sqlite") as store:
        [turn] = store.turns(store.list()[0].id)
        store.rate(turn.id, "bad")
    assert "rated        bad" in run(home, "log", "show", "1").stdout
    assert turn.record["receipt"] == json.loads(run(home, "log", "show", "1", "--json").stdout)["id"]


def test_a_replay_over_the_same_index_is_the_same(home: Path) -> None:
    id_ = ask(home, PAY)
    replayed = run(home, "log", "replay", id_)
    assert (replayed.exit_code, replayed.stdout) == (0, "the same\n")
    assert len(run(home, "log", "list").stdout.splitlines()) == 1  # a replay is no answer to anybody


def test_a_replay_goes_back_to_the_index_version_of_its_receipt(home: Path, shelf: Path) -> None:
    first = current(home / "index" / "build")
    id_ = ask(home, PAY)
    (shelf / "baker.md").write_text(BAKER.replace("64,500", "99,000"))
    run(home, "index", "build", str(shelf))
    second = current(home / "index" / "build")
    assert second != first
    assert run(home, "log", "replay", id_).exit_code == 0
    now = run(home, "log", "replay", id_, "--current")
    assert now.exit_code == 1
    lines = now.stdout.splitlines()
    assert lines[0] == "differs: answer, citations"
    assert "-Basel: 64,500 francs a year [1]" in lines
    assert "+Basel: 99,000 francs a year [1]" in lines
    assert f"  index: {first} -> {second}" in lines
    found = json.loads(run(home, "log", "replay", id_, "--current", "--json").stdout)
    assert [one["name"] for one in found["outcome"]] == ["answer", "citations"]
    assert not found["same"]
    shutil.rmtree(home / "index" / "build" / first)
    gone = run(home, "log", "replay", id_)
    assert gone.stderr == f"The index version {first} is gone; asking the current one.\n"
    assert gone.exit_code == 1


def test_a_version_with_other_passages_can_still_be_asked(home: Path, shelf: Path) -> None:
    id_ = ask(home, PAY)
    settings(home, "passage_tokens = 64", "refusal = 0.4")
    run(home, "index", "build", str(shelf))
    replayed = run(home, "log", "replay", id_)
    assert replayed.exit_code == 0, replayed.output
    assert "  setting refusal: 0.5 -> 0.4" in replayed.stdout
    assert "setting passage_tokens" not in replayed.stdout
    assert "setting passage_tokens: 200 -> 64" in run(home, "log", "replay", id_, "--current").stdout


def test_a_follow_up_is_replayed_after_its_conversation(home: Path) -> None:
    lines = f"{PAY}\nAnd in Bern?\n"
    CliRunner().invoke(cli, ["--home", str(home), "chat", "--generator", "extractive"], input=lines)
    assert "61,000" in run(home, "log", "show", "2").stdout
    assert run(home, "log", "replay", "2").exit_code == 0


def test_a_question_with_personal_data_is_replayed_with_a_note(home: Path) -> None:
    id_ = ask(home, f"I am Wei. {PAY}")
    replayed = run(home, "log", "replay", id_)
    assert replayed.exit_code == 0, replayed.output
    assert "note: personal data in the question was replaced before it was kept (name)" in replayed.stdout


def test_a_failure_is_replayed_as_one(home: Path) -> None:
    run(home, "ask", PAY, "--role", "Dentist", "--generator", "extractive")
    assert run(home, "log", "replay", "1").exit_code == 0


def test_other_passages_alone_are_a_difference(home: Path) -> None:
    id_ = ask(home, PAY)
    settings(home, "passages = 1")
    replayed = run(home, "log", "replay", id_)
    assert replayed.exit_code == 1
    assert replayed.stdout.startswith("differs: passages\n\npassages:\n  - ")
    assert "  setting passages: 10 -> 1" in replayed.stdout


def test_delete(home: Path) -> None:
    for _ in range(3):
        ask(home, PAY)
    assert run(home, "log", "delete", "2").stdout == "deleted 1 receipt\n"
    assert [line.partition("-")[0] for line in run(home, "log", "list").stdout.splitlines()] == ["1", "3"]
    assert run(home, "log", "delete", "--before", "2020-01-01").stdout == "deleted 0 receipts\n"
    assert run(home, "log", "delete").exit_code == 2
    assert run(home, "log", "delete", "1", "--all").exit_code == 2
    assert run(home, "log", "delete", "--all").stdout == "deleted 2 receipts\n"
    assert run(home, "log", "show", "1").exit_code == 1
    assert run(home, "log", "delete", "--all").stdout == "deleted 0 receipts\n"
    with pytest.raises(StopIteration):
        next(Receipts(Settings(home=home).log).all())
