"""What the terminal shows: plain text of what documents and models say, wrapped, and a conversation that goes on."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.answering import Engine
from rag.conversations import Store
from rag.errors import SettingsError
from rag.talking import Chat
from rag.terminal import Look, below, bold, json_line, laid_out, passage, plain, show_answer
from rag.types import (
    Answer,
    Citation,
    Event,
    Finished,
    GeneratorInfo,
    IndexInfo,
    Passage,
    ScoredPassage,
    Status,
    Struck,
    Token,
)

PROJECT = Path(__file__).parents[1]
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = st.text(
    st.one_of(
        st.sampled_from("\x1b\x07\x08\r\x9b\x9d\x7f\0\u202e\u2066\ud800[]m;0 \n\t"),
        st.characters(codec=None, exclude_categories=()),
    )
)
OSLO = "What does a baker earn in Oslo?"
BASEL = "What does a baker earn in Basel?"


def answer_of(text: str) -> Answer:
    """An answer that says `text` wherever documents, models or people have a say."""
    one = Passage("d", text, text, (text,), 0, len(text), text, text)
    return Answer(
        question=text,
        text=text,
        status="answered",
        citations=(Citation(1, one, text, 0, len(text), text),),
        struck=(Struck(text, text),),
        passages=(ScoredPassage(one, 1.0, {"dense": 1}, {"dense": 0.5}),),
        generator=GeneratorInfo("hosted", text),
        index=IndexInfo("v", "e"),
        prompt_sha256="",
        timings_ms={"total": 1500.0},
        notice=text,
        read_as=text,
    )


@given(HOSTILE)
def test_plain_text_steers_no_terminal(text: str) -> None:
    shown = plain(text)
    assert not STEERING.search(shown)
    assert plain(shown) == shown
    shown.encode()
    if not STEERING.search(text):
        assert shown == text


@given(HOSTILE, st.sampled_from(["answered", "not_found"]), st.sampled_from([None, 30]))
def test_nothing_untrusted_steers_the_terminal(text: str, status: Status, width: int | None) -> None:
    answer = replace(answer_of(text), status=status)
    for look in (Look(width), Look(width, is_styled=True)):
        shown = [below(answer, look, "hint"), passage(1, answer.passages[0], look, frozenset({"m"}))]
        for one in shown:
            assert not STEERING.search(re.sub(r"\x1b\[\d+m", "", one))  # the styles that we give
            assert look.is_styled or "\x1b" not in one


def test_directions_of_writing_are_shown_as_escapes() -> None:
    assert plain("pay \u202e000,1\u202c\x1b[31m francs\r\n\tx") == "pay \\u202e000,1\\u202c[31m francs\n\tx"


def test_lines_are_wrapped_behind_their_bullets_and_figures_stay_whole() -> None:
    text = "A Baker earns, by place:\n- Basel: 64,500 francs a year, or $ 70 000 in all [1] [2]\nshort   gap"
    assert laid_out(text, Look(22), indent=" ", hanging=2).split("\n") == [
        " A Baker earns, by",
        "   place:",
        " - Basel: 64,500",
        "   francs a year, or",
        "   $ 70 000 in",
        "   all [1] [2]",
        " short   gap",
    ]
    assert laid_out(text, Look()) == text
    assert laid_out("ab cd", Look(80, is_styled=True), style=bold) == "\x1b[1mab cd\x1b[0m"
    assert laid_out("パン 屋さ ん", Look(9)) == "パン 屋さ\nん"  # two columns each: 4 + 1 + 4


@given(st.lists(st.from_regex(r"[a-zA-Z0-9$%]{1,12}", fullmatch=True), min_size=1), st.integers(20, 100))
def test_wrapping_loses_no_word_and_keeps_to_the_width(said: list[str], width: int) -> None:
    shown = laid_out(" ".join(said), Look(width))
    assert shown.split() == said
    assert all(len(line) <= width or re.search(r"\d \d{3}|[$%]", line) for line in shown.split("\n"))


def test_the_words_of_the_question_are_bold_in_a_passage() -> None:
    scored = answer_of("Bakers earn more.").passages[0]
    shown = passage(2, scored, Look(80, is_styled=True), frozenset({"baker"}))
    assert shown.split("\n")[-2] == "   \x1b[1mBakers\x1b[0m earn more."


def test_json_is_the_same_but_for_what_would_steer_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"quote": "“a\x9b1m\x1b\u202e\x7f”"}
    assert json_line(record) == json.dumps(record, ensure_ascii=False)

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Screen())
    assert json_line(record) == '{"quote": "“a\\u009b1m\\u001b\\u202e\\u007f”"}'
    assert json.loads(json_line(record)) == record


def test_an_answer_without_a_terminal_is_plain_lines(
    shelf: Path, engine_over: Callable[..., Engine], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = show_answer(engine_over(shelf), BASEL)
    assert answer.status == "answered"
    out, err = capsys.readouterr()
    assert re.sub(r"\w{12}, \d+\.\d s", "VERSION, SECONDS", out) == (
        "Basel: 64,500 francs a year [1]\n\n[1] Baker > Pay\n    “Basel: 64,500 francs a year”\n"
        "    baker:69-96\n\nextractive, index VERSION, SECONDS\n"
    )
    assert err == ""


def test_a_refusal_tells_what_is_missing_and_what_is_near(
    shelf: Path, engine_over: Callable[..., Engine], capsys: pytest.CaptureFixture[str]
) -> None:
    show_answer(engine_over(shelf), OSLO, hint="for terminals only")
    out = capsys.readouterr().out
    assert out.startswith("The documents do not tell. What was found on the question says nothing about Oslo.\n\n")
    assert "\nNearest in the documents:\n  Baker > Pay\n    baker:" in out
    assert "terminals" not in out


def test_a_hostile_model_reaches_the_terminal_as_text(
    shelf: Path, engine_over: Callable[..., Engine], capsys: pytest.CaptureFixture[str]
) -> None:
    class Hostile(Engine):
        def stream_answer(self, question: str, **_: object) -> Generator[Event, None, None]:
            yield Token("90,000\u202e francs \x1b]0;x\x07\x9b31m a year [1]")
            yield Finished(answer_of("\x1b[2J"))

    show_answer(Hostile(**vars(engine_over(shelf))), BASEL)
    out = capsys.readouterr().out
    assert out.startswith("90,000\\u202e francs ]0;x31m a year [1]\n\n[1] [2J > [2J\n    “[2J”\n")
    assert not STEERING.search(out)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "conversations.sqlite") as opened:
        yield opened


@pytest.fixture
def talk(
    shelf: Path, engine_over: Callable[..., Engine], store: Store, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Puts these lines to a chat, one after the other, as a pipe would."""
    engine = engine_over(shelf)

    def said(*lines: str, goes_on: bool = False, role: str | None = None) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        chat = Chat(lambda: engine, store, role=role)
        if goes_on:
            chat.go_on()
        chat.run()

    return said


