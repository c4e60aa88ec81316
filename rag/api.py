"""The HTTP API: OpenAI's chat completions, search, and what is in the index. docs/api.md describes it.

A request becomes one call of the engine, whose events are written as they come. There is no retrieval logic here, and
no check of who asks, which is `safety.Guard`'s. Every failure is an error in OpenAI's shape and tells nothing of the
machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

import anyio
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag import __version__, types
from rag.answering import LONGEST_QUESTION, MOST_PASSAGES, Engine
from rag.conversations import NoSuchConversation
from rag.errors import Busy, RolewiseError, SettingsError
from rag.record import answer_record, passage_record
from rag.safety import error_response, without_paths
from rag.slots import RETRY_SECONDS, SEARCH, Slots, Waiting
from rag.types import Answer, Citation, Event, Finished, Head, Retrieved, Token

logger = logging.getLogger(__name__)

PREFIX = "rolewise-"
LONGEST_MESSAGE = 32_000
"""Characters of a message that is not a question, such as an earlier answer with its footnotes."""
MOST_MESSAGES = 100
MOST_DOCUMENTS = 1000
"""In one reply."""
LARGEST = 2**31
"""Offset that is taken; no document is as long."""
MODEL_EXAMPLE = f"{PREFIX}extractive"
QUESTION_EXAMPLE = "What does an ML infrastructure engineer do every day?"
_ACTIVE = re.compile(r"(?<=!)(?=\[)|(?<=\])(?=[(\[:])|(?=<[A-Za-z/!?])")
"""Where Markdown begins an image, a link's target or HTML."""


class TextPart(BaseModel):
    type: Literal["text"]
    text: str = Field(max_length=LONGEST_MESSAGE)


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        description="Only those of user and assistant are read; the documents decide what is said."
    )
    content: (
        Annotated[str, Field(max_length=LONGEST_MESSAGE)] | Annotated[list[TextPart], Field(max_length=100)] | None
    ) = None

    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content or ())


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    """Other fields of OpenAI's are taken and have no effect."""

    model: str = Field(max_length=200, description="Which generator writes.", examples=[MODEL_EXAMPLE])
    messages: list[ChatMessage] = Field(
        min_length=1,
        max_length=MOST_MESSAGES,
        description=f"The last of the user is the question, of at most {LONGEST_QUESTION} characters.",
        examples=[[{"role": "user", "content": QUESTION_EXAMPLE}]],
    )
    stream: bool = False
    stream_options: StreamOptions | None = None
    role: str | None = Field(None, max_length=200, description="Only documents about this role. Not of OpenAI's.")


class SearchRequest(BaseModel):
    query: str = Field(min_length=1, max_length=LONGEST_QUESTION, examples=[QUESTION_EXAMPLE])
    k: int = Field(10, ge=1, le=MOST_PASSAGES, description="How many passages.")
    role: str | None = Field(None, max_length=200, description="Only documents about this role.")


class ErrorFacts(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    error: ErrorFacts


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request cannot be answered as it is."},
    "5XX": {"model": ErrorBody, "description": "The server cannot answer now."},
}
COMPLETION: dict[str, Any] = {
    "description": "The answer; as server-sent events if `stream` is true.",
    "content": {
        "application/json": {
            "example": {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1767225600,
                "model": MODEL_EXAMPLE,
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "They … [1]\n\n- [1] “They …” (Title > Section)"},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
                "rolewise": {"status": "answered", "answer": "They … [1]", "citations": [], "passages": []},
            }
        },
        "text/event-stream": {
            "example": 'data: {"object": "chat.completion.chunk", "choices": []}\n\ndata: [DONE]\n\n'
        },
    },
}
FOUND: dict[str, Any] = {
    "description": "The passages, best first.",
    "content": {
        "application/json": {
            "example": {
                "query": QUESTION_EXAMPLE,
                "passages": [{"id": "guide:0-12", "document": "guide", "text": "They build …", "score": 0.03}],
                "index": {"version": "35f8bc133515", "embedder": "all-MiniLM-L6-v2"},
            }
        }
    },
}
DOCUMENT_EXAMPLE = {
    "id": "guide", "title": "Guide", "role": None, "source": "guide.md", "sections": 1, "characters": 5120
}  # fmt: skip
LISTED: dict[str, Any] = {
    "description": "A page of the documents.",
    "content": {"application/json": {"example": {"documents": [DOCUMENT_EXAMPLE], "total": 1}}},
}
TEXT: dict[str, Any] = {
    "description": "The text, or a stretch of it.",
    "content": {
        "application/json": {
            "example": DOCUMENT_EXAMPLE
            | {
                "text": "They build …",
                "start": 0,
                "end": 12,
                "sections": [{"path": ["Guide"], "start": 0, "end": 5120}],
            }
        }
    },
}


