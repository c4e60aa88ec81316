"""The owner's page, the metrics and `monitor`, over a real log and a real index."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from lxml import html

from rag import calibration
from rag.__main__ import cli
from rag.answering import Engine
from rag.api import create_api
from rag.calibration import Example, read_sample, write_sample
from rag.freshness import read_dates, write_dates
from rag.metrics import Meter
from rag.overview import Overview, add_monitor, lost_in
from rag.receipts import Receipts
from rag.safety import Guard
from rag.slots import Slots
from rag.types import ScoredPassage
from rag.versions import current
from rag.watching import WatchedEngine
from tests.conftest import STRICT
from tests.test_api import served
from tests.test_logbook import _no_models, ask, home, run, settings  # noqa: F401 - fixtures

QUESTION = "What does a Baker earn in Basel?"
EVIL = "Does <script>alert(1)</script> & \"'`{x}` bake?"
HOSTS = frozenset({"127.0.0.1"})
TOKEN = "correct-horse-battery"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def book(tmp_path: Path) -> Receipts:
    return Receipts(tmp_path / "receipts.sqlite", clock=lambda: NOON)


@pytest.fixture
def engine(engine_over: Callable[..., Engine], shelf: Path, book: Receipts) -> WatchedEngine:
    return WatchedEngine(**vars(engine_over(shelf)), door="chat", watchers=[book.keep])


def over(engine: Engine, book: Receipts, tmp_path: Path, **options: Any) -> Overview:
    return Overview(lambda: engine, book, tmp_path / "build", clock=lambda: NOON, **options)


@pytest.fixture
def site(engine: WatchedEngine, book: Receipts, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Serves the page and the metrics."""
    with contextlib.ExitStack() as stack:

        def opened(token: str = "") -> str:
            api = create_api(lambda: engine, Slots(), models=[])
            add_monitor(api, over(engine, book, tmp_path), Meter())
            return str(stack.enter_context(served(Guard(api, token=token, hosts=HOSTS))))

        yield opened


def test_the_page_shows_the_log_with_its_text_escaped(site: Callable[..., str], engine: WatchedEngine) -> None:
    for question in (QUESTION, EVIL, EVIL):
        engine.ask(question)
    reply = httpx.get(f"{site()}/monitor", trust_env=False, timeout=60)
    assert reply.status_code == 200
    assert "script-src 'self'" in reply.headers["content-security-policy"]
    page = html.fromstring(reply.text)
    assert page.findall(".//main//script") == []
    assert "3 questions since" in page.text_content()
    assert EVIL in page.text_content()
    assert page.find_class("problems") == []
    bars = page.find_class("asked")
    assert len(bars) == 31
    assert bars[-1].get("height") == "120.0"


def test_an_empty_log_is_a_page_too(site: Callable[..., str]) -> None:
    assert "Nothing was asked yet." in httpx.get(f"{site()}/monitor", trust_env=False, timeout=60).text


def test_where_a_token_lets_several_in_nobody_reads_what_others_asked(
    site: Callable[..., str], engine: WatchedEngine
) -> None:
    for _ in range(2):
        engine.ask(QUESTION)
    url = site(TOKEN)
    for path in ("/monitor", "/metrics"):
        assert httpx.get(f"{url}{path}", trust_env=False, timeout=60).status_code == 401
    with httpx.Client(base_url=url, trust_env=False, timeout=60, headers={"authorization": f"Bearer {TOKEN}"}) as http:
        page = http.get("/monitor").text
        assert "2 questions since" in page
        assert "Basel" not in page
        metrics = http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    version = engine.version.info
    assert f'rolewise_index_info{{embedder="hashing",version="{version.version}"}} 1.0' in metrics.text
    assert "rolewise_index_passages 4.0" in metrics.text
    assert 'rolewise_problems{name="drift"} 0.0' in metrics.text
    age = next(line for line in metrics.text.splitlines() if line.startswith("rolewise_index_age_seconds "))
    assert 0 <= float(age.split()[1]) < 600
    assert "Basel" not in metrics.text


class Blind:
    """A retriever that finds the same passage always."""

    def __init__(self, found: ScoredPassage) -> None:
        self._found = found

    def retrieve(self, *_: Any, **__: Any) -> list[ScoredPassage]:
        return [self._found]


