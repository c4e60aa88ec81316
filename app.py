"""The chat in the browser: events of an answer come in and are drawn as they arrive.

It builds the engine once and holds no retrieval logic. Nothing is fetched from the network except a model that the
settings ask for and that is not there yet; it is pulled in the background while the page answers without it.
"""

from __future__ import annotations

import contextlib
import html
import logging
import socket
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import gradio as gr
import uvicorn
from gradio.events import api

from rag import models
from rag.answering import EXTRACTIVE, Engine
from rag.api import PREFIX, create_api
from rag.conversations import LONGEST_TITLE, Reason, Store
from rag.errors import RolewiseError, SettingsError
from rag.pages import answers as pages
from rag.pages import asset
from rag.pages.search import results
from rag.record import answer_record, passage_record
from rag.safety import Guard, hosts_for, token_for
from rag.settings import Settings
from rag.slots import Slots, Waiting
from rag.types import Answer, Finished, Retrieved, Token

logger = logging.getLogger(__name__)

LOCAL, HOSTED = "local", "hosted"
EXAMPLES = {
    "How much could a senior ML systems engineer make in the US?": "ml-systems-engineer",
    "Which programming languages should an ML platform engineer know?": "ml-platform-engineer",
    "What does an ML infrastructure engineer do every day?": "ml-infrastructure-engineer",
    "What education does a machine learning engineer need?": "machine-learning-engineer",
    "What sets a distinguished ML engineer apart?": "distinguished-ml-engineer",
}
"""Questions about the bundled guides, each offered where its document is in the index."""
HEAD = f"""<meta http-equiv="Content-Security-Policy"
content="default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"><script>{asset("chat.js")}</script>"""
MOST_PASSAGES = 100
CHATS = 128
"""Answers that are waited for at a time. The slots are fewer; they tell how many are ahead."""
SEARCHES = 8
TICK_SECONDS = 1.5
GRACE_SECONDS = 1
"""For answers that are being written when the server is stopped; a page keeps its stream open for good."""
STOP_SECONDS = 10
CONNECTIONS = 512
REASONS: dict[str, Reason] = {one.capitalize(): one for one in get_args(Reason)}
"""What a person may find wanting in an answer, as the page offers it."""


class LocalModel:
    """The local generator on its way: pulled if need be, then loaded, by one thread in the background."""

    def __init__(self, name: str, *, is_there: bool, load: Callable[[], object], pull: Callable[..., object]) -> None:
        self.name = name
        self.is_done = False
        self.is_ready = is_there  # it may be chosen; loading it is waited for by the first answer
        self._text = f"Loading {name} …" if is_there else f"Pulling {name} …"
        self._share: float | None = None
        self._was_there, self._load, self._pull = is_there, load, pull

    @classmethod
    def of(cls, engine: Engine, settings: Settings) -> LocalModel | None:
        """None unless the settings ask for the local generator."""
        if settings.generator != LOCAL:
            return None
        is_file = settings.model.endswith(".gguf")
        return cls(
            Path(settings.model).name,
            is_there=is_file or models.is_pulled(settings.model),
            load=lambda: engine.generator_named(LOCAL),
            pull=models.pull,
        )

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="local-model", daemon=True)
        thread.start()
        return thread

    def line(self) -> str:
        """The status line as HTML."""
        return pages.status(self._text, self._share)

    def _run(self) -> None:
        try:
            if not self._was_there:
                self._pull(self.name, progress=self._report)
                self._text, self._share = f"Loading {self.name} …", None
            self._load()
            self.is_ready = True
            self._text = "" if self._was_there else f"{self.name} is there; it writes the answers from now on."
        except RolewiseError as error:
            logger.warning("%s", error)
            self.is_ready = False
            self._text = f"{error} Answers are the documents' own sentences until then."
        finally:
            self._share, self.is_done = None, True

    def _report(self, done: int, total: int) -> None:
        self._share = done / total
        self._text = f"Pulling {self.name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB ({self._share:.0%})"


