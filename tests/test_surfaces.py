"""The same questions give the same passages through every front door, over one index of the bundled guides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from lxml import html
from mcp import Client as McpClient

from app import Desk, Server, build_app
from eval.questions import load_questions
from eval.running import answered
from rag.__main__ import cli
from rag.answering import Engine
from rag.mcp import create_server
from rag.models import pull
from rag.settings import Settings
from rag.wiring import build_index, open_engine
from tests.test_mcp import talk, told

PROJECT = Path(__file__).parents[1]
QUESTIONS = 20
BEST = 10
"""Passages that are compared: an answer about several roles reads more."""

pytestmark = [
    pytest.mark.models,
    # Gradio 6.31 keeps its queue's statistics with calls that pandas 3 deprecates.
    pytest.mark.filterwarnings("ignore:.*future.no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]


def asked() -> list[Any]:
    """Of the development questions every so manieth, so that all guides and kinds are among them."""
    questions = load_questions([PROJECT / "eval" / "questions" / "roles.jsonl"], "dev")
    alone = [one for one in questions if not one.history and not one.role]
    return alone[:: len(alone) // QUESTIONS][:QUESTIONS]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pull("all-MiniLM-L6-v2", progress=lambda *_: None)
    folder = tmp_path_factory.mktemp("home")
    build_index(Settings(home=folder), [PROJECT / "index" / "sources"])
    return folder


@pytest.fixture(scope="module")
def engine(home: Path) -> Engine:
    return open_engine(Settings(home=home, generator="extractive"))


@pytest.fixture(scope="module")
def expected(engine: Engine) -> list[list[str]]:
    """What the harness measures."""
    found = [best(answered(engine, one, [])["passages"]) for one in asked()]
    assert len(found) == QUESTIONS
    assert min(map(len, found)) == BEST
    return found


@pytest.fixture
def url(engine: Engine) -> Iterator[str]:
    made: list[asyncio.AbstractEventLoop] = []
    new_event_loop = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(new_event_loop())
        return made[-1]

    desk, settings = Desk(lambda: engine), Settings(generator="extractive")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asyncio, "new_event_loop", noted)  # Gradio leaves the loops of its locks open
        server = Server(build_app(desk, settings), desk, settings)
        yield server.url
        server.stop()
    for loop in made:
        if not loop.is_running():
            loop.close()


def best(passages: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in passages][:BEST]


def each(find: Callable[[str], list[str]]) -> list[list[str]]:
    return [find(one.question) for one in asked()]


def test_the_terminal(home: Path, expected: list[list[str]], tmp_path: Path) -> None:
    rows, answers = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    rows.write_text("".join(json.dumps({"question": one.question}) + "\n" for one in asked()))
    at_home = ["--home", str(home)]
    run = CliRunner().invoke(cli, [*at_home, "batch", str(rows), "-o", str(answers), "--generator", "extractive"])
    assert run.exit_code == 0, run.output
    assert [best(json.loads(line)["passages"]) for line in answers.read_text().splitlines()] == expected
    first = asked()[0].question
    run = CliRunner().invoke(cli, [*at_home, "search", first, "-k", str(BEST), "--json"])
    assert best(json.loads(run.stdout)["passages"]) == expected[0]
    run = CliRunner().invoke(cli, [*at_home, "ask", first, "--json", "--generator", "extractive"])
    assert best(json.loads(run.stdout)["passages"]) == expected[0]


def test_the_chat(url: str, expected: list[list[str]]) -> None:
    """By the page's own queue, each question in a session of its own: else it would be a follow-up."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:

        def said_by(endpoint: str, *data: object) -> list[str]:
            """The passages of the one record that comes last."""
            event = http.post(f"/gradio_api/call/{endpoint}", json={"data": data}).json()["event_id"]
            said = http.get(f"/gradio_api/call/{endpoint}/{event}").text
            [record] = [
                one for one in json.loads(said.rpartition("event: complete\ndata: ")[2]) if isinstance(one, dict)
            ]
            return best(record["passages"])

        assert each(lambda one: said_by("chat", one, "extractive", "")) == expected
        assert each(lambda one: said_by("search", one, BEST, "")) == expected


def test_the_search_page(url: str, expected: list[list[str]]) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:

        def find(question: str) -> list[str]:
            page = html.fromstring(http.get("/search/results", params={"q": question, "k": BEST}).text)
            return [str(card.get("id")) for card in page.find_class("card")]

        assert each(find) == expected


def test_the_api(url: str, expected: list[list[str]]) -> None:
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as http:

        def find(question: str) -> list[str]:
            reply = http.post("/v1/search", json={"query": question, "k": BEST})
            return best(reply.json()["passages"])

        def ask(question: str) -> list[str]:
            said = {"model": "rolewise-extractive", "messages": [{"role": "user", "content": question}]}
            return best(http.post("/v1/chat/completions", json=said).json()["rolewise"]["passages"])

        assert each(find) == expected
        assert each(ask) == expected


def test_mcp(engine: Engine, expected: list[list[str]]) -> None:
    async def both(client: McpClient) -> list[list[str]]:
        found = [await client.call_tool("search", {"query": one.question, "k": BEST}) for one in asked()]
        return [best(told(one)["passages"]) for one in found]

    assert talk(create_server(lambda: engine), both) == expected
