"""A list of attacks on the whole server, page and API, with and without a token. docs/safety.md shows what each gets.

Every attack is sent as it is, byte for byte: to a server on loopback that asks for no token, to one that asks for one,
and to the same with the token.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fastapi.routing
import httpx
import pytest
from starlette.routing import Mount

from app import Desk, Server, build_app
from rag import answering, api, hosted, isolation, safety, slots
from rag import server as serving
from rag.answering import Engine
from rag.conversations import Store
from rag.evidence import EvidenceFinder
from rag.extractive import ExtractiveGenerator
from rag.indexing import Builder
from rag.languages import language_of
from rag.parts import make_store
from rag.prompts import load_prompts
from rag.retrieval import HybridRetriever
from rag.safety import HEADERS
from rag.settings import Settings
from rag.sources import read_documents
from rag.tokens import TiktokenTokenizer
from rag.versions import open_version
from rag.wiring import PROJECT, PROMPTS
from tests.conftest import BAKER, MILLER, STRICT, HashingEmbedder

# Gradio 6.31 keeps its queue's statistics with calls that pandas 3 deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*future.no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]

TOKEN = "correct-horse-battery"
HASTY = safety.Limits(body_seconds=0.3)
"""As by default, but a body that stays away is given up at once."""
EVIL = "http://evil.example"
SCRIPT = "</script><script>alert(1)</script>"
THIEF = f"""\
---
title: Thief {SCRIPT}
role: Thief {SCRIPT}
---
# Thief

