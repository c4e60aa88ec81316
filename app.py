"""The chat in the browser: events of an answer come in and are drawn as they arrive.

It builds the engine once and holds no retrieval logic. Nothing is fetched from the network except a model that the
settings ask for and that is not there yet; it is pulled in the background while the page answers without it.
"""

from __future__ import annotations

import contextlib
import html
import logging
import threading
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args

import click
import gradio as gr
from gradio.events import api
from gradio_client.utils import is_file_obj_with_meta, traverse  # type: ignore[import-untyped]
from starlette.requests import Request

from rag.ahead import Ahead
from rag.answering import EXTRACTIVE, MOST_PASSAGES, Engine
from rag.api import PREFIX, create_api
from rag.conversations import LONGEST_TITLE, Reason, Store
from rag.errors import RolewiseError, SettingsError
from rag.history import add_history
from rag.library import OWN, add_library
from rag.metrics import Meter
from rag.overview import Overview, add_monitor
from rag.pages import answers as pages
from rag.pages import asset
from rag.pages.frame import static_address
from rag.pulling import LOCAL, LocalModel
from rag.receipts import Receipts
from rag.record import answer_from, answer_record, passage_record
from rag.safety import person_of, token_for
from rag.server import Served
from rag.settings import Settings
from rag.slots import Slots, Waiting
from rag.types import Finished, Message, Retrieved, Token
from rag.uploads import Uploads
from rag.watching import at_door
from rag.web import add_pages
from rag.wiring import LiveEngine, receipts_in

logger = logging.getLogger(__name__)

HOSTED = "hosted"
EXAMPLES = {
    "How much could a senior ML systems engineer make in the US?": "ml-systems-engineer",
    "Which programming languages should an ML platform engineer know?": "ml-platform-engineer",
    "What does an ML infrastructure engineer do every day?": "ml-infrastructure-engineer",
    "What education does a machine learning engineer need?": "machine-learning-engineer",
    "What sets a distinguished ML engineer apart?": "distinguished-ml-engineer",
}
"""Questions about the bundled guides, each offered where its document is in the index."""
HEAD = f"""<meta http-equiv="Content-Security-Policy"
content="default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'">
<link rel="stylesheet" href="{static_address("layout.css")}">
<script src="{static_address("chat.js")}" defer></script>"""
CHATS = 128
"""Answers that are waited for at a time. The slots are fewer; they tell how many are ahead."""
SEARCHES = 8
TICK_SECONDS = 1.5
REASONS: dict[str, Reason] = {one.capitalize(): one for one in get_args(Reason)}
"""What a person may find wanting in an answer, as the page offers it."""


class Page(gr.Blocks):
    """Takes no files, for Gradio would fetch the address that any value names as one, and prints no traceback."""

    async def process_api(self, *args: Any, **options: Any) -> dict[str, Any]:
        try:
            return await super().process_api(*args, **options)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:  # noqa: BLE001 - whatever a request is made of
            logger.error("an event of the page failed by %s", type(error).__name__)
            raise gr.Error("This is not possible.", print_exception=False) from None

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> list[Any]:
        traverse(inputs, _no_file, is_file_obj_with_meta)
        return await super().preprocess_data(block_fn, inputs, *args, **options)  # type: ignore[no-any-return]


def _no_file(_: object) -> None:
    raise gr.Error("Files are not taken.")


