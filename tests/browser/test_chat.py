"""The page in a real Chromium: what a person sees, clicks and types, and that nothing leaves this machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app import Desk, Server, build_app
from rag.answering import Engine
from rag.conversations import Store
from rag.settings import Settings
from rag.wiring import LiveEngine
from tests.test_uploads import collections_in, home, live, quick

__all__ = ["home", "live", "quick"]

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
    # Gradio 6.31 keeps its queue's statistics with calls that pandas 3 deprecates.
    pytest.mark.filterwarnings("ignore:.*future.no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Serves the page over an engine, with what else is on its desk."""
    made: list[asyncio.AbstractEventLoop] = []
    new_event_loop = asyncio.new_event_loop
    servers: list[Server] = []

    def noted() -> asyncio.AbstractEventLoop:
        made.append(new_event_loop())
        return made[-1]

    def served(engine: Callable[[], Engine], **more: Any) -> Server:
        desk, settings = Desk(engine, **more), Settings(generator="extractive")
        servers.append(Server(build_app(desk, settings), desk, settings))
        return servers[-1]

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "new_event_loop", noted)  # Gradio leaves the loops of its locks open
        yield served
    for server in servers:
        server.stop()
    for loop in made:
        if not loop.is_running():
            loop.close()


@pytest.fixture
def open_page(serve: Callable[..., Server], visit: Callable[..., Page]) -> Callable[..., Page]:
    """Opens the page over an engine. Options are those of a browser context."""

    def opened(engine: Engine, store: Store | None = None, **options: Any) -> Page:
        page = visit(serve(lambda: engine, store=store).url, **options)
        page.get_by_label("Your question").wait_for()
        return page

    return opened


@contextlib.contextmanager
def answered(page: Page) -> Iterator[None]:
    """What is done within asks; goes on when the panel tells who wrote the answer to that, and not to one before."""
    page.evaluate("document.querySelector('#sources .signature')?.setAttribute('data-before', '')")
    yield
    page.locator("#sources .signature:not([data-before])").wait_for()


def ask(page: Page, question: str) -> None:
    with answered(page):
        page.get_by_label("Your question").fill(question)
        page.get_by_label("Your question").press("Enter")


def until(page: Page, told: Callable[[], object], wanted: object) -> None:
    """Waits for what is kept behind what the page shows."""
    for _ in range(600):
        if told() == wanted:
            return
        page.wait_for_timeout(100)
    assert told() == wanted


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


