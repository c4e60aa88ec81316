"""Bad candidates are planted: the gate refuses what its questions show, and the watch rolls back what they do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from rag import parts, wiring
from rag.__main__ import cli
from rag.live import LiveRecord
from rag.protocols import Draft, Embedder, Generator
from rag.settings import load_settings
from rag.shadowing import ShadowLog
from rag.types import Evidence, GeneratorInfo, Message
from rag.versions import current
from rag.wiring import PROMPTS, LiveEngine
from tests.conftest import HashingEmbedder

ASKED = {
    "What does a baker earn in Basel?": ("64,500", "baker", "Basel: 64,500 francs a year"),
    "What does a miller earn in Bern?": ("58,000", "miller", "A Miller earns 58,000 francs a year in Bern."),
    "What do bakers know?": ("yeast", "baker", "They know flour, water and yeast (see p. 3)."),
    "What do millers grind?": ("grain", "miller", "Millers grind grain."),
    "What does a baker need above all?": ("patience", "baker", "A Baker needs patience above all."),
}
OTHERS = ["How many stones has the mill of Bern?", "What does a baker earn in Bern?"]
INVENTED = "In verse, the secret of bread is 777 silver coins."


class Obedient:
    """Writes what its prompt asks for: the first note with its marker, or verses. Implements protocols.Generator."""

    info = GeneratorInfo("local", "obedient", "ab" * 32)
    context_tokens = 4000

    def count(self, text: str) -> int:
        return len(text.split())

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        yield f"{INVENTED} [1]" if "verse" in messages[-1].content else f"{evidence[0].quote} [1]"


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("models"):
        return

    def hashing(_: Any, **__: Any) -> Embedder:
        return HashingEmbedder()

    def obedient(_: Any) -> Generator:
        return Obedient()

    monkeypatch.setattr(wiring, "make_embedder", hashing)
    monkeypatch.setattr(parts, "_local", obedient)
    monkeypatch.setenv("ROLEWISE_MODELS", str(tmp_path / "models"))


@pytest.fixture
def home(shelf: Path, tmp_path: Path) -> Path:
    """With an index, and the questions of the gate."""
    settings(tmp_path)
    (tmp_path / "questions.jsonl").write_text("".join(map(as_row, ASKED)))
    assert run(tmp_path, "index", "build", str(shelf)).exit_code == 0
    return tmp_path


def settings(home: Path, *lines: str) -> None:
    usual = ['embedder = "hashing"', 'generator = "extractive"', "watch_answers = 10", "watch_least = 5"]
    gate = f"gate_questions = {json.dumps(str(home / 'questions.jsonl'))}"
    (home / "rolewise.toml").write_text("\n".join([*usual, gate, *lines]))


def as_row(question: str) -> str:
    fact, document, quote = ASKED[question]
    row = {"id": question, "split": "dev", "kind": "fact", "question": question, "answerable": True, "reference": ""}
    return json.dumps(row | {"facts": [[fact]], "evidence": [{"document": document, "quote": quote}]}) + "\n"


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), *arguments])


def candidate(home: Path, name: str, *lines: str) -> str:
    path = home / f"{name}.toml"
    path.write_text("\n".join(lines))
    return str(path)


def failed(result: Result) -> str:
    assert result.exit_code == 1
    return str(result.exception)


def live(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(home, "promote", "--json").stdout)
    return found


def history(home: Path) -> list[tuple[str, str]]:
    lines = run(home, "promote", "--history", "--json").stdout.splitlines()
    return [(one["what"], one["name"]) for one in map(json.loads, lines)]


def ask_all(home: Path, questions: Sequence[str], generator: str = "extractive") -> list[dict[str, Any]]:
    engine = LiveEngine(load_settings(home=home), door="api")
    found = []
    for question in questions:
        answer = engine().ask(question, generator=generator)
        found.append({"status": answer.status, "answer": answer.text, "struck": answer.struck})
    return found


def verses(home: Path) -> str:
    """A candidate whose prompt no draft stands the check after."""
    folder = home / "verses"
    folder.mkdir(exist_ok=True)
    for path in PROMPTS.glob("*.md"):
        (folder / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "question.md").write_text("Answer in verse. $notes $question")
    return candidate(home, "verses", 'prompts = "verses"')


def test_a_candidate_that_refuses_everything_does_not_pass_the_gate(home: Path) -> None:
    before = (home / "index" / "build" / "CURRENT").read_bytes()
    result = run(home, "promote", candidate(home, "strict", "[settings]", "refusal = 0.02"))
    assert failed(result).startswith("strict was refused: right fell by 1.000 (1.000 to 0.000, 0.020 tolerated)")
    assert "| right | 5 | 1.000 | 0.000 | -1.000 |" in result.stdout
    assert "- setting refusal: 0.5 → 0.02" in result.stdout
    assert live(home)["live"] == "nothing was promoted"
    assert history(home) == [("refused", "strict")]
    assert (home / "index" / "build" / "CURRENT").read_bytes() == before
    assert ask_all(home, OTHERS)[0]["status"] == "answered"


def test_an_index_of_other_documents_does_not_pass_the_gate(home: Path, write: Callable[[str, str], Path]) -> None:
    first = current(home / "index" / "build")
    write("other/smith.md", "# Smith\n\nA Smith earns 70,000 francs a year in Bern.\n")
    run(home, "index", "build", str(home / "other"))
    other = current(home / "index" / "build")
    run(home, "index", "rollback", first)
    why = failed(run(home, "promote", candidate(home, "smiths", f'index = "{other}"')))
    assert "right fell by 1.000" in why
    assert current(home / "index" / "build") == first


def test_a_better_candidate_becomes_live_with_settings_and_index_at_once_and_goes_back_so(
    home: Path, shelf: Path
) -> None:
    first = current(home / "index" / "build")
    (shelf / "smith.md").write_text("# Smith\n\nA Smith earns 70,000 francs a year in Bern.\n")
    run(home, "index", "build", str(shelf))
    second = current(home / "index" / "build")
    run(home, "index", "rollback", first)
    engine = LiveEngine(load_settings(home=home), door="chat")  # as a server does, from before to after
    assert (engine().version.info.version, engine().passages) == (first, 10)
    result = run(home, "promote", candidate(home, "more", f'index = "{second}"', "[settings]", "passages = 3"))
    assert (result.exit_code, result.stdout.splitlines()[-2]) == (0, "more is live")
    assert (engine().version.info.version, engine().passages) == (second, 3)
    assert json.loads(run(home, "ask", "What does a smith earn?", "--json").stdout)["index"]["version"] == second
    assert run(home, "index", "prune", "--keep", "0").stdout == ""  # the way back is kept
    assert run(home, "promote", "--back").stdout == "more is undone\n"
    assert (engine().version.info.version, engine().passages) == (first, 10)
    assert history(home) == [("promoted", "more"), ("went back", "more")]


def test_what_slips_through_the_gate_is_rolled_back_while_it_serves_and_stays_away(home: Path) -> None:
    """The gate asks for quotations only; people let a model write, whose drafts no longer stand the check."""
    bad = verses(home)
    engine = LiveEngine(load_settings(home=home), door="chat")

    def asked(times: int) -> list[bool]:
        answers = [engine().ask(question, generator="local") for question in [*ASKED, *OTHERS][:times]]
        return [any(INVENTED in one.sentence for one in answer.struck) for answer in answers]

    assert asked(7) == [False] * 7
    result = run(home, "promote", bad)
    assert result.exit_code == 0
    assert "It is watched for 10 answers or 72 hours, and held against 7 answers before it." in result.stdout
    assert asked(4) == [True] * 4
    assert live(home)["watched"] == "4 answers since, 7 before; the first look is after 5"
    assert asked(1) == [True]
    assert asked(2) == [False] * 2  # it was rolled back by itself, and the server goes on with what was before
    why = "answers with struck sentences rose from 0 of 7 to 5 of 5 (p 0.001)"
    line = run(home, "promote", "--history").stdout.splitlines()[-1]
    assert "rolled back  verses" in line
    assert why in line
    assert live(home)["live"] == "nothing was promoted"

    again = failed(run(home, "promote", "verses"))
    assert again.startswith(f"verses was rolled back: {why}")
    assert again.endswith("If it is to be tried again: --force REASON")
    (home / "verses.toml").rename(home / "poems.toml")
    assert "poems was rolled back" in failed(run(home, "promote", str(home / "poems.toml")))  # whatever it is called
    forced = run(home, "promote", "verses", "--force", "the model was broken that day")
    assert forced.exit_code == 0
    assert "forced       verses  the model was broken that day" in run(home, "promote", "--history").stdout
    assert asked(1) == [True]


def test_a_fall_is_rolled_back_by_the_next_command_too(home: Path) -> None:
    settings(home, "watch_tolerance = 1.0")
    ask_all(home, [*ASKED, *OTHERS])
    run(home, "promote", candidate(home, "strict", "[settings]", "refusal = 0.02"), "--force", "a test")
    assert {one["status"] for one in ask_all(home, list(ASKED))} == {"not_found"}
    settings(home)
    assert json.loads(run(home, "ask", OTHERS[0], "--json").stdout)["status"] == "answered"
    assert history(home) == [("forced", "strict"), ("rolled back", "strict")]


def test_what_does_no_harm_stands(home: Path) -> None:
    ask_all(home, [*ASKED, *OTHERS])
    run(home, "promote", candidate(home, "fewer", "[settings]", "passages = 9"))
    ask_all(home, [*ASKED, *ASKED])
    assert history(home) == [("promoted", "fewer"), ("stands", "fewer")]
    assert live(home)["settings"] == {"passages": 9}


def test_an_index_rollback_by_hand_goes_before_what_was_promoted(home: Path, shelf: Path) -> None:
    first = current(home / "index" / "build")
    (shelf / "smith.md").write_text("# Smith\n\nA Smith earns 70,000 francs a year in Bern.\n")
    run(home, "index", "build", str(shelf))
    second = current(home / "index" / "build")
    run(home, "index", "rollback", first)
    run(home, "promote", candidate(home, "more", f'index = "{second}"', "[settings]", "passages = 3"))
    assert run(home, "index", "rollback", first).stdout == f"{second} -> {first}\n"
    found = json.loads(run(home, "ask", OTHERS[0], "--json").stdout)
    assert (found["index"]["version"], len(found["passages"])) == (first, 3)
    run(home, "promote", "--back")
    assert current(home / "index" / "build") == first


def test_the_environment_goes_before_what_was_promoted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(home, "promote", candidate(home, "fewer", "[settings]", "passages = 2"))
    assert len(json.loads(run(home, "ask", OTHERS[0], "--json").stdout)["passages"]) == 2
    monkeypatch.setenv("ROLEWISE_PASSAGES", "3")
    assert len(json.loads(run(home, "ask", OTHERS[0], "--json").stdout)["passages"]) == 3
    result = run(home, "promote", candidate(home, "four", "[settings]", "passages = 4"))
    assert "The environment sets passages, which goes before four." in result.stderr


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["passages = 3"], "has passages. A candidate has: settings, prompts, index."),
        (["[settings]", "token = 'x'"], "sets token. A candidate may set: answer_tokens"),
        (["[settings]", "passages = 0"], "setting 'passages': Input should be greater than or equal to 1"),
        (["[settings]", "embedder = 'other'", "index = 3"], "sets index."),
        (["index = 'gone'"], "there is no index version 'gone'"),
        (["prompts = 'nowhere'"], "cannot be read (No such file or directory)"),
        ([], "changes nothing"),
    ],
)
def test_a_candidate_that_cannot_be_is_named_with_its_fault(home: Path, lines: list[str], fault: str) -> None:
    assert fault in failed(run(home, "promote", candidate(home, "odd", *lines)))
    assert history(home) == []


def test_prompts_that_lack_a_placeholder_are_refused_before_anything_is_asked(home: Path) -> None:
    file = verses(home)
    (home / "verses" / "question.md").write_text("Answer $question")
    assert "disagree on: notes" in failed(run(home, "promote", file))


def test_an_unknown_name_a_reason_that_is_none_and_nothing_to_undo(home: Path) -> None:
    assert failed(run(home, "promote", "nobody")) == "there is no candidate 'nobody'. Name a TOML file."
    assert failed(run(home, "promote", "--back")).startswith("nothing was promoted that could be undone")
    assert run(home, "promote", "x", "--force", " ").exit_code == 2
    assert run(home, "promote", "--back", "--history").exit_code == 2


def test_without_questions_there_is_no_gate(home: Path) -> None:
    (home / "rolewise.toml").write_text('embedder = "hashing"\ngenerator = "extractive"')
    why = failed(run(home, "promote", candidate(home, "fewer", "[settings]", "passages = 2")))
    assert "the bundled questions are not about these documents" in why


def test_a_gate_asks_what_is_live_once(home: Path) -> None:
    run(home, "promote", candidate(home, "strict", "[settings]", "refusal = 0.02"))
    runs = {path: path.read_bytes() for path in (home / "var" / "gate").glob("*/rows.jsonl")}
    assert len(runs) == 2
    run(home, "promote", candidate(home, "stricter", "[settings]", "refusal = 0.01"))
    assert {path: path.read_bytes() for path in runs} == runs  # their times too
    assert len(list((home / "var" / "gate").glob("*/rows.jsonl"))) == 3


def test_past_questions_are_asked_of_a_candidate_and_the_report_counts(home: Path) -> None:
    ask_all(home, [*ASKED, "What does a carpenter earn?"])
    strict = candidate(home, "strict", "[settings]", "refusal = 0.02")
    assert run(home, "shadow", strict, "report").stdout == "strict has answered nothing in the shadow yet\n"
    report = run(home, "shadow", strict, "--replay", "4").stdout
    assert report.startswith("4 questions, each answered by what was live and by strict in the shadow.")
    assert "status changed     0.750" in report  # the carpenter was refused before
    assert "| refused | 4 | 0.250 | 1.000 | +0.750 |" in report
    assert "exact quotations" not in report  # what says nothing quotes nothing wrong
    assert len(run(home, "log", "list").stdout.splitlines()) == 6  # the shadow is not in the log
    assert run(home, "shadow", "strict", "report").stdout == report
    run(home, "log", "delete", "--all")
    assert run(home, "shadow", "strict", "report").stdout == "strict has answered nothing in the shadow yet\n"
    assert run(home, "shadow", "strict").exit_code == 2


def test_a_candidate_answers_in_the_shadow_of_a_server_and_is_not_seen(home: Path) -> None:
    settings(home, "shadow_share = 1.0")
    engine = LiveEngine(load_settings(home=home), door="api")
    started = run(home, "shadow", candidate(home, "strict", "[settings]", "refusal = 0.02"), "start")
    assert started.stdout == "strict is in the shadow: 100% of the questions, 600 seconds a day\n"
    answers = [engine().ask(question) for question in OTHERS]
    assert {answer.status for answer in answers} == {"answered"}
    assert engine.shadow.wait(30)
    log = ShadowLog(home / "var" / "receipts.sqlite")
    strict = LiveRecord.of(load_settings(home=home)).read().candidates["strict"].sha256
    pairs = log.pairs(strict)
    assert [(one.given["status"], one.candidate["status"]) for one in pairs] == [("answered", "not_found")] * 2
    assert [one.given["receipt"] for one in pairs] == [answer.receipt for answer in answers]
    assert run(home, "shadow", "strict", "stop").stdout == "strict is no longer in the shadow\n"
    engine().ask(OTHERS[0])
    assert engine.shadow.wait(30)
    assert len(log.pairs(strict)) == 2


GATE = [
    "How much could a senior ML systems engineer make in the US?",
    "Which programming languages should an ML platform engineer know?",
    "What does an ML infrastructure engineer do every day?",
    "What education does a machine learning engineer need?",
]


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an index over the bundled guides."""
    folder = tmp_path_factory.mktemp("guides")
    lines = ['generator = "extractive"', "watch_answers = 16", "watch_least = 8", "shadow_share = 1.0"]
    (folder / "rolewise.toml").write_text("\n".join(lines))
    assert command(folder, "index", "build").returncode == 0
    return folder


