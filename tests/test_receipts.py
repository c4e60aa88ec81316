"""Every answer leaves a receipt, without personal data, and what is deleted is gone from the disk."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag import __version__
from rag.answering import Engine
from rag.api import create_api
from rag.batch import answer_row
from rag.conversations import Store
from rag.errors import GeneratorError, SettingsError
from rag.history import add_history
from rag.mcp import create_server
from rag.protocols import Draft
from rag.receipts import ReceiptError, Receipts
from rag.record import answer_record
from rag.safety import Guard
from rag.slots import Slots
from rag.types import Evidence, Finished, GeneratorInfo, Message, Retrieved
from rag.watching import WatchedEngine, at_door
from tests.test_api import served
from tests.test_mcp import talk, told

Watched = Callable[..., WatchedEngine]

QUESTION = "What does a Baker earn in Basel?"
PROJECT = Path(__file__).parents[1]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Writer:
    """Implements protocols.Generator with a fixed draft, or fails."""

    info = GeneratorInfo("local", "fixed", "ab" * 32)
    context_tokens = 2000

    def __init__(self, draft: str = "", fails: bool = False) -> None:
        self._draft, self._fails = draft, fails

    def count(self, text: str) -> int:
        return len(text.split())

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        if self._fails:
            raise GeneratorError("the model is out of order.")
        yield self._draft


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> Receipts:
    return Receipts(tmp_path / "var" / "receipts.sqlite", days=90, clock=clock)


@pytest.fixture
def watched(engine_over: Callable[..., Engine], shelf: Path, book: Receipts) -> Callable[..., WatchedEngine]:
    def make(**others: Any) -> WatchedEngine:
        fields = vars(engine_over(shelf, **others))
        return WatchedEngine(
            **fields, door="api", watchers=[book.keep], afterwards=book.expire, settings={"passages": 10, "model": "m"}
        )

    return make


def on_disk(book: Receipts) -> bytes:
    folder = book._path.parent
    return b"".join(path.read_bytes() for path in folder.iterdir()) if folder.is_dir() else b""


def test_a_receipt_is_the_record_of_the_answer_and_how_it_came_about(watched: Watched, book: Receipts) -> None:
    history = [Message("user", "What do millers do?"), Message("assistant", "They grind grain.")]
    answer = watched().ask(QUESTION, history=history, role="Baker")
    kept = book.get(answer.receipt)
    assert re.fullmatch(r"1-[0-9a-f]{6}", kept.id)
    assert (kept.at, kept.door, kept.status, kept.role, kept.asked_for) == (
        "2026-03-01T12:00:00Z", "api", "answered", "Baker", "extractive"
    )  # fmt: skip
    assert kept.record["answer"] == "Basel: 64,500 francs a year [1]"
    assert kept.record["citations"][0]["quote"] == "Basel: 64,500 francs a year"
    assert kept.record["prompt_sha256"] == answer.prompt_sha256
    assert kept.record["index"]["version"] == answer.index.version
    assert [one["id"] for one in kept.record["passages"]] == [one.passage.id for one in answer.passages]
    assert kept.record["passages"][0]["scores"] == answer.passages[0].scores
    assert kept.record["timings_ms"] == answer.timings_ms
    assert set(kept.signals) == {"score", "name", "strange", "role", "kind"}
    assert kept.settings == {"passages": 10, "model": "m"}
    assert kept.rolewise == __version__
    assert kept.history == tuple(history)
    assert book.get("1") == kept


def test_the_same_answers_have_the_same_ids_whenever_they_were_given(
    watched: Watched, tmp_path: Path, clock: Clock
) -> None:
    engine = watched()
    timeless = dataclasses.replace(engine.ask(QUESTION), timings_ms={})
    ids = []
    for name, hours in (("one", 0), ("two", 5)):
        other = Receipts(tmp_path / name / "receipts.sqlite", clock=clock)
        clock.now += timedelta(hours=hours)

        class Timeless(Engine):
            def stream_answer(self, question: str, **_: Any) -> Any:
                yield Finished(timeless)

        plain = {field.name: getattr(engine, field.name) for field in dataclasses.fields(Engine)}
        asked = type("Asked", (WatchedEngine, Timeless), {})(**plain, door="batch", watchers=[other.keep])
        ids.append([asked.ask(QUESTION).receipt for _ in range(2)])
    assert ids[0] == ids[1]
    assert [one.partition("-")[0] for one in ids[0]] == ["1", "2"]


def test_no_door_no_receipt(watched: Watched, book: Receipts) -> None:
    silent = at_door(watched, None)()
    assert silent.ask(QUESTION).receipt == ""
    assert book.list() == []
    assert not book._path.exists()
    assert at_door(watched, "mcp")().ask(QUESTION).receipt
    assert [one.door for one in book.list()] == ["mcp"]


def test_a_failure_is_a_receipt_too(watched: Watched, book: Receipts) -> None:
    engine = watched(broken=Writer(fails=True))
    with pytest.raises(SettingsError):
        engine.ask("")
    with pytest.raises(SettingsError):
        engine.ask(QUESTION, role="Dentist")
    with pytest.raises(KeyError):
        engine.ask(QUESTION, generator="no such generator")
    first, second, third = book.all()
    assert {one.status for one in (first, second, third)} == {"error"}
    assert first.record["error"].startswith("the question is empty")
    assert "no single role is called 'Dentist'" in second.record["error"]
    assert third.record["error"] == "failed by KeyError"
    assert second.record["index"]["version"] == engine.version.info.version
    assert [one.facts.total for one in book.list(status="error")] == [None] * 3


def test_an_answer_that_nobody_waited_for_is_told_apart(watched: Watched, book: Receipts) -> None:
    events = watched().stream_answer(QUESTION)
    assert isinstance(next(events), Retrieved)
    events.close()
    assert [one.status for one in book.list()] == ["stopped"]
    events = watched().stream_answer(QUESTION)
    assert any(isinstance(event, Finished) for event in events)
    events.close()
    assert [one.status for one in book.list()] == ["stopped", "answered"]


def test_a_ctrl_c_while_it_is_written_counts_as_not_waited_for(watched: Watched, book: Receipts) -> None:
    class Stopped(Writer):
        def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
            yield "Bakers"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(stopped=Stopped()).ask(QUESTION, generator="stopped")
    assert [one.status for one in book.list()] == ["stopped"]


def test_fallbacks_are_counted_as_such(watched: Watched, book: Receipts) -> None:
    engine = watched(broken=Writer(fails=True), idle=Writer("Bakers earn 1,000,000 francs [1]."))
    for generator in ("broken", "idle", "extractive"):
        engine.ask("Do Bakers know flour?", generator=generator)
    facts = [one.facts for one in book.list()]
    assert [(one.asked_for, one.generator, one.fell_back, one.nothing_stood) for one in facts] == [
        ("broken", "extractive", True, False),
        ("idle", "extractive", False, True),
        ("extractive", "extractive", False, False),
    ]
    assert facts[1].struck == 1
    assert facts[0].score is not None
    assert facts[0].words == 4


def test_personal_data_never_reaches_the_disk(watched: Watched, book: Receipts) -> None:
    secrets = ("ada@mail.example.org", "+41 44 668 18 00", "4111 1111 1111 1111", "Lovelace", "192.0.2.17")
    told = f"My name is Ada {secrets[3]}. Write to {secrets[0]} or {secrets[1]}, card {secrets[2]}."
    history = [Message("user", f"{told} My address is {secrets[4]}."), Message("assistant", f"Yes, {secrets[0]}.")]
    engine = watched()
    engine.ask(f"{told} {QUESTION}", history=history)
    engine.ask(f"Does {secrets[0]} know quantum chromodynamics at {secrets[4]}?")
    with pytest.raises(SettingsError):
        engine.ask(QUESTION, role=secrets[0])
    kept = on_disk(book)
    for secret in secrets:
        assert secret.encode() not in kept
    first, second, third = book.all()
    assert first.record["question"].startswith("My name is [name]. Write to [e-mail] or [phone], card [card].")
    assert first.redacted == ("IP address", "card", "e-mail", "name", "phone")
    assert second.status == "not_found"
    assert "[e-mail]" in third.record["error"]
    assert third.role == "[e-mail]"


def test_quotations_stay_letter_by_letter(watched: Watched, book: Receipts, shelf: Path) -> None:
    (shelf / "miller.md").write_text("---\nrole: Miller\n---\n# Miller\n\nWrite to mill@bern.example for flour.\n")
    watched().ask("Whom does a miller write to for flour?")
    [kept] = book.all()
    assert kept.record["answer"] == "Write to mill@bern.example for flour. [1]"
    assert kept.record["citations"][0]["quote"] == "Write to mill@bern.example for flour."


def test_what_is_deleted_is_gone_from_the_disk(watched: Watched, book: Receipts) -> None:
    engine = watched()
    words = ["zebra", "walrus", "gecko", "heron", "otter"]
    for word in words:
        for _ in range(4):
            engine.ask(f"What does a {word} Baker earn in Basel?")
    assert all(word.encode() in on_disk(book) for word in words)
    for one in book.list():
        if "zebra" in one.question:
            book.delete(one.id)
    assert b"zebra" not in on_disk(book)
    assert b"walrus" in on_disk(book)
    gone = [one.id for one in book.list() if "walrus" in one.question]
    assert book.delete_each([*gone, "99-abcdef"]) == 4
    assert b"walrus" not in on_disk(book)
    assert book.delete_all() == 12
    assert not any(word.encode() in on_disk(book) for word in words)
    assert engine.ask(QUESTION).receipt.startswith("21-")  # no number is given twice


def test_what_is_too_old_goes_once_a_day(watched: Watched, book: Receipts, clock: Clock) -> None:
    engine = watched()
    engine.ask("What does an old Baker earn in Basel?")
    clock.now += timedelta(days=89)
    engine.ask(QUESTION)
    assert len(book.list()) == 2
    clock.now += timedelta(days=2)
    engine.ask(QUESTION)
    assert [one.at[:10] for one in book.list()] == ["2026-05-29", "2026-05-31"]
    assert b"old Baker" not in on_disk(book)
    with book._writing() as database:
        database.execute("UPDATE receipts SET at = '2020-01-01T00:00:00Z' WHERE number = 2")
    assert Receipts(book._path, days=90, clock=clock).expire() == 0  # it was done today, by whatever process
    clock.now += timedelta(days=1)
    assert Receipts(book._path, days=0, clock=clock).expire() == 0
    assert Receipts(book._path, days=90, clock=clock).expire() == 1


def test_delete_before_a_date(watched: Watched, book: Receipts, clock: Clock) -> None:
    engine = watched()
    engine.ask(QUESTION)
    clock.now += timedelta(days=1)
    engine.ask(QUESTION)
    assert book.delete_before("2026-03-02") == 1
    assert [one.at for one in book.list()] == ["2026-03-02T12:00:00Z"]
    with pytest.raises(SettingsError, match="is no date"):
        book.delete_before("yesterday")


def test_the_list_is_bounded_and_filtered(watched: Watched, book: Receipts) -> None:
    engine = watched()
    for question in (QUESTION, "Quantum chromodynamics lattice?", QUESTION):
        engine.ask(question)
    assert [one.number for one in book.list(last=2)] == [2, 3]
    assert [one.number for one in book.list(status="not_found")] == [2]
    assert [one.number for one in book.list(since="2026-03-02")] == []
    for unknown in ("4", "1-000000", "x", "", "1-", "9" * 30):
        with pytest.raises(ReceiptError, match="there is no receipt"):
            book.get(unknown)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_costs_no_answer(
    watched: Watched, book: Receipts, caplog: pytest.LogCaptureFixture
) -> None:
    book._path.parent.mkdir()
    book._path.parent.chmod(0o500)
    try:
        assert [watched().ask(QUESTION).receipt for _ in range(2)] == ["", ""]
    finally:
        book._path.parent.chmod(0o700)
    assert [one.message for one in caplog.records if "without receipts" in one.message] != []


def test_a_full_disk_costs_no_answer_and_is_warned_of_once(
    watched: Watched, book: Receipts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = watched()
    assert engine.ask(QUESTION).receipt
    opened = book._connected

    def full() -> sqlite3.Connection:
        database = opened()
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}").fetchall()  # SQLite's own "database or disk is full"
        return database

    monkeypatch.setattr(book, "_connected", full)
    with caplog.at_level(logging.WARNING):
        answers = [engine.ask(f"{QUESTION} {'flour ' * 500}") for _ in range(3)]
    assert {answer.receipt for answer in answers} == {""}
    assert {answer.status for answer in answers} == {"answered"}
    [warning] = caplog.records
    assert warning.message == (
        "answers are given without receipts: the log of answers cannot be read or written (database or disk is full). "
        "Check the folder's rights and the space on disk."
    )
    monkeypatch.undo()
    assert engine.ask(QUESTION).receipt.startswith("2-")


def test_a_file_in_the_place_of_the_folder_costs_no_answer(watched: Watched, book: Receipts) -> None:
    book._path.parent.write_text("in the way")
    assert watched().ask(QUESTION).status == "answered"


def test_a_damaged_file_is_set_aside(watched: Watched, book: Receipts, caplog: pytest.LogCaptureFixture) -> None:
    book._path.parent.mkdir()
    book._path.write_bytes(b"no database" * 1000)
    assert watched().ask(QUESTION).receipt.startswith("1-")
    assert book._path.with_name("receipts.sqlite.damaged-1").read_bytes() == b"no database" * 1000
    assert "is damaged" in caplog.text


def test_a_file_of_a_later_program_is_left_alone(watched: Watched, book: Receipts) -> None:
    book._path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(book._path)) as database:
        database.execute("PRAGMA user_version = 99")
    assert watched().ask(QUESTION).receipt == ""
    with pytest.raises(ReceiptError, match="newer Rolewise"):
        book.list()


def test_nobody_else_on_the_machine_may_read_it(watched: Watched, book: Receipts) -> None:
    watched().ask(QUESTION)
    assert book._path.stat().st_mode & 0o077 == 0


def test_half_characters_are_kept_as_question_marks(watched: Watched, book: Receipts) -> None:
    with pytest.raises(UnicodeEncodeError):  # of the embedder of the tests
        watched().ask(f"{QUESTION} \ud83d")
    assert book.list()[0].question == f"{QUESTION} ?"


def test_several_processes_write_at_once(watched: Watched, book: Receipts) -> None:
    watched().ask(QUESTION)
    [kept] = book.all()
    code = f"""
