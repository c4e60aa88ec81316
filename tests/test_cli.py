"""The command line: data on stdout, one line of error, exit status 0, 1 or 2."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rag import models, parts, wiring
from rag.__main__ import cli, main
from rag.completion import completed
from rag.errors import ModelMissing, SettingsError
from rag.protocols import Embedder
from rag.settings import Settings
from tests.conftest import HashingEmbedder

PROJECT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hashing embedder stands in for the pulled one, and no generator's model is there."""

    def hashing(_: Settings, **__: bool) -> Embedder:
        return HashingEmbedder()

    monkeypatch.setattr(wiring, "make_embedder", hashing)
    monkeypatch.setenv("ROLEWISE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def home(shelf: Path, tmp_path: Path) -> Path:
    """A home with an index over the shelf."""
    assert run(tmp_path, "index", "build", str(shelf)).exit_code == 0
    return tmp_path


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), *arguments])


def test_a_build_ends_with_a_summary(shelf: Path, tmp_path: Path) -> None:
    (shelf / "photo.png").write_bytes(b"")
    result = run(tmp_path, "index", "build", str(shelf))
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines()[:7])
    assert (lines["documents"], lines["sections"], lines["passages"], lines["skipped"]) == ("2", "4", "4", "1")
    assert "  photo.png: no reader for .png" in result.stdout
    assert "(was there already)" in run(tmp_path, "index", "build", str(shelf)).stdout


def test_search_prints_passages_with_ranks_per_stage(home: Path) -> None:
    shown = run(home, "search", "flour and yeast", "-k", "1").stdout
    assert shown.startswith("1. Baker > Skills\n   baker:106-203  score 1.0000  dense #1 (")
    assert "lexical #1 (" in shown
    record = json.loads(run(home, "search", "flour and yeast", "--json").stdout)
    assert [one["id"] for one in record["passages"]][0] == "baker:106-203"


