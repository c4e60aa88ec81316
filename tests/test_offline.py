"""What would reach beyond this machine is refused and told, whoever tries it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rag.errors import GeneratorError
from rag.offline import Wall, first_token, is_elsewhere, question_on, read, spelled
from rag.settings import load_settings
from rag.types import GeneratorInfo, Passage
from rag.wiring import build_index

PROJECT = Path(__file__).parents[1]


def ended(code: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, since a hook stays for good."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, timeout=360, check=False
    )


@pytest.mark.parametrize(
    ("address", "leads_away"),
    [
        (("127.0.0.1", 80), False),
        (("127.8.9.10", 80), False),
        (("::1", 80, 0, 0), False),
        (("localhost", 80), False),
        ((None, 80), False),
        ("/run/some.socket", False),
        (b"\0abstract", False),
        (("192.0.2.1", 80), True),
        (("0.0.0.0", 80), True),
        (("fe80::1%eth0", 80), True),
        (("example.org", 80), True),
        ((b"example.org", 80), True),
        (("localhost.example.org", 80), True),
        (7, True),
    ],
)
def test_all_but_loopback_and_the_file_system_is_elsewhere(address: Any, leads_away: bool) -> None:
    assert is_elsewhere(address) == leads_away


def test_an_address_is_told_as_people_write_it() -> None:
    assert [spelled(one) for one in (("192.0.2.1", 80), ("2001:db8::1", 443, 0, 0), (b"example.org", None))] == [
        "192.0.2.1:80",
        "[2001:db8::1]:443",
        "example.org",
    ]


def test_other_events_than_those_of_sockets_are_not_heard() -> None:
    wall = Wall()
    wall.hear("open", ("/etc/hosts", "r", 0))
    wall.hear("socket.gethostname", ())
    assert wall.denied == []


PLANTED = """
import json, socket, urllib.error, urllib.request
from rag.offline import walled
wall = walled()
def tried(call, *arguments):
    try:
        call(*arguments)
    except OSError:
        return
    raise AssertionError("it went through")
tried(socket.create_connection, ("192.0.2.1", 443))
tried(socket.socket().connect, ("192.0.2.2", 80))
tried(socket.socket().connect_ex, ("192.0.2.3", 80))
tried(socket.socket(type=socket.SOCK_DGRAM).sendto, b"x", ("192.0.2.4", 53))
tried(socket.socket().bind, ("0.0.0.0", 0))
tried(socket.gethostbyname, "a.example")
tried(urllib.request.urlopen, "http://b.example/")
here = socket.socket(); here.bind(("127.0.0.1", 0)); here.listen()
socket.create_connection(here.getsockname())
print(json.dumps(wall.denied))
"""


def test_planted_connections_are_refused_and_named_and_loopback_is_not() -> None:
    done = ended(PLANTED)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "getaddrinfo 192.0.2.1:443",
        "connect 192.0.2.2:80",
        "connect 192.0.2.3:80",
        "sendto 192.0.2.4:53",
        "bind 0.0.0.0:0",
        "gethostbyname a.example",
        "getaddrinfo b.example:80",
    ]


NATIVE = """
import ctypes, socket, struct, sys
from rag.offline import move_away, unroutable, walled
if not move_away():
    sys.exit(77)
wall = walled()
assert unroutable() == 0
libc = ctypes.CDLL(None, use_errno=True)
number = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
address = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", 80, socket.inet_aton("192.0.2.1"))
assert libc.connect(number, address, len(address)) == -1
here = socket.socket(); here.bind(("127.0.0.1", 0)); here.listen()
socket.create_connection(here.getsockname())
print(wall.denied, unroutable())
"""


def test_native_code_that_goes_past_the_hook_is_counted_where_a_namespace_can_be_had() -> None:
    done = ended(NATIVE)
    if done.returncode == 77:
        pytest.skip("this system gives no network namespace")
    assert (done.returncode, done.stdout) == (0, "[] 1\n"), done.stderr


def test_a_report_is_clean_only_if_nothing_was_tried_and_nothing_failed() -> None:
    clean: dict[str, Any] = {"question": "?", "answers": [], "denied": [], "unrouted": 0, "error": ""}
    assert read(clean).is_clean
    assert read(clean | {"unrouted": None}).is_clean
    for changed in ({"denied": ["connect 192.0.2.1:80"]}, {"unrouted": 1}, {"error": "no index"}):
        assert not read(clean | changed).is_clean


def test_the_question_is_made_of_the_first_words_of_a_passage() -> None:
    text = "One two three four five six seven eight nine ten eleven twelve, thirteen.\nMore."
    passage = Passage("d", "D", None, (), 0, len(text), text)
    assert question_on(passage) == (
        "What is said about One two three four five six seven eight nine ten eleven twelve?"
    )


class Silent:
    info = GeneratorInfo("local", "silent")

    def stream(self, *_: object, **__: object) -> Any:
        yield from ()


def test_a_generator_that_writes_nothing_fails() -> None:
    with pytest.raises(GeneratorError, match="silent wrote nothing"):
        first_token(Silent())  # type: ignore[arg-type]


@pytest.mark.models
def test_a_question_needs_no_network_and_an_endpoint_is_caught_reaching_for_one(shelf: Path, tmp_path: Path) -> None:
    build_index(load_settings(home=tmp_path), [shelf])
    away = {"ROLEWISE_HOSTED_URL": "http://192.0.2.1/v1", "ROLEWISE_HOSTED_MODEL": "m", "ROLEWISE_HOSTED_RETRIES": "0"}
    command = [sys.executable, "-m", "rag.offline", str(tmp_path), "extractive", "local", "hosted"]
    environment = os.environ | away | {"ROLEWISE_MODEL": "smollm2-135m", "ROLEWISE_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=PROJECT, env=environment, timeout=360, check=False
    )
    report = read(json.loads(done.stdout))
    assert [one.generator for one in report.answers] == ["extractive", "local"]
    assert not report.is_clean
    assert set(report.denied) == {"getaddrinfo 192.0.2.1:80"}  # of the hosted one; the others tried nothing
    assert not report.unrouted
    assert "192.0.2.1 cannot be reached" in report.error
