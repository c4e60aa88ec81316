"""Conversations come back as they were, through threads, kills and damage, and are gone when they are deleted."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from eval.__main__ import cli
from eval.candidates import SHOULD_HAVE_REFUSED
from rag.answering import Engine
from rag.conversations import MOST_LISTED, REFUSE, ConversationError, Rating, Reason, Store, Summary
from rag.errors import SettingsError
from rag.record import answer_record
from rag.types import Message

PROJECT = Path(__file__).parents[1]
NAME = "conversations.sqlite"
RECORD: dict[str, Any] = {
    "answer": "Bern: 61,000 francs a year [1]",
    "citations": [
        {
            "marker": 1,
            "document": "baker",
            "title": "Baker",
            "section": ["Pay"],
            "quote": "Bern: 61,000 francs a year",
            "start": 54,
            "end": 80,
            "place": "page 3",
        }
    ],
}
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](http://evil.example)",
    "![](http://evil.example/p.png)",
    "[^1-1]: /evil",
    "[a]: http://evil.example",
    "<http://evil.example>",
    "# heading\n\n- list\n\n    code\n\n> quote\n\n---\n\n```\nfence",
    "a | b\n--|--\nc | d",
    "**bold** _em_ `code` ~~gone~~ &lt;b&gt; \\*",
    "1. one\n2) two\n===",
    "C #",
]
"""Texts that are markup unless they are escaped; some with an address."""

Text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | Text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(Text, inner, max_size=3),
    max_leaves=8,
)


class Clock:
    """Goes on by a minute each time it is looked at, and is in another zone."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC).astimezone(timezone(timedelta(hours=5)))

    def __call__(self) -> datetime:
        now, self.now = self.now, self.now + timedelta(minutes=1)
        return now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "var" / NAME, clock=Clock()) as opened:
        yield opened


def said(*answers: str) -> list[dict[str, Any]]:
    return [{**RECORD, "answer": answer} for answer in answers]


def ids(summaries: object) -> list[str]:
    return [one.id for one in summaries]  # type: ignore[attr-defined]


def test_what_an_engine_answered_comes_back_whole(
    tmp_path: Path, shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    record = answer_record(engine_over(shelf).ask("What does a Baker earn in Basel?"))
    assert record["citations"][0]["quote"] == "Basel: 64,500 francs a year"
    with Store(tmp_path / NAME, clock=Clock()) as store:
        conversation = store.begin("Pay")
        turn = store.add_turn(conversation, "What does a Baker earn in Basel?", record)
        store.rate(turn, "good")
    with Store(tmp_path / NAME) as store:
        assert store.list() == [Summary(conversation, "Pay", "2026-01-31T23:59:59Z", "2026-02-01T00:00:59Z", 1)]
        (found,) = store.turns(conversation)
        assert (found.id, found.question, found.created) == (
            turn,
            "What does a Baker earn in Basel?",
            "2026-02-01T00:00:59Z",
        )
        assert found.record == json.loads(json.dumps(record))
        assert found.rating == Rating("good", (), "", "2026-02-01T00:01:59Z")
        assert store.as_json(conversation) == {
            "id": conversation,
            "title": "Pay",
            "created": "2026-01-31T23:59:59Z",
            "updated": "2026-02-01T00:00:59Z",
            "turns": [
                {
                    "id": turn,
                    "created": "2026-02-01T00:00:59Z",
                    "question": "What does a Baker earn in Basel?",
                    "record": found.record,
                    "rating": {"verdict": "good", "reasons": (), "comment": "", "created": "2026-02-01T00:01:59Z"},
                }
            ],
        }


@pytest.fixture(scope="module")
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("one") / NAME) as opened:
        yield opened


@settings(max_examples=60)
@given(Text, Text, Text, st.dictionaries(Text, Json, max_size=4), st.sets(st.sampled_from(get_args(Reason))), Text)
def test_every_text_comes_back_as_it_was(
    one_store: Store,
    title: str,
    question: str,
    answer: str,
    more: dict[str, Any],
    reasons: set[Reason],
    comment: str,
) -> None:
    title = f"{title}!"
    conversation = one_store.begin(title)
    record = {**more, "answer": answer, "rtl": "שלום \u202e👩‍🚀\r\n'\"\x00"}
    turn = one_store.add_turn(conversation, question, record)
    one_store.rate(turn, "bad", reasons, comment)
    (summary,) = one_store.list(limit=1)
    (found,) = one_store.turns(conversation)
    assert (summary.id, summary.title, summary.turns) == (conversation, title, 1)
    assert (found.question, found.record) == (question, record)
    assert found.rating
    assert (set(found.rating.reasons), found.rating.comment) == (reasons, comment)


