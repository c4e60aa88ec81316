"""The page over a real index and a real server on loopback; the browser's side of it is in tests/browser."""

from __future__ import annotations

import asyncio
import html
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr
import httpx
import pytest
from gradio_client import Client  # type: ignore[import-untyped]
from gradio_client.exceptions import AppError  # type: ignore[import-untyped]

from app import Desk, Server, build_app
from rag.ahead import Ahead
from rag.answering import Engine
from rag.errors import GeneratorError, ModelError, SettingsError
from rag.pages import answers as pages
from rag.pages import markup
from rag.protocols import Draft
from rag.pulling import LocalModel
from rag.receipts import Receipts
from rag.settings import Settings
from rag.types import Evidence, GeneratorInfo, Message
from rag.watching import WatchedEngine
from rag.yielding import Activity
from tests.test_shadowing import Slow

# Gradio 6.31 keeps its queue's statistics with calls that pandas 3 deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*future.no_silent_downcasting"),
    pytest.mark.filterwarnings("ignore:The copy keyword is deprecated"),
]

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](http://evil.example)",
    "![](http://evil.example/p.png)",
    "[x](javascript:alert(1))",
    "<javascript:alert(1)>",
    "<http://evil.example>",
    "see http://evil.example/a, https://evil.example or ftp://evil.example",
    "see www.evil.example or WWW.evil.example",
    "write to mallory@evil.example",
    "[x]: http://evil.example",
    "[x][1] and [1](#source-1-1)",
    "**bold** _emphasis_ ~~struck~~ `code` ``` fence",
    "# heading",
    "- entry",
    "+ entry",
    "1. entry",
    "2) entry",
    "> quote",
    "    code by four spaces",
    "a | b\n--- | ---\n1 | 2",
    "heading\n=======",
    "$$x$$ and \\(x\\) and \\[x\\]",
    "&lt;script&gt; &amp; &#91;",
    "\\[x](http://evil.example)",
    "${alert(1)} {{value}}",
]
EVIL = (
    "A Baker earns <script>alert(3)</script> and ![](http://evil.example/p.png) and [x](http://evil.example) a year.\n"
)

Serve = Callable[..., Client]


class BrokenGenerator:
    """Implements protocols.Generator. Fails when it is asked."""

    info = GeneratorInfo("local", "broken")
    context_tokens = 1000

    def count(self, text: str) -> int:
        return len(text.split())

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:
        raise GeneratorError("the model is broken.")
        yield


class RecordingEngine(Engine):
    """Notes the history it is given."""

    seen: ClassVar[list[Sequence[Message]]] = []

    def stream_answer(self, question: str, **options: Any) -> Any:
        self.seen.append(options["history"])
        return super().stream_answer(question, **options)


@pytest.fixture(autouse=True)
def _event_loops_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gradio sets up a loop for each lock it makes outside of one, and leaves it open; a warning here is an error."""
    made: list[asyncio.AbstractEventLoop] = []
    new_event_loop = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(new_event_loop())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", noted)
    yield
    for loop in made:
        if not loop.is_running():
            loop.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves the page over an engine on a free port and returns a client of it."""
    running: list[tuple[Server, Client]] = []

    def served(
        engine: Engine,
        settings: Settings | None = None,
        pulling: LocalModel | None = None,
        ahead: Ahead | None = None,
    ) -> Client:
        desk, chosen = Desk(lambda: engine, ahead=ahead), settings or Settings(generator="extractive")
        server = Server(build_app(desk, chosen, pulling=pulling), desk, chosen)
        client = Client(server.url, verbose=False, httpx_kwargs={"timeout": 60})
        running.append((server, client))
        return client

    yield served
    for server, client in running:
        client.close()
        server.stop()


@pytest.fixture
def bakery(shelf: Path, engine_over: Callable[..., Engine]) -> Engine:
    return engine_over(shelf, local=BrokenGenerator())


def chat(
    client: Client, question: str, generator: str = "extractive", role: str = ""
) -> tuple[str, str, dict[str, Any]]:
    """The last bubble, the panel and the record."""
    bubble, panel, record = client.predict(question, generator, role, api_name="/chat")
    return (bubble[-1] if isinstance(bubble, list) else bubble), panel, record


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


# The markup


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_of_a_document_is_read_as_its_characters(text: str) -> None:
    escaped = markup.as_markdown(text)
    assert html.unescape(escaped) == "\n".join(line.strip() for line in text.splitlines())
    assert not re.search(r"[\\`*_\[\]<>!|~^$@{}]", escaped)
    assert not re.search(r"\w://|www\.|^\s*(?:[#=+-]|\d+[.)]\s)", escaped, re.IGNORECASE | re.MULTILINE)
    assert not re.search(r"&(?!#\d+;)", escaped)