class Sealed:
    """ASGI middleware: what nobody expected becomes an error without details, logged by its class alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def sending(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if scope["type"] == "lifespan":
                raise
            response = _explained(error)
            if scope["type"] == "http" and not has_begun:
                await response(scope, receive, send)


class WhileThere(Response):
    """A reply whose work is given up as soon as the client leaves."""

    def __init__(self, work: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        super().__init__()
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as working:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                working.cancel()

            watching = asyncio.create_task(watch())
            try:
                await self._work(scope, receive, send)
            finally:
                watching.cancel()


def create_api(engine: Callable[[], Engine], slots: Slots, *, models: Sequence[str]) -> FastAPI:
    """The API over what `engine` gives for each request; `models` are the names it answers to, such as
    "rolewise-extractive"."""
    api = FastAPI(
        title="Rolewise",
        version=__version__,
        summary="Answers from documents in which every sentence carries a quotation.",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=ERRORS,
    )
    api.add_middleware(Sealed)
    for expected in (RequestValidationError, HTTPException, RolewiseError):
        api.add_exception_handler(expected, _explain)
    _add_answers(api, engine, slots, models)
    _add_documents(api, engine)
    return api


def _add_answers(api: FastAPI, engine: Callable[[], Engine], slots: Slots, models: Sequence[str]) -> None:
    @api.post("/v1/chat/completions", tags=["answers"], response_model=None, responses={200: COMPLETION})
    async def chat_completions(asked: ChatRequest) -> Response:
        """Answer the last question, in OpenAI's format. `rolewise` holds the whole record of the answer."""
        if asked.model not in models:
            known = ", ".join(models)
            return error_response(
                404, f"there is no such model. Models: {known}.", param="model", code="model_not_found"
            )
        question, history = conversation(asked.messages)
        generator = asked.model.removeprefix(PREFIX)
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}
        events = slots.events(engine, generator, question, history=history, role=asked.role)
        if asked.stream:
            with_usage = asked.stream_options is not None and asked.stream_options.include_usage
            return WhileThere(lambda _scope, _receive, send: _stream(_chunks(events, head, with_usage), send))

        async def reply(scope: Scope, receive: Receive, send: Send) -> None:
            async with contextlib.aclosing(events):
                async for event in events:
                    if isinstance(event, Finished):
                        await JSONResponse(_completion(event.answer, head))(scope, receive, send)

        return WhileThere(reply)

    @api.post("/v1/search", tags=["answers"], responses={200: FOUND})
    async def search(asked: SearchRequest) -> dict[str, Any]:
        """The passages nearest to a query, best first. No generator takes part."""
        async with slots.slot(SEARCH):
            now = await slots.run(engine)
            found = await slots.run(lambda: now.search(asked.query, k=asked.k, role=asked.role))
        info = now.version.info
        return {
            "query": asked.query,
            "passages": [passage_record(one) for one in found],
            "index": {"version": info.version, "embedder": info.embedder},
        }

    @api.get("/v1/models", tags=["answers"])
    async def list_models() -> dict[str, Any]:
        """The names that `model` may have."""
        listed = [{"id": one, "object": "model", "created": 0, "owned_by": "rolewise"} for one in models]
        return {"object": "list", "data": listed}


