"""The page in a real Chromium: what a person sees, clicks and types, and that nothing leaves this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect, sync_playwright

from app import Server, build_app
from rag.answering import Engine
from rag.conversations import Store
from rag.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()
WITHIN = ("http://127.0.0.1:", "data:", "blob:")
EVIL = [
    """<script>document.title = "evil"</script>""",
    """<img src=x onerror="document.title='evil'">""",
    "![](http://evil.example/p.png)",
    "[x](http://evil.example)",
    "http://evil.example/page",
    "**much**",
    "$$x^2$$",
    """${document.title = "evil"} and {{value}}""",
    "$1 to $2",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}"),
    # Gradio 6.31 keeps its queue's statistics with calls that pandas 3 deprecates.
    pytest.mark.filterwarnings("ignore:.*future.no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Page]]:
    """Opens the page over an engine; fails at the end if it asked for anything beyond loopback or a script failed."""
    made: list[asyncio.AbstractEventLoop] = []
    new_event_loop = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(new_event_loop())
        return made[-1]

    servers: list[Server] = []
    foreign: list[Request] = []
    failures: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "new_event_loop", noted)  # Gradio leaves the loops of its locks open

        def served(engine: Engine, store: Store | None) -> str:
            settings = Settings(generator="extractive")
            demo = build_app(lambda: engine, settings, store=store)
            servers.append(Server(demo, lambda: engine, settings))
            return servers[-1].url

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=ARGUMENTS)

            def opened(engine: Engine, store: Store | None = None) -> Page:
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.on("request", lambda request: foreign.append(request))  # noqa: PLW0108 - it must be a Python function
                page.on("pageerror", lambda error: failures.append(str(error)))
                page.goto(served(engine, store))
                page.get_by_label("Your question").wait_for()
                return page

            yield opened
            left = [one.url for one in foreign if one.failure != "csp" and not one.url.startswith(WITHIN)]
            browser.close()
    for server in servers:
        server.stop()
    for loop in made:
        if not loop.is_running():
            loop.close()
    assert left == []
    assert failures == []


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    page.get_by_label("Your question").press("Enter")
    page.locator("#sources .signature").wait_for()


def test_a_marker_leads_to_its_quotation(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    expect(page.locator("#sources")).to_contain_text("appear here before the")
    ask(page, "What does a Baker earn in Bern?")
    expect(page.get_by_role("log")).to_contain_text("Bern: 61,000 francs a year")
    fold = page.locator("#source-1-1")
    fold.locator("summary").click()
    expect(fold).not_to_have_attribute("open", "")
    marker = page.locator('#chat a[href="#source-1-1"]').first
    assert marker.get_attribute("title") == "Show quotation 1"
    marker.click()
    expect(fold).to_have_attribute("open", "")
    expect(fold.locator("mark")).to_have_text("Bern: 61,000 francs a year")
    expect(fold.locator("mark")).to_be_in_viewport()


def test_the_keyboard_alone_reaches_a_quotation_and_returns(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    ask(page, "What does a Baker earn in Bern?")
    fold = page.locator("#source-1-1")
    fold.locator("summary").press("Enter")
    expect(fold).not_to_have_attribute("open", "")
    page.locator('#chat a[href="#source-1-1"]').first.press("Enter")
    expect(fold).to_have_attribute("open", "")
    expect(fold.locator("summary")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator('#chat a[href="#source-1-1"]').first).to_be_focused()


def test_a_marker_of_an_earlier_answer_still_leads_to_its_own_quotation(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    ask(page, "What does a Baker earn in Bern?")
    page.get_by_label("Your question").fill("What does a Miller earn in Bern?")
    page.get_by_label("Your question").press("Enter")
    page.locator("#source-2-1 mark").wait_for()
    page.locator('#chat a[href="#source-1-1"]').first.click()
    expect(page.locator("#source-1-1 mark")).to_be_in_viewport()
    expect(page.locator("#source-1-1 mark")).to_have_text("Bern: 61,000 francs a year")


def test_search_shows_passages_on_enter(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    page.get_by_role("tab", name="Search").click()
    page.get_by_label("Search for").fill("grinding grain")
    page.get_by_label("Search for").press("Enter")
    expect(page.locator("#found .card").first).to_contain_text("Millers grind grain.")
    expect(page.locator("#found .card").first.locator("mark").first).to_be_visible()
    expect(page.locator("#found .card").first).to_contain_text("fused")


def test_an_empty_question_brings_a_message(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    page.get_by_role("tab", name="Search").click()
    page.get_by_label("Search for").press("Enter")
    expect(page.get_by_text("The question is empty. Ask something about the documents.")).to_be_visible()


def test_markup_in_a_document_stays_text(
    write: Callable[[str, str], Path], engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    text = f"A Baker earns {' or '.join(EVIL)} a year of baking.\n"
    page = open_page(engine_over(write("evil/evil.txt", text).parent))
    ask(page, "What does a Baker earn a year of baking?")
    for evil in EVIL:
        expect(page.get_by_role("log")).to_contain_text(evil)
        expect(page.locator("#sources")).to_contain_text(evil)
    assert page.locator('#chat a:not([href^="#source-"]), #sources a, #chat p img, #sources img').count() == 0
    assert page.locator("#chat .katex, #chat p strong, #chat script, #sources script").count() == 0
    assert page.title() == "Rolewise"


def test_a_picture_in_a_pasted_question_is_not_fetched(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    ask(page, "What does a Baker earn in Bern? ![](http://evil.example/p.png) <script>document.title = 'evil'</script>")
    page.wait_for_timeout(300)  # for a request that must not come; the fixture looks for it
    assert page.title() == "Rolewise"


def test_conversations_and_ratings_are_kept(
    shelf: Path, tmp_path: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    with Store(tmp_path / "conversations.sqlite") as store:
        page = open_page(engine_over(shelf), store)
        ask(page, "What does a Baker earn in Bern?")
        page.get_by_role("button", name="Dislike").first.click()
        ask(page, "And in Basel?")
        expect(page.get_by_role("log")).to_contain_text("Basel: 64,500 francs a year")
        page.get_by_role("button", name="Like", exact=True).last.click()
        page.get_by_role("button", name="Feedback").first.hover()
        page.get_by_role("button", name="Should have refused").first.click(timeout=5000)
        page.wait_for_timeout(500)
        [conversation] = store.list()
        assert conversation.title == "What does a Baker earn in Bern?"
        turns = store.turns(conversation.id)
        assert [turn.question for turn in turns] == ["What does a Baker earn in Bern?", "And in Basel?"]
        assert "Basel: 64,500 francs a year" in {one["quote"] for one in turns[1].record["citations"]}
        ratings = [(turn.rating.verdict, turn.rating.reasons) for turn in turns if turn.rating]
        assert ratings == [("bad", ("should have refused",)), ("good", ())]