def test_common_prose_is_left_as_it_is() -> None:
    prose = "Senior level: $153,000 to $267,000 a year (2024); C++ and C# at 3.5%, well-known."
    assert markup.as_markdown(prose).replace("&#36;", "$") == prose


@pytest.mark.parametrize("text", HOSTILE)
def test_html_of_a_document_holds_no_markup_and_no_template(text: str) -> None:
    escaped = markup.as_html(text)
    assert html.unescape(escaped) == text
    assert not re.search(r"""[<>"'`${}\\]""", escaped)


def test_only_the_markers_at_the_end_of_a_sentence_become_links() -> None:
    assert pages.bubble("Pay is good [sic]. [1] [3]\nSee [2] there. [2]", turn=4) == (
        'Pay is good &#91;sic&#93;. [1](#source-4-1 "Show quotation 1") [3](#source-4-3 "Show quotation 3")\n\n'
        'See &#91;2&#93; there. [2](#source-4-2 "Show quotation 2")'
    )


def test_history_loses_what_the_page_added_to_it() -> None:
    said = pages.bubble("Pay is [sic] $5. [1] [2]", turn=1)
    history: list[dict[str, object]] = [
        {"role": "user", "content": [{"type": "text", "text": "How much?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": said}]},
        {"role": "user", "content": "And *then*?"},
    ]
    assert pages.messages(history) == [
        Message("user", "How much?"),
        Message("assistant", "Pay is [sic] $5."),
        Message("user", "And *then*?"),
    ]


# The served page


def test_an_answer_links_each_sentence_to_its_quotation_in_the_panel(serve: Serve, bakery: Engine) -> None:
    bubble, panel, record = chat(serve(bakery), "What does a Baker earn in Bern?")
    citation = record["citations"][0]
    assert citation["quote"] == "Bern: 61,000 francs a year"
    assert bubble.startswith('Bern: 61,000 francs a year [1](#source-1-1 "Show quotation 1")')
    assert 'id="source-1-1" open' in panel
    assert "<mark>Bern: 61,000 francs a year</mark>" in panel
    assert f"<code>baker</code> characters {citation['start']:,}&ndash;{citation['end']:,}" in panel
    assert f"index <code>{bakery.version.info.version}</code>" in panel
    text = bakery.version.documents["baker"].text
    assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_what_is_asked_on_the_page_and_beside_it_leaves_receipts(serve: Serve, bakery: Engine, tmp_path: Path) -> None:
    book = Receipts(tmp_path / "receipts.sqlite")
    client = serve(WatchedEngine(**vars(bakery), door="chat", watchers=[book.keep]))
    _, panel, record = chat(client, "What does a Baker earn in Bern?")
    said = {"model": "rolewise-extractive", "messages": [{"role": "user", "content": "Who grinds grain?"}]}
    httpx.post(f"{client.src}v1/chat/completions", json=said, trust_env=False, timeout=60).raise_for_status()
    assert [(one.door, one.question) for one in book.list()] == [
        ("chat", "What does a Baker earn in Bern?"),
        ("api", "Who grinds grain?"),
    ]
    assert record["receipt"] == book.list()[0].id
    assert f"receipt <code>{record['receipt']}</code>" in panel


def test_passages_are_shown_before_the_first_sentence(serve: Serve, bakery: Engine) -> None:
    job = serve(bakery).submit("What does a Baker earn in Bern?", "extractive", "", api_name="/chat")
    first, *_, last = list(job)
    assert first[0] == pages.WRITING
    assert "Reading these passages" in first[1]
    assert "Bern: 61,000 francs a year" in first[1]
    assert "<mark>" not in first[1]
    assert "found word for word" in last[1]


def test_a_chat_passes_its_history_and_keeps_earlier_quotations(serve: Serve, bakery: Engine) -> None:
    fields = {name: getattr(bakery, name) for name in Engine.__dataclass_fields__}
    engine = RecordingEngine(**fields)
    client = serve(engine)
    chat(client, "What does a Baker earn in Bern?")
    bubble, panel, _ = chat(client, "What does a Miller earn in Bern?")
    assert [message.role for message in engine.seen[-1]] == ["user", "assistant"]
    assert engine.seen[-1][1].content.splitlines()[0] == "Bern: 61,000 francs a year"
    assert "(#source-2-1 " in bubble
    ids = re.findall(r'id="(source-[\d-]+)"', panel)
    assert {"source-1-1", "source-2-1"} <= set(ids)
    assert len(ids) == len(set(ids))