def build_app(desk: Desk, settings: Settings, *, pulling: LocalModel | None = None) -> gr.Blocks:
    """The page. `pulling` is the local model on its way, if one is; the caller starts it."""
    writers = [("Quotations only", EXTRACTIVE), ("Local model", LOCAL)]
    if settings.hosted_url:
        writers.append((f"Hosted: {settings.hosted_model}", HOSTED))
    asked_for = LOCAL if pulling and pulling.is_ready else EXTRACTIVE if pulling else settings.generator
    chosen = asked_for if asked_for in dict(writers).values() else EXTRACTIVE
    about = [("All", ""), *((role, role) for role in desk.engine().roles)]
    if desk.uploads:
        about.append(("Your own documents", OWN))

    with Page(title="Rolewise", analytics_enabled=False, fill_width=True) as demo:
        gr.HTML(
            pages.masthead(
                with_history=desk.store is not None,
                with_documents=desk.uploads is not None,
                with_monitor=desk.receipts is not None,
            )
        )
        with gr.Row(elem_id="desk", equal_height=False):
            with gr.Column(scale=3, min_width=420):
                with gr.Row(elem_id="choices"):
                    writer = gr.Dropdown(writers, value=chosen, label="Written by", min_width=180)
                    role = gr.Dropdown(about, value="", label="Documents about", min_width=180)
                line = gr.HTML(pulling.line() if pulling else "", visible=bool(pulling), elem_id="model-status")
                panel = gr.HTML(pages.NOTHING_YET, elem_id="sources", render=False)
                record = gr.JSON(visible=False, render=False)
                earlier, kept = gr.State({}), gr.State(Kept())
                inputs, outputs = [writer, role, earlier, kept], [panel, record, earlier, kept]
                chat = _chat(desk, inputs=inputs, outputs=outputs)
            with gr.Column(scale=2, min_width=340, elem_id="panel"):
                panel.render()  # type: ignore[no-untyped-call]
                record.render()  # type: ignore[no-untyped-call]
                gr.HTML(pages.PROMISE)
        api(_search_endpoint(desk.engine), api_name="search", concurrency_limit=SEARCHES, concurrency_id="search")
        demo.load(
            desk.reopened,
            None,
            [chat.chatbot_value, panel, earlier, kept, role],
            show_progress="hidden",
            api_visibility="private",
        )
        if pulling:
            _watch(pulling, line, writer, switches=chosen != LOCAL)
    demo.queue(max_size=64)
    return demo  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Kept:
    """Where a conversation is kept: its id in the store, and that of each of its turns, in order."""

    conversation: str = ""
    turns: tuple[str, ...] = ()

    def with_turn(self, store: Store, number: int, record: dict[str, Any], person: str = "") -> Kept:
        """With turn `number`, from 1 on, in the place of those that were there from it on."""
        title = record["question"].strip()[:LONGEST_TITLE]
        conversation = self.conversation or store.begin(title, person)
        if len(self.turns) >= number:
            store.cut(conversation, self.turns[number - 1])
            if number == 1:
                store.rename(conversation, title)
        turn = store.add_turn(conversation, record["question"], record)
        return Kept(conversation, (*self.turns[: number - 1], turn))


@dataclass(frozen=True)
class Desk:
    """What the page and its neighbours work with.

    `engine` gives the engine for each question, which takes its turns in `slots`. What is asked, answered and thought
    of it is kept in `store`; `uploads` are the documents of each person's own; `receipts` are the log of answers, and
    `meter` has counted those of this process. What the page offers to ask is answered `ahead`.
    """

    engine: Callable[[], Engine]
    slots: Slots = field(default_factory=Slots)
    store: Store | None = None
    uploads: Uploads | None = None
    receipts: Receipts | None = None
    meter: Meter = field(default_factory=Meter)
    ahead: Ahead | None = None

    def engine_of(self, person: str, within: str) -> Callable[[], Engine]:
        """Over the documents of a person's own, or over those that the server has for all."""
        if within == OWN and self.uploads:
            return self.uploads.of(person).engine
        return self.engine

    def engine_for(self, request: Request) -> Engine:
        """By the parameter `in` of a plain page."""
        return self.engine_of(person_of(request.scope), request.query_params.get("in", ""))()

    def examples(self) -> list[str]:
        """What the page offers to ask before anything was asked."""
        documents = self.engine().version.documents
        return [question for question, document in EXAMPLES.items() if document in documents]

    def overview(self, settings: Settings, receipts: Receipts) -> Overview:
        """What the owner of the server sees of its answers."""
        return Overview(
            self.engine,
            receipts,
            settings.build,
            verdicts=self.store.verdicts if self.store else dict,
            freshness_days=settings.freshness_days,
        )

    async def answer(
        self,
        question: str,
        history: list[dict[str, Any]],
        generator: str,
        role: str,
        earlier: dict[int, str],
        kept: Kept,
        request: gr.Request,
    ) -> AsyncIterator[tuple[str, str, dict[str, Any], dict[int, str], Kept]]:
        """Answer a question from the documents, with the quotation for each sentence."""
        said = pages.messages(history)
        turn = 1 + sum(message.role == "user" for message in said)
        anew = turn in earlier  # it has an answer, which does not do
        earlier = {number: one for number, one in earlier.items() if number < turn}  # retry, undo and clear go back
        person, within = _person(request), OWN if role == OWN else ""
        text, panel = "", ""
        with _told():
            engine = self.engine_of(person, within)
            about = None if within else role or None
            events = self.slots.events(engine, generator, question, history=said, role=about, anew=anew)
            async with contextlib.aclosing(events):
                async for event in events:
                    match event:
                        case Waiting(ahead):
                            yield pages.waiting(ahead), panel, {}, earlier, kept
                        case Retrieved(passages):
                            panel = pages.reading(passages, within)
                            yield pages.WRITING, panel, {}, earlier, kept
                        case Token(piece):
                            text += piece
                            yield pages.bubble(text, turn), panel, {}, earlier, kept
                        case Finished(done):
                            record = answer_record(done)
                            if self.store:
                                with _logged():
                                    whole = record | {"role": role or None}
                                    kept = await self.slots.run(
                                        partial(kept.with_turn, self.store, turn, whole, person)
                                    )
                            shown = pages.sources(done, turn, earlier, within=within, conversation=kept.conversation)
                            now = earlier | {turn: pages.quotations(done, turn, within)}
                            if self.ahead and generator == LOCAL and done.status == "not_found":
                                told = [*said, Message("user", question), Message("assistant", done.text)]
                                self.ahead.offer(
                                    engine, pages.suggested(done), generator=LOCAL, history=told, role=about
                                )
                            yield pages.said(done, turn), shown, record, now, kept

    def rate(self, kept: Kept, data: gr.LikeData) -> None:
        """Keep what a person thinks of an answer."""
        turn = data.index[0] if isinstance(data.index, (tuple, list)) else data.index
        turn //= 2  # a question and its answer are two messages
        if self.store and turn < len(kept.turns) and data.liked != "":
            with _told():
                if isinstance(data.liked, str):
                    self.store.rate(kept.turns[turn], "bad", [REASONS[data.liked]] if data.liked in REASONS else ())
                else:
                    self.store.rate(kept.turns[turn], "good" if data.liked else "bad")

    def reopened(self, request: gr.Request) -> tuple[Any, Any, Any, Any, Any]:
        """The page of a conversation that the address names, as it was left."""
        conversation = request.query_params.get("conversation", "")
        if not self.store or not conversation:
            asked_in = request.query_params.get("in", "") == OWN and self.uploads
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), OWN if asked_in else gr.skip()
        with _told():
            turns = self.store.turns(conversation)
        shown: list[dict[str, str]] = []
        earlier: dict[int, str] = {}
        panel, role = pages.NOTHING_YET, ""
        for number, turn in enumerate(turns, start=1):
            done, role = answer_from(turn.record), turn.record.get("role") or ""
            within = OWN if role == OWN else ""
            shown.append({"role": "user", "content": turn.question})
            shown.append({"role": "assistant", "content": pages.said(done, number)})
            panel = pages.sources(done, number, earlier, within=within, conversation=conversation)
            earlier |= {number: pages.quotations(done, number, within)}
        kept = Kept(conversation, tuple(turn.id for turn in turns))
        return shown, panel, earlier, kept, role if role in ("", *self.engine().roles, OWN) else ""


