"""The hosted generator against a small HTTP server that behaves well and badly."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import GeneratorType
from typing import Any

import pytest

from rag.errors import GeneratorError, SettingsError
from rag.hosted import HostedGenerator
from rag.tokens import TiktokenTokenizer
from rag.types import GeneratorInfo, Message

KEY = "sk-very-secret-0123456789"
QUESTION = [Message("system", "Answer from the notes."), Message("user", "What does a baker earn?")]


class Endpoint(ThreadingHTTPServer):
    """Answers request n by the n-th scene, and the last scene from then on; keeps what it was sent."""

    daemon_threads = False

    def __init__(self, scenes: list[Callable[[Scene], None]]) -> None:
        super().__init__(("127.0.0.1", 0), Scene)
        self.scenes = scenes
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.hung_up = threading.Event()
        self.over = threading.Event()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Scene(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append(json.loads(body))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.scenes[min(len(self.server.requests), len(self.server.scenes)) - 1](self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def start(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def event(self, data: object) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        self.wfile.write(f"data: {text}\n\n".encode())

    def piece(self, text: str | None, finish: str | None = None) -> None:
        self.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


def answers(scene: Scene) -> None:
    scene.start()
    scene.piece("")
    scene.piece("Bakers earn ")
    scene.piece("61,000 francs [1].")
    scene.piece(None, finish="stop")
    scene.event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}})
    scene.event("[DONE]")


def refuses(status: int, body: object = "") -> Callable[[Scene], None]:
    def scene_of(scene: Scene) -> None:
        scene.start(status, "application/json", Retry_After="0")
        scene.wfile.write(json.dumps(body).encode())

    return scene_of


def stalls(scene: Scene) -> None:
    scene.start()
    scene.piece("Bakers ")
    scene.server.over.wait(120)


def says_nothing(scene: Scene) -> None:
    scene.server.over.wait(120)


def breaks_off(scene: Scene) -> None:
    scene.start(Content_Length="100000")
    scene.piece("Bakers ")


def ends_too_soon(scene: Scene) -> None:
    scene.start()
    scene.piece("Bakers ")


def sends(*events: object) -> Callable[[Scene], None]:
    def scene_of(scene: Scene) -> None:
        scene.start()
        for event in events:
            scene.event(event)

    return scene_of


def is_a_web_page(scene: Scene) -> None:
    scene.start(kind="text/html")
    scene.wfile.write(b"<html><body>Welcome!</body></html>")


def talks_on(scene: Scene) -> None:
    scene.start()
    try:
        while not scene.server.over.wait(0.01):
            scene.piece("and ")
    except OSError:
        scene.server.hung_up.set()


Endpoints = Callable[..., Endpoint]
Generators = Callable[..., HostedGenerator]


@pytest.fixture
def endpoint() -> Iterator[Endpoints]:
    running: list[tuple[Endpoint, threading.Thread]] = []

    def start(*scenes: Callable[[Scene], None]) -> Endpoint:
        server = Endpoint(list(scenes))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def generator_of() -> Iterator[Generators]:
    made: list[HostedGenerator] = []

    def make(server: Endpoint | str, *, api_key: str = KEY, timeout: float = 60, retries: int = 0) -> HostedGenerator:
        url = server if isinstance(server, str) else f"http://{server.host}/v1"
        made.append(
            HostedGenerator(
                base_url=url,
                api_key=api_key,
                model="miller-7b",
                timeout=timeout,
                retries=retries,
                tokenizer=TiktokenTokenizer(),
            )
        )
        return made[-1]

    yield make
    for generator in made:
        generator.close()


def failure_of(generator: HostedGenerator) -> str:
    with pytest.raises(GeneratorError) as caught:
        list(generator.stream(QUESTION, [], max_tokens=50))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_pieces_come_as_the_endpoint_sends_them(endpoint: Endpoints, generator_of: Generators) -> None:
    server = endpoint(answers)
    assert list(generator_of(server).stream(QUESTION, [], max_tokens=50)) == ["Bakers earn ", "61,000 francs [1]."]
    assert server.requests == [
        {
            "messages": [
                {"role": "system", "content": "Answer from the notes."},
                {"role": "user", "content": "What does a baker earn?"},
            ],
            "model": "miller-7b",
            "max_tokens": 50,
            "temperature": 0,
            "stream": True,
        }
    ]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_refusal_for_too_many_requests_is_tried_again(endpoint: Endpoints, generator_of: Generators) -> None:
    server = endpoint(refuses(429), answers)
    draft = "".join(generator_of(server, retries=3).stream(QUESTION, [], max_tokens=50))
    assert draft == "Bakers earn 61,000 francs [1]."
    assert len(server.requests) == 2


def test_an_endpoint_that_keeps_failing_is_tried_as_often_as_set(endpoint: Endpoints, generator_of: Generators) -> None:
    server = endpoint(refuses(500))
    message = failure_of(generator_of(server, retries=2))
    assert message == f"{server.host} is failing (HTTP 500). Ask again later, or take another generator."
    assert len(server.requests) == 3


def test_a_lasting_429_speaks_of_the_quota(endpoint: Endpoints, generator_of: Generators) -> None:
    server = endpoint(refuses(429))
    expected = f"{server.host} takes no more requests now (HTTP 429). Wait, or check the quota of the key."
    assert failure_of(generator_of(server)) == expected


@pytest.mark.parametrize("scene", [stalls, says_nothing])
def test_silence_ends_after_the_timeout(
    endpoint: Endpoints, generator_of: Generators, scene: Callable[[Scene], None]
) -> None:
    server = endpoint(scene)
    started = time.monotonic()
    message = failure_of(generator_of(server, timeout=0.3))
    assert message == f"{server.host} was silent for 0.3 s. Ask again, or raise hosted_timeout."
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("scene", [breaks_off, ends_too_soon])
def test_what_came_before_the_break_is_passed_on(
    endpoint: Endpoints, generator_of: Generators, scene: Callable[[Scene], None]
) -> None:
    server = endpoint(scene)
    pieces = generator_of(server, retries=3).stream(QUESTION, [], max_tokens=50)
    assert next(pieces) == "Bakers "
    with pytest.raises(GeneratorError) as caught:
        next(pieces)
    assert str(caught.value) == f"{server.host} broke off in the middle of the answer. Ask again."
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "scene",
    [
        is_a_web_page,
        sends("this is not JSON"),
        sends({"choices": []}, "[DONE]"),
        sends({"choices": None}),
        sends({"object": "chat"}),
        sends([1, 2]),
        sends({"choices": [{"delta": "?"}]}),
        sends({"choices": [{"index": 0, "delta": {"content": 5}, "finish_reason": "stop"}]}),
        sends(),
    ],
)
def test_nonsense_is_told_from_an_answer(
    endpoint: Endpoints, generator_of: Generators, scene: Callable[[Scene], None]
) -> None:
    server = endpoint(scene)
    assert failure_of(generator_of(server)) == (
        f"{server.host} sent something that is not an answer of an OpenAI-compatible endpoint. "
        "Check hosted_url; it often ends in /v1."
    )


def test_an_unknown_model_is_named(endpoint: Endpoints, generator_of: Generators) -> None:
    server = endpoint(refuses(404, {"error": {"message": "no such model", "code": "model_not_found"}}))
    expected = f"{server.host} knows no model 'miller-7b' at this address. Check hosted_model and hosted_url."
    assert failure_of(generator_of(server)) == expected


def test_a_failure_reported_in_the_stream_is_not_repeated(endpoint: Endpoints, generator_of: Generators) -> None:
    server = endpoint(sends({"error": {"message": f"{KEY} is out of credit"}}))
    expected = f"{server.host} reported a failure while answering. Ask again, or take another generator."
    assert failure_of(generator_of(server)) == expected


def test_an_endpoint_that_is_not_there_cannot_be_reached(generator_of: Generators) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        port = unused.getsockname()[1]
        expected = f"127.0.0.1:{port} cannot be reached. Check hosted_url and the network."
        assert failure_of(generator_of(f"http://127.0.0.1:{port}/v1")) == expected


def test_the_key_is_shown_nowhere(
    endpoint: Endpoints, generator_of: Generators, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = {"error": {"message": f"Incorrect API key provided: {KEY}", "code": KEY}}
    server = endpoint(refuses(401, body))
    generator = generator_of(server)
    with pytest.raises(GeneratorError) as caught:
        list(generator.stream(QUESTION, [], max_tokens=50))
    assert str(caught.value) == f"{server.host} refused the key (HTTP 401). Set ROLEWISE_HOSTED_KEY to a valid one."
    shown = [repr(caught.value), repr(generator), caplog.text, *traceback.format_exception(caught.value)]
    assert not any(KEY in text for text in shown)
    assert "refused the key" in shown[-1]


def test_without_a_key_a_placeholder_is_sent(endpoint: Endpoints, generator_of: Generators) -> None:
    server = endpoint(answers)
    list(generator_of(server, api_key="").stream(QUESTION, [], max_tokens=50))
    assert server.headers[0]["authorization"] == "Bearer none"


def test_variables_meant_for_another_endpoint_are_not_read(
    endpoint: Endpoints, generator_of: Generators, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-other",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
        "OPENAI_ORG_ID": "org-other",
        "OPENAI_PROJECT_ID": "project-other",
        "OPENAI_CUSTOM_HEADERS": "X-Other: header-other\nAuthorization: Bearer sk-other",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    server = endpoint(answers)
    list(generator_of(server).stream(QUESTION, [], max_tokens=50))
    assert not any("other" in value for value in server.headers[0].values())
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_closing_the_iterator_hangs_up(endpoint: Endpoints, generator_of: Generators) -> None:
    server = endpoint(talks_on)
    pieces = generator_of(server).stream(QUESTION, [], max_tokens=50)
    assert isinstance(pieces, GeneratorType)
    assert next(pieces) == "and "
    pieces.close()
    assert server.hung_up.wait(30)


def test_info_and_count_are_those_of_the_arguments(generator_of: Generators) -> None:
    generator = generator_of("http://localhost:9/v1")
    assert generator.info == GeneratorInfo("hosted", "miller-7b", None)
    assert generator.context_tokens == 8192
    assert generator.count("hello world") == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/v1",
        "ftp://example.org",
        "http://me:secret@example.org",
        "http://a:b",
        "https://example.org/v1?api-key=secret",
        "https://example.org/v1#secret",
    ],
)
def test_an_address_that_cannot_be_one_is_refused_without_repeating_it(generator_of: Generators, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        generator_of(url)
    expected = "hosted_url must be an address such as https://example.org/v1, without name, password or query."
    assert str(caught.value) == expected


@pytest.mark.parametrize("key", ["sk-1\n", "two words", "sk-é"])
def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(generator_of: Generators, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        generator_of("https://example.org/v1", api_key=key)
    expected = "hosted_key holds a space, a line break or a letter outside ASCII. Copy the key again."
    assert str(caught.value) == expected
