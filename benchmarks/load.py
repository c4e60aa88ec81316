"""How a server holds when many ask at once: times, refusals, fairness, and whether its memory stays flat.

    python -m benchmarks.load --people 50 --generator extractive --minutes 1
    python -m benchmarks.load --people 8 --generator local --minutes 10 --leave 0.1 --page

The server is `python -m rag serve` in a process of its own, as a user starts it, over the bundled guides in a fresh
home unless one is named. Each person asks the bundled questions one at a time, from a loopback address of their own
(Linux gives out all of 127.0.0.0/8), and beside them one program searches once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx
import numpy as np
from tqdm import tqdm

from eval.questions import load_questions
from rag.slots import PLACES

PROJECT = Path(__file__).resolve().parent.parent
QUESTIONS = PROJECT / "eval" / "questions" / "roles.jsonl"
PROBER = "127.9.9.9"
SAMPLE_SECONDS = 5.0
AFTER_FAILURE = 1.0
"""Seconds until a person who got no answer asks again, unless the server says how long to wait."""
SILENCE = 600.0
"""Seconds without a byte after which an answer counts as failed: a local model may have many to serve before."""


@dataclass
class Tally:
    """What the people saw. Times are in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """answered, failed, refused or left."""
    firsts: list[float] = field(default_factory=list)
    """From a question to the first event of its answer; being told how many are ahead is none."""
    wholes: list[float] = field(default_factory=list)
    searches: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    """By person."""
    seconds: float = 0.0
    """Until the last had their answers."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the start, MB of the server's resident memory)"""


@dataclass(frozen=True)
class Way:
    """How to ask: the API or, as the page does, Gradio's queue."""

    generator: str
    by_page: bool

    @contextlib.asynccontextmanager
    async def asks(self, client: httpx.AsyncClient, question: str) -> AsyncIterator[httpx.Response]:
        if self.by_page:
            asked = await client.post("/gradio_api/call/chat", json={"data": [question, self.generator, ""]})
            asked.raise_for_status()
            async with client.stream("GET", f"/gradio_api/call/chat/{asked.json()['event_id']}") as reply:
                yield reply
        else:
            messages = [{"role": "user", "content": question}]
            body = {"model": f"rolewise-{self.generator}", "messages": messages, "stream": True}
            async with client.stream("POST", "/v1/chat/completions", json=body) as reply:
                yield reply

    def outcome(self, line: str) -> str:
        """What a line of the reply says of it: "waits", "goes on", "answered", "failed", "refused" or nothing."""
        if self.by_page and line.startswith("event: "):
            return {"event: complete": "answered", "event: error": "failed"}.get(line, "")
        if self.by_page and "oo many questions are waiting" in line:
            return "refused"
        if self.by_page and ("ahead of yours" in line or "You are next" in line):
            return "waits"
        if line.startswith(":"):
            return "waits"
        if line.startswith('data: {"error"'):
            return "failed"
        return "answered" if line == "data: [DONE]" else "goes on" if line else ""


@click.command()
@click.option("--people", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--generator", default="extractive", show_default=True, type=click.Choice(["extractive", "local"]))
@click.option("--minutes", default=1.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--leave", default=0.0, show_default=True, type=click.FloatRange(0, 1), help="Share who leave at once.")
@click.option("--page", is_flag=True, help="Ask as the page does, through Gradio's queue.")
@click.option("--home", type=click.Path(exists=True, file_okay=False, path_type=Path), help="With an index.")
def main(people: int, generator: str, minutes: float, leave: float, page: bool, home: Path | None) -> None:
    """Asks a server for some minutes and prints a table."""
    questions = [one.question for one in load_questions([QUESTIONS], "dev") if not one.history]
    way = Way(generator, page)
    with _home(home) as folder, _served(folder, generator) as (process, url):
        tally = asyncio.run(
            _load(url, way, questions, people=people, seconds=minutes * 60, leave=leave, pid=process.pid)
        )
        is_free = asyncio.run(_all_free(url, way, questions))
        rows = [
            *_seen(tally),
            *_of_memory(tally, _memory(process.pid, "VmHWM")),
            ("all places free at the end", is_free),
        ]
    click.echo(f"| {people} people, {generator}, {minutes:g} min{', by the page' if page else ''} | |\n|---|--:|")
    for name, value in rows:
        click.echo(f"| {name} | {value} |")


@contextlib.contextmanager
def _home(given: Path | None) -> Iterator[Path]:
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "rag", "--home", folder, "index", "build"], cwd=PROJECT, check=True, stdout=sys.stderr)  # fmt: skip  # noqa: S603, E501 - this program
        yield Path(folder)


