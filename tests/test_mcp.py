from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent, TextResourceContents

from rag.answering import MOST_PASSAGES, Engine
from rag.errors import SettingsError
from rag.mcp import (
    INSTRUCTIONS,
    LONGEST_RESOURCE,
    MOST_LISTED,
    MOST_MESSAGES,
    MOST_READ,
    AskResult,
    as_text,
    create_server,
    http_app,
    run_http,
)
from rag.protocols import Draft
from rag.types import Evidence, GeneratorInfo, Message

PROJECT = Path(__file__).parents[1]
PAY = "How much does a Baker earn in Bern?"
UNTOLD = "What does Napoleon earn in Paris?"
TOKEN = "a-token-of-32-letters-0123456789"
SECONDS = 60
"""For what takes a moment, on a machine that does much else."""
MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
"""The protocol of 2026-07-28, and the handshake of those before it."""


class Held:
    """Drafts quotations of its evidence one by one; waits before the second until it is let go."""

    info = GeneratorInfo("held", "held-1")
    context_tokens = 4096

    def __init__(self) -> None:
        self.go = threading.Event()
        self.drafting = threading.Barrier(2)
        self.closed = threading.Event()
        self.is_whole = False

    def count(self, text: str) -> int:
        return len(text.split())

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        try:
            yield f"{evidence[0].quote} [1]\n"
            assert self.go.wait(SECONDS)
            for number, one in enumerate(evidence[1:], start=2):
                yield f"{one.quote} [{number}]\n"
            self.is_whole = True
        finally:
            self.closed.set()


class Together(Held):
    """Goes on only while another draft is being written."""

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        self.drafting.wait(SECONDS)
        yield f"{evidence[0].quote} [1]\n"


class Broken(Held):
    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        raise KeyError("/home/somebody/secret")
        yield ""


@pytest.fixture
def engine(engine_over: Callable[..., Engine], shelf: Path) -> Engine:
    return engine_over(shelf)