A Thief earns 5 ducats a year.
"""
ROBBER = (
    "A Robber earns 9 ducats <script>alert(2)</script> ![x](http://evil.example/p.png) [here](//evil.example) a year."
)
NAMED = "rolewise.test"
"""Another name of the servers, which is not one of this machine alone."""
FILE = {"path": "{fetched}", "url": "{fetched}", "meta": {"_type": "gradio.FileData"}}
STOLEN = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
JSON = {"Content-Type": "application/json"}
SEARCH, CHAT, RUN, JOIN = "/v1/search", "/v1/chat/completions", "/gradio_api/run", "/gradio_api/queue/join"


@dataclass(frozen=True)
class Attack:
    """What is sent, in which `{host}` and `{fetched}` stand for the server and for a third party, and what it gets."""

    name: str
    request: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    sends_length: bool = True

    def raw(self, host: str, fetched: str, token: str = "") -> bytes:
        method, path = self.request.split(" ", 1)
        named = {"Host": host, "Connection": "close"} | self.headers
        if token:
            named["Authorization"] = f"Bearer {token}"
        if self.body and self.sends_length:
            named.setdefault("Content-Length", str(len(self.body.replace(b"{fetched}", fetched.encode()))))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items() if value), "", ""]
        head = "\r\n".join(lines).replace("{host}", host).replace("{fetched}", fetched)
        return head.encode("latin-1") + self.body.replace(b"{fetched}", fetched.encode())


def gets(name: str, path: str, status: int, **headers: str) -> Attack:
    return Attack(name, f"GET {path}", status, {key.replace("_", "-"): value for key, value in headers.items()})


def posts(name: str, path: str, status: int, body: object, **headers: str) -> Attack:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Attack(name, f"POST {path}", status, JSON | {k.replace("_", "-"): v for k, v in headers.items()}, content)


def asks(text: object, times: int = 1) -> dict[str, object]:
    return {"model": "rolewise-extractive", "messages": [{"role": "user", "content": text}] * times}


def uploads(name: str, path: str, file: str) -> Attack:
    part = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{file}"\r\n\r\n<script>\r\n--x--\r\n'
    return Attack(name, f"POST {path}", 404, {"Content-Type": "multipart/form-data; boundary=x"}, part.encode())


ATTACKS = [
    # reading what is no document
    gets("a file of the machine by Gradio's route", "/gradio_api/file=/etc/passwd", 404),
    gets("the same by dots", "/gradio_api/file=../../../../etc/passwd", 404),
    gets("the same by encoded dots", "/gradio_api/file=..%2f..%2f..%2fetc%2fpasswd", 404),
    gets("the same by a double slash", "//gradio_api/file=/etc/passwd", 404),
    gets("the same by an encoded letter", "/gradio%5fapi/fil%65=/etc/passwd", 404),
    gets("the same by the older route", "/gradio_api/file/etc/passwd", 404),
    gets("the program itself", "/gradio_api/file=app.py", 404),
    gets("dots below /static", "/static/../../../../../../etc/passwd", 403),
    gets("encoded dots below /static", "/static/..%2f..%2f..%2f..%2fetc%2fpasswd", 403),
    gets("encoded dots below /assets", "/assets/%2e%2e/%2e%2e/%2e%2e/routes.py", 403),
    gets("encoded dots below /svelte", "/svelte/..%2f..%2f..%2froutes.py", 403),
    gets("encoded dots below a component", "/gradio_api/custom_component/1/client/component/..%2f..%2fx", 404),
    gets("dots below the documents", "/v1/documents/../../../etc/passwd", 404),
    gets("encoded dots below the documents", "/v1/documents/..%2f..%2fetc%2fpasswd", 404),
    gets("dots where the page shows documents", "/read/..%2f..%2fetc%2fpasswd", 404),
    gets("a zero byte in a document's name", "/v1/documents/baker%00.md", 404),
    # making the server fetch
    gets("an address fetched by Gradio's file route", "/gradio_api/file={fetched}", 404),
    gets("an address fetched by Gradio's proxy", "/gradio_api/proxy={fetched}", 404),
    posts("an address as the file of a search", f"{RUN}/search", 500, {"data": [FILE, 1, ""]}),
    posts("an address as the file of a chat", f"{RUN}/x", 500, {"data": [[{"role": "user", "content": FILE}]], "fn_index": 3}),
    posts("a path as the file of a search", f"{RUN}/search", 500, {"data": [STOLEN, 1, ""]}),
    posts("an image in a message", CHAT, 400, asks([{"type": "image_url", "image_url": {"url": "{fetched}"}}])),
    # leaving something there
    uploads("an upload", "/gradio_api/upload", "page.html"),
    uploads("an upload named with dots", "/gradio_api/upload", "../../../page.html"),
    uploads("a recording", "/gradio_api/process_recording", "page.webm"),
    gets("a deep link to a session", "/gradio_api/deep_link?session_hash=x", 404),
    # what Gradio has beside the page
    posts("a function that is not there", JOIN, 500, {"fn_index": 999, "session_hash": "s", "data": []}),
    posts("a function of a negative number", JOIN, 500, {"fn_index": -1, "session_hash": "s", "data": []}),
    posts("a function that has no code", f"{RUN}/unnamed", 500, {"data": []}),
    posts("a private function", f"{RUN}/_submit_fn", 500, {"data": []}),
    posts("a rating of nothing", f"{RUN}/rate", 500, {"data": [None], "event_data": {"index": "x", "liked": [1]}}),
    posts("a search with values of other kinds", f"{RUN}/search", 500, {"data": [{"a": 1}, "b", 7]}),
    posts("a search for a million passages", f"{RUN}/search", 500, {"data": ["Baker", 1_000_000, ""]}),
    posts("a method of a component", "/gradio_api/component_server", 404, {"session_hash": "s", "component_id": 14, "fn_name": "__init__", "data": 1}),
    posts("the editor", "/gradio_api/vibe-edit", 404, {"prompt": "x"}),
    gets("the code", "/gradio_api/vibe-code", 404),
    gets("a reload that never ends", "/gradio_api/dev/reload", 404),
    gets("the monitoring", "/monitoring", 404),
    gets("its summary", "/monitoring/summary", 404),
    gets("the runs", "/gradio_api/runs", 404),
    gets("a log-out", "/logout", 404),
    posts("a log-in", "/login", 404, {"username": "admin", "password": "admin"}),
    gets("a page of the API with scripts from elsewhere", "/docs", 404),
    gets("Gradio's own protocol for programs", "/gradio_api/mcp/sse", 404),
    # bodies and heads
    posts("a body of more than 1 MB", SEARCH, 413, b"x" * 1_000_001),
    Attack("the same in chunks", f"POST {SEARCH}", 413, {**JSON, "Transfer-Encoding": "chunked"}, b"186a0\r\n" + b"x" * 100_000 + b"\r\n" + (b"186a0\r\n" + b"x" * 100_000 + b"\r\n") * 10, sends_length=False),
    Attack("a length of more than 1 MB to the page", f"POST {JOIN}", 413, {**JSON, "Content-Length": "1000001"}),
    Attack("a body that does not come", f"POST {SEARCH}", 408, {**JSON, "Content-Length": "10"}, b'{"que'),
    Attack("a body that does not come to the page", f"POST {JOIN}", 408, {**JSON, "Content-Length": "10"}, b'{"dat'),
    gets("a head of 32 KB", "/", 431, X_Long="x" * 32_000),
    gets("an address of 32 KB", "/?" + "x" * 32_000, 431),
    gets("a head of 1 MB", "/", 400, X_Long="x" * 1_000_000),
    posts("a question of 4,001 characters", CHAT, 400, asks("x" * 4001)),
    posts("101 messages", CHAT, 400, asks("x", times=101)),
    posts("lists in lists", SEARCH, 400, b"[" * 100_000),
    posts("bytes that are no text", SEARCH, 400, b'{"query": "\xff"}'),
    posts("half a character", SEARCH, 400, b'{"query": "\\ud800"}'),
    posts("a question that is too long, on the page", f"{RUN}/search", 500, {"data": ["x" * 4001, 1, ""]}),
    # other sites
    posts("the page of another site asks", SEARCH, 403, {"query": "Baker"}, Origin=EVIL),
    posts("the same from a frame without an origin", SEARCH, 403, {"query": "Baker"}, Origin="null"),
    posts("the page of another site asks the page", JOIN, 403, {"fn_index": 6, "session_hash": "s", "data": []}, Origin=EVIL),
    posts("a form of another site", SEARCH, 403, {"query": "Baker"}, Origin=EVIL, Content_Type="text/plain"),
    posts("what a browser marks as of another site", SEARCH, 403, {"query": "Baker"}, Sec_Fetch_Site="cross-site"),
    posts("the same site by another port", SEARCH, 403, {"query": "Baker"}, Origin="http://127.0.0.1:1"),
    Attack("another site asks whether it may ask", f"OPTIONS {SEARCH}", 403, {"Origin": EVIL, "Access-Control-Request-Method": "POST"}),
    Attack("the same of the page", f"OPTIONS {JOIN}", 403, {"Origin": EVIL, "Access-Control-Request-Method": "POST"}),
    gets("another site reads, and is not let see", "/v1/index", 200, Origin=EVIL, Sec_Fetch_Site="cross-site"),
    gets("the same by a name in the network", "/config", 200, Host=NAMED, Origin=EVIL),
    Attack("another site deletes a conversation", "DELETE /v1/conversations/x", 403, {"Origin": EVIL}),
    gets("a websocket of another site, which gets the page", "/", 200, Origin=EVIL, Upgrade="websocket", Connection="Upgrade, close", Sec_WebSocket_Version="13", Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA=="),
    # other names
    gets("another name of this machine", "/v1/documents", 421, Host="evil.example"),
    gets("a name that begins like it", "/config", 421, Host="127.0.0.1.evil.example"),
    gets("a name with a user before it", "/config", 421, Host="127.0.0.1@evil.example"),
    gets("an address for the page to ask instead", "/config", 200, X_Forwarded_Host="evil.example", X_Gradio_Server=EVIL),
    gets("a prefix for the page's address", "/config", 200, X_Forwarded_Prefix="//evil.example", X_Original_URL="/monitoring"),
    # two requests in one
    gets("two hosts", "/config", 400, Host="{host}\r\nHost: evil.example"),
    gets("no host", "/config", 400, Host=""),
    gets("another site as the address", "http://evil.example/config", 404),
    posts("two lengths", SEARCH, 400, b"{}", Content_Length="2\r\nContent-Length: 50"),
    posts("a length and chunks", SEARCH, 400, b"0\r\n\r\nGET /config HTTP/1.1\r\nHost: {host}\r\n\r\n", Transfer_Encoding="chunked"),
    posts("an encoding that is none", SEARCH, 400, b"0\r\n\r\n", Transfer_Encoding="xchunked"),
    gets("a space before a colon", "/config", 400, Host="{host}\r\nX-A : b"),
    gets("a line that goes on", "/config", 200, Host="{host}\r\nX-A: b\r\n Host: evil.example"),
    gets("a header in the address", "/v1/documents/a%0d%0aX-Evil:%201", 404),
    Attack("a tunnel", "CONNECT evil.example:443", 404),
    Attack("an echo", "TRACE /v1/index", 404),
    # markup
    posts("a script in a question", CHAT, 200, asks(f"{SCRIPT} What does a Thief earn?")),
    gets("a script in a search on the page", "/search?q=%3Cscript%3Ealert(1)%3C/script%3E", 200),
    gets("a script as the role of a search", "/search?q=x&role=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", 200),
    gets("a script in a path", f"/v1/documents/{SCRIPT.replace(' ', '%20')}", 404),
    posts("a script as the model", CHAT, 404, asks("x") | {"model": SCRIPT}),
    gets("a script in the address of the page", "/?__theme=%3C/script%3E%3Cscript%3Ealert(1)%3C/script%3E", 200),
]  # fmt: skip


@dataclass
class Third(ThreadingHTTPServer):
    """A third party that the server must not be made to ask."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.asked: list[str] = []