def test_markup_in_a_document_stays_text(
    write: Callable[[str, str], Path], engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    text = f"A Baker earns {' or '.join(EVIL)} a year of baking.\n"
    page = open_page(engine_over(write("evil/evil.txt", text).parent))
    ask(page, "What does a Baker earn a year of baking?")
    for evil in EVIL:
        expect(page.get_by_role("log")).to_contain_text(evil)
        expect(page.locator("#sources")).to_contain_text(evil)
    assert (
        page.locator(
            '#chat a:not([href^="#source-"]), #sources a:not([href^="/read/"]), #chat p img, #sources img'
        ).count()
        == 0
    )
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
        expect(page.get_by_role("button", name="Like", exact=True)).to_have_count(2)
        page.get_by_role("button", name="Like", exact=True).last.click()
        page.get_by_role("button", name="Feedback").first.hover()
        page.get_by_role("button", name="Should have refused").first.click()
        [conversation] = store.list()
        assert conversation.title == "What does a Baker earn in Bern?"
        turns = store.turns(conversation.id)
        assert [turn.question for turn in turns] == ["What does a Baker earn in Bern?", "And in Basel?"]
        assert "Basel: 64,500 francs a year" in {one["quote"] for one in turns[1].record["citations"]}

        def ratings() -> list[tuple[str, tuple[str, ...]]]:
            turns = store.turns(conversation.id)
            return [(turn.rating.verdict, turn.rating.reasons) for turn in turns if turn.rating]

        until(page, ratings, [("bad", ("should have refused",)), ("good", ())])


def test_roles_are_set_side_by_side_in_a_table(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    ask(page, "Compare the pay of a Baker and a Miller in Bern.")
    row = page.locator("#chat tr", has_text="Miller")
    expect(row.locator("td").first).to_have_text("Miller")
    expect(row).to_contain_text("58,000 francs")
    row.locator('a[href^="#source-1-"]').first.click()
    expect(page.locator(".quotation.shown mark")).to_be_in_viewport()


def test_what_the_documents_do_not_tell_leads_on_to_what_they_do(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    ask(page, "What does a Baker earn in Berlin on the moon?")
    expect(page.locator("#sources h2")).to_have_text("The documents do not tell")
    expect(page.locator("#sources details summary").first).to_be_visible()
    suggested = page.locator(".suggested").first
    question = suggested.inner_text()
    assert question.startswith("What does Baker say about ")
    suggested.press("Enter")
    expect(page.get_by_role("log")).to_contain_text(question)


def test_a_quotation_is_read_in_its_document(
    shelf: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    page = open_page(engine_over(shelf))
    ask(page, "What does a Baker earn in Bern?")
    page.locator("#source-1-1").get_by_role("link", name="Read in the document").click()
    expect(page.locator("#quotation")).to_have_text("Bern: 61,000 francs a year")
    expect(page.locator("#quotation")).to_be_in_viewport()
    expect(page.get_by_role("heading", level=1)).to_have_text("Baker")


def test_a_conversation_is_found_again_when_the_server_was_restarted(
    shelf: Path,
    tmp_path: Path,
    engine_over: Callable[..., Engine],
    serve: Callable[..., Server],
    visit: Callable[..., Page],
) -> None:
    engine = engine_over(shelf)
    with Store(tmp_path / "conversations.sqlite") as store:
        other = store.begin("Nothing of that")
        first = serve(lambda: engine, store=store)
        page = visit(first.url)
        ask(page, "What does a Baker earn in Bern?")
        expect(page).to_have_url(re.compile(r"conversation=[0-9a-f]{32}"))
        first.stop()
    with Store(tmp_path / "conversations.sqlite") as store:
        page = visit(serve(lambda: engine, store=store).url)
        page.get_by_role("button", name="Conversations").click()
        expect(page.locator("#history li")).to_have_count(2)
        expect(page.locator("#history-query")).to_be_focused()
        page.keyboard.type("61,000")
        expect(page.locator("#history li")).to_have_count(1)
        page.get_by_role("button", name="Rename").click()
        page.get_by_label("Title").fill("Pay <b>in</b> Bern")
        page.keyboard.press("Enter")
        expect(page.locator("#history li > a")).to_have_text("Pay <b>in</b> Bern")
        with page.expect_download() as download:
            page.get_by_role("link", name="Markdown").click()
        assert "“Bern: 61,000 francs a year”" in download.value.path().read_text(encoding="utf-8")
        page.locator("#history li > a").click()
        expect(page.get_by_role("log")).to_contain_text("Bern: 61,000 francs a year")
        expect(page.locator("#source-1-1 mark")).to_have_text("Bern: 61,000 francs a year")
        page.get_by_label("Your question").fill("And in Basel?")
        page.get_by_label("Your question").press("Enter")
        expect(page.locator("[id^=source-2-] mark", has_text="Basel: 64,500 francs a year")).to_have_count(1)
        [found] = [one for one in store.list() if one.id != other]
        assert [turn.question for turn in store.turns(found.id)] == [
            "What does a Baker earn in Bern?",
            "And in Basel?",
        ]
        page.get_by_role("button", name="Conversations").click()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete Nothing of that").click()
        expect(page.locator("#history [role=status]")).to_have_text("Deleted.")
        assert [one.id for one in store.list()] == [found.id]
        page.keyboard.press("Escape")
        expect(page.locator("#history")).to_be_hidden()
        expect(page.get_by_role("button", name="Conversations")).to_be_focused()


def test_a_question_is_changed_and_an_answer_asked_for_again(
    shelf: Path, tmp_path: Path, engine_over: Callable[..., Engine], open_page: Callable[..., Page]
) -> None:
    with Store(tmp_path / "conversations.sqlite") as store:
        page = open_page(engine_over(shelf), store)
        ask(page, "What does a Baker earn in Bern?")
        page.get_by_role("button", name="Edit").click()
        page.locator("#chat textarea").fill("What does a Miller earn in Bern?")
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("#source-1-1 mark")).to_contain_text("58,000 francs")
        with answered(page):
            page.get_by_role("button", name="Retry").click()
        expect(page.get_by_role("log")).to_contain_text("58,000 francs")
        [conversation] = store.list()
        assert [turn.question for turn in store.turns(conversation.id)] == ["What does a Miller earn in Bern?"]
        assert conversation.title == "What does a Miller earn in Bern?"
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#sources")).to_contain_text("appear here before the")
        ask(page, "What does a Baker earn in Basel?")
        assert [one.title for one in store.list()] == ["What does a Baker earn in Basel?", conversation.title]


def test_documents_of_ones_own_are_added_asked_and_removed(
    live: LiveEngine, home: Path, tmp_path: Path, serve: Callable[..., Server], visit: Callable[..., Page]
) -> None:
    server = serve(live, uploads=collections_in(live, home))
    page = visit(f"{server.url}documents")
    cook, broken = tmp_path / "cook.md", tmp_path / "<b>broken.pdf"
    cook.write_text("# Cook\n\n## Pay\n\nA Cook earns 55,000 francs a year in Bern.\n")
    broken.write_text("no PDF at all")
    page.get_by_label("Add files").set_input_files([cook, broken])
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#told")).to_contain_text("2 added.")
    expect(page.locator("#told")).to_contain_text("broken.pdf")
    expect(page.locator(".held li")).to_have_count(2)
    expect(page.locator(".held li", has_text="broken.pdf").locator(".notice")).to_be_visible()
    page.get_by_role("link", name="Ask them").click()
    page.get_by_label("Your question").wait_for()
    ask(page, "What does a Cook earn in Bern?")
    expect(page.locator("#source-1-1 mark")).to_have_text("A Cook earns 55,000 francs a year in Bern.")
    page.locator("#source-1-1").get_by_role("link", name="Read in the document").click()
    expect(page.locator("#quotation")).to_have_text("A Cook earns 55,000 francs a year in Bern.")
    page.goto(f"{server.url}documents")
    page.get_by_role("button", name="Remove cook.md").click()
    expect(page.locator("#told")).to_have_text("1 removed.")
    expect(page.locator(".held li")).to_have_count(1)


def test_an_answer_that_was_stopped_says_so(
    shelf: Path, engine_over: Callable[..., Engine], serve: Callable[..., Server], visit: Callable[..., Page]
) -> None:
    engine, may_end, is_slow = engine_over(shelf), threading.Event(), threading.Event()

    def slowly() -> Engine:
        if is_slow.is_set():
            may_end.wait(120)
        return engine

    page = visit(serve(slowly).url)
    page.get_by_label("Your question").wait_for()
    is_slow.set()
    page.get_by_label("Your question").fill("What does a Baker earn in Bern?")
    page.get_by_label("Your question").press("Enter")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("log")).to_contain_text("Stopped.")
    may_end.set()
    ask(page, "What does a Baker earn in Basel?")
    expect(page.get_by_role("log")).to_contain_text("Basel: 64,500 francs a year")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_serious_fault_in_the_chat(
    shelf: Path,
    tmp_path: Path,
    engine_over: Callable[..., Engine],
    open_page: Callable[..., Page],
    faults_of: Callable[[Page], list[str]],
    scheme: str,
    width: int,
) -> None:
    with Store(tmp_path / "conversations.sqlite") as store:
        page = open_page(
            engine_over(shelf), store, viewport={"width": width, "height": 740}, color_scheme=scheme, bypass_csp=True
        )
        ask(page, "What does a Baker earn in Bern?")
        ask(page, "Who is the king of the moon?")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert ("dark" in page.evaluate("document.body.className")) == (scheme == "dark")
        assert faults_of(page) == []
        page.get_by_role("button", name="Conversations").click()
        expect(page.locator("#history li")).to_have_count(1)
        assert faults_of(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_serious_fault_in_the_documents(
    live: LiveEngine,
    home: Path,
    serve: Callable[..., Server],
    visit: Callable[..., Page],
    faults_of: Callable[[Page], list[str]],
    scheme: str,
    width: int,
) -> None:
    uploads = collections_in(live, home)
    broken = home.parent / "broken.pdf"
    broken.write_text("no PDF at all")
    uploads.of().add([("cook.md", cook_in(home.parent)), ("a-file-with-a-very-long-name-" * 4 + ".pdf", broken)])
    server = serve(live, uploads=uploads)
    page = visit(
        f"{server.url}documents", viewport={"width": width, "height": 740}, color_scheme=scheme, bypass_csp=True
    )
    expect(page.locator(".held li")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert faults_of(page) == []


def cook_in(folder: Path) -> Path:
    path = folder / "cook.md"
    path.write_text("# Cook\n\nA Cook earns 55,000 francs a year in Bern.\n")
    return path