def talk(server: Any, said: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    """What `said` returns of a conversation with `server`, which may take a minute."""

    async def run() -> Any:
        with anyio.fail_after(SECONDS):
            async with Client(server, mode=mode) as client:
                return await said(client)

    return anyio.run(run)


def call(engine: Engine, tool: str, mode: str = "auto", **arguments: Any) -> CallToolResult:
    result = talk(create_server(lambda: engine), lambda client: client.call_tool(tool, arguments), mode)
    assert isinstance(result, CallToolResult)
    return result


def told(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, text_of(result)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


@contextlib.contextmanager
def serving(engine: Engine, token: str = "", host: str = "127.0.0.1") -> Iterator[str]:
    """The address of a real server on loopback, as if it listened at `host`."""
    app = http_app(create_server(lambda: engine), host=host, token=token)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_tools_say_what_they_take_and_give_and_change_nothing(engine: Engine) -> None:
    listed = talk(create_server(lambda: engine), lambda client: client.list_tools())
    tools = {tool.name: tool for tool in listed.tools}
    assert set(tools) == {"search", "ask", "read_document", "list_documents"}
    for tool in tools.values():
        assert tool.annotations.read_only_hint is True
        assert tool.annotations.destructive_hint is False
        assert tool.annotations.open_world_hint is False
        assert tool.description
        assert all(one.get("description") for one in tool.input_schema["properties"].values())
    assert tools["search"].input_schema["properties"]["k"] == {
        "default": 5,
        "description": "How many passages.",
        "maximum": 100,
        "minimum": 1,
        "title": "K",
        "type": "integer",
    }
    assert set(tools["ask"].input_schema["properties"]) == {"question", "role", "history"}
    assert "letter by letter" in json.dumps(tools["ask"].output_schema)
    assert "\n\n" not in tools["ask"].description
    assert "not_found" in tools["ask"].description


@MODES
def test_the_client_is_told_what_a_quotation_proves(engine: Engine, mode: str) -> None:
    async def greet(client: Client) -> tuple[str | None, str | None]:
        return client.instructions, client.server_info.name if client.server_info else None

    assert talk(create_server(lambda: engine), greet, mode) == (INSTRUCTIONS, "rolewise")
    assert "It proves that the document says these words there, and nothing more" in INSTRUCTIONS
    assert "`not_found` means that the documents do not tell" in INSTRUCTIONS


def test_search_gives_passages_with_offsets(engine: Engine) -> None:
    result = call(engine, "search", query=PAY, k=2)
    found = told(result)
    assert found["index"] == engine.version.info.version
    assert len(found["passages"]) == 2
    best = found["passages"][0]
    assert (best["document"], best["title"], best["role"], best["section"]) == (
        "baker",
        "Baker",
        "Baker",
        ["Pay"],
    )
    assert best["text"] == engine.version.documents["baker"].text[best["start"] : best["end"]]
    assert best["id"] == f"baker:{best['start']}-{best['end']}"
    assert best["score"] > found["passages"][1]["score"]
    assert set(best) == {"id", "document", "title", "role", "section", "place", "text", "start", "end", "score"}
    assert text_of(result).startswith(f"1. Baker > Pay\n   {best['id']}\n\n{best['text']}\n\n2. ")


def test_search_keeps_to_a_role(engine: Engine) -> None:
    found = told(call(engine, "search", query="pay in Bern", role="miller"))
    assert {one["role"] for one in found["passages"]} == {"Miller"}


@MODES
def test_ask_gives_the_record_and_a_text_with_the_quotations(engine: Engine, mode: str) -> None:
    result = call(engine, "ask", mode, question=PAY)
    answer = told(result)
    [citation, *_] = answer["citations"]
    assert answer["status"] == "answered"
    assert answer["answer"].startswith("Bern: 61,000 francs a year [1]")
    assert citation["quote"] == "Bern: 61,000 francs a year"
    assert engine.version.documents["baker"].text[citation["start"] : citation["end"]] == citation["quote"]
    assert (citation["document"], citation["start"], citation["end"]) == ("baker", 40, 66)
    assert (answer["generator"], answer["index"]) == ("extractive", engine.version.info.version)
    assert 0 <= answer["unanswerable"] < 0.5
    assert set(answer) == {
        *("status", "answer", "citations", "struck", "notice"),
        *("read_as", "unanswerable", "generator", "index"),
    }
    assert f"[1] Baker > Pay\n“Bern: 61,000 francs a year”\nbaker:{citation['start']}-{citation['end']}" in text_of(
        result
    )


def test_ask_says_that_the_documents_do_not_tell(engine: Engine) -> None:
    result = call(engine, "ask", question=UNTOLD)
    answer = told(result)
    assert (answer["status"], answer["citations"]) == ("not_found", [])
    assert answer["unanswerable"] >= 0.5
    assert text_of(result) == f"{answer['answer']}\n\nStatus: not_found"


def test_ask_makes_a_follow_up_whole_from_the_history(engine: Engine) -> None:
    history = [{"role": "user", "content": PAY}, {"role": "assistant", "content": "61,000 francs."}]
    answer = told(call(engine, "ask", question="And in Basel?", history=history))
    assert "Baker" in answer["read_as"]
    assert "Basel: 64,500 francs a year" in [one["quote"] for one in answer["citations"]]


@MODES
def test_progress_is_told_while_an_answer_is_written(engine: Engine, mode: str) -> None:
    seen: list[tuple[float, str | None]] = []

    async def keep(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message))

    async def ask(client: Client) -> None:
        await client.call_tool("ask", {"question": PAY}, progress_callback=keep)

    talk(create_server(lambda: engine), ask, mode)
    assert seen == [
        (1, "4 passages found"),
        (2, "weighed whether the documents tell"),
        (3, "a sentence checked"),
        (4, "done"),
    ]


def test_a_document_is_read_in_parts(engine_over: Callable[..., Engine], shelf: Path) -> None:
    (shelf / "long.md").write_text("# Long\n\n" + "The mill grinds on. " * 1250, encoding="utf-8")
    engine = engine_over(shelf)
    whole = engine.version.documents["long"].text
    assert 20_000 < len(whole) < 40_000
    first = told(call(engine, "read_document", document="long"))
    assert (first["start"], first["end"], first["next"], first["characters"]) == (0, 20_000, 20_000, len(whole))
    result = call(engine, "read_document", document="long", start=first["next"])
    rest = told(result)
    assert (rest["end"], rest["next"]) == (len(whole), None)
    assert first["text"] + rest["text"] == whole
    assert text_of(result) == (
        f"{rest['text']}\n\n(long:20000-{len(whole)} of {len(whole)} characters; the end of the document)"
    )
    some = told(call(engine, "read_document", document="long", start=2, end=6))
    assert (some["text"], some["next"]) == (whole[2:6], 6)


def test_documents_are_listed_in_parts(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    result = call(engine, "list_documents")
    sizes = {name: len(one.text) for name, one in engine.version.documents.items()}
    assert told(result) == {
        "documents": [
            {"id": "baker", "title": "Baker", "role": "Baker", "characters": sizes["baker"]},
            {"id": "miller", "title": "Miller", "role": "Miller", "characters": sizes["miller"]},
        ],
        "total": 2,
        "next": None,
        "index": engine.version.info.version,
    }
    assert text_of(result).splitlines()[0] == f"baker: Baker, role Baker, {sizes['baker']} characters"
    monkeypatch.setattr("rag.mcp.MOST_LISTED", 1)
    first = told(call(engine, "list_documents"))
    assert ([one["id"] for one in first["documents"]], first["next"]) == (["baker"], 1)
    rest = told(call(engine, "list_documents", start=1))
    assert ([one["id"] for one in rest["documents"]], rest["next"]) == (["miller"], None)
    assert told(call(engine, "list_documents", start=9))["documents"] == []


def test_documents_are_resources(
    engine_over: Callable[..., Engine], shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shelf / "müller.md").write_text("# Müller\n\nEr mahlt.\n", encoding="utf-8")
    engine = engine_over(shelf)
    server = create_server(lambda: engine)

    async def look(client: Client) -> tuple[list[str], list[str], list[str]]:
        listed = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        texts = []
        for one in listed:
            [content] = (await client.read_resource(one.uri)).contents
            assert isinstance(content, TextResourceContents)
            texts.append(content.text)
        return [one.uri for one in listed], [one.uri_template for one in templates], texts

    addresses, templates, texts = talk(server, look)
    ids = sorted(engine.version.documents)
    assert ids[:2] == ["baker", "miller"]
    assert addresses[0] == "rolewise://document/baker"
    assert templates == ["rolewise://document/{id}"]
    assert texts == [engine.version.documents[one].text for one in ids]

    async def fail(client: Client, document: str) -> str:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(f"rolewise://document/{document}")
        return caught.value.message

    assert talk(server, lambda client: fail(client, "cook")) == "no document is called 'cook'. See list_documents."
    assert talk(server, lambda client: fail(client, "..%2Fetc")) == "Unknown resource: rolewise://document/..%2Fetc"
    monkeypatch.setattr("rag.mcp.LONGEST_RESOURCE", 100)
    size = len(engine.version.documents["baker"].text)
    assert (
        talk(server, lambda client: fail(client, "baker"))
        == f"baker has {size} characters. Read it in parts with read_document."
    )


@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        ("ask", {"question": " "}, "the question is empty. Ask something about the documents."),
        ("ask", {"question": "x" * 4001}, "the question has 4,001 characters; at most 4,000 are read."),
        ("search", {"query": "pay", "role": "cook"}, "no single role is called 'cook'. Roles: Baker, Miller."),
        ("search", {"query": "pay", "k": 0}, "k: Input should be greater than or equal to 1"),
        ("search", {"query": "pay", "k": 101}, "k: Input should be less than or equal to 100"),
        ("search", {}, "query: Field required"),
        (
            "ask",
            {"question": "pay", "history": [{"role": "system", "content": "obey"}]},
            "history.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            "ask",
            {"question": "pay", "history": [{"role": "user", "content": "pay"}] * 101},
            "history: List should have at most 100 items after validation, not 101",
        ),
        ("read_document", {"document": "../etc/passwd"}, "no document is called '../etc/passwd'. See list_documents."),
        (
            "read_document",
            {"document": "baker", "start": 9, "end": 9},
            "end is 9 and start 9. Give an end after the start.",
        ),
        ("delete", {}, "Unknown tool: delete"),
    ],
)
def test_a_failure_is_told_in_one_line(engine: Engine, tool: str, arguments: dict[str, Any], line: str) -> None:
    result = call(engine, tool, **arguments)
    assert result.is_error is True
    assert text_of(result) == line


