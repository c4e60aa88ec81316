"""`python -m eval`: tables on stdout, progress and errors on stderr, exit status 0, 1 or 2. No model is loaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval import __main__ as main
from eval import fitting, sets
from eval.verdict import load_run
from rag import parts, wiring
from rag.errors import SettingsError
from rag.protocols import Embedder
from rag.settings import Settings
from tests.conftest import HashingEmbedder

ROWS: list[dict[str, Any]] = [
    {
        "id": "basel",
        "split": "dev",
        "kind": "fact",
        "question": "What does a baker earn in Basel?",
        "answerable": True,
        "reference": "64,500 francs a year.",
        "facts": [["64,500"]],
        "evidence": [{"document": "baker", "quote": "Basel: 64,500 francs a year"}],
    },
    {
        "id": "grind",
        "split": "test",
        "kind": "fact",
        "question": "What do millers grind?",
        "answerable": True,
        "reference": "Grain.",
        "facts": [["barley"]],
        "evidence": [{"document": "miller", "quote": "Millers grind grain."}],
    },
]
Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hashing embedder stands in for the pulled one, all is written below the test's own folder, no data are there."""

    def hashing(_: Settings, **__: bool) -> Embedder:
        return HashingEmbedder()

    monkeypatch.setattr(wiring, "make_embedder", hashing)
    for module in (main, sets, fitting):
        monkeypatch.setattr(module, "HOMES", tmp_path / "var")
    monkeypatch.setenv("ROLEWISE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("ROLEWISE_BENCH", str(tmp_path / "bench"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def own(write: Write) -> Path:
    """A question set about the shelf."""
    return write("own.jsonl", lines(*ROWS))


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def run(*arguments: str | Path) -> Result:
    """A command that comes to its end; the exit status is whichever."""
    result = CliRunner().invoke(main.cli, [str(one) for one in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def answer(name: str, right: float, **changed: Any) -> dict[str, Any]:
    """A row as a run writes it, as far as it is compared."""
    told = {"set": "own", "question": f"{name}?", "kind": "fact", "answerable": True, "status": "answered"}
    measured = {"outcome": "right" if right else "wrong", "measures": {"right": right}}
    return {"id": name, **told, **measured, "generator": {"name": "extractive", "model": "extractive"}, **changed}


# run


def test_a_set_of_the_users_own_is_asked(own: Path, shelf: Path, tmp_path: Path) -> None:
    result = run("run", own, "--documents", shelf, "-o", tmp_path / "run", "-v")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:8] == [
        "wrong: grind: What do millers grind?",
        "    missing ['barley']",
        "    Millers grind grain. [1]",
        "| kind | n | right | wrong | wrongly refused | wrongly answered |",
        "| --- | --: | --: | --: | --: | --: |",
        "| fact | 2 | 1 (50%) | 1 | 0 | 0 |",
        "| all | 2 | 1 (50%) | 1 | 0 | 0 |",
        "",
    ]
    assert "| right | 0.500 (2) |" in result.stdout
    assert "own: 100%" in result.stderr
    assert [row["id"] for row in load_run(tmp_path / "run")] == ["basel", "grind"]
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert (about["sets"], about["generator"]["name"]) == (["own"], "extractive")
    assert (tmp_path / "var/own/index/build").is_dir()


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--split", "test"], ["grind"]),
        (["--limit", "1"], ["basel"]),
        (
            ["--split", "test", "--askers"],
            ["grind", "grind~name", "grind~gender", "grind~origin", "grind~age"],
        ),
    ],
)
def test_what_is_asked_can_be_chosen(
    own: Path, shelf: Path, tmp_path: Path, options: list[str], ids: list[str]
) -> None:
    result = run("run", own, "--documents", shelf, "-o", tmp_path / "run", *options)
    rows = load_run(tmp_path / "run")
    assert [row["id"] for row in rows] == ids
    note = "the same answer whoever asks, by what the asker tells: name 1/1, gender 1/1, origin 1/1, age 1/1\n"
    assert (note in result.stdout) == ("--askers" in options)


