"""The guard before a real server on loopback; what only a scope can show, such as a websocket, by a scope."""

from __future__ import annotations

import asyncio
import base64
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.errors import SettingsError
from rag.safety import (
    COOKIE,
    HEADERS,
    PERSON,
    Buckets,
    Guard,
    Limits,
    client_of,
    error_response,
    hosts_for,
    is_loopback,
    person_of,
    token_for,
    without_paths,
)
from tests.test_api import served

TOKEN = "correct-horse-battery"
HERE = hosts_for("127.0.0.1")
SMALL = Limits(body_bytes=1000, per_minute=10_000, upload_bytes=5000)
may_end = threading.Event()


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/healthz")
    @app.get("/v1/models")
    @app.get("/page")
    async def page(request: Request) -> dict[str, str]:
        return {"query": request.url.query}

    @app.get("/")
    async def home(request: Request) -> dict[str, str]:
        return {"person": person_of(request.scope)}

    @app.post("/v1/uploads")
    @app.post("/v1/search")
    async def search(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> Any:
            yield "first\n"
            while not may_end.is_set():
                await asyncio.sleep(0.01)
            yield "last\n"

        return StreamingResponse(pieces(), headers={"referrer-policy": "same-origin"})

    return app


def direct(url: str, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=url, trust_env=False, timeout=60, verify=False, **options)  # loads no certificates


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(Guard(application(), hosts=HERE, limits=SMALL)) as address:
        yield address


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with served(Guard(application(), token=TOKEN, hosts=HERE, limits=SMALL)) as address:
        yield address


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with direct(url) as client:
        yield client


def code_of(response: httpx.Response) -> str:
    code: str = response.json()["error"]["code"]
    return code


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN}"},
        {"authorization": basic(TOKEN)},
    ],
)
def test_the_token_opens_the_server(locked: str, headers: dict[str, str]) -> None:
    with direct(locked, headers=headers) as http:
        assert http.get("/v1/models").status_code == 200
        assert http.post("/v1/search", content=b"abc").json() == {"bytes": 3}


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/page", "/stream", "/nowhere", "/healthz/", "//healthz", "/page?token=", "/page?token=wrong"],
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Basic ÿ%%%"},
        {"authorization": basic("")},
        {"authorization": TOKEN},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}="},
        {"cookie": "\xff;=;;"},
    ],
)  # fmt: skip
def test_nothing_opens_without_the_token(locked: str, path: str, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    with direct(locked) as http:
        response = http.get(path, headers=raw)
    assert (response.status_code, code_of(response)) == (401, "invalid_token")
    assert response.headers.get_list("www-authenticate") == [
        'Bearer realm="Rolewise"',
        'Basic realm="Rolewise", charset="UTF-8"',
    ]
    assert "set-cookie" not in response.headers
    assert "wrong" not in response.text


def test_whether_the_server_is_alive_may_be_asked_by_all_and_gives_no_cookie(locked: str) -> None:
    with direct(locked) as http:
        for path in ("/healthz", "/healthz?token=wrong"):
            response = http.get(path)
            assert (response.status_code, response.json()) == (200, {"query": ""})
            assert "set-cookie" not in response.headers
        assert http.post("/healthz", headers={"origin": "http://evil.example"}).status_code == 403


def test_a_visit_with_the_token_leaves_a_cookie_and_an_address_without_it(
    locked: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "uvicorn"), direct(locked) as http:
        first = http.get(f"/page?a=1&token={TOKEN}&b=%0d%0aX-Evil:1")
        assert (first.status_code, first.headers["location"]) == (303, "/page?a=1&b=%0D%0AX-Evil%3A1")
        assert first.headers["cache-control"] == "no-store"
        cookie = first.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}=")
        assert cookie.endswith("; HttpOnly; Path=/; SameSite=strict")
        assert "x-evil" not in first.headers
        assert http.get("/page?a=1").json() == {"query": "a=1"}
        assert http.post("/v1/search", headers={"origin": locked}).status_code == 200
        assert http.post(f"/v1/search?token={TOKEN}", headers={"cookie": ""}).status_code == 401
    assert TOKEN not in cookie + first.text + str(first.headers)
    assert "/page?a=1&b=" in caplog.text  # the server's own log of requests
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "/%5Cevil.example", "/%2F%2Fevil.example"])
def test_a_visit_is_not_sent_to_another_site(locked: str, path: str) -> None:
    with direct(locked) as http:
        answer = exchange(locked, f"GET {path}?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b"303 See Other" in answer
        location = next(line for line in answer.split(b"\r\n") if line.startswith(b"location: "))
        assert location in (b"location: /evil.example/", b"location: /evil.example")
    assert http.is_closed


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("LOCALHOST:7860", 200),
        ("[::1]:7860", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("evil.example:80, localhost", 421),
        ("", 421),
    ],
)
def test_only_its_own_names_reach_the_server(http: httpx.Client, host: str, status: int) -> None:
    response = http.get("/page", headers={"host": host})
    assert response.status_code == status
    assert "evil" not in response.text