@settings(max_examples=150)
@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["NEAR(", '"', "a*", "-", "^", "OR", "{x}:", "text:"])).map(" ".join)
)
def test_any_text_can_be_searched_for(one_store: Store, query: str) -> None:
    assert set(ids(one_store.list(query, MOST_LISTED))) <= set(ids(one_store.list(limit=MOST_LISTED)))


def test_a_word_is_found_in_titles_questions_and_answers(store: Store) -> None:
    pay, mill = store.begin("Pay of bakers"), store.begin("The mill")
    store.add_turn(pay, "What is it in Zürich?", RECORD)
    store.add_turn(mill, "How many stones?", {**RECORD, "answer": "Two. It's a C++ mill."})
    for query in (
        "bakers",
        "ZURICH",
        "zu\u0308r",
        "francs",
        "zür fran bak",
        '"francs"',
        "61,000",
        "francs AND",
        "in* OR",
    ):
        expected = [pay] if query not in {"francs AND", "in* OR"} else []
        assert ids(store.list(query)) == expected, query
    assert ids(store.list("c++ it's ?")) == [mill]
    assert ids(store.list("title:mill")) == ids(store.list("rancs")) == ids(store.list("?!")) == []
    assert ids(store.list("i")) == ids(store.list("  ")) == ids(store.list()) == [mill, pay]
    assert ids(store.list(" ".join(f"w{number}" for number in range(1000)))) == []


def test_the_newest_come_first_in_pages(store: Store) -> None:
    made = [store.begin(f"Number {number}") for number in range(5)]
    store.add_turn(made[1], "?", RECORD)
    store.rename(made[0], "Number zero")
    expected = [made[1], made[4], made[3], made[2], made[0]]
    assert ids(store.list()) == expected
    assert [ids(store.list("number", limit=2, offset=offset)) for offset in (0, 2, 4, 6)] == [
        expected[:2],
        expected[2:4],
        expected[4:],
        [],
    ]
    for limit, offset in ((0, 0), (-1, 0), (1001, 0), (1, -1), (1, 2**63)):
        with pytest.raises(SettingsError, match="a limit of 1 to 1,000"):
            store.list(limit=limit, offset=offset)


def test_a_new_title_takes_the_place_of_the_old(store: Store) -> None:
    conversation = store.begin("Apples")
    store.rename(conversation, "Pears")
    assert ids(store.list("apples")) == []
    assert [one.title for one in store.list("pears")] == ["Pears"]


def test_what_is_deleted_is_in_no_file(tmp_path: Path) -> None:
    with Store(tmp_path / NAME) as store:
        kept = store.begin("keptword")
        gone = store.begin("goneword0")
        for number in range(40):
            store.add_turn(kept, f"keptword{number}", {"answer": "x" * 50 * number})
            turn = store.add_turn(gone, f"goneword{number}", {"answer": "goneword", "text": "goneword " * 700})
        store.rate(turn, "bad", comment="goneword")
        store.delete(gone)
        files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"keptword39" in files
        assert b"goneword" not in files
        assert ids(store.list("goneword")) == []
        assert list(store.ratings()) == []
        assert [turn.question for turn in store.turns(kept)] == [f"keptword{number}" for number in range(40)]
        with pytest.raises(ConversationError, match=r"^there is no such conversation\. It may have been deleted\.$"):
            store.turns(gone)


def test_cutting_goes_back_to_before_a_turn(store: Store) -> None:
    conversation, other = store.begin("One"), store.begin("Two")
    turns = [store.add_turn(conversation, f"word{number}", RECORD) for number in range(4)]
    stays = store.add_turn(other, "other", RECORD)
    store.rate(turns[3], "bad")
    store.cut(conversation, turns[2])
    assert ids(store.turns(conversation)) == turns[:2]
    assert ids(store.list("word2")) == []
    assert list(store.ratings()) == []
    for turn in (turns[2], stays, "none"):
        with pytest.raises(ConversationError, match="no such turn in that conversation"):
            store.cut(conversation, turn)
    assert ids(store.turns(other)) == [stays]
    again = store.add_turn(conversation, "word2 again", RECORD)
    assert ids(store.turns(conversation)) == [*turns[:2], again]
    store.cut(conversation, turns[0])
    assert store.turns(conversation) == []