def test_a_role_that_is_chosen_limits_the_passages(serve: Serve, bakery: Engine) -> None:
    _, _, record = chat(serve(bakery), "What is earned in Bern?", role="Miller")
    assert {passage["document"] for passage in record["passages"]} == {"miller"}


def test_not_found_names_the_nearest_passages_and_what_may_help(serve: Serve, bakery: Engine) -> None:
    bubble, panel, record = chat(serve(bakery), "Xylophones?")
    assert record["status"] == "not_found"
    assert bubble.startswith("The documents do not tell. What was found on the question says nothing about Xylophones.")
    assert bubble.endswith(pages.NOT_FOUND_HINT)
    assert "Nearest passages" in panel
    assert "Baker" in text_of(panel)
    assert pages.SUGGESTIONS[0] in panel


def test_what_a_refusal_suggests_is_there_when_it_is_asked_in_the_conversation(
    serve: Serve, shelf: Path, engine_over: Callable[..., Engine]
) -> None:
    slow, ahead = Slow(), Ahead(Activity())
    slow.may_go_on.set()
    client = serve(engine_over(shelf, local=slow), ahead=ahead)
    _, panel, _ = chat(client, "Xylophones?", "local")
    assert ahead.wait(30)
    suggested = text_of(re.findall(r'class="suggested">(.*?)</button>', panel)[0])
    _, _, record = chat(client, suggested, "local")
    assert (record["question"], record["repeated"]) == (suggested, True)


def test_an_empty_question_is_told_in_one_line(serve: Serve, bakery: Engine) -> None:
    with pytest.raises(AppError, match="^The question is empty. Ask something about the documents.$"):
        chat(serve(bakery), "  ")


def test_a_generator_that_fails_leaves_a_notice_beside_the_quotations(serve: Serve, bakery: Engine) -> None:
    bubble, panel, record = chat(serve(bakery), "What does a Baker earn in Bern?", generator="local")
    assert record["generator"]["name"] == "extractive"
    assert "The local generator could not answer (the model is broken.)" in text_of(panel)
    assert "61,000 francs" in bubble


def test_the_panel_tells_how_a_question_was_read(bakery: Engine) -> None:
    asked = "What does a Baker earn in Bern?"
    answer = bakery.ask("And in <Basel>?", history=[Message("user", asked)])
    assert f"Read as: {asked} And in &lt;Basel&gt;?" in pages.sources(answer, 1, {})
    assert "Read as" not in pages.sources(bakery.ask(asked), 1, {})


def test_markup_in_documents_stays_text(
    serve: Serve, write: Callable[[str, str], Path], engine_over: Callable[..., Engine]
) -> None:
    engine = engine_over(write("evil/<b>evil.txt", EVIL).parent)
    bubble, panel, record = chat(serve(engine), "What does a Baker earn a year?")
    assert "<script>alert(3)</script>" in record["answer"]
    for shown in (bubble, panel):
        assert "<script" not in shown
        assert "<img" not in shown
    assert "](http" not in bubble
    assert html.unescape(bubble).startswith(
        "A Baker earns <script>alert(3)</script> and ![](http://evil.example/p.png)"
    )
    assert "<b" not in panel.replace("<b>extractive</b>", "").replace("<blockquote", "")
    assert f"<mark>{markup.as_html(EVIL.strip())}</mark>" in panel


def test_the_search_endpoint_finds_what_the_engine_finds(serve: Serve, bakery: Engine) -> None:
    client = serve(bakery)
    found = client.predict("flour and yeast", 2, "", api_name="/search")
    assert [passage["id"] for passage in found["passages"]] == [
        one.passage.id for one in bakery.search("flour and yeast", k=2)
    ]
    assert found["index"] == {"version": bakery.version.info.version, "embedder": "hashing"}
    with pytest.raises(AppError, match="K is 0; give 1 to 100."):
        client.predict("flour", 0, "", api_name="/search")
    with pytest.raises(AppError, match="No single role is called 'Smith'"):
        client.predict("flour", 1, "Smith", api_name="/search")