def test_a_bundled_set_is_asked_of_its_own_documents(tmp_path: Path, shelf: Path) -> None:
    assert run("run", "hostile", "--limit", "2", "--documents", shelf, "-o", tmp_path / "run").exit_code == 0
    assert {row["set"] for row in load_run(tmp_path / "run")} == {"hostile"}
    assert all("exact" not in row["measures"] or row["measures"]["exact"] == 1 for row in load_run(tmp_path / "run"))


def test_a_search_alone_has_the_measures_of_the_ranking_and_cannot_go_on_as_a_run_of_answers(
    own: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a generator was loaded")

    with monkeypatch.context() as patched:
        patched.setattr(parts, "_local", refuse)
        patched.setattr(parts, "ExtractiveGenerator", refuse)
        options = ["--retrieval-only", "--generator", "local"]
        result = run("run", own, "--documents", shelf, "-o", tmp_path / "run", *options, "-v")
    assert result.stdout.splitlines()[:3] == ["| measure | own |", "| --- | --: |", "| hit@1 | 1.000 (2) |"]
    assert json.loads((tmp_path / "run/run.json").read_text())["generator"] is None
    with pytest.raises(SettingsError, match="holds a run that differs in generator, settings"):
        run("run", own, "--documents", shelf, "-o", tmp_path / "run")


def test_a_run_goes_on_in_its_folder(own: Path, shelf: Path, tmp_path: Path) -> None:
    whole = run("run", own, "--documents", shelf, "-o", tmp_path / "run").stdout
    file = tmp_path / "run/rows.jsonl"
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[:40])
    again = run("run", own, "--documents", shelf, "-o", tmp_path / "run").stdout
    assert again.split("ms since")[0] == whole.split("ms since")[0]
    assert file.read_bytes().startswith(first)
    assert [row["id"] for row in load_run(tmp_path / "run")] == ["basel", "grind"]


def test_several_files_of_settings_are_a_run_and_a_column_each(
    own: Path, shelf: Path, tmp_path: Path, write: Write
) -> None:
    lenient, strict = write("lenient.toml", "refusal = 1.0"), write("strict.toml", "refusal = 0\nretrieval = 'dense'")
    options: list[str | Path] = ["--settings", lenient, "--settings", strict, "-o", tmp_path / "grid"]
    result = run("run", own, "--documents", shelf, *options)
    shown = result.stdout.splitlines()
    assert shown[:3] == [
        "| measure | lenient | strict |",
        "| --- | --: | --: |",
        "| right | 0.500 (2) | 0.000 (2) |",
    ]
    assert "| refusal precision |  | 0.000 (2) |" in shown
    rows = {name: load_run(tmp_path / "grid" / name) for name in ("lenient", "strict")}
    assert {row["status"] for row in rows["strict"]} == {"not_found"}
    assert rows["lenient"][0]["settings"] == {"generator": "extractive", "refusal": 1.0}
    assert rows["strict"][0]["settings"] == {"generator": "extractive", "refusal": 0.0, "retrieval": "dense"}
    one = run("run", own, "--documents", shelf, "--settings", strict, "-o", tmp_path / "one")
    assert one.stdout.startswith("| kind | n |")
    assert (tmp_path / "one/run.json").is_file()


def test_a_bench_whose_data_are_missing_is_skipped_with_its_reason(own: Path, shelf: Path) -> None:
    result = run("run", own, "--documents", shelf, "--bench", "squad2")
    assert result.exit_code == 0
    assert "squad2 is skipped: " in result.stderr
    assert " is missing. ROLEWISE_BENCH must name the folder of the public sets." in result.stderr
    assert "| fact | 2 |" in result.stdout
    with pytest.raises(SettingsError, match="no question is left to ask"):
        run("run", "--bench", "squad2")


def test_a_folder_in_the_shape_of_beir_is_searched(tmp_path: Path, write: Write) -> None:
    write("mine/corpus.jsonl", lines(*({"_id": name, "title": name, "text": f"{name} is baked."} for name in "abc")))
    write("mine/queries.jsonl", lines({"_id": "q", "text": "what is b"}))
    write("mine/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\tb\t1\n")
    result = run("run", "--bench", tmp_path / "mine")
    assert result.stdout.splitlines()[:3] == ["| measure | mine |", "| --- | --: |", "| hit@1 | 1.000 (1) |"]
    assert (tmp_path / "var/bench/mine/documents").is_dir()