def test_the_latest_rating_counts(store: Store) -> None:
    conversation = store.begin("One")
    turn = store.add_turn(conversation, "?", RECORD)
    store.rate(turn, "bad", ["incomplete", "wrong", "wrong"], "x" * 2000)
    store.rate(turn, "good")
    store.rate(turn, "bad", ["incomplete", "wrong"], "Bern is missing.")
    (row,) = store.ratings()
    assert (row.conversation, row.history, row.turn.id, row.turn.record) == (conversation, (), turn, RECORD)
    rating = Rating("bad", ("wrong", "incomplete"), "Bern is missing.", "2026-02-01T00:03:59Z")
    assert row.turn.rating == store.turns(conversation)[0].rating == rating


@pytest.mark.parametrize(
    ("verdict", "reasons", "comment", "message"),
    [
        ("maybe", [], "", "that is no verdict or reason. There are: good, bad, wrong, wrong quotation"),
        ("bad", ["ugly"], "", "that is no verdict or reason"),
        ("bad", [], "x" * 2001, "the comment has 2,001 characters; at most 2,000 are kept."),
    ],
)
def test_what_is_no_rating_is_refused(store: Store, verdict: Any, reasons: Any, comment: str, message: str) -> None:
    turn = store.add_turn(store.begin("One"), "?", RECORD)
    with pytest.raises(SettingsError, match=message):
        store.rate(turn, verdict, reasons, comment)
    assert list(store.ratings()) == []


@pytest.mark.parametrize("title", ["", " \n", "x" * 201])
def test_a_title_is_neither_empty_nor_long(store: Store, title: str) -> None:
    conversation = store.begin("x" * 200)
    for refuse in (store.begin, lambda one: store.rename(conversation, one)):
        with pytest.raises(SettingsError, match=f"a title has 1 to 200 characters, .* has {len(title)}"):
            refuse(title)
    assert [one.title for one in store.list()] == ["x" * 200]


def test_half_characters_are_replaced(store: Store) -> None:
    conversation = store.begin("a\ud800")
    turn = store.add_turn(conversation, "b\udfff", {"answer": "c\ud800", "\ud800": 1})
    store.rate(turn, "bad", comment="\ud800")
    assert store.list("\ud800a")[0].title == "a?"
    (found,) = store.turns(conversation)
    assert (found.question, found.record) == ("b?", {"answer": "c?", "?": 1})
    with pytest.raises(ConversationError):
        store.turns("\ud800")


def test_ratings_are_read_in_parts_while_others_write(store: Store) -> None:
    conversation = store.begin("Many")
    turns = [store.add_turn(conversation, str(number), {"answer": "!"}) for number in range(102)]
    for turn in turns:
        store.rate(turn, "bad")
    found = []
    for row in store.ratings():
        found.append(row.turn.id)
        store.rate(row.turn.id, "good")
    assert found == turns


def test_answers_rated_bad_become_candidates(store: Store, tmp_path: Path) -> None:
    assert REFUSE == SHOULD_HAVE_REFUSED
    records, rows = tmp_path / "records.jsonl", tmp_path / "rows.jsonl"
    conversation = store.begin("Pay")
    first, second, third, _ = (
        store.add_turn(conversation, f"Question {number}?\u2028", {**record, "role": "Baker"})
        for number, record in enumerate(said("One [1]", "Two\x85 [1]", "Three [1]", "Four [1]"))
    )
    store.rate(first, "good")
    store.rate(second, "bad", ["wrong", "incomplete"], "No.")
    store.rate(third, "bad", ["wrong", REFUSE])
    assert store.export(records) == 2
    outcome = CliRunner().invoke(cli, ["candidates", str(records), "-o", str(rows)])
    assert outcome.exit_code == 0, outcome.output
    wrong, refuse = (json.loads(line) for line in rows.read_text(encoding="utf-8").split("\n")[:-1])
    assert (wrong["question"], wrong["reference"], wrong["role"]) == ("Question 1?\u2028", "Two\x85 [1]", "Baker")
    assert (wrong["kind"], wrong["answerable"], wrong["reason"]) == ("follow-up", True, "wrong, incomplete")
    assert wrong["evidence"] == [{"document": "baker", "quote": "Bern: 61,000 francs a year"}]
    assert wrong["history"] == [
        {"role": "user", "content": "Question 0?\u2028"},
        {"role": "assistant", "content": "One [1]"},
    ]
    assert (refuse["answerable"], refuse["reason"], refuse["evidence"]) == (False, REFUSE, [])
    history = list(store.ratings())[2].history
    assert history[2:] == (Message("user", "Question 1?\u2028"), Message("assistant", "Two\x85 [1]"))