def test_a_request_that_names_no_host_or_two_is_refused(url: str) -> None:
    assert b" 400 " in exchange(url, "GET /page HTTP/1.0\r\n\r\n").split(b"\r\n")[0]
    two = "GET /page HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert b" 400 " in exchange(url, two).split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_pages_of_other_sites_can_change_nothing(http: httpx.Client, headers: dict[str, str], status: int) -> None:
    response = http.post("/v1/search", content=b"{}", headers=headers)
    assert response.status_code == status
    if status == 403:
        assert code_of(response) == "cross_site"
        assert "evil" not in response.text
    assert http.get("/page", headers=headers).status_code == 200  # a link may lead here


def test_the_page_itself_may_ask(http: httpx.Client, url: str) -> None:
    for origin in (url, url.replace("http://", "https://")):  # the second behind a proxy that encrypts
        assert http.post("/v1/search", headers={"origin": origin}).status_code == 200


def exchange(url: str, request: str | bytes, *more: bytes) -> bytes:
    """Sends raw bytes and reads until the server closes."""
    address = httpx.URL(url)
    received = b""
    with socket.create_connection((address.host, address.port or 80), timeout=60) as connection:
        connection.sendall(request.encode("latin-1") if isinstance(request, str) else request)
        for piece in more:
            connection.sendall(piece)
        while piece := connection.recv(65536):
            received += piece
    return received


HEAD = "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("length", "status"), [("1000", 200), ("1001", 413), ("9" * 19, 413), ("-1", 400), ("1e3", 400), ("²", 400)]
)
def test_a_declared_length_is_held_to(url: str, length: str, status: int) -> None:
    body = b"x" * 1000 if status == 200 else b""
    answer = exchange(url, HEAD + f"Content-Length: {length}\r\n\r\n", body)
    assert f" {status} ".encode() in answer.split(b"\r\n")[0]
    assert (b'"too_large"' in answer) == (status == 413)


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (100_000, 413)])
def test_what_streams_in_is_counted(http: httpx.Client, size: int, status: int) -> None:
    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 500):
            yield b"x" * min(500, size - start)

    response = http.post("/v1/search", content=pieces())
    assert response.status_code == status
    if status == 413:
        assert response.json()["error"]["message"] == "the body has more than 1,000 bytes."


def test_a_body_that_trickles_is_given_up() -> None:
    with served(Guard(application(), hosts=HERE, limits=replace(SMALL, body_seconds=0.3))) as url:
        answer = exchange(url, HEAD + "Content-Length: 10\r\n\r\n", b"abc")
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b"connection: close" in answer.lower()