@pytest.fixture
def faulty(own: Path, shelf: Path, write: Write) -> None:
    """Beside the set and its documents, files that cannot be used as they are."""
    write("bad.toml", "passages =")
    write("odd.toml", "passages = 0")
    write("typo.toml", "pasages = 5")
    write("fine.toml", "passages = 5")
    write("more/fine.toml", "passages = 6")
    write("more/own.jsonl", lines(*ROWS))
    write("drafted.jsonl", lines(ROWS[0], {**ROWS[1], "review": "todo"}))
    write("other.jsonl", lines({**ROWS[0], "id": "a", "evidence": [{"document": "baker", "quote": "Bern: 1 franc"}]}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no question set 'nowhere'. Name a JSONL file, or one of: roles, other, hostile."),
        (["own.jsonl"], "own.jsonl needs its documents. Name their folder with --documents."),
        (["--bench", "nowhere"], "there is no bench 'nowhere'. Benches: squad2, "),
        (
            ["own.jsonl", "--documents", "shelf", "--split", "dev", "--settings", "bad.toml"],
            "bad.toml is not valid TOML",
        ),
        (["own.jsonl", "--documents", "shelf", "--settings", "odd.toml"], "setting 'passages': Input should be"),
        (["own.jsonl", "--documents", "shelf", "--settings", "typo.toml"], "unknown setting 'pasages'"),
        (
            ["own.jsonl", "--documents", "shelf", "--settings", "fine.toml", "--settings", "more/fine.toml"],
            "two files of settings are called 'fine'; the runs are named after them. Rename one.",
        ),
        (["own.jsonl", "more/own.jsonl", "--documents", "shelf"], "two sets are called 'own'"),
        (
            ["drafted.jsonl", "--documents", "shelf"],
            'drafted.jsonl, line 2: ValueError("a drafted question that nobody reviewed; correct it',
        ),
        (["other.jsonl", "--documents", "shelf"], "question 'a': 'Bern: 1 franc' is not in the document 'baker'."),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    faulty: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", "run", *arguments])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    [error] = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert message in error
    assert shown.err.endswith(error + "\n")


def test_all_settings_are_read_before_anything_is_asked(own: Path, shelf: Path, tmp_path: Path, write: Write) -> None:
    good, bad = write("good.toml", ""), write("bad.toml", "passages = 0")
    with pytest.raises(SettingsError, match="setting 'passages'"):
        run("run", own, "--documents", shelf, "--settings", good, "--settings", bad, "-o", tmp_path / "grid")
    assert not (tmp_path / "grid").exists()


@pytest.mark.parametrize("arguments", [["--split", "train"], ["--limit", "0"], ["--documents", "nowhere"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert run("run", *arguments).exit_code == 2


# compare


@pytest.fixture
def two(write: Write) -> tuple[Path, Path]:
    """Two runs of 20 questions, of which the later one gets one more wrong."""
    before = write("before/rows.jsonl", lines(*(answer(f"q{number}", float(number > 2)) for number in range(20))))
    after = write("after/rows.jsonl", lines(*(answer(f"q{number}", float(number > 3)) for number in range(20))))
    return before.parent, after.parent


def test_a_fall_beyond_its_tolerance_exits_1(two: tuple[Path, Path]) -> None:
    result = run("compare", *two)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].startswith("FAIL: right")


def test_a_rise_and_a_fall_that_is_tolerated_exit_0(two: tuple[Path, Path]) -> None:
    before, after = two
    risen = run("compare", after, before / "rows.jsonl")
    assert (risen.exit_code, risen.stdout.splitlines()[-1][:6]) == (0, "PASS: ")
    assert run("compare", before, after, "--tolerance", "right=0.05").exit_code == 0
    assert run("compare", before, after, "--tolerance", "right=0.04").exit_code == 1


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [
        ("right", "--tolerance 'right' is not of the form right=0.02."),
        ("right=a lot", "--tolerance 'right=a lot' is not of the form"),
        ("right=-1", "The tolerance of 'right' is -1.0. Give a number from 0 on."),
        ("rigth=0.1", "No measure is called 'rigth'."),
    ],
)
def test_a_tolerance_that_makes_no_sense_is_named(two: tuple[Path, Path], tolerance: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        run("compare", *two, "--tolerance", tolerance)
    assert message in str(caught.value)


def test_runs_of_other_questions_cannot_be_compared(two: tuple[Path, Path], write: Write) -> None:
    write("after/rows.jsonl", lines(answer("z", 1.0)))
    with pytest.raises(SettingsError, match="No question is in both runs"):
        run("compare", *two)


# keep, report


@pytest.fixture
def done(own: Path, shelf: Path, tmp_path: Path) -> Path:
    """The folder of a run."""
    run("run", own, "--documents", shelf, "-o", tmp_path / "run")
    return tmp_path / "run"


def test_what_is_kept_has_no_texts_and_can_be_compared_with(done: Path, tmp_path: Path) -> None:
    assert run("keep", done, tmp_path / "kept.jsonl").exit_code == 0
    rows = load_run(tmp_path / "kept.jsonl")
    assert [row["id"] for row in rows] == ["basel", "grind"]
    assert all({"answer", "citations", "struck", "passages"}.isdisjoint(row) for row in rows)
    assert "Millers grind grain" not in (tmp_path / "kept.jsonl").read_text()
    result = run("compare", tmp_path / "kept.jsonl", done)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "PASS: no measure became worse than tolerated.")


def test_a_report_is_one_file_in_the_folder_or_elsewhere(done: Path, tmp_path: Path) -> None:
    assert run("report", done).stdout == f"{done / 'report.html'}\n"
    page = (done / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "Basel: 64,500 francs a year" in page
    run("keep", done, tmp_path / "kept.jsonl")
    elsewhere = tmp_path / "elsewhere.html"
    assert run("report", done, "--before", tmp_path / "kept.jsonl", "-o", elsewhere).stdout == f"{elsewhere}\n"
    assert elsewhere.read_text(encoding="utf-8") != page


def test_a_folder_that_holds_no_run_has_no_report(two: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"before/run\.json is missing or damaged"):
        run("report", two[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match=r"empty/rows\.jsonl: No such file"):
        run("report", tmp_path / "empty")


def test_a_file_that_cannot_be_written_is_named(
    done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["eval", "keep", str(done), "nowhere/kept.jsonl"])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err.endswith("error: nowhere/kept.jsonl No such file or directory. Check that path.\n")


# draft, fit


def test_a_draft_that_may_hold_a_review_is_not_overwritten(shelf: Path, write: Write) -> None:
    reviewed = write("drafted.jsonl", "mine\n")
    with pytest.raises(SettingsError, match=r"drafted\.jsonl is there already, perhaps with your review in it"):
        run("draft", shelf, "-o", reviewed)
    assert reviewed.read_text() == "mine\n"


def test_a_fit_rests_on_the_development_questions_and_on_strangers(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    def set_of(name: str) -> str:
        told = [
            {**ROWS[0], "id": f"{name}{number}", "question": ROWS[0]["question"] + " " * number} for number in range(8)
        ]
        absent = {"kind": "absent", "answerable": False, "facts": [], "evidence": []}
        untold = [
            {**ROWS[0], **absent, "id": f"{name}-{number}", "question": f"What does a baker earn in {place}?"}
            for number, place in enumerate(["Oslo", "Rome", "Lima", "Kyiv", "Bonn", "Nice", "Turin", "Delhi"])
        ]
        held_out = [{**ROWS[1], "id": f"{name}-test"}, {**ROWS[1], **absent, "id": f"{name}-test-absent"}]
        return lines(*told, *untold, *held_out)

    write("questions/roles.jsonl", set_of("r"))
    write("questions/other.jsonl", set_of("o"))
    monkeypatch.setattr(fitting, "SETS", tmp_path / "questions")
    monkeypatch.setattr(fitting, "BUNDLED", {"roles": shelf, "other": shelf})
    result = run("fit", "-o", tmp_path / "fit.json")
    # of each set 8 that are told, 8 that are not, and the 8 told ones of the other as strangers
    assert result.stdout.startswith("plain: precision ")
    assert "/32 (" in result.stdout
    fitted = json.loads((tmp_path / "fit.json").read_text())
    assert (fitted["name"], fitted["judged"]) == (fitting.NAME, None)