def test_the_page_is_served_without_telemetry_or_foreign_addresses(serve: Serve, bakery: Engine) -> None:
    client = serve(bakery)
    page = httpx.get(client.src, timeout=60).text
    config = httpx.get(f"{client.src}config", timeout=60).json()
    assert not re.search(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](?:https?:)?//""", page)
    assert not re.search(
        r"""@import|url\(["']?(?:https?:)?//""", page + httpx.get(f"{client.src}theme.css", timeout=60).text
    )
    assert "Content-Security-Policy" in page
    assert (config["analytics_enabled"], config["footer_links"]) == (False, [])
    addresses = set(re.findall(r"https?://[^/\"'\s:\\]+", str({**config, "root": ""})))
    assert addresses <= {"http://127.0.0.1"}
    assert httpx.get(f"{client.src}monitoring", timeout=60).status_code != 200
    assert httpx.get(f"{client.src}gradio_api/runs", timeout=60).status_code == 404
    assert httpx.get(f"{client.src}gradio_api/file=/etc/passwd", timeout=60).status_code == 404


def test_only_the_chat_and_the_search_are_offered_to_programs(serve: Serve, bakery: Engine) -> None:
    offered: Any = serve(bakery).view_api(return_format="dict", print_info=False)
    assert set(offered["named_endpoints"]) == {"/chat", "/search"}


def test_generators_and_roles_offered_follow_settings_and_documents(bakery: Engine) -> None:
    def choices(settings: Settings) -> list[list[object]]:
        demo = build_app(Desk(lambda: bakery), settings)
        return [[value for _, value in one.choices] for one in demo.blocks.values() if isinstance(one, gr.Dropdown)]

    assert choices(Settings(generator="extractive"))[:2] == [["extractive", "local"], ["", "Baker", "Miller"]]
    hosted = Settings(generator="hosted", hosted_url="http://127.0.0.1:9/v1", hosted_model="any")
    assert choices(hosted)[0] == ["extractive", "local", "hosted"]


def test_a_taken_port_is_told_in_one_line(serve: Serve, bakery: Engine) -> None:
    port = int(serve(bakery).src.rstrip("/").rpartition(":")[2])
    with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port} .*Give another --port"):
        Server(build_app(Desk(lambda: bakery), Settings()), Desk(lambda: bakery), Settings(), port=port)


# The local model on its way


def model(pull: Callable[..., object], load: Callable[[], object] = lambda: None, **given: bool) -> LocalModel:
    return LocalModel("tiny", is_there=given.get("is_there", False), load=load, pull=pull)


def test_a_pull_is_reported_in_megabytes_and_percent_until_the_model_is_loaded() -> None:
    reported, go_on = threading.Event(), threading.Event()

    def pull(name: str, *, progress: Callable[[int, int], None]) -> None:
        assert name == "tiny"
        progress(250_000_000, 1_000_000_000)
        reported.set()
        go_on.wait(60)

    local = model(pull)
    thread = local.start()
    assert reported.wait(60)
    assert "Pulling tiny: 250 of 1,000 MB (25%)" in local.line()
    assert 'value="0.2500"' in local.line()
    assert (local.is_done, local.is_ready) == (False, False)
    go_on.set()
    thread.join(60)
    assert (local.is_done, local.is_ready) == (True, True)
    assert "tiny is there; it writes the answers from now on." in local.line()


def test_a_pull_that_fails_says_why_and_what_to_do() -> None:
    def pull(name: str, *, progress: object) -> None:
        raise ModelError("tiny could not be pulled (no network). Run `python -m rag models pull tiny` again.")

    local = model(pull)
    local.start().join(10)
    assert (local.is_done, local.is_ready) == (True, False)
    assert "could not be pulled (no network). Run `python -m rag models pull tiny` again." in text_of(local.line())


def test_a_model_that_is_there_is_loaded_and_not_pulled() -> None:
    loaded: list[bool] = []
    local = model(lambda *_: pytest.fail("pulled"), lambda: loaded.append(True), is_there=True)
    assert local.is_ready
    local.start().join(10)
    assert loaded == [True]
    assert local.line() == ""


@pytest.mark.parametrize(("is_there", "chosen"), [(True, "local"), (False, "extractive")])
def test_the_page_opens_with_a_generator_that_is_there(bakery: Engine, is_there: bool, chosen: str) -> None:
    demo = build_app(Desk(lambda: bakery), Settings(), pulling=model(lambda *_: None, is_there=is_there))
    writer = next(one for one in demo.blocks.values() if isinstance(one, gr.Dropdown))
    assert writer.value == chosen


def test_no_model_is_watched_unless_the_settings_ask_for_the_local_one(bakery: Engine) -> None:
    assert LocalModel.of(bakery, Settings(generator="extractive")) is None
    assert LocalModel.of(bakery, Settings(model="none.gguf")) is not None