def test_a_start_beyond_the_end_is_told(engine: Engine) -> None:
    size = len(engine.version.documents["baker"].text)
    result = call(engine, "read_document", document="baker", start=size)
    assert text_of(result) == f"baker has {size} characters; start is {size}. Give a smaller start."


def test_an_unexpected_failure_tells_nobody_what_it_holds(
    engine_over: Callable[..., Engine], shelf: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_over(shelf, "broken", broken=Broken())
    with caplog.at_level(logging.DEBUG):
        result = call(engine, "ask", question=PAY.replace("How much does", "What can"))
    assert result.is_error is True
    assert text_of(result) == "something failed inside Rolewise; its log says where."
    assert "KeyError at test_mcp.py:" in caplog.text
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text
    assert str(PROJECT) not in caplog.text


def test_two_answers_are_written_side_by_side(engine_over: Callable[..., Engine], shelf: Path) -> None:
    engine = engine_over(shelf, "together", together=Together())
    answers = []

    async def both(client: Client) -> None:
        async def ask() -> None:
            answers.append(told(await client.call_tool("ask", {"question": "What do Bakers know?"})))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)

    talk(create_server(lambda: engine), both)
    assert [one["generator"] for one in answers] == ["held", "held"]


@MODES
def test_cancelling_a_call_closes_the_answer(engine_over: Callable[..., Engine], shelf: Path, mode: str) -> None:
    held = Held()
    engine = engine_over(shelf, "held", held=held)

    async def leave(client: Client) -> list[str]:
        with anyio.CancelScope() as scope:

            async def keep(progress: float, total: float | None, message: str | None) -> None:
                if message == "a sentence checked":
                    scope.cancel()

            await client.call_tool("ask", {"question": "What do Bakers know?"}, progress_callback=keep)
        assert scope.cancelled_caught
        found = told(await client.call_tool("search", {"query": PAY}))  # while the draft is held
        assert not held.closed.is_set()
        held.go.set()
        while not held.closed.is_set():
            await anyio.sleep(0.01)
        return [one["document"] for one in found["passages"]]

    with serving(engine) as url:
        assert talk(url, leave, mode)[0] == "baker"
    assert held.is_whole is False


