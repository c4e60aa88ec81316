"""Conversations over HTTP: each person's own list, and a conversation as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from rag.answering import Engine
from rag.api import create_api
from rag.conversations import Store
from rag.history import add_history
from rag.record import answer_record
from rag.safety import Guard
from rag.slots import Slots
from tests.test_api import served

TOKEN = "correct-horse-battery"
HOSTS = frozenset({"127.0.0.1"})
ROUTE = "/v1/conversations"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "conversations.sqlite") as opened:
        yield opened


@pytest.fixture
def url(store: Store, shelf: Path, engine_over: Callable[..., Engine]) -> Iterator[str]:
    engine = engine_over(shelf)
    conversation = store.begin("Pay in Bern")
    answer = engine.ask("What does a Baker earn in Bern?")
    store.add_turn(conversation, answer.question, answer_record(answer))
    api = create_api(lambda: engine, Slots(), models=["rolewise-extractive"])
    add_history(api, store)
    with served(Guard(api, hosts=HOSTS)) as address:
        yield address


def client_of(url: str, **options: object) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=60, verify=False, **options)  # type: ignore[arg-type]


def test_a_conversation_is_listed_renamed_exported_and_deleted(url: str, store: Store) -> None:
    with client_of(url) as http:
        [found] = http.get(ROUTE, params={"query": "61,000"}).json()["conversations"]
        assert (found["title"], found["turns"]) == ("Pay in Bern", 1)
        one = f"{ROUTE}/{found['id']}"
        assert http.patch(one, json={"title": "Bakers"}).json() == {"id": found["id"], "title": "Bakers"}
        whole = http.get(one)
        assert whole.json() == store.as_json(found["id"]) | {"turns": whole.json()["turns"]}
        assert whole.json()["turns"][0]["record"]["citations"][0]["quote"] == "Bern: 61,000 francs a year"
        assert whole.headers["content-disposition"] == f'attachment; filename="conversation-{found["id"][:8]}.json"'
        text = http.get(f"{one}/markdown")
        assert text.text == store.as_markdown(found["id"])
        assert text.headers["content-type"].startswith("text/markdown")
        assert http.delete(one).status_code == 204
        assert http.get(ROUTE).json() == {"conversations": []}
        gone = http.get(one)
        assert (gone.status_code, gone.json()["error"]["type"]) == (404, "not_found_error")
        assert http.delete(one).status_code == 404
        assert http.patch(one, json={"title": "x"}).status_code == 404


@pytest.mark.parametrize("title", ["", "x" * 201, "  "])
def test_a_title_that_cannot_be_is_refused(url: str, store: Store, title: str) -> None:
    [found] = store.list()
    with client_of(url) as http:
        reply = http.patch(f"{ROUTE}/{found.id}", json={"title": title})
    assert (reply.status_code, store.list()[0].title) == (400, "Pay in Bern")
    assert "title" in reply.json()["error"]["message"]


def test_people_who_share_a_token_see_their_own_conversations_only(
    store: Store, shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    engine = engine_over(shelf)
    api = create_api(lambda: engine, Slots(), models=["rolewise-extractive"])
    add_history(api, store)

    @api.get("/")
    def page() -> dict[str, str]:
        return {}

    with served(Guard(api, token=TOKEN, hosts=HOSTS)) as url:
        with client_of(url, auth=("", TOKEN)) as ann, client_of(url, auth=("", TOKEN)) as bob:
            ann.get("/")
            bob.get("/")
            mine = store.begin("Mine", ann.cookies["rolewise-person"])
            store.begin("Nobody's")
            assert [one["id"] for one in ann.get(ROUTE).json()["conversations"]] == [mine]
            assert bob.get(ROUTE).json() == {"conversations": []}
        with client_of(url) as nobody:
            assert nobody.get(f"{ROUTE}/{mine}").status_code == 401