import json, sys
from pathlib import Path
from rag.receipts import Outcome, Receipts
from rag.roles import Roles
record = json.loads(sys.stdin.read())
book = Receipts(Path({str(book._path)!r}))
for _ in range(20):
    print(book.keep(Outcome("batch", "answered", record, (), None, "extractive", {{}}, {{}}, "0", Roles({{}}))))
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(json.dumps(dict(kept.record)))
        writer.stdin.close()
    ids: list[str] = []
    for writer in writers:
        assert writer.stdout
        with writer.stdout:
            ids += writer.stdout.read().split()
        assert writer.wait() == 0
    assert sorted(int(one.partition("-")[0]) for one in ids) == list(range(2, 42))
    assert len(book.list()) == 41


def test_programs_leave_receipts_too(watched: Watched, book: Receipts) -> None:
    engine = watched()
    told(talk(create_server(at_door(lambda: engine, "mcp")), lambda one: one.call_tool("ask", {"question": QUESTION})))
    api = create_api(at_door(lambda: engine, "api"), Slots(), models=["rolewise-extractive"])
    asked = {"model": "rolewise-extractive", "messages": [{"role": "user", "content": QUESTION}]}
    with (
        served(Guard(api, hosts=frozenset({"127.0.0.1"}))) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as http,
    ):
        reply = http.post("/v1/chat/completions", json=asked).json()
        assert http.post("/v1/search", json={"query": QUESTION}).status_code == 200
    assert [one.door for one in book.list()] == ["mcp", "api"]
    assert reply["rolewise"]["receipt"] == book.list()[-1].id


def test_a_conversation_is_deleted_with_its_receipts(watched: Watched, book: Receipts, tmp_path: Path) -> None:
    engine = watched()
    with Store(tmp_path / "conversations.sqlite") as store:
        kept = [store.begin(title) for title in ("mine", "another")]
        for conversation in kept:
            answer = engine.ask(QUESTION)
            store.add_turn(conversation, QUESTION, answer_record(answer))
            store.add_turn(conversation, QUESTION, answer_record(dataclasses.replace(answer, receipt="")))
        api = create_api(lambda: engine, Slots(), models=[])
        add_history(api, store, book.delete_each)
        with served(Guard(api, hosts=frozenset({"127.0.0.1"}))) as url:
            assert httpx.delete(f"{url}/v1/conversations/{kept[0]}", trust_env=False, timeout=60).status_code == 204
        assert [one.title for one in store.list()] == ["another"]
    assert [one.number for one in book.list()] == [2]


def test_batch_rows_are_answered_with_their_receipts(watched: Watched, book: Receipts) -> None:
    record = answer_row(watched(), json.dumps({"id": "q7", "question": QUESTION}))
    assert record["receipt"] == book.list()[0].id
    assert record["id"] == "q7"