@contextlib.contextmanager
def _served(home: Path, generator: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running server and its address."""
    command = [sys.executable, "-m", "rag", "--home", str(home), "serve", "--port", "0", "--generator", generator]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - as above
        try:
            assert process.stdout
            ready = process.stdout.readline().split()
            if not ready:
                raise click.ClickException("the server did not start; what it said stands above.")
            yield process, ready[-1]
        finally:
            process.terminate()  # a shell in the background lets SIGINT be ignored


async def _load(
    url: str, way: Way, questions: Sequence[str], *, people: int, seconds: float, leave: float, pid: int
) -> Tally:
    async with _client(url, PROBER) as client:
        await _ask(client, way, questions[0], False, Tally())  # models are loaded by the first
    tally, end = Tally(), time.monotonic() + seconds
    beside = [asyncio.create_task(_watch(pid, tally)), asyncio.create_task(_search(url, questions[0], tally))]
    bar = asyncio.create_task(_progress(seconds))
    await asyncio.gather(
        *(_person(url, way, questions, number=number, end=end, leave=leave, tally=tally) for number in range(people))
    )
    tally.seconds = time.monotonic() - end + seconds
    for task in (bar, *beside):
        task.cancel()
    await asyncio.gather(bar, *beside, return_exceptions=True)
    tally.memory.append((tally.seconds, _memory(pid, "VmRSS")))
    return tally


def _client(url: str, address: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    return httpx.AsyncClient(base_url=url, transport=transport, timeout=httpx.Timeout(30, read=SILENCE))


async def _person(
    url: str, way: Way, questions: Sequence[str], *, number: int, end: float, leave: float, tally: Tally
) -> None:
    chance = random.Random(number)  # noqa: S311 - the same people every time
    async with _client(url, f"127.0.1.{number + 1}") as client:
        while time.monotonic() < end:
            leaves = chance.random() < leave
            outcome, wait = await _ask(client, way, chance.choice(questions), leaves, tally)
            tally.outcomes[outcome] += 1
            tally.answers[number] += outcome == "answered"
            await asyncio.sleep(wait)


async def _ask(client: httpx.AsyncClient, way: Way, question: str, leaves: bool, tally: Tally) -> tuple[str, float]:
    """What came of a question, and how many seconds to wait before the next."""
    began, first, failure = time.monotonic(), 0.0, "failed"
    try:
        async with way.asks(client, question) as reply:
            if reply.status_code == httpx.codes.TOO_MANY_REQUESTS:
                return "refused", float(reply.headers.get("retry-after", AFTER_FAILURE))
            async for line in reply.aiter_lines():
                outcome = way.outcome(line)
                if outcome and leaves:
                    return "left", 0.0
                if outcome == "goes on" and not first:
                    first = time.monotonic() - began
                if outcome == "answered":
                    tally.firsts.append(first or time.monotonic() - began)
                    tally.wholes.append(time.monotonic() - began)
                    return "answered", 0.0
                if outcome == "refused":
                    failure = "refused"
    except httpx.HTTPStatusError as error:
        failure = "refused" if error.response.status_code == httpx.codes.TOO_MANY_REQUESTS else "failed"
    except httpx.HTTPError as error:
        tqdm.write(f"{type(error).__name__}", file=sys.stderr)
    return failure, AFTER_FAILURE


async def _search(url: str, question: str, tally: Tally) -> None:
    async with _client(url, PROBER) as client:
        while True:
            began = time.monotonic()
            reply = await client.post("/v1/search", json={"query": question})
            if reply.is_success:
                tally.searches.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, 1 - (time.monotonic() - began)))


async def _watch(pid: int, tally: Tally) -> None:
    began = time.monotonic()
    while True:
        tally.memory.append((time.monotonic() - began, _memory(pid, "VmRSS")))
        await asyncio.sleep(SAMPLE_SECONDS)


async def _progress(seconds: float) -> None:
    for _ in tqdm(range(round(seconds)), unit="s", file=sys.stderr):
        await asyncio.sleep(1)


async def _all_free(url: str, way: Way, questions: Sequence[str]) -> str:
    """Whether as many as there are places can ask at once, and none of them waits for another."""
    api = Way(way.generator, by_page=False)

    async def waits(number: int) -> bool:
        async with _client(url, f"127.0.2.{number + 1}") as client, api.asks(client, questions[number]) as reply:
            return "waits" in {api.outcome(line) async for line in reply.aiter_lines()}

    return "no" if any(await asyncio.gather(*map(waits, range(PLACES[way.generator])))) else "yes"


def _memory(pid: int, name: str) -> float:
    """MB by a line of /proc/PID/status: VmRSS is resident now, VmHWM the most it ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise click.ClickException("the server has ended.")


def _seen(tally: Tally) -> Iterator[tuple[str, str]]:
    for name in ("answered", "failed", "refused", "left"):
        yield name, f"{tally.outcomes[name]:,}"
    yield "answers a minute", f"{tally.outcomes['answered'] / tally.seconds * 60:,.0f}"
    for name, times in (
        ("first event", tally.firsts),
        ("whole answer", tally.wholes),
        ("a search beside", tally.searches),
    ):
        yield f"{name}, median and 95th percentile", _spread(times)
    yield "answers of one person, fewest and most", f"{min(tally.answers.values())} and {max(tally.answers.values())}"


def _spread(times: Sequence[float]) -> str:
    return "{:.2f} s, {:.2f} s".format(*np.percentile(times, [50, 95])) if times else "none"


def _of_memory(tally: Tally, peak: float) -> Iterator[tuple[str, str]]:
    seconds, memory = (np.array(one) for one in zip(*tally.memory, strict=True))
    later = seconds >= seconds[-1] / 3
    third = int(np.argmax(later))
    yield (
        "memory at the start, after a third, at the end, peak",
        ", ".join(f"{one:,.0f} MB" for one in (memory[0], memory[third], memory[-1], peak)),
    )
    if later.sum() > 2:
        yield "memory after the first third", f"{np.polyfit(seconds[later] / 60, memory[later], 1)[0]:+.1f} MB a minute"


if __name__ == "__main__":
    main()