def test_markdown_has_the_quotations_as_footnotes(store: Store) -> None:
    conversation = store.begin("Pay")
    store.add_turn(conversation, "In Bern?", {**RECORD, "read_as": "Baker in Bern?", "notice": "Fallback."})
    store.add_turn(conversation, "And\nBasel?", {"answer": "The documents do not tell.\nSee [7] [7]"})
    assert store.as_markdown(conversation) == (
        "Pay\n===\n\nBegun 2026-01-31T23:59:59Z.\n\n"
        "In Bern?\n---\n\nRead as: Baker in Bern?\n\n"
        "Bern: 61,000 francs a year [^1-1]\n\nNote: Fallback.\n\n"
        "[^1-1]: In baker, characters 54 to 80 (Baker &#62; Pay &#62; page 3): “Bern: 61,000 francs a year”\n\n"
        "And Basel?\n---\n\nThe documents do not tell.\n\nSee &#91;7&#93; &#91;7&#93;\n"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_makes_markup_or_a_link(store: Store, text: str) -> None:
    conversation = store.begin(text)
    citation = {
        **RECORD["citations"][0],
        "quote": text,
        "title": text,
        "section": [text],
        "document": text,
        "place": text,
    }
    record = {"answer": f"{text} [1]", "citations": [citation], "read_as": text, "notice": text}
    store.add_turn(conversation, text, record)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(store.as_markdown(conversation))
    assert {token.type.removesuffix("_open").removesuffix("_close") for token in tokens} == {
        "heading",
        "paragraph",
        "inline",
    }
    inner = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inner} <= {"text", "text_special"}
    assert [token.markup for token in tokens if token.type == "heading_open"] == ["=", "-"]
    shown = ["".join(child.content for child in token.children or ()) for token in tokens if token.type == "inline"]
    flat = " ".join(text.split())
    assert (shown[0], shown[2], shown[3]) == (flat, flat, f"Read as: {flat}")
    assert shown[-1] == f"[^1-1]: In {flat}, characters 54 to 80 ({flat} > {flat} > {flat}): “{flat}”"


def test_two_threads_lose_nothing(store: Store) -> None:
    shared, written, failures = store.begin("Shared"), [list[str](), list[str]()], list[Exception]()

    def write(mine: list[str]) -> None:
        try:
            for number in range(200):
                mine.append(store.add_turn(shared, f"turn {number}", RECORD))
                if number % 20 == 0:
                    store.list("turn")
        except ConversationError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(mine,)) for mine in written]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = ids(store.turns(shared))
    assert len(found) == 400
    for mine in written:
        assert [turn for turn in found if turn in set(mine)] == mine


WRITER = """
import sys
from pathlib import Path
from rag.conversations import Store

store = Store(Path(sys.argv[1]))
conversation = store.begin("Killed")
print(conversation, flush=True)
while True:
    print(store.add_turn(conversation, "Which?", {"answer": "This one.", "text": "flour " * 2000}), flush=True)
"""