class Asked(BaseHTTPRequestHandler):
    server: Third

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@dataclass(frozen=True)
class House:
    """Two servers over one engine, the second with a token, and what they have written to the log and to stderr."""

    open: Server
    locked: Server
    third: Third
    engine: Engine
    folder: Path


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    for name, text in {"baker": BAKER, "miller": MILLER, "thief": THIEF}.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / "robber.txt").write_text(ROBBER, encoding="utf-8")
    embedder, store = HashingEmbedder(), make_store()
    Builder(embedder, store, 200).build(read_documents([folder]), folder / "build")
    version = open_version(
        folder / "build", embedder=embedder.name, embedder_sha256=embedder.sha256, passage_tokens=200, store=store
    )
    engine = Engine(
        version=version,
        embedder=embedder,
        retriever=HybridRetriever(version, embedder),
        evidence=EvidenceFinder(version, embedder),
        generator_named={"extractive": ExtractiveGenerator(TiktokenTokenizer())}.__getitem__,
        prompts=load_prompts(PROMPTS),
        fit=STRICT,
        language_of=language_of,
    )
    settings = Settings(generator="extractive", home=folder, host_names=(NAMED,))
    third = Third()
    threading.Thread(target=third.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    loops: list[asyncio.AbstractEventLoop] = []
    new_event_loop = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        loops.append(new_event_loop())
        return loops[-1]

    with pytest.MonkeyPatch.context() as patched, Store(settings.conversations) as kept:
        patched.setattr(asyncio, "new_event_loop", noted)  # Gradio leaves the loops of its locks open
        made = [
            Server(build_app(desk, settings), desk, settings, token=token)
            for desk, token in ((Desk(lambda: engine, store=kept), ""), (Desk(lambda: engine, store=kept), TOKEN))
        ]
        yield House(made[0], made[1], third, engine, folder)
        for server in made:
            server.stop()
    third.shutdown()
    third.server_close()
    for loop in loops:
        if not loop.is_running():
            loop.close()


def exchange(server: Server, request: bytes) -> bytes:
    """Sends raw bytes and reads until the server closes."""
    address = httpx.URL(server.url)
    received = b""
    with socket.create_connection((address.host, address.port or 80), timeout=60) as connection:
        try:
            connection.sendall(request)
            while piece := connection.recv(65536):
                received += piece
        except ConnectionError:  # it closes on what it does not want to read
            pass
    return received


def host_of(server: Server) -> str:
    return httpx.URL(server.url).netloc.decode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def tells(text: str, house: House) -> list[str]:
    """What of the machine or of the program's insides a text gives away."""
    paths = (PROJECT, house.folder, sys.prefix, Path(fastapi.__file__).parent, tempfile.gettempdir(), Path.home())
    secrets = [TOKEN, "Traceback", 'File "', "root:x:", socket.gethostname(), *map(str, paths)]
    return [one for one in secrets if len(one) > 1 and one in text]


BY_THE_HEAD = {400, 403, 421, 431}
"""Refusals of a request that is so wrong that nobody is asked who they are."""
KEPT_BACK = {"access-control-allow-origin", "access-control-allow-methods", "location", "x-evil", "server", "upgrade"}
OWN_LOGS = ("rag", "uvicorn", "asyncio", "gradio", "starlette", "fastapi")


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
def test_an_attack_gets_what_is_said_of_it(
    house: House,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    attack: Attack,
) -> None:
    caplog.set_level(logging.DEBUG)
    if attack.status == 408:
        for one in (house.open, house.locked):
            monkeypatch.setattr(one._server.config.app, "_limits", HASTY)
    fetched = f"http://127.0.0.1:{house.third.server_address[1]}/page.png"
    for server, token in ((house.open, ""), (house.locked, ""), (house.locked, TOKEN)):
        answer = exchange(server, attack.raw(host_of(server), fetched, token))
        status = status_of(answer)
        if server is house.locked and not token and attack.status not in BY_THE_HEAD:
            assert status == 401
        else:
            assert status in (attack.status, 401 if server is house.locked and not token else 0), answer[:400]
        assert answer.count(b"HTTP/1.1 ") == 1
        head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
        names = {line.partition(":")[0].lower() for line in head.split("\r\n")[1:]}
        assert not names & KEPT_BACK
        assert body == "Invalid HTTP request received." or names >= HEADERS.keys()  # the first is of uvicorn
        assert "evil.example" not in (answer.decode("latin-1") if attack.request == "GET /config" else head)
        assert "<script>alert(1)" not in body or "content-type: application/json" in head
        assert tells(answer.decode("latin-1"), house) == []
    assert house.third.asked == []
    written = "".join(one.getMessage() + str(one.exc_text) for one in caplog.records if one.name.startswith(OWN_LOGS))
    assert tells(written + "".join(capfd.readouterr()), house) == []


PAGES = [
    "/",
    "/config",
    "/theme.css",
    "/gradio_api/info",
    "/openapi.json",
    "/manifest.json",
    "/v1/documents",
    "/v1/index",
]


@pytest.mark.parametrize("path", PAGES)
def test_what_is_shown_tells_nothing_of_the_machine_and_holds_no_markup_of_documents(house: House, path: str) -> None:
    with httpx.Client(base_url=house.locked.url, trust_env=False, timeout=60, verify=False) as http:
        response = http.get(path, headers={"authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    assert tells(response.text, house) == []
    if response.headers["content-type"].startswith("text/html"):
        assert "alert(1)" in response.text  # the role's name, in the choices
        assert "<script>alert" not in response.text
    else:
        assert response.headers["content-type"].split(";")[0] in {"application/json", "text/css", "application/manifest+json"}  # fmt: skip


def test_words_of_a_document_are_no_markup_in_an_answer(house: House) -> None:
    with httpx.Client(base_url=house.open.url, trust_env=False, timeout=60, verify=False) as http:
        done = http.post(CHAT, json=asks("What does a Robber earn a year?")).json()
        found = http.post(f"{RUN}/search", json={"data": ["What does a Robber earn?", 1, ""]})
    assert done["rolewise"]["status"] == "answered"
    said = done["choices"][0]["message"]["content"]
    assert "9 ducats \\<script>alert(2)\\</script> !\\[x]\\(http://evil.example/p.png) [here]\\(//" in said
    assert "<script>alert(2)</script>" in done["rolewise"]["citations"][0]["quote"]  # the record has it as it stands
    assert found.headers["content-type"] == "application/json"


def paths_of(routes: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of every route, with those of what is mounted or included."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths_of(route.routes, prefix + route.path)
        elif isinstance(route, fastapi.routing._IncludedRouter):
            yield from paths_of(route.original_router.routes, prefix + route.include_context.prefix)
        else:
            path = re.sub(r"\{[^}]*\}", "x", prefix + route.path)
            yield from ((method, path) for method in sorted(route.methods or ()))


def test_no_route_of_page_or_api_opens_without_the_token(house: House) -> None:
    routes = sorted(set(paths_of(house.locked._server.config.app._app.routes)))  # type: ignore[union-attr]
    assert len(routes) > 60
    assert {("POST", "/v1/chat/completions"), ("POST", "/gradio_api/queue/join"), ("GET", "/config")} <= set(routes)
    for given in ("", "Authorization: Bearer wrong-horse-battery\r\n", f"Cookie: {safety.COOKIE}={TOKEN}\r\n"):
        opened = [
            (method, path)
            for method, path in routes
            if status_of(
                exchange(
                    house.locked,
                    f"{method} {path}?token=x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{given}\r\n".encode(),
                )
            )
            != 401
        ]
        assert opened == [("GET", "/healthz")]


def test_the_token_leaves_the_address_and_stands_in_no_log_page_or_error(
    house: House, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with httpx.Client(base_url=house.locked.url, trust_env=False, timeout=60, verify=False) as http:
        arrived = http.get(f"/?token={TOKEN}")
        assert (arrived.status_code, arrived.headers["location"]) == (303, "/")
        page, missing, wrong = http.get("/"), http.get("/nowhere"), http.post(CHAT, json={})
    assert [one.status_code for one in (page, missing, wrong)] == [200, 404, 400]
    shown = "".join(one.text + str(one.headers) for one in (arrived, page, missing, wrong))
    written = "".join(one.getMessage() for one in caplog.records if one.name.startswith(OWN_LOGS))
    assert TOKEN not in shown + written + "".join(capfd.readouterr())


def test_the_page_still_answers_after_all_of_it(house: House) -> None:
    with httpx.Client(base_url=house.open.url, trust_env=False, timeout=60, verify=False) as http:
        found = http.post(f"{RUN}/search", json={"data": ["What does a Baker earn in Bern?", 1, ""]}).json()
        asked = http.post("/gradio_api/call/chat", json={"data": ["What does a Baker earn in Bern?", "extractive", ""]})
        events = http.get(f"/gradio_api/call/chat/{asked.json()['event_id']}").text
    assert found["data"][0]["passages"][0]["document"] == "baker"
    assert "61,000 francs" in events
    assert "event: complete" in events


def test_the_document_on_safety_lists_every_attack_and_what_it_gets() -> None:
    text = (PROJECT / "docs" / "safety.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (.+) \| (\d{3}) \|$", text, re.MULTILINE)
    assert table == [(one.name, str(one.status)) for one in ATTACKS]
    assert len({one.name for one in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("| body; time for it to come | {:,.0f} MB; {:g} s |", (safety.Limits().body_bytes / 1e6, safety.Limits().body_seconds)),
        ("| requests of one address (or /64 of IPv6) | {} a minute, {} at a time |", (safety.Limits().per_minute, safety.Limits().concurrent)),
        ("| connections | {} |", (serving.CONNECTIONS,)),
        ("| a question; another message; messages | {:,} characters; {:,}; {} |", (answering.LONGEST_QUESTION, api.LONGEST_MESSAGE, api.MOST_MESSAGES)),
        ("| passages; documents in a list | {}; {:,} |", (answering.MOST_PASSAGES, api.MOST_DOCUMENTS)),
        ("| {extractive} extractive, {local} local, {hosted} hosted, {search} searches; {waiting} |", {**slots.PLACES, "waiting": slots.WAITING}),
        ("| a child process with {} s and {} GB |", (isolation.SECONDS, isolation.MEMORY >> 30)),
        ("| more than {:g} s are not waited for |", (hosted.LONGEST_WAIT,)),
        ("| {:g} s from the first byte of an answer |", (hosted.LONGEST,)),
        ("| {:g} MB; packed data", (hosted.MOST_BYTES / 1e6,)),
        ("| {} characters for each token", (hosted.LONGEST_TOKEN,)),
    ],
)  # fmt: skip
def test_the_document_on_safety_gives_the_limits_of_the_program(said: str, value: Any) -> None:
    expected = said.format(**value) if isinstance(value, dict) else said.format(*value)
    assert expected in (PROJECT / "docs" / "safety.md").read_text(encoding="utf-8")
