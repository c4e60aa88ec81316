"""Answers a question while no network can be reached, and tells every attempt to reach one.

A home and names of generators come in on the command line of a process of its own, what was tried and answered goes
out as JSON. Two walls stand around it. Python's own sockets are refused by an audit hook, which hears of each and
names its address. On Linux the process also moves into a network namespace that holds nothing but loopback, so that
native code and child processes reach nothing either; the kernel counts what they tried. Loopback stays open, because
llama.cpp counts tokens there; so do sockets of the file system.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.answering import Engine
    from rag.protocols import Generator
    from rag.types import Answer, Passage

EVENTS = frozenset(
    ("connect", "sendto", "sendmsg", "bind", "getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo")
)
"""Of the `socket` module that name another machine: https://docs.python.org/3/library/audit_events.html."""
LOCAL_NAMES = frozenset(("localhost", ""))
NEW_USER, NEW_NET = 0x1000_0000, 0x4000_0000
"""CLONE_NEWUSER, without which only root may have a namespace, and CLONE_NEWNET of linux/sched.h."""
SET_FLAGS, UP = 0x8914, 1
"""SIOCSIFFLAGS of linux/sockios.h and IFF_UP of linux/if.h."""
WORDS = 12
"""Of a passage, that the question is made of."""
SHORT = 48
"""Tokens of an answer that nobody reads."""


class Denied(OSError):
    """What whoever asks for a network gets."""


@dataclass
class Wall:
    """The hook's memory: each attempt as "connect 192.0.2.1:443"."""

    denied: list[str] = field(default_factory=list)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        module, _, name = event.partition(".")
        if module != "socket" or name not in EVENTS:
            return
        if name in ("connect", "sendto", "sendmsg", "bind"):
            arguments = arguments[1:]  # the first is the socket
        elif name != "getnameinfo":
            arguments = (arguments[:2],)
        target = arguments[0] if arguments else None
        if target is None or not is_elsewhere(target):
            return
        self.denied.append(f"{name} {spelled(target)}")
        raise Denied(f"no network is allowed here, and {self.denied[-1]} was tried")


def is_elsewhere(address: Any) -> bool:
    """Whether an address of the socket module leads beyond this machine. A name does: asking for it asks a server."""
    if not isinstance(address, tuple):  # a path in the file system, or a kind of socket that Python knows little of
        return not isinstance(address, str | bytes)
    host = address[0]
    host = host.decode(errors="replace") if isinstance(host, bytes | bytearray) else host
    if host is None or host in LOCAL_NAMES:
        return False
    try:
        return not ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return True


def spelled(address: Any) -> str:
    if not isinstance(address, tuple):
        return repr(address)
    host, port = address[0], address[1] if len(address) > 1 else None
    host = host.decode(errors="replace") if isinstance(host, bytes | bytearray) else str(host)
    return host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def walled() -> Wall:
    """From now on and until it ends, this process is refused every network by its sockets."""
    wall = Wall()
    sys.addaudithook(wall.hear)
    return wall


def move_away() -> bool:
    """Moves this process, which must not have begun a thread, to where only loopback is; False where it may not."""
    if sys.platform != "linux":
        return False
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_USER | NEW_NET) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with contextlib.suppress(OSError):  # without a map the process is nobody, and as far away
            Path("/proc/self", name).write_text(text, encoding="ascii")
    import fcntl

    try:
        with socket.socket() as any_socket:
            fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh14x", b"lo", UP))
    except OSError:
        return False  # far away, but without loopback: whoever called reports what fails then
    return True


def unroutable() -> int:
    """What this network namespace was asked to send and had no way for, since it began, by the kernel's count."""
    names, values = (
        line.split()
        for line in Path("/proc/self/net/snmp").read_text(encoding="ascii").splitlines()
        if line.startswith("Ip:")
    )
    count = int(values[names.index("OutNoRoutes")])
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        for line in Path("/proc/self/net/snmp6").read_text(encoding="ascii").splitlines():
            if line.startswith("Ip6OutNoRoutes"):
                count += int(line.split()[1])
    return count


@dataclass(frozen=True)
class Answered:
    """How a question ended that a generator was to answer; `wrote` is the one that did."""

    generator: str
    wrote: str
    status: str
    notice: str


@dataclass(frozen=True)
class Report:
    """`denied` names each attempt of Python's sockets; `unrouted` counts those that went past them, None if nobody
    could count."""

    question: str
    answers: Sequence[Answered]
    denied: Sequence[str]
    unrouted: int | None
    error: str = ""

    @property
    def is_clean(self) -> bool:
        return not (self.error or self.denied or self.unrouted)


def question_on(passage: Passage) -> str:
    """One that the passage answers, in its own words."""
    return f"What is said about {' '.join(passage.text.splitlines()[0].split()[:WORDS]).rstrip('.?!:;, ')}?"


def asked(engine: Engine, question: str, generator: str) -> Answer:
    """The answer, short and never refused: whether the documents tell is not what is looked at here.

    Raises GeneratorError or ModelError where the engine would fall back to another generator.
    """
    answer = replace(engine, refusal=1.0, answer_tokens=SHORT).ask(question, generator=generator)
    if not (answer.tokens or generator == answer.generator.name):  # quotations were enough, or it failed: this tells
        first_token(engine.generator_named(generator))
    return answer


def first_token(generator: Generator) -> str:
    """Raises GeneratorError if it does not write any."""
    from rag.errors import GeneratorError
    from rag.types import Message

    with contextlib.closing(generator.stream([Message("user", "Say yes.")], [], max_tokens=1)) as pieces:
        for piece in pieces:
            return piece
    raise GeneratorError(f"{generator.info.model} wrote nothing. Choose another generator.")


def report_on(home: Path, generators: Sequence[str], wall: Wall, *, is_away: bool) -> Report:
    from rag.errors import RolewiseError
    from rag.settings import load_settings
    from rag.wiring import open_engine

    question, answers, error = "", [], ""
    try:
        engine = open_engine(load_settings(home=home))
        passages = engine.version.passages
        question = question_on(passages[len(passages) // 2])
        for name in generators:
            answer = asked(engine, question, name)
            answers.append(Answered(name, answer.generator.name, answer.status, answer.notice))
    except (RolewiseError, OSError, IndexError) as problem:
        error = str(problem) or type(problem).__name__
    return Report(question, answers, tuple(wall.denied), unroutable() if is_away else None, error)


def read(row: Mapping[str, Any]) -> Report:
    return Report(**{**row, "answers": tuple(Answered(**one) for one in row["answers"])})


def main(home: str, *generators: str) -> None:
    is_away = move_away()
    wall = walled()
    with contextlib.redirect_stdout(sys.stderr):
        report = report_on(Path(home), generators, wall, is_away=is_away)
    json.dump(asdict(report), sys.stdout)
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