def test_a_conversation_follows_up_and_is_kept(
    talk: Callable[..., None], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(BASEL, "", "And in Bern?")
    out, err = capsys.readouterr()
    assert "> " not in out.replace("Baker > Pay", "")
    assert "Bern: 61,000 francs a year [1]" in out
    assert "\nRead as: What does a Baker earn in Basel? And in Bern?\n" in out
    assert err == ""
    [kept] = store.list()
    assert kept.title == BASEL
    assert [(turn.question, turn.record["role"]) for turn in store.turns(kept.id)] == [
        (BASEL, None),
        ("And in Bern?", None),
    ]


def test_the_newest_conversation_is_gone_on_with(
    talk: Callable[..., None], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(goes_on=True)
    assert capsys.readouterr().err == "There is no conversation yet; this begins one.\n"
    talk(BASEL)
    talk("And in Bern?", goes_on=True)
    out, err = capsys.readouterr()
    assert err == f"Going on with “{BASEL}”, 1 question so far.\n"
    assert "And in Bern?\n" in out
    assert [one.turns for one in store.list()] == [2]
    talk("/new", BASEL, goes_on=True)
    assert [one.turns for one in store.list()] == [1, 2]


def test_a_question_that_fails_is_one_line_and_the_next_is_answered(
    talk: Callable[..., None], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    talk("x" * 4001, "/role pilot", "/generator magic", "/fly", "/save", "/save x.md", "/sources", BASEL, "/quit", OSLO)
    out, err = capsys.readouterr()
    assert [line[:32] for line in err.splitlines()] == [
        "error: the question has 4,001 ch",
        "error: no single role is called ",
        "error: give one of: extractive, ",
        "There is no /fly. /help lists th",
        "error: give a file: /save FILE.",
        "error: nothing is kept yet. Ask ",
        "error: nothing was answered yet.",
    ]
    assert out.startswith("Basel: 64,500 francs a year [1]\n")
    assert "Oslo" not in out
    assert [one.turns for one in store.list()] == [1]


def test_commands(talk: Callable[..., None], store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kept.md"
    talk("/role miller", "What does it earn in Bern?", f"/save {path}", f"/save {path}", "/sources", "/role", "/help")
    out, err = capsys.readouterr()
    assert "A Miller earns 58,000 francs a year in Bern. [1]" in out
    assert "\n1. Miller > Pay\n   miller:" in out
    assert "Baker" not in out
    assert "\n/save FILE       write the conversation into FILE" in out
    lines = err.splitlines()
    assert lines[0] == "Only documents about: Miller."
    assert lines[1:3] == [f"Saved in {path}."] * 2
    assert lines[3] == "All documents. Roles: Baker, Miller."
    assert path.read_text() == store.as_markdown(store.list()[0].id)
    talk(BASEL, f"/save {path}")
    assert "cannot be written (File exists)" in capsys.readouterr().err
    assert "58,000" in path.read_text()


def test_a_conversation_that_was_deleted_is_begun_anew(
    shelf: Path,
    engine_over: Callable[..., Engine],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = engine_over(shelf)

    class Typed:
        lines = [f"{BASEL}\n"] * 3

        def isatty(self) -> bool:
            return False

        def readline(self) -> str:
            if len(self.lines) == 2:
                store.delete(store.list()[0].id)
            return self.lines.pop() if self.lines else ""

    monkeypatch.setattr(sys, "stdin", Typed())
    Chat(lambda: engine, store).run()
    assert capsys.readouterr().err == "error: there is no such conversation. It may have been deleted.\n"
    assert [one.turns for one in store.list()] == [1]


def test_a_role_that_is_not_there_begins_no_chat(shelf: Path, engine_over: Callable[..., Engine], store: Store) -> None:
    engine = engine_over(shelf)
    with pytest.raises(SettingsError, match="no single role"):
        Chat(lambda: engine, store, role="pilot")


CHILD = """
import fcntl, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from rag import parts, wiring
from rag.types import GeneratorInfo
from tests.conftest import HashingEmbedder

class Slow:
    info = GeneratorInfo("local", "slow")
    context_tokens = 4096
    def count(self, text):
        return len(text.split())
    def stream(self, messages, evidence, *, max_tokens):
        yield "Millers grind grain. [1]\\n"
        yield "So"
        while True:  # as a model does: a Ctrl-C just before a sleep is noticed after it
            time.sleep(0.05)

wiring.make_embedder = lambda _, **__: HashingEmbedder()
parts._local = lambda _: Slow()
from rag.__main__ import main
main()
"""


SECONDS = 180
"""To wait for a sign of life."""
PROMPT = "\n> "


class Terminal:
    """The program in a terminal of 40 columns, with a generator that says one sentence and then hangs."""

    def __init__(self, home: Path, *arguments: str, **variables: str) -> None:
        self._ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (24, 40))
        (home / "inputrc").write_text("set enable-bracketed-paste off\n")
        variables = {"TERM": "xterm", "PYTHONPATH": str(PROJECT), "INPUTRC": str(home / "inputrc")} | variables
        environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, "--home", str(home), *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment | variables,
            start_new_session=True,
            cwd=home,
        )
        os.close(theirs)
        self._shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a character may come in two parts

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C at the prompt, again until it is noticed: Python's readline loses one that comes as it handles a key."""
        deadline = time.monotonic() + SECONDS
        while PROMPT not in self._shown and time.monotonic() < deadline:
            self.type("\x03")
            while PROMPT not in self._shown and select.select([self._ours], [], [], 5)[0]:
                self._read()
        self.until(PROMPT)

    def until(self, wanted: str) -> str:
        """What is shown before `wanted`; both are taken away."""
        while wanted not in self._shown:
            assert self._read(), f"{wanted!r} is not in {self._shown!r}"
        shown, _, self._shown = self._shown.partition(wanted)
        return shown

    def rest(self) -> str:
        """What is shown until the program ends."""
        while self._read():
            pass
        self.process.wait(SECONDS)
        return self._shown

    def _read(self) -> bool:
        """Whether more came before the program ended."""
        assert select.select([self._ours], [], [], SECONDS)[0], f"nothing comes after {self._shown!r}"
        try:
            piece = os.read(self._ours, 65536)
        except OSError:  # how Linux tells that the other side was closed
            return False
        self._shown = (self._shown + self._decoder.decode(piece)).replace("\r\n", "\n")
        return bool(piece)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path, shelf: Path, engine_over: Callable[..., Engine]) -> Iterator[Callable[..., Terminal]]:
    """Starts the program over an index of the shelf."""
    engine_over(shelf)
    (tmp_path / "index").mkdir()
    (tmp_path / "build").rename(tmp_path / "index" / "build")
    opened: list[Terminal] = []

    def start(*arguments: str, **variables: str) -> Terminal:
        opened.append(Terminal(tmp_path, *arguments, **variables))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_conversation_in_a_terminal(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    chat = terminal("chat")
    assert "2 documents. Ask a question, or /help." in chat.until(PROMPT)
    chat.type("What do millers grind?\n")
    shown = chat.until("Writing …\r\x1b[KMillers grind grain. \x1b[36m[1]\x1b[0m\n\r\x1b[KWriting …")
    assert "\r\x1b[KReading 4 passages …\r\x1b[K" in shown
    chat.type("\x03")
    assert chat.until(PROMPT).endswith("\r\x1b[K\x1b[2mStopped.\x1b[0m")
    chat.type("half")
    chat.until("half")
    chat.interrupt()
    chat.type("/new\n")
    chat.until("A new conversation.")  # whatever a second Ctrl-C made comes before
    chat.until(PROMPT)
    chat.type("/gen\t ex\t\n")
    assert chat.until(PROMPT).endswith("Written by: extractive.\x1b[0m")
    chat.type("What does each role earn in Bern?\n")
    shown = chat.until(PROMPT).replace("\r\x1b[KWriting …\r\x1b[K", "")
    assert "\x1b[1mBaker\x1b[0m\n  Bern: 61,000 francs a year \x1b[36m[1]\x1b[0m\n\n\x1b[1mMiller\x1b[0m\n" in shown
    assert "\n  A Miller earns 58,000 francs a year in\n    Bern. \x1b[36m[2]\x1b[0m\n" in shown
    chat.type("\x04")
    assert chat.rest() == "\n"
    assert chat.process.returncode == 0
    with Store(tmp_path / "var" / "conversations.sqlite") as store:
        assert [(one.title, one.turns) for one in store.list()] == [("What does each role earn in Bern?", 1)]


def test_ctrl_c_ends_an_answer_with_130_and_no_traceback(terminal: Callable[..., Terminal]) -> None:
    ask = terminal("ask", "What do millers grind?", NO_COLOR="1")
    shown = ask.until("Millers grind grain. [1]\n\r\x1b[KWriting …")
    ask.type("\x03")
    shown += ask.rest()
    assert ask.process.returncode == 130
    assert "Traceback" not in shown
    assert not re.search(r"\x1b\[\d+m", shown)
