"""The owner's page in a real Chromium: whole without a script, by keyboard, in the dark, and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from rag.answering import Engine
from rag.api import create_api
from rag.metrics import Meter
from rag.overview import Overview, add_monitor
from rag.receipts import Receipts
from rag.safety import Guard
from rag.slots import Slots
from rag.watching import WatchedEngine
from rag.web import add_pages
from tests.test_api import served

EVIL = "Does <img src=x onerror=alert(1)> bake?"

pytestmark = pytest.mark.browser


@pytest.fixture
def url(shelf: Path, engine_over: Callable[..., Engine], tmp_path: Path) -> Iterator[str]:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    book = Receipts(tmp_path / "receipts.sqlite", clock=lambda: noon)
    plain = engine_over(shelf)
    engine = WatchedEngine(**vars(plain), door="chat", watchers=[book.keep])
    for question in ("What does a Baker earn in Basel?", EVIL, EVIL, "Quantum chromodynamics lattice?"):
        engine.ask(question)
    overview = Overview(
        lambda: WatchedEngine(**vars(plain) | {"notice": "The index <b>before</b> it answers."}),
        book,
        tmp_path / "build",
        clock=lambda: noon,
    )
    slots = Slots()
    api = create_api(lambda: engine, slots, models=[])
    add_pages(api, lambda _: engine, slots)
    add_monitor(api, overview, Meter())
    with served(Guard(api, hosts=frozenset({"127.0.0.1"}))) as address:
        yield address


def test_the_page_tells_what_to_look_at_and_how_it_went(url: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{url}/monitor")
    expect(page.get_by_role("list", name="Warnings")).to_contain_text("The index <b>before</b> it answers.")
    expect(page.get_by_role("heading", name="4 questions since")).to_be_visible()
    expect(page.get_by_role("link", name="Monitor")).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("img", name="Questions by day, at most 4; refused ones filled")).to_be_visible()
    expect(page.get_by_role("rowheader", name=EVIL)).to_have_count(2)  # asked and refused most
    box = page.locator("svg rect.asked").last.bounding_box()
    assert box is not None
    assert box["height"] > 100


def test_the_table_of_the_chart_opens_by_keyboard(url: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{url}/monitor", java_script_enabled=False)
    row = page.locator("details tbody tr").first
    expect(row).to_be_hidden()
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(row).to_be_visible()
    expect(row.get_by_role("cell")).to_have_text(["4", "3", "0"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    url: str, visit: Callable[..., Page], faults_of: Callable[[Page], list[str]], scheme: str
) -> None:
    page = visit(f"{url}/monitor", color_scheme=scheme, bypass_csp=True)
    page.locator("summary").click()
    assert faults_of(page) == []


def test_nothing_is_wider_than_a_phone(url: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{url}/monitor", viewport={"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