def test_a_kill_loses_no_turn_that_was_acknowledged(tmp_path: Path) -> None:
    for acknowledged in (1, 30, 77):  # the log is written back into the file every 80 turns or so
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / NAME)], stdout=subprocess.PIPE, text=True, cwd=PROJECT
        ) as child:
            assert child.stdout
            conversation, *turns = (child.stdout.readline().strip() for _ in range(1 + acknowledged))
            child.kill()
            turns += child.stdout.read().split()
        with Store(tmp_path / NAME) as store:
            found = ids(store.turns(conversation))
            assert found[: len(turns)] == turns
            assert len(found) <= len(turns) + 1  # it was killed before it could tell of the last one
            assert [one.id for one in store.list("this")][0] == conversation
        with sqlite3.connect(tmp_path / NAME) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            database.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        database.close()
    assert not list(tmp_path.glob("*.damaged*"))


def test_a_second_process_may_write_too(tmp_path: Path) -> None:
    with Store(tmp_path / NAME) as one, Store(tmp_path / NAME) as other:
        conversation = one.begin("Shared")
        other.add_turn(conversation, "?", RECORD)
        assert len(one.turns(conversation)) == 1
        one.delete(conversation)
        assert other.list() == []


def test_a_damaged_file_is_set_aside_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / NAME
    with Store(path) as store:
        for _ in range(60):
            store.add_turn(store.begin("Old"), "?", {"answer": "x" * 3000})
    sound = path.read_bytes()
    damages = [b"no database at all " * 200, sound[: len(sound) // 2], sound[:4096] + b"\xff" * 8192 + sound[12288:]]
    for number, damage in enumerate(damages, start=1):
        path.write_bytes(damage)
        caplog.clear()
        with caplog.at_level(logging.WARNING), Store(path) as store:
            assert store.list() == []
            store.begin("New")
        assert caplog.messages == [
            f"{NAME} is damaged. It is kept as {NAME}.damaged-{number}, and new conversations are begun."
        ]
        assert (tmp_path / f"{NAME}.damaged-{number}").read_bytes() == damage


def test_a_damaged_search_is_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Store(tmp_path / NAME) as store:
        conversation = store.begin("Flour")
    with sqlite3.connect(tmp_path / NAME) as database:
        database.execute("DELETE FROM words_data WHERE id > 10")
    database.close()
    with Store(tmp_path / NAME) as store:
        assert ids(store.list("flour")) == [conversation]
    assert caplog.messages == []


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path / NAME).close()
    with sqlite3.connect(tmp_path / NAME) as database:
        database.execute("PRAGMA user_version = 3")
    database.close()
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(ConversationError) as raised:
        Store(tmp_path / NAME)
    assert str(raised.value) == (
        f"{NAME} was written by a newer Rolewise (schema 3; this one reads 2). "
        "Update Rolewise, or move the file away to begin anew."
    )
    assert (tmp_path / NAME).read_bytes() == before


def test_a_failure_names_no_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    closed = Store(tmp_path / NAME)
    closed.close()
    for fail in (
        lambda: Store(tmp_path / "file" / NAME),
        lambda: Store(tmp_path / "folder"),
        lambda: closed.begin("One"),
    ):
        with pytest.raises(ConversationError, match="cannot be read or kept") as raised:
            fail()
        assert str(tmp_path) not in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.skipif(sys.platform == "win32", reason="has other rights")
def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    with Store(tmp_path / NAME) as store:
        store.begin("One")
        files = sorted(tmp_path.iterdir())
        assert [path.name for path in files] == [NAME, f"{NAME}-shm", f"{NAME}-wal"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_each_owner_finds_their_own_conversations(store: Store) -> None:
    mine, theirs, nobodys = store.begin("Pay", "ann"), store.begin("Pay", "bob"), store.begin("Pay")
    assert [ids(store.list(owner=one)) for one in ("ann", "bob", "", "eve")] == [[mine], [theirs], [nobodys], []]
    assert ids(store.list("pay", owner="bob")) == [theirs]


def test_a_file_of_the_first_schema_keeps_its_conversations(tmp_path: Path) -> None:
    with Store(tmp_path / NAME) as store:
        conversation = store.begin("Pay")
        store.add_turn(conversation, "Where?", RECORD)
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as database:
        database.execute("ALTER TABLE conversations DROP COLUMN owner")
        database.execute("PRAGMA user_version = 1")
        database.commit()
    with Store(tmp_path / NAME) as store:
        assert ids(store.list("bern")) == [conversation]
        assert store.turns(conversation)[0].record == RECORD
        store.begin("Mill", "ann")
        assert ids(store.list()) == [conversation]