def _add_documents(api: FastAPI, engine: Callable[[], Engine]) -> None:
    @api.get("/v1/documents", tags=["documents"], responses={200: LISTED})
    def list_documents(
        limit: Annotated[int, Query(ge=1, le=MOST_DOCUMENTS, description="How many at the most.")] = 100,
        offset: Annotated[int, Query(ge=0, le=LARGEST, description="How many to pass over.")] = 0,
    ) -> dict[str, Any]:
        """The documents of the index, a page at a time, always in the same order. `total` counts them all."""
        documents = engine().version.heads
        page = [_document(one) for one in itertools.islice(documents.values(), offset, offset + limit)]
        return {"documents": page, "total": len(documents)}

    @api.get("/v1/documents/{document:path}", tags=["documents"], responses={200: TEXT})
    def read_document(
        document: str,
        start: Annotated[int, Query(ge=0, le=LARGEST, description="First character.")] = 0,
        end: Annotated[int | None, Query(ge=0, le=LARGEST, description="One past the last; else the whole.")] = None,
    ) -> dict[str, Any]:
        """A document's stored text from `start` to `end`, and all its sections.

        Offsets are characters of the whole text, as those of quotations are.
        """
        found = engine().version.documents.get(document)
        if found is None:
            raise HTTPException(404, "there is no such document. GET v1/documents lists them.")
        end = min(len(found.text), len(found.text) if end is None else end)
        if start > end:
            raise SettingsError(f"there is no text from {start:,} to {end:,}.")
        sections = [{"path": list(one.path), "start": one.start, "end": one.end} for one in found.sections]
        return _document(found.head) | {"text": found.text[start:end], "start": start, "end": end, "sections": sections}

    @api.get("/v1/index", tags=["documents"])
    def read_index() -> dict[str, Any]:
        """The index that answers now."""
        version = engine().version
        counts = dict(version.manifest["counts"])
        return {"version": version.info.version, "embedder": version.info.embedder, "counts": counts}

    @api.get("/healthz", tags=["health"])
    async def healthz() -> dict[str, str]:
        """Whether the server is alive."""
        return {"status": "alive"}

    @api.get("/readyz", tags=["health"])
    def readyz() -> dict[str, str]:
        """Whether questions can be answered; 503 with the reason if not."""
        try:
            engine()
        except RolewiseError as error:
            raise HTTPException(503, str(error)) from None
        return {"status": "ready"}


def conversation(messages: Sequence[ChatMessage]) -> tuple[str, list[types.Message]]:
    """The last question and what was said before it. Raises SettingsError if there is none, or one is too long."""
    said = [types.Message(one.role, one.text()) for one in messages if one.role in ("user", "assistant")]
    asked = [number for number, one in enumerate(said) if one.role == "user"]
    if not asked:
        raise SettingsError("no message is of the user. The last one of the user is the question.")
    if any(len(said[number].content) > LONGEST_QUESTION for number in asked):
        raise SettingsError(f"a question has more than {LONGEST_QUESTION:,} characters.")
    return said[asked[-1]].content, said[: asked[-1]]


def inert(text: str) -> str:
    """The text with backslashes where it would be an image, a link or HTML in a program that shows Markdown."""
    return _ACTIVE.sub(r"\\", text)


def footnotes(answer: Answer) -> str:
    """The quotations as a list below the text, and what the reader should know; empty if there is neither."""
    lines = [_footnote(one) for one in answer.citations] if answer.status != "not_found" else []
    notice = [without_paths(answer.notice)] if answer.notice else []
    blocks = ["\n".join(lines), *notice]
    return "".join(f"\n\n{inert(block)}" for block in blocks if block)