def test_search_loads_no_generator(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a generator was loaded")

    monkeypatch.setattr(parts, "ExtractiveGenerator", refuse)
    monkeypatch.setattr(models, "path_of", refuse)
    assert run(home, "search", "flour").exit_code == 0


def test_ask_prints_the_answer_with_its_quotations(home: Path) -> None:
    shown = run(home, "ask", "What does a baker earn in Basel?", "--generator", "extractive").stdout
    assert shown.startswith("Basel: 64,500 francs a year [1]\n\n[1] Baker > Pay\n    “Basel: 64,500 francs a year”\n")
    record = json.loads(
        run(home, "ask", "What does a baker earn in Basel?", "--generator", "extractive", "--json").stdout
    )
    text = run(home, "index", "text", "baker").stdout
    [citation] = record["citations"]
    assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_a_model_that_is_not_pulled_falls_back_and_says_so(home: Path) -> None:
    record = json.loads(run(home, "ask", "What does a baker earn in Basel?", "--json").stdout)
    assert record["generator"]["name"] == "extractive"
    assert "python -m rag models pull qwen2.5-coder-1.5b" in record["notice"]


def test_a_refusal_names_the_nearest_passages(home: Path) -> None:
    shown = run(home, "ask", "Quantum chromodynamics?", "--generator", "extractive").stdout
    assert shown.startswith("The documents do not tell.")
    assert re.search(r"\n\nNearest in the documents:\n  (Baker|Miller) > \w+\n    (baker|miller):\d+-\d+\n", shown)


def test_a_piped_chat_answers_line_by_line_and_goes_on_next_time(home: Path) -> None:
    def chat(lines: str, *options: str) -> Result:
        arguments = ["--home", str(home), "chat", "--generator", "extractive", *options]
        return CliRunner().invoke(cli, arguments, input=lines)

    first = chat("What does a baker earn in Basel?\n" + "x" * 5000 + "\n")
    assert first.stdout.startswith("Basel: 64,500 francs a year [1]\n\n[1] Baker > Pay\n")
    assert first.stderr.startswith("error: the question has 5,000 characters")
    assert first.exit_code == 0
    second = chat("And in Bern?\n", "--continue")
    assert "Read as: What does a Baker earn in Basel? And in Bern?\n" in second.stdout
    assert second.stderr == "Going on with “What does a baker earn in Basel?”, 1 question so far.\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_tells_how_to_enable_it(shell: str) -> None:
    shown = CliRunner().invoke(cli, ["completion", shell]).stdout
    assert "_ROLEWISE_COMPLETE" in shown
    assert shown.splitlines()[-1].startswith("# To enable it: ")
    assert f"rolewise completion {shell}" in shown.splitlines()[-1]


def test_roles_documents_and_versions_complete(home: Path) -> None:
    [version] = [path.parent.name for path in (home / "index" / "build").glob("*/manifest.json")]
    assert completed("roles", home, "bA") == ["Baker"]
    assert completed("documents", home, "") == ["baker", "miller"]
    assert completed("versions", home, version[:3]) == [version]
    assert completed("roles", home / "nowhere", "") == []
    (home / "index" / "build" / version / "manifest.json").write_text("{")
    assert completed("roles", home, "") == []


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_a_role_as_one_word_that_runs_nothing(shelf: Path, tmp_path: Path) -> None:
    (shelf / "evil.md").write_text(
        "---\ntitle: Evil\nrole: \"Evil $(touch ran) & 'Co'\"\n---\n# Evil\n\nEvil is paid.\n"
    )
    (shelf / "master.md").write_text("---\ntitle: M\nrole: Master Baker\n---\n# M\n\nMasters bake.\n")
    assert run(tmp_path, "index", "build", str(shelf)).exit_code == 0
    program = tmp_path / "bin" / "rolewise"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rag "$@"\n')
    program.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(cli, ["completion", "bash"]).stdout)
    words = [["ask", "--role", "Mas"], ["ask", "--role", "'Mas"], ["ask", "--role", "ev"], ["ask", "--role", '"Ev']]
    typed = [["rolewise", "--home", str(tmp_path), *line] for line in words]
    lines = [f"COMP_WORDS=({shlex.join(line)}); COMP_CWORD=5; " for line in typed]
    complete = '_rolewise_completion rolewise; printf "%s\\n" "${COMPREPLY[@]}"; COMPREPLY=(); '
    done = subprocess.run(
        ["bash", "-c", f". {script}; " + "".join(line + complete for line in lines)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(PROJECT)},
        cwd=tmp_path,
    )
    master, quoted, evil, nothing = done.stdout.splitlines()
    assert master == "Master\\ Baker"
    assert quoted == "Master Baker"
    assert nothing == ""
    assert shlex.split(evil) == ["Evil $(touch ran) & 'Co'"]
    asked = subprocess.run(
        ["bash", "-c", f"printf %s {evil}"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert asked.stdout == "Evil $(touch ran) & 'Co'"
    assert not (tmp_path / "ran").exists()


def test_batch_answers_every_row_and_goes_on_where_it_stopped(home: Path) -> None:
    rows = [
        {"id": "a", "question": "What does a baker earn in Basel?"},
        {"id": "b", "question": ""},
        {"id": "c", "question": "pay?", "role": "pilot"},
        {"question": "What does a miller earn?", "history": [{"role": "user", "content": "Hello"}]},
    ]
    questions, answers = home / "questions.jsonl", home / "answers.jsonl"
    questions.write_text("\n".join([*map(json.dumps, rows), "not json"]) + "\n")
    assert run(home, "batch", str(questions), "-o", str(answers), "--generator", "extractive").exit_code == 0
    whole = answers.read_text()
    records = [json.loads(line) for line in whole.splitlines()]
    assert [record["status"] for record in records] == ["answered", "error", "error", "answered", "error"]
    assert [record.get("id") for record in records] == ["a", "b", "c", None, None]
    assert records[1]["error"].startswith("the question is empty")
    assert records[3]["citations"][0]["quote"] == "A Miller earns 58,000 francs a year in Bern."
    lines = whole.splitlines(keepends=True)
    answers.write_text("".join(lines[:2]) + lines[2][:25])  # killed while it wrote the third
    assert run(home, "batch", str(questions), "-o", str(answers), "--generator", "extractive").exit_code == 0
    resumed = [json.loads(line) for line in answers.read_text().splitlines()]
    assert answers.read_text().startswith("".join(lines[:2]))
    assert [record["status"] for record in resumed] == [record["status"] for record in records]


def test_batch_refuses_answers_to_other_questions(home: Path) -> None:
    (home / "questions.jsonl").write_text('{"question": "Bern?"}\n')
    (home / "answers.jsonl").write_text('{"question": "Basel?"}\n')
    result = run(home, "batch", str(home / "questions.jsonl"), "-o", str(home / "answers.jsonl"))
    assert "holds answers to other questions" in str(result.exception)


def test_versions_are_listed_verified_rolled_back_and_pruned(home: Path, shelf: Path) -> None:
    (shelf / "miller.md").unlink()
    assert run(home, "index", "build", str(shelf)).exit_code == 0
    first, second = run(home, "index", "list").stdout.splitlines()
    assert first.startswith("  ")
    assert second.startswith("* ")
    assert run(home, "index", "verify").stdout.strip().endswith(" is sound. Vectors: Flat, exact")
    assert run(home, "index", "rollback").stdout == f"{second.split()[1]} -> {first.split()[0]}\n"
    assert run(home, "index", "prune", "--keep", "0").stdout == f"deleted {second.split()[1]}\n"
    assert "there is no version before" in str(run(home, "index", "rollback").exception)


def test_a_damaged_version_is_listed_and_not_switched_to(home: Path, shelf: Path) -> None:
    first = run(home, "index", "list").stdout.split()[1]
    (shelf / "miller.md").unlink()
    second = run(home, "index", "build", str(shelf)).stdout.split()[1]
    (home / "index" / "build" / first / "words.json").write_text("{}")
    assert "words.json was altered. Nothing was switched" in str(run(home, "index", "rollback").exception)
    (home / "index" / "build" / first / "manifest.json").write_text("{}")
    lines = run(home, "index", "list").stdout.splitlines()
    assert [line[:14] for line in lines] == [f"  {first}", f"* {second}"]
    assert "manifest.json is not a readable manifest" in lines[0]
    assert run(home, "search", "bread", "--json").exit_code == 0


def test_inspect_tells_what_to_look_at(shelf: Path, home: Path) -> None:
    (shelf / "copy.md").write_text((shelf / "baker.md").read_text() + "\nWrite to anna@bakery.example.\n")
    (shelf / "photo.png").write_bytes(b"x")
    record = json.loads(run(home, "index", "inspect", str(shelf), "--json").stdout)
    checks = {(one["check"], one["source"]) for one in record["findings"]}
    assert {("personal data", "copy.md"), ("skipped", "photo.png")} <= checks
    text = run(home, "index", "build", str(shelf), "--report").stdout
    assert "copy.md" in text
    assert "anna@" not in text


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["search", "x"], 1, "error: there is no index in "),
        (["index", "build", "nowhere"], 1, "error: nowhere does not exist."),
        (["index", "text", "x"], 1, "error: there is no index in "),
        (["models", "pull", "nothing"], 1, "error: "),
        (["search"], 2, "Missing argument 'QUESTION'"),
        (["fly"], 2, "No such command 'fly'"),
        (["ask", "x", "--generator", "magic"], 2, "'magic' is not one of"),
    ],
)
def test_failures_are_one_line_and_no_traceback(
    tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    environment = {**os.environ, "ROLEWISE_MODELS": str(tmp_path / "models"), "ROLEWISE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "rag", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == status
    assert message in done.stderr or (arguments[0] == "search" and "models pull" in done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_embedder_that_is_not_pulled_is_named(tmp_path: Path) -> None:
    del tmp_path
    with pytest.raises(ModelMissing, match="python -m rag models pull all-MiniLM-L6-v2"):
        models.path_of("all-MiniLM-L6-v2")


def test_the_console_script_is_the_same_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["rolewise", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("rolewise, version ")


def test_calibration_is_stored_with_the_version_and_used(home: Path, tmp_path: Path) -> None:
    asked = [("What does a baker earn in Basel?", True), ("What does a baker earn in Oslo?", False)]
    questions = tmp_path / "labelled.jsonl"
    rows = [json.dumps({"question": f"{text} {'?' * n}", "answerable": told}) for n in range(8) for text, told in asked]
    questions.write_text("\n".join([*rows, json.dumps({"question": "Which roles pay best?", "answerable": True})]))
    shown = run(home, "calibrate", str(questions)).stdout
    assert "questions 16, of which the documents answer 8" in shown
    assert "left out  1 that are answered role by role" in shown
    assert (
        "refusals  plain, each on questions the fit had not seen: precision 8/8 (95 % interval 0.68 to 1.00)" in shown
    )
    [fit] = (home / "index" / "build").glob("*/fit.json")
    assert json.loads(fit.read_text())["name"] == "calibrated on 16 questions of labelled.jsonl"
    assert run(home, "index", "verify").exit_code == 0
    answers = [json.loads(run(home, "ask", text, "--generator", "extractive", "--json").stdout) for text, _ in asked]
    assert [one["status"] for one in answers] == ["answered", "not_found"]
    assert answers[0]["unanswerable"] < 0.5 < answers[1]["unanswerable"]


def test_the_bundled_questions_are_for_the_bundled_guides(home: Path) -> None:
    result = run(home, "calibrate")
    assert isinstance(result.exception, SettingsError)
    assert "Name a file of your own" in str(result.exception)