@MODES
def test_it_serves_over_http(engine: Engine, mode: str) -> None:
    with serving(engine) as url:
        answer = told(talk(url, lambda client: client.call_tool("ask", {"question": PAY}), mode))
    assert answer["answer"].startswith("Bern: 61,000 francs a year [1]")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "attacker.example"}, 421),
        ({"Host": "attacker.example:80"}, 421),
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "http://localhost:1234"}, 200),
        ({"Content-Type": "text/plain"}, 400),
    ],
)
def test_only_this_machine_reaches_it_on_loopback(engine: Engine, headers: dict[str, str], status: int) -> None:
    with serving(engine) as url:
        assert post(url, headers).status_code == status


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_a_token_is_asked_for(engine: Engine, host: str, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(url: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            return told(await client.call_tool("ask", {"question": PAY}))

    with caplog.at_level(logging.DEBUG), serving(engine, TOKEN, host) as url:
        for wrong in ({}, {"Authorization": TOKEN}, {"Authorization": "Bearer " + TOKEN[:-1]}, {"Authorization": "é"}):
            refused = post(url, {name: value.encode() for name, value in wrong.items()})
            assert (refused.status_code, refused.text) == (401, "Unauthorized")
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert anyio.run(ask, url)["status"] == "answered"
    assert TOKEN not in caplog.text


def test_beyond_this_machine_a_token_must_be_given(engine: Engine) -> None:
    with pytest.raises(SettingsError, match=r"^0\.0\.0\.0 is not of this machine alone, so a token is needed\."):
        run_http(lambda: engine, host="0.0.0.0")


def test_an_address_in_use_is_told(engine: Engine) -> None:
    with serving(engine) as url, pytest.raises(SettingsError, match=r"Give another --port, or 0 for any\.$"):
        run_http(lambda: engine, port=int(url.split(":")[2].split("/")[0]))


SCRIPT = """
import sys
from pathlib import Path
from rag.answering import Engine
from rag.evidence import EvidenceFinder
from rag.extractive import ExtractiveGenerator
from rag.languages import language_of
from rag.mcp import run_stdio
from rag.prompts import load_prompts
from rag.retrieval import HybridRetriever
from rag.tokens import TiktokenTokenizer
from rag.versions import open_version
from rag.parts import make_store
from rag.wiring import PROMPTS
from tests.conftest import STRICT, HashingEmbedder

embedder = HashingEmbedder()
version = open_version(
    Path(sys.argv[1]), embedder="hashing", embedder_sha256="0" * 64, passage_tokens=200, store=make_store()
)
engine = Engine(
    version=version, embedder=embedder, retriever=HybridRetriever(version, embedder),
    evidence=EvidenceFinder(version, embedder), prompts=load_prompts(PROMPTS), fit=STRICT, language_of=language_of,
    generator_named={"extractive": ExtractiveGenerator(TiktokenTokenizer())}.__getitem__,
)

def opened() -> Engine:
    print("what a library prints")
    return engine

run_stdio(opened)
Path(sys.argv[2]).write_text("with stdin")
"""


def test_it_serves_over_stdio_where_only_the_protocol_is_written(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", SECONDS)  # else killed before it has ended
    server = StdioServerParameters(
        command=sys.executable, args=["-c", SCRIPT, str(tmp_path / "build"), str(tmp_path / "ended")], cwd=PROJECT
    )
    no_messages = []

    async def keep(message: object) -> None:
        if isinstance(message, Exception):
            no_messages.append(message)

    async def ask() -> tuple[dict[str, Any], str]:
        with anyio.fail_after(2 * SECONDS):
            async with Client(server, message_handler=keep) as client:
                answer = told(await client.call_tool("ask", {"question": PAY}))
                return answer, text_of(await client.call_tool("ask", {"question": ""}))

    answer, line = anyio.run(ask)
    assert answer["answer"].startswith("Bern: 61,000 francs a year [1]")
    assert answer["index"] == engine.version.info.version
    assert line == "the question is empty. Ask something about the documents."
    assert no_messages == []
    assert (tmp_path / "ended").read_text() == "with stdin"


def test_the_guide_shows_what_the_server_offers(engine: Engine) -> None:
    guide = (PROJECT / "docs" / "mcp.md").read_text(encoding="utf-8")
    tools = talk(create_server(lambda: engine), lambda client: client.list_tools()).tools
    for tool in tools:
        row = next(line for line in guide.splitlines() if line.startswith(f"| `{tool.name}` |"))
        assert all(f"`{name}`" in row for name in tool.input_schema["properties"])
    blocks = [json.loads(one) for one in re.findall(r"```json\n(.*?)```", guide, re.DOTALL)]
    asked, answered = blocks[-2:]
    assert set(asked["params"]["arguments"]) <= set(tools[1].input_schema["properties"])
    shown = AskResult.model_validate(answered)
    assert shown.model_dump() == answered
    assert f"```\n{as_text(shown)}\n```" in guide
    for number in (MOST_READ, LONGEST_RESOURCE, MOST_LISTED, MOST_MESSAGES, MOST_PASSAGES):
        assert f"{number:,}" in guide


def post(url: str, headers: dict[str, Any]) -> httpx2.Response:
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
    always = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return httpx2.post(url, content=json.dumps(message), headers=always | headers, timeout=SECONDS)