def command(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rag", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )


@pytest.fixture
def server(guides: Path) -> Iterator[str]:
    """Another process that serves the home; it ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rag", "--home", str(guides), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.wait(120)
    process.stdout.close()


def asked_over_http(server: str, questions: Sequence[str]) -> list[str]:
    """The status of each answer."""
    found = []
    for question in questions:
        body = {"model": "rolewise-extractive", "messages": [{"role": "user", "content": question}]}
        reply = httpx.post(f"{server}v1/chat/completions", json=body, timeout=120)
        found.append(reply.json()["rolewise"]["status"])
    return found


@pytest.mark.models
def test_a_served_process_shadows_takes_up_a_promotion_and_rolls_it_back(guides: Path, server: str) -> None:
    strict = candidate(guides, "strict", "[settings]", "refusal = 0.02")
    assert command(guides, "shadow", strict, "start").returncode == 0
    assert asked_over_http(server, GATE * 2) == ["answered"] * 8
    deadline = time.monotonic() + 120
    while "8 questions" not in (report := command(guides, "shadow", "strict", "report").stdout):
        assert time.monotonic() < deadline, report
        time.sleep(1)
    assert "| refused | 8 | 0.000 |" in report
    assert command(guides, "shadow", "strict", "stop").returncode == 0

    refused = command(guides, "promote", strict, "--limit", "4")
    assert (refused.returncode, refused.stderr.splitlines()[-1][:40]) == (1, "error: strict was refused: right fell by")
    assert asked_over_http(server, GATE[:1]) == ["answered"]

    assert command(guides, "promote", strict, "--force", "to see it come back").returncode == 0
    after = asked_over_http(server, GATE * 2)
    assert after.count("not_found") == 8
    deadline = time.monotonic() + 60
    while asked_over_http(server, GATE[:1]) != ["answered"]:  # it is looked at behind the reply
        assert time.monotonic() < deadline
    told = command(guides, "promote", "--history").stdout.splitlines()
    assert [line.split("  ")[1] for line in told] == ["refused", "forced", "rolled back"]
    assert "answers refused rose from 0 of 9 to 8 of 8" in told[-1]