def _person(request: gr.Request | None) -> str:
    """Nobody's name where the page is called from a program without a server, as tests do."""
    return person_of(request.request.scope) if request and request.request else ""


def _chat(desk: Desk, *, inputs: list[Any], outputs: list[Any]) -> gr.ChatInterface:
    *_, earlier, kept = inputs
    panel = outputs[0]
    chat = gr.ChatInterface(
        desk.answer,
        chatbot=gr.Chatbot(
            label="Conversation",
            elem_id="chat",
            layout="bubble",
            show_label=False,
            buttons=["copy"],
            placeholder="Every sentence of an answer links to the words it rests on.",
            sanitize_html=True,
            allow_tags=False,
            latex_delimiters=[],  # "$153,000 to $267,000" is money
            feedback_options=("Like", "Dislike", *REASONS) if desk.store else None,
        ),
        textbox=gr.Textbox(
            label="Your question",
            placeholder="Ask a question",
            elem_id="question",
            submit_btn=True,
            stop_btn=True,
            autofocus=True,
        ),
        additional_inputs=inputs,
        additional_outputs=outputs,
        examples=[[question] for question in desk.examples()] or None,
        cache_examples=False,
        flagging_mode="never",
        analytics_enabled=False,
        concurrency_limit=CHATS,
        show_progress="hidden",
        api_name="chat",
        fill_height=False,
        editable=True,
    )
    if desk.store:
        chat.chatbot.like(desk.rate, [kept], None, queue=False, api_visibility="private")
    chat.chatbot.clear(lambda: (Kept(), {}, pages.NOTHING_YET), None, [kept, earlier, panel], api_visibility="private")
    chat.textbox.stop(_stopped, [chat.chatbot], [chat.chatbot], queue=False, api_visibility="private")
    return chat


