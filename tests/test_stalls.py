"""An endpoint that stalls, breaks off or talks nonsense: whoever asked gets the documents' own sentences, and soon."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from rag import hosted
from rag.answering import Engine
from rag.api import create_api
from rag.extractive import ExtractiveGenerator
from rag.hosted import HostedGenerator
from rag.protocols import Generator
from rag.slots import Slots
from rag.tokens import TiktokenTokenizer
from tests.conftest import BAKER, MILLER
from tests.test_api import FOOTNOTE, PATH, PAY, SAID, served
from tests.test_api import engine as engine  # noqa: PLC0414 - a fixture
from tests.test_hosted import (
    KEY,
    Endpoint,
    Endpoints,
    Scene,
    breaks_off,
    is_a_web_page,
    refuses,
    says_nothing,
    sends,
    stalls,
)
from tests.test_hosted import endpoint as endpoint  # noqa: PLC0414 - a fixture

SILENCE, LONGEST, MOST_BYTES = 0.2, 0.4, 200_000
PATIENCE = 60.0
"""Seconds of silence or of an answer that are borne where a scene is about something else."""
SOON = 30.0
"""Seconds, of which no scene should take more than LONGEST; the rest is for a slow machine."""
SILENT = f"was silent for {SILENCE:g} s"
NOT_AN_ANSWER = "sent something that is not an answer of an OpenAI-compatible endpoint. Check hosted_url"
OVERLONG = f"was not done after {LONGEST:g} s. Ask again"


def writes(*parts: str | bytes, pause: float = 0.0, times: int = 1, kind: str = "text/event-stream", status: int = 200,
           **headers: str) -> Callable[[Scene], None]:  # fmt: skip
    """A scene that writes these parts, again and again, until the other side or the test has had enough."""

    def scene_of(scene: Scene) -> None:
        try:
            scene.start(status, kind, **headers)
            for _ in range(times):
                for part in parts:
                    scene.wfile.write(part if isinstance(part, bytes) else part.encode())
                if pause and scene.server.over.wait(pause):
                    return
        except OSError:
            scene.server.hung_up.set()

    return scene_of


def speaks_no_http(scene: Scene) -> None:
    scene.wfile.write(b"\x00\xff" * 50 + b"\r\n\r\n")


def piece(content: object, finish: str | None = None) -> str:
    return (
        f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': content}, 'finish_reason': finish}]})}\n\n"
    )


FOREVER = 100_000
SCENES: dict[str, tuple[Callable[[Scene], None], str]] = {
    "accepts and says nothing": (says_nothing, SILENT),
    "falls silent in a sentence": (stalls, SILENT),
    "breaks off in a sentence": (breaks_off, "broke off in the middle of the answer"),
    "hangs up without a word": (lambda scene: scene.connection.close(), "cannot be reached"),
    "speaks no HTTP": (speaks_no_http, "cannot be reached"),
    "sends a web page": (is_a_web_page, NOT_AN_ANSWER),
    "sends events that are cut": (writes('data: {"choices": [{"index"'), NOT_AN_ANSWER),
    "sends bytes that are no text": (writes(b"data: \xff\xfe\x00\n\n"), NOT_AN_ANSWER),
    "sends another shape": (sends({"choices": [{"index": 0, "delta": {"content": {"text": ["x"]}}}]}), NOT_AN_ANSWER),
    "sends a number": (sends(42), NOT_AN_ANSWER),
    "nests too deep": (writes("data: " + "[" * 100_000 + "\n\n"), NOT_AN_ANSWER),
    "answers at once as a whole": (
        writes(json.dumps({"choices": [{"message": {"content": SAID}}]}), kind="application/json"),
        NOT_AN_ANSWER,
    ),
    "packs what should not be packed": (writes(b"\x1f\x8b\x08\x00 and so on", Content_Encoding="gzip"), NOT_AN_ANSWER),
    "sends a line without end": (writes("data: " + "x" * 50_000, times=FOREVER), "sent more than 200,000 bytes"),
    "sends a huge answer": (writes(piece("x" * 250_000, "stop")), "sent more than 200,000 bytes"),
    "trickles words": (writes(piece("and "), pause=0.02, times=FOREVER), OVERLONG),
    "trickles bytes of one line": (writes("x", pause=0.02, times=FOREVER), OVERLONG),
    "sends signs of life only": (writes(": here\n\n", pause=0.02, times=FOREVER), OVERLONG),
    "trickles an error": (writes("x", pause=0.02, times=FOREVER, status=400), OVERLONG),
    "fails": (refuses(500, {"error": {"message": f"Traceback: {KEY}"}}), "is failing (HTTP 500)"),
    "has too much to do": (refuses(429, {"error": KEY}), "takes no more requests now (HTTP 429)"),
    "says to wait an hour": (writes("{}", status=503, Retry_After="60"), "is failing (HTTP 503)"),
    "refuses the key": (refuses(401, {"error": {"message": f"{KEY} is wrong"}}), "refused the key (HTTP 401)"),
    "points elsewhere": (writes(status=307, Location="http://127.0.0.1:9/v1"), "points to another address (HTTP 307)"),
}  # fmt: skip


class Desk:
    """An engine and a server over it, whose hosted generator asks the endpoint that was set last."""

    def __init__(self, engine: Engine) -> None:
        self.writers: dict[str, Generator] = {"extractive": ExtractiveGenerator(TiktokenTokenizer())}
        self.engine = replace(engine, generator_named=lambda name: self.writers[name])
        self.slots = Slots()
        self.url = ""

    def asks(
        self, server: Endpoint, *, retries: int = 0, silence: float = PATIENCE, longest: float = PATIENCE
    ) -> HostedGenerator:
        self.writers["hosted"] = made = HostedGenerator(
            base_url=f"http://{server.host}/v1",
            api_key=KEY,
            model="miller-7b",
            tokenizer=TiktokenTokenizer(),
            timeout=silence,
            longest=longest,
            retries=retries,
        )
        return made


@pytest.fixture(scope="module")
def desk(engine: Engine) -> Iterator[Desk]:
    made = Desk(engine)
    with served(create_api(lambda: made.engine, made.slots, models=["rolewise-hosted"])) as made.url:
        yield made


@pytest.fixture(autouse=True)
def _few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "MOST_BYTES", MOST_BYTES)


def asked(url: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """What the person reads, and the record."""
    body = {"model": "rolewise-hosted", "messages": [{"role": "user", "content": PAY}], "stream": stream}
    with httpx.Client(base_url=url, trust_env=False, timeout=2 * SOON, verify=False) as http:
        response = http.post(PATH, json=body)
    assert response.status_code == 200
    assert KEY not in response.text
    if not stream:
        whole = response.json()
        return whole["choices"][0]["message"]["content"], whole["rolewise"]
    *events, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    return "".join(one["choices"][0]["delta"].get("content", "") for one in chunks), chunks[-1]["rolewise"]


@pytest.mark.parametrize("name", SCENES)
def test_the_documents_answer_where_the_endpoint(
    endpoint: Endpoints, desk: Desk, caplog: pytest.LogCaptureFixture, name: str
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    scene, expected = SCENES[name]
    server = endpoint(scene)
    silence = SILENCE if expected == SILENT else PATIENCE
    generator = desk.asks(server, silence=silence, longest=LONGEST if expected == OVERLONG else PATIENCE)
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda stream: asked(desk.url, stream=stream), [False, True]))
    assert time.monotonic() - started < SOON
    generator.close()
    for said, record in answers:
        notice = record["notice"]
        assert notice.startswith(f"The hosted generator could not answer ({server.host} {expected}")
        assert notice.endswith(" The sentences are the documents' own.")
        assert notice.count("The hosted generator") == 1
        assert "\n" not in notice
        assert said == f"{SAID}\n\n{FOOTNOTE}\n\n{notice}"
        assert record["generator"]["name"] == "extractive"
    assert KEY not in caplog.text
    assert "Traceback" not in caplog.text


def test_where_it_refused_each_time_it_is_asked_again_as_often_as_set(endpoint: Endpoints, desk: Desk) -> None:
    server = endpoint(refuses(500))
    desk.asks(server, retries=1)
    _, record = asked(desk.url, stream=True)
    assert "is failing (HTTP 500)" in record["notice"]
    assert len(server.requests) == 2


@pytest.mark.parametrize("wait", ["11", "60", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_who_wants_to_be_left_alone_for_long_is_not_waited_for(endpoint: Endpoints, desk: Desk, wait: str) -> None:
    server = endpoint(writes("{}", status=429, Retry_After=wait))
    desk.asks(server, retries=3)
    started = time.monotonic()
    _, record = asked(desk.url, stream=False)
    assert time.monotonic() - started < 11
    assert "takes no more requests now (HTTP 429)" in record["notice"]
    assert len(server.requests) == 1


def test_the_documents_and_the_key_are_sent_to_no_other_address(endpoint: Endpoints, desk: Desk) -> None:
    other = endpoint(sends({"choices": []}))
    server = endpoint(writes(status=308, Location=f"http://{other.host}/v1/chat/completions"))
    desk.asks(server, retries=1)
    _, record = asked(desk.url, stream=False)
    assert "points to another address (HTTP 308). Check hosted_url." in record["notice"]
    assert other.requests == []


def test_a_checked_sentence_that_came_before_the_break_stays(endpoint: Endpoints, desk: Desk) -> None:
    sentence = "In Bern a Miller earns 58,000 francs a year [1].\n"
    desk.asks(endpoint(writes(piece(sentence), piece("Millers "), Content_Length="100000")))
    said, record = asked(desk.url, stream=True)
    first, second, *_ = said.split("\n")
    assert first.startswith("In Bern a Miller earns 58,000 francs a year")
    assert second == SAID
    assert "broke off in the middle of the answer" in record["notice"]
    assert [one["quote"] for one in record["citations"]] == ["A Miller earns 58,000 francs a year in Bern."]


@pytest.mark.parametrize(
    "draft", ["x" * 90_000, "[1]" * 30_000, "A Miller earns 9 francs [1]. " * 3_000, "<b>" * 30_000, "\n" * 90_000]
)
def test_a_huge_draft_is_checked_in_time_and_none_of_it_shown(endpoint: Endpoints, desk: Desk, draft: str) -> None:
    server = endpoint(writes(piece(draft, "stop")))
    desk.asks(server)
    started = time.process_time()  # of the server too, and of no other process
    said, record = asked(desk.url, stream=True)
    assert time.process_time() - started < 10
    assert said.startswith(f"{SAID}\n\n{FOOTNOTE}")
    assert record["notice"] == "Nothing of the draft stood the check; the sentences are the documents' own."


def test_who_leaves_while_the_endpoint_is_silent_frees_the_place(endpoint: Endpoints, desk: Desk) -> None:
    server = endpoint(says_nothing)
    desk.asks(server, silence=3)
    body = {"model": "rolewise-hosted", "messages": [{"role": "user", "content": PAY}], "stream": True}
    with httpx.Client(base_url=desk.url, trust_env=False, timeout=SOON, verify=False) as http, http.stream(
        "POST", PATH, json=body
    ) as reply:  # fmt: skip
        lines = reply.iter_lines()  # which hangs up when it is let go of
        next(lines)
        started = time.monotonic()
        while not server.requests and time.monotonic() - started < SOON:
            time.sleep(0.02)
        assert server.requests
        assert not desk.slots.is_free()
    started = time.monotonic()
    while not desk.slots.is_free() and time.monotonic() - started < SOON:
        time.sleep(0.02)
    assert desk.slots.is_free()


def test_the_shelf_holds_what_the_tests_speak_of() -> None:
    assert "A Miller earns 58,000 francs a year in Bern." in MILLER
    assert "58,000" not in BAKER