def build_app(
    engine: Callable[[], Engine],
    settings: Settings,
    *,
    pulling: LocalModel | None = None,
    store: Store | None = None,
    slots: Slots | None = None,
) -> gr.Blocks:
    """The page over what `engine` gives for each question, which takes its turns in `slots`.

    `pulling` is the local model on its way, if one is; the caller starts it. What is asked, answered and thought of it
    is kept in `store`.
    """
    writers = [("Quotations only", EXTRACTIVE), ("Local model", LOCAL)]
    if settings.hosted_url:
        writers.append((f"Hosted: {settings.hosted_model}", HOSTED))
    asked_for = LOCAL if pulling and pulling.is_ready else EXTRACTIVE if pulling else settings.generator
    chosen = asked_for if asked_for in dict(writers).values() else EXTRACTIVE
    roles = [("All roles", ""), *((role, role) for role in engine().roles)]

    with gr.Blocks(title="Rolewise", analytics_enabled=False, fill_width=True) as demo:
        gr.HTML(pages.HEADER)
        with gr.Tab("Ask"), gr.Row(elem_id="desk", equal_height=False):
            with gr.Column(scale=3, min_width=420):
                with gr.Row(elem_id="choices"):
                    writer = gr.Dropdown(writers, value=chosen, label="Written by", min_width=180)
                    role = gr.Dropdown(roles, value="", label="Documents about", min_width=180)
                line = gr.HTML(pulling.line() if pulling else "", visible=bool(pulling), elem_id="model-status")
                panel = gr.HTML(pages.NOTHING_YET, elem_id="sources", render=False)
                record = gr.JSON(visible=False, render=False)
                earlier, kept = gr.State({}), gr.State(Kept())
                inputs, outputs = [writer, role, earlier, kept], [panel, record, earlier, kept]
                _chat(engine, slots or Slots(), store, inputs=inputs, outputs=outputs)
            with gr.Column(scale=2, min_width=340, elem_id="panel"):
                panel.render()  # type: ignore[no-untyped-call]
                record.render()  # type: ignore[no-untyped-call]
                gr.HTML(pages.PROMISE)
        with gr.Tab("Search"):
            _search_tab(engine, roles)
        api(_search_endpoint(engine), api_name="search", concurrency_limit=SEARCHES, concurrency_id="search")
        if pulling:
            _watch(pulling, line, writer, switches=chosen != LOCAL)
    demo.queue(max_size=64)
    return demo  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Kept:
    """Where a conversation is kept: its id in the store, and that of each of its turns, in order."""

    conversation: str = ""
    turns: tuple[str, ...] = ()

    def with_turn(self, store: Store, number: int, record: dict[str, Any]) -> Kept:
        """With turn `number`, from 1 on, in the place of those that were there from it on."""
        conversation, turns = (self.conversation, self.turns) if number > 1 else ("", ())
        conversation = conversation or store.begin(record["question"].strip()[:LONGEST_TITLE])
        if len(turns) >= number:
            store.cut(conversation, turns[number - 1])
        return Kept(conversation, (*turns[: number - 1], store.add_turn(conversation, record["question"], record)))


def _chat(
    engine: Callable[[], Engine], slots: Slots, store: Store | None, *, inputs: list[Any], outputs: list[Any]
) -> None:
    async def answer(
        question: str, history: list[dict[str, Any]], generator: str, role: str, earlier: dict[int, str], kept: Kept
    ) -> AsyncIterator[tuple[str, str, dict[str, Any], dict[int, str], Kept]]:
        """Answer a question from the documents, with the quotation for each sentence."""
        said = pages.messages(history)
        turn = 1 + sum(message.role == "user" for message in said)
        earlier = {number: one for number, one in earlier.items() if number < turn}  # retry, undo and clear go back
        text, panel = "", ""
        with _told():
            events = slots.events(engine, generator, question, history=said, role=role or None)
            async with contextlib.aclosing(events):
                async for event in events:
                    match event:
                        case Waiting(ahead):
                            yield pages.waiting(ahead), panel, {}, earlier, kept
                        case Retrieved(passages):
                            panel = pages.reading(passages)
                            yield pages.WRITING, panel, {}, earlier, kept
                        case Token(piece):
                            text += piece
                            yield pages.bubble(text, turn), panel, {}, earlier, kept
                        case Finished(done):
                            record = answer_record(done)
                            if store:
                                with _logged():
                                    whole = record | {"role": role or None}
                                    kept = await slots.run(partial(kept.with_turn, store, turn, whole))
                            shown = pages.sources(done, turn, earlier)
                            now = earlier | {turn: pages.quotations(done, turn)}
                            yield _said(done, turn), shown, record, now, kept

    def rate(kept: Kept, data: gr.LikeData) -> None:
        """Keep what a person thinks of an answer."""
        turn = data.index[0] if isinstance(data.index, (tuple, list)) else data.index
        turn //= 2  # a question and its answer are two messages
        if store and turn < len(kept.turns) and data.liked != "":
            with _told():
                if isinstance(data.liked, str):
                    store.rate(kept.turns[turn], "bad", [REASONS[data.liked]] if data.liked in REASONS else ())
                else:
                    store.rate(kept.turns[turn], "good" if data.liked else "bad")

    documents = engine().version.documents
    chat = gr.ChatInterface(
        answer,
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
            feedback_options=("Like", "Dislike", *REASONS) if store else None,
        ),
        textbox=gr.Textbox(
            label="Your question", placeholder="Ask a question", submit_btn=True, stop_btn=True, autofocus=True
        ),
        additional_inputs=inputs,
        additional_outputs=outputs,
        examples=[[question] for question, document in EXAMPLES.items() if document in documents] or None,
        cache_examples=False,
        flagging_mode="never",
        analytics_enabled=False,
        concurrency_limit=CHATS,
        api_name="chat",
        fill_height=False,
    )
    if store:
        chat.chatbot.like(rate, [inputs[-1]], None, queue=False, api_visibility="private")