def _footnote(citation: Citation) -> str:
    where = ", ".join(one for one in (citation.passage.trail, citation.place) if one)
    return f"- [{citation.marker}] “{' '.join(citation.quote.split())}” ({where})"


def _rest(answer: Answer, said: str = "") -> str:
    """What is still to be said of an answer."""
    text = "" if said == answer.text else ("\n" if said else "") + inert(answer.text)
    return text + footnotes(answer)


def _record(answer: Answer) -> dict[str, Any]:
    return answer_record(answer) | {"notice": without_paths(answer.notice)}


def _usage(answer: Answer) -> dict[str, int]:
    prompt, draft = answer.tokens.get("prompt", 0), answer.tokens.get("draft", 0)
    return {"prompt_tokens": prompt, "completion_tokens": draft, "total_tokens": prompt + draft}


def _completion(answer: Answer, head: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": _rest(answer), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    more = {"object": "chat.completion", "choices": [choice], "usage": _usage(answer), "rolewise": _record(answer)}
    return head | more


async def _chunks(
    events: AsyncGenerator[Waiting | Event, None], head: dict[str, Any], with_usage: bool
) -> AsyncGenerator[str, None]:
    """The answer as OpenAI's chunks; the first comes when it is certain that the question can be answered."""
    head = head | {"object": "chat.completion.chunk"} | ({"usage": None} if with_usage else {})

    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return head | {"choices": [choice]}

    said = ""
    async with contextlib.aclosing(events):
        async for event in events:
            match event:
                case Waiting(ahead):
                    yield f": {ahead} ahead\n\n"
                case Retrieved():
                    yield _sse(chunk({"role": "assistant", "content": ""}))
                case Token(text):
                    said += text
                    yield _sse(chunk({"content": inert(text)}))
                case Finished(answer):
                    if rest := _rest(answer, said):
                        yield _sse(chunk({"content": rest}))
                    yield _sse(chunk({}, "stop") | {"rolewise": _record(answer)})
                    if with_usage:
                        yield _sse(head | {"choices": [], "usage": _usage(answer)})
    yield "data: [DONE]\n\n"


def _sse(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"  # ASCII: some readers split at every line break of Unicode


async def _stream(chunks: AsyncGenerator[str, None], send: Send) -> None:
    """Sends chunks as they come. A failure before the first is raised, a later one is the last thing sent."""
    headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
    headers.append((b"x-accel-buffering", b"no"))
    has_begun = False
    async with contextlib.aclosing(chunks):
        try:
            async for chunk in chunks:
                if not has_begun:
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    has_begun = True
                await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
        except Exception as error:
            if not has_begun:
                raise
            body = bytes(_explained(error).body)
            await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _document(document: Head) -> dict[str, Any]:
    return {
        "id": document.id,
        "title": document.title,
        "role": document.role,
        "source": document.source,
        "sections": document.sections,
        "characters": document.characters,
    }


async def _explain(_request: Request, error: Exception) -> Response:
    return _explained(error)


def _explained(error: Exception) -> JSONResponse:
    """Any failure as the client may know it."""
    match error:
        case RequestValidationError():
            fault = max(error.errors(), key=lambda one: len(one["loc"]))  # of a choice, what it came closest to
            path = [] if fault["type"] == "json_invalid" else map(str, fault["loc"][1:])
            param = ".".join(part for part in path if part.isidentifier() or part.isdecimal()) or None
            return error_response(400, f"{param or 'the body'}: {fault['msg']}.", param=param)
        case SettingsError():
            return error_response(400, str(error))
        case RolewiseError():
            status = 404 if isinstance(error, NoSuchConversation) else 429 if isinstance(error, Busy) else 503
            headers = {"retry-after": str(RETRY_SECONDS)} if status == 429 else None
            return error_response(status, str(error), headers=headers)
        case HTTPException():
            return error_response(error.status_code, str(error.detail), headers=error.headers)
        case _:
            logger.error("a request failed by %s", type(error).__name__)
            return error_response(500, "internal error")