def test_passages_are_looked_for_by_their_own_words(engine: WatchedEngine, book: Receipts, tmp_path: Path) -> None:
    assert lost_in(engine) == ([], 4)
    blind = dataclasses.replace(engine, retriever=Blind(engine.search(QUESTION)[0]))
    lost, asked = lost_in(blind)
    assert (len(lost), asked) == (3, 4)
    [found] = over(blind, book, tmp_path).report().problems
    assert found.name == "index"
    assert "3 of 4 passages" in found.message


def test_an_index_that_is_not_the_one_meant_is_told(engine: WatchedEngine, book: Receipts, tmp_path: Path) -> None:
    other = dataclasses.replace(engine, notice="The index is damaged. Until then the one before it answers.")
    assert [one.message for one in over(other, book, tmp_path).report().problems] == [other.notice]


def test_what_people_thought_is_counted(engine: WatchedEngine, book: Receipts, tmp_path: Path) -> None:
    id_ = engine.ask(QUESTION).receipt
    assert over(engine, book, tmp_path, verdicts=lambda: {id_: "bad"}).report().ratings == {"bad": 1}


def test_monitor_prints_a_report_and_ends_with_what_it_found(home: Path) -> None:  # noqa: F811
    ask(home, QUESTION)
    quiet = run(home, "monitor")
    assert quiet.exit_code == 0, quiet.output
    assert quiet.stdout.startswith("1 questions since")
    assert json.loads(run(home, "monitor", "--json", "--days", "3").stdout)["statuses"] == {"answered": 1}
    assert len(run(home, "log", "list").stdout.splitlines()) == 1  # watching leaves no receipts
    settings(home, "freshness_days = 30")
    folder = home / "index" / "build" / current(home / "index" / "build")
    write_dates({"baker": "2020-01-01", "miller": "2020-06-01"}, folder)
    loud = run(home, "monitor")
    assert loud.exit_code == 1
    assert "warning: 2 of 2 documents were not reviewed for 30 days, the oldest baker (2020-01-01)." in loud.stdout


def test_a_document_is_as_old_as_its_review_else_as_its_file(home: Path, shelf: Path) -> None:  # noqa: F811
    (shelf / "miller.md").write_text("---\nreviewed: 2024-02-29\n---\n# Miller\n\nMillers grind grain.\n")
    (shelf / "cook.md").write_text("---\nreviewed: soon\n---\n# Cook\n\nCooks cook.\n")
    os.utime(shelf / "baker.md", (1_600_000_000,) * 2)
    os.utime(shelf / "cook.md", (1_500_000_000,) * 2)
    assert run(home, "index", "build", str(shelf)).exit_code == 0
    build = home / "index" / "build"
    before = current(build)
    dates = read_dates(build / before)
    assert dates == {"baker": "2020-09-13", "miller": "2024-02-29", "cook": "2017-07-14"}
    os.utime(shelf / "cook.md", (1_700_000_000,) * 2)
    run(home, "index", "build", str(shelf))
    assert current(build) == before  # no index depends on it
    assert read_dates(build / before)["cook"] == "2023-11-14"


def test_dates_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    assert read_dates(tmp_path) == {}
    (tmp_path / "dates.json").write_text("[1")
    assert read_dates(tmp_path) == {}


def test_calibration_keeps_what_its_questions_were_like(tmp_path: Path) -> None:
    rows = [Example(dict.fromkeys(("name", "strange", "role", "kind"), 0.0) | {"score": 0.9}, True, 7)]
    write_sample(rows, STRICT, tmp_path)
    sample = read_sample(tmp_path)
    assert sample is not None
    assert (sample["score"], sample["words"]) == ([0.9], [7.0])
    assert sample["unanswerable"] == [pytest.approx(1 / (1 + 2.718281828459045**9))]  # 9 - 20 · 0.9
    (tmp_path / calibration.SAMPLED).write_text("{}")
    assert read_sample(tmp_path) is None


def test_the_command_is_known() -> None:
    assert "monitor" in CliRunner().invoke(cli, ["--help"]).stdout