def _stopped(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is left of an answer that was stopped before it said anything."""
    if not shown or not pages.is_unwritten(pages.messages(shown[-1:])):
        return shown
    asked = shown if shown[-1]["role"] == "user" else shown[:-1]
    return [*asked, {"role": "assistant", "content": pages.STOPPED}]


def _search_endpoint(engine: Callable[[], Engine]) -> Callable[..., dict[str, Any]]:
    def search(question: str, k: int = engine().passages, role: str = "") -> dict[str, Any]:
        """Find the passages nearest to a question, best first. Loads no generator."""
        with _told():
            if not 1 <= k <= MOST_PASSAGES:
                raise SettingsError(f"k is {k}; give 1 to {MOST_PASSAGES}.")
            now = engine()
            found = now.search(question, k=k, role=role or None)
        info = now.version.info
        return {
            "question": question,
            "passages": [passage_record(one) for one in found],
            "index": {"version": info.version, "embedder": info.embedder},
        }

    return search


def _watch(model: LocalModel, line: gr.HTML, writer: gr.Dropdown, *, switches: bool) -> None:
    """Shows how far the model is until it is done, and then lets it write if it was not chosen from the start."""

    def tick() -> tuple[Any, Any, Any]:
        is_done, is_ready = model.is_done, model.is_ready
        if not is_done:
            choice = gr.skip()
        elif is_ready:
            choice = gr.update(value=LOCAL) if switches else gr.skip()
        else:
            choice = gr.update(value=EXTRACTIVE)
        return model.line(), choice, gr.Timer(active=not is_done)

    timer = gr.Timer(TICK_SECONDS)
    timer.tick(tick, None, [line, writer, timer], queue=False, show_progress="hidden", api_visibility="private")


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """An expected failure that an answer is not to be lost for."""
    try:
        yield
    except RolewiseError as error:
        logger.warning("%s", error)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """An expected failure becomes a message on the page, which would read it as HTML; no traceback is printed."""
    try:
        yield
    except RolewiseError as error:
        message = html.escape(str(error), quote=False)
        raise gr.Error(message[:1].upper() + message[1:], title="Not possible", print_exception=False) from None


class Server(Served):
    """The page, the plain pages and the HTTP API on one port. Raises SettingsError."""

    def __init__(
        self,
        demo: gr.Blocks,
        desk: Desk,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = "",
    ) -> None:
        """Port 0 takes any free one. With a `token` nothing is answered without it."""
        writers = [EXTRACTIVE, LOCAL, *([HOSTED] if settings.hosted_url else [])]
        routes = create_api(at_door(desk.engine, "api"), desk.slots, models=[f"{PREFIX}{writer}" for writer in writers])
        add_pages(routes, desk.engine_for, desk.slots)
        if desk.store:
            add_history(routes, desk.store, *([desk.receipts.delete_each] if desk.receipts else ()))
        if desk.uploads:
            add_library(routes, desk.uploads, desk.engine)
        if desk.receipts:
            add_monitor(routes, desk.overview(settings, desk.receipts), desk.meter)
        font = gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700))  # its 600 lacks letters
        page = gr.mount_gradio_app(
            routes,
            demo,
            path="/",
            show_error=False,
            run_history=False,
            enable_monitoring=False,
            allowed_paths=[],
            footer_links=[],
            theme=gr.themes.Default(primary_hue="sky", neutral_hue="slate", font=[font, "system-ui", "sans-serif"]),
            css=asset("chat.css"),
            head=HEAD,
        )
        super().__init__(page, settings, host=host, port=port, token=token)


def launch(settings: Settings, *, host: str = "127.0.0.1", port: int = 7860, open_browser: bool = False) -> None:
    """Serves page and API until interrupted. Prints one line with the address when it is ready."""
    token = token_for(host, settings.token.get_secret_value())
    meter = Meter()
    engine = LiveEngine(settings, door="chat", watchers=[meter])
    settings = engine.settings  # with what was promoted
    local = LocalModel.of(engine(), settings)
    with Store(settings.conversations) as store:
        desk = Desk(
            engine,
            store=store,
            uploads=Uploads(engine, settings),
            receipts=receipts_in(settings),
            meter=meter,
            ahead=engine.ahead if settings.ahead else None,
        )
        server = Server(build_app(desk, settings, pulling=local), desk, settings, host=host, port=port, token=token)
        url = f"{server.url}?token={token}" if token else server.url
        click.echo(f"Rolewise is ready at {url}")
        if open_browser:
            webbrowser.open(url)

        def warm() -> None:  # the first question then waits for no loading
            with contextlib.suppress(RolewiseError):
                at_door(engine, None)().ask("What is it about?", generator=EXTRACTIVE)
            if local:
                local.start().join()
            if local and local.is_ready and desk.ahead:
                desk.ahead.offer(engine, desk.examples(), generator=LOCAL)

        threading.Thread(target=warm, name="warm-up", daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
        server.stop()


if __name__ == "__main__":
    import sys

    from rag.__main__ import main

    sys.argv[1:] = ["serve", *sys.argv[1:]]
    main()
