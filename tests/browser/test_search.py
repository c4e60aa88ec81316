"""Search and reader in a real Chromium: as a person types, walks by keyboard, shares and reads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from starlette.requests import Request

from rag.answering import Engine
from rag.api import create_api
from rag.safety import Guard
from rag.slots import Slots
from rag.web import add_pages
from tests.test_api import served

QUOTED = "They know flour, water and yeast (see p. 3)."
LONG = "# Tower\n\n## Stones\n\n" + "A mason lays stones in rows.\n\n" * 120 + "The highest stone is of granite.\n"
SLOW = 0.5
"""Seconds that a search for slow things takes."""

pytestmark = pytest.mark.browser


class Site:
    """The pages on loopback."""

    def __init__(self, url: str, visit: Callable[..., Page]) -> None:
        self.url, self._visit = url, visit

    def open(self, path: str, **options: Any) -> Page:
        return self._visit(self.url + path, **options)


@pytest.fixture
def site(shelf: Path, engine_over: Callable[..., Engine], visit: Callable[..., Page]) -> Iterator[Site]:
    (shelf / "tower.md").write_text(LONG, encoding="utf-8")
    engine, places = engine_over(shelf), Slots()

    def engine_in(request: Request) -> Engine:
        time.sleep(SLOW * request.query_params.get("q", "").startswith("slow"))
        return engine

    api = create_api(lambda: engine, places, models=["rolewise-extractive"])
    add_pages(api, engine_in, places)
    with served(Guard(api, hosts=frozenset({"127.0.0.1"}))) as url:
        yield Site(url, visit)


def test_typing_shows_passages_and_keeps_the_address_in_step(site: Site) -> None:
    page = site.open("/search")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("flour and yeast", delay=15)
    expect(page.locator(".card").first).to_contain_text(QUOTED)
    expect(page.locator(".card").first.locator("mark").first).to_have_text("flour")
    expect(page).to_have_url(f"{site.url}/search?q=flour+and+yeast")
    expect(page.get_by_role("status")).to_have_text("8 passages")  # four of the tower, two of each of the others
    expect(page.locator("#q")).to_be_focused()
    page.get_by_role("combobox", name="Document", exact=True).select_option("miller")
    expect(page.get_by_role("status")).to_have_text("2 passages")
    expect(page).to_have_url(f"{site.url}/search?q=flour+and+yeast&document=miller")
    page.reload()
    expect(page.locator(".card")).to_have_count(2)
    page.get_by_role("textbox", name="Passages").fill("0")
    expect(page.get_by_role("alert")).to_have_text("The number of passages is 0; give 1 to 100.")
    expect(page.locator(".card")).to_have_count(0)


def test_an_older_reply_never_takes_the_place_of_a_newer_one(site: Site) -> None:
    page = site.open("/search")
    with page.expect_request("**/search/results?q=slow+grain"):
        page.locator("#q").fill("slow grain")
    page.locator("#q").fill("flour and yeast")
    expect(page.locator(".card").first).to_contain_text(QUOTED)
    page.wait_for_timeout(1000 * SLOW)
    expect(page.locator(".card").first).to_contain_text(QUOTED)
    expect(page).to_have_url(f"{site.url}/search?q=flour+and+yeast")


def test_the_keyboard_alone_leads_from_the_field_to_the_quotation_and_back(site: Site) -> None:
    page = site.open("/search")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("granite stone")
    expect(page.locator(".card").first).to_contain_text("The highest stone is of granite.")
    page.keyboard.press("ArrowDown")
    expect(page.locator("a.open").nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("a.open").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    expect(page.locator("#q")).to_have_value("granite stone")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/read/tower?start=*#quotation")
    expect(page.locator("#quotation")).to_be_focused()
    expect(page.locator("#quotation")).to_be_in_viewport()
    assert page.evaluate("scrollY") > 800
    expect(page.locator(".document mark").last).to_contain_text("The highest stone is of granite.")
    page.go_back()
    expect(page).to_have_url(f"{site.url}/search?q=granite+stone")
    expect(page.locator(".card").first).to_contain_text("The highest stone is of granite.")


def test_a_shared_link_leads_to_its_passage_and_back_to_the_search_before(site: Site) -> None:
    page = site.open("/search?q=Bern&k=4")
    link = page.locator(".card").nth(3).get_by_role("link", name="Link to passage 4")
    shared = site.url + str(link.get_attribute("href"))
    element = page.locator(".card").nth(3).get_attribute("id")
    link.click()
    expect(page).to_have_url(shared)
    page.locator("#q").fill("flour and yeast")
    expect(page.locator(".card").first).to_contain_text(QUOTED)
    page.go_back()
    expect(page).to_have_url(f"{site.url}/search?q=Bern&k=4")
    expect(page.locator("#q")).to_have_value("Bern")
    expect(page.locator(".card").nth(3)).to_have_attribute("id", str(element))
    other = site.open(shared.removeprefix(site.url), viewport={"width": 1280, "height": 500})
    assert other.evaluate("document.querySelector('.card:target').id") == element
    expect(other.locator(".card:target h2")).to_be_in_viewport()


def test_without_script_the_form_searches(site: Site) -> None:
    page = site.open("/search", java_script_enabled=False)
    expect(page.locator("#keys")).to_be_hidden()
    page.locator("#q").fill("flour and yeast")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".card").first).to_contain_text(QUOTED)


def test_a_server_that_is_gone_is_told(site: Site) -> None:
    page = site.open("/search")
    page.route("**/search/results*", lambda route: route.abort())
    page.locator("#q").fill("Bern")
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached.")


@pytest.mark.parametrize("path", ["/search?q=stone+of+Bern", "/read/tower?start=20&end=400", "/read/cook", "/search"])
def test_a_narrow_page_never_scrolls_sideways(site: Site, path: str) -> None:
    page = site.open(path, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(site: Site, faults_of: Callable[[Page], list[str]], scheme: str) -> None:
    backgrounds = {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 23, 42)"}
    paths = ["/search", "/search?q=x&k=0", "/read/baker?start=30&end=150", "/read/cook"]
    page = site.open("/search", color_scheme=scheme, bypass_csp=True)
    shared = str(site.open("/search?q=Bern").locator("a.self").first.get_attribute("href"))
    for path in [*paths, shared]:
        page.goto(site.url + path)
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == backgrounds[scheme]
        assert (path, faults_of(page)) == (path, [])