def test_too_many_requests_are_told_when_to_come_again() -> None:
    guard = Guard(application(), hosts=HERE, limits=replace(SMALL, per_minute=3))
    guard._buckets.clock = lambda: 0.0
    with served(guard) as address, direct(address) as http:
        assert [http.get("/v1/models").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = http.post("/v1/search")
        assert code_of(refused) == "too_many_requests"
        assert refused.headers["retry-after"] == "20"  # one is given back every 20 s
        assert http.get("/page").status_code == 200  # the page's own files do not count


def test_guesses_of_the_token_count_wherever_they_are_made() -> None:
    guard = Guard(application(), token=TOKEN, hosts=HERE, limits=replace(SMALL, per_minute=2))
    with served(guard) as address, direct(address) as http:
        assert [http.get("/page?token=guess").status_code for _ in range(3)] == [401, 401, 429]


def test_a_stream_is_passed_on_as_it_comes_and_counts_while_it_lasts() -> None:
    may_end.clear()
    guard = Guard(application(), hosts=HERE, limits=replace(SMALL, concurrent=1))
    with served(guard) as address, direct(address) as http, http.stream("GET", "/stream") as reply:
        lines = reply.iter_lines()
        assert next(lines) == "first"
        second = http.get("/page")
        assert (second.status_code, second.headers["retry-after"]) == (429, "1")
        may_end.set()
        assert next(lines) == "last"
        assert list(lines) == []
        assert any(http.get("/page").status_code == 200 for _ in range(100))  # the end comes before its place is free


@pytest.mark.parametrize(("path", "status"), [("/page", 200), ("/nowhere", 404)])
def test_every_response_has_the_headers(http: httpx.Client, path: str, status: int) -> None:
    response = http.get(path)
    assert response.status_code == status
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert http.get(path, headers={"host": "evil.example"}).headers["x-frame-options"] == "DENY"


def test_the_policy_lets_nothing_leave_the_origin() -> None:
    policy = dict(part.strip().split(" ", 1) for part in HEADERS["content-security-policy"].split(";"))
    assert (policy["connect-src"], policy["form-action"], policy["base-uri"]) == ("'self'", "'self'", "'self'")
    assert (policy["frame-ancestors"], policy["object-src"]) == ("'none'", "'none'")
    assert all("*" not in one and "http" not in one for one in policy.values())


def test_a_response_keeps_the_headers_it_sets_itself(http: httpx.Client) -> None:
    may_end.set()
    assert http.get("/stream").headers["referrer-policy"] == "same-origin"


def sent_to(app: ASGIApp, scope: Scope) -> list[Message]:
    """What comes back for a scope and nothing behind it."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    return sent


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"host": "localhost", "authorization": f"Bearer {TOKEN}", "origin": "http://localhost"}, "websocket.accept"),
        ({"host": "localhost", "authorization": f"Bearer {TOKEN}", "origin": "http://evil.example"}, "websocket.close"),
        ({"host": "localhost", "origin": "http://localhost"}, "websocket.close"),
        ({"host": "evil.example", "authorization": f"Bearer {TOKEN}"}, "websocket.close"),
    ],
)
def test_websockets_are_guarded_too(headers: dict[str, str], answer: str) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/ws", "query_string": b"", "headers": raw, "client": ("127.0.0.1", 1)}
    assert [message["type"] for message in sent_to(Guard(echo, token=TOKEN, hosts=HERE), scope)] == [answer]


def test_a_bucket_is_filled_evenly_and_the_longest_away_is_forgotten() -> None:
    now = [0.0]
    buckets = Buckets(Limits(per_minute=2, clients=2), clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 30.0]
    now[0] = 15.0
    assert buckets.take("a") == 15.0
    now[0] = 30.0
    assert (buckets.take("a"), buckets.take("a")) == (0.0, 30.0)
    assert [buckets.take(one) for one in "bca"] == [0.0, 0.0, 0.0]  # a was forgotten for c
    assert len(buckets._left) == 2


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (None, ""),
        (("testclient", 1), "testclient"),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(client: tuple[str, int] | None, counted: str) -> None:
    assert client_of({"type": "http", "client": client}) == counted


def test_loopback_needs_no_token_and_all_else_gets_one() -> None:
    assert [token_for(host) for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8")] == [""] * 4
    assert token_for("127.0.0.1", TOKEN) == token_for("0.0.0.0", TOKEN) == TOKEN
    made = {token_for(host) for host in ("0.0.0.0", "::", "192.0.2.7", "example.org", "")}
    assert [len(one) for one in made] == [32] * 5
    for weak in ("short", "x" * 15, "with space in the middle", "ünicode-ünicode-ü", "line\nbreak-and-more"):
        with pytest.raises(SettingsError, match="the token must have 16 or more ASCII characters"):
            token_for("0.0.0.0", weak)


def test_the_names_of_a_server_come_from_its_address() -> None:
    assert hosts_for("localhost", ["rolewise.test"]) == {"127.0.0.1", "localhost", "[::1]", "rolewise.test"}
    assert hosts_for("192.0.2.7") == {"192.0.2.7"}
    assert hosts_for("2001:DB8::1") == {"[2001:db8::1]"}
    assert hosts_for("0.0.0.0") == hosts_for("::") == {"*"}
    assert hosts_for("0.0.0.0", ["Example.org"]) == {"example.org", "127.0.0.1", "localhost", "[::1]"}
    assert is_loopback("[::1]")
    assert not is_loopback("")


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("/home/jane/m.gguf is damaged.", "m.gguf is damaged."),
        ("cannot load /home/Jane Doe/a b/m.gguf: missing", "cannot load m.gguf: missing"),
        ("in C:\\Users\\jane\\index now", "in index now"),
        ("see https://example.org/v1/x and/or index/build", "see https://example.org/v1/x and/or index/build"),
        ("(/a/b/c) and '/d/e'", "(c) and 'e'"),
    ],
)
def test_paths_of_the_machine_are_cut(text: str, cut: str) -> None:
    assert without_paths(text) == cut
    assert cut.encode() in bytes(error_response(400, text).body) or "\\" in text


def test_lifespan_reaches_the_application() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    make: Callable[..., ASGIApp] = Guard
    assert sent_to(make(app, token=TOKEN, hosts=HERE), {"type": "lifespan"}) == []
    assert seen == ["lifespan"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.attacker.example", False),
        ("", False),
    ],
)
def test_which_hosts_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_upload_may_be_larger_than_other_bodies(http: httpx.Client) -> None:
    assert http.post("/v1/uploads", content=b"x" * 5000).json() == {"bytes": 5000}
    assert http.post("/v1/uploads", content=b"x" * 5001).status_code == 413
    assert http.post("/v1/uploads", content=(b"x" * 600 for _ in range(10))).status_code == 413
    assert http.post("/v1/search", content=b"x" * 1001).status_code == 413


def test_people_who_share_a_token_are_told_apart(locked: str) -> None:
    with direct(locked, auth=("", TOKEN)) as one, direct(locked, auth=("", TOKEN)) as other:
        first = one.get("/")
        given = first.json()["person"]
        assert first.cookies[PERSON] == given
        assert {"HttpOnly", "SameSite=strict"} <= set(first.headers["set-cookie"].split("; "))
        again = one.get("/")
        assert (again.json()["person"], "set-cookie" in again.headers) == (given, False)
        assert other.get("/").json()["person"] not in ("", given)
        assert other.get("/", headers={"cookie": f"{PERSON}=../../etc"}).json()["person"].isalnum()


def test_without_a_token_there_is_one_person(http: httpx.Client) -> None:
    reply = http.get("/", headers={"cookie": f"{PERSON}={'a' * 32}"})
    assert (reply.json(), "set-cookie" in reply.headers) == ({"person": ""}, False)