def _said(answer: Answer, turn: int) -> str:
    return pages.not_found_bubble(answer.text) if answer.status == "not_found" else pages.bubble(answer.text, turn)


def _search_tab(engine: Callable[[], Engine], roles: list[tuple[str, str]]) -> None:
    def show(question: str, role: str, k: int) -> str:
        with _told():
            return results(question, engine().search(question, k=int(k), role=role or None))

    gr.HTML('<p class="quiet">The passages alone, as an answer would find them. No model writes anything.</p>')
    with gr.Row(elem_id="searching"):
        question = gr.Textbox(label="Search for", placeholder="A question or a few words", scale=4, max_lines=1)
        role = gr.Dropdown(roles, value="", label="Documents about", scale=2)
        k = gr.Slider(1, 20, value=engine().passages, step=1, label="Passages", scale=2)
        button = gr.Button("Search", variant="primary", scale=1, min_width=100)
    found = gr.HTML(elem_id="found")
    gr.on(
        [question.submit, button.click],
        show,
        [question, role, k],
        found,
        api_visibility="private",
        concurrency_limit=SEARCHES,
        concurrency_id="search",
    )


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


class Server:
    """The page and the HTTP API on one port, served in the background once it is made. Raises SettingsError."""

    def __init__(
        self,
        demo: gr.Blocks,
        engine: Callable[[], Engine],
        settings: Settings,
        *,
        slots: Slots | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = "",
    ) -> None:
        """Port 0 takes any free one. With a `token` nothing is answered without it."""
        port = _free(host, port)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        font = gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700))  # its 600 lacks letters
        writers = [EXTRACTIVE, LOCAL, *([HOSTED] if settings.hosted_url else [])]
        page = gr.mount_gradio_app(
            create_api(engine, slots or Slots(), models=[f"{PREFIX}{writer}" for writer in writers]),
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
        config = uvicorn.Config(
            Guard(page, token=token, hosts=hosts_for(host, settings.host_names)),
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # else a client chooses the address it is counted by
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="server", daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)

    def wait(self) -> None:
        """Returns when the server has ended."""
        while self._thread.is_alive():
            self._thread.join(1)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)


def _free(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises SettingsError if it cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise SettingsError(
            f"the page cannot be served at {host}:{port} ({error.strerror}). Give another --port, or 0 for any."
        ) from error


def launch(settings: Settings, *, host: str = "127.0.0.1", port: int = 7860, open_browser: bool = False) -> None:
    """Serves page and API until interrupted. Prints one line with the address when it is ready."""
    from rag.wiring import LiveEngine

    token = token_for(host, settings.token.get_secret_value())
    engine = LiveEngine(settings)
    local = LocalModel.of(engine(), settings)
    with Store(settings.conversations) as store:
        slots = Slots()
        demo = build_app(engine, settings, pulling=local, store=store, slots=slots)
        server = Server(demo, engine, settings, slots=slots, host=host, port=port, token=token)
        url = f"{server.url}?token={token}" if token else server.url
        click.echo(f"Rolewise is ready at {url}")
        if open_browser:
            webbrowser.open(url)

        def warm() -> None:  # the first question then waits for no loading
            with contextlib.suppress(RolewiseError):
                engine().ask("What is it about?", generator=EXTRACTIVE)
            if local:
                local.start()

        threading.Thread(target=warm, name="warm-up", daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
        server.stop()


if __name__ == "__main__":
    import sys

    from rag.__main__ import main

    sys.argv[1:] = ["serve", *sys.argv[1:]]
    main()
