"""The plain pages beside the chat: search as you type, and a reader in which a quotation stands marked.

They need no script to work. Whatever fails, a person gets a page that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from rag.answering import MOST_PASSAGES, Engine
from rag.errors import Busy, RolewiseError, SettingsError
from rag.pages import asset
from rag.pages.frame import failed_page, failure, page, shelf, static_address
from rag.pages.reader import reader_page
from rag.pages.search import Asked, Choices, found, nothing_asked, search_page
from rag.safety import without_paths
from rag.slots import RETRY_SECONDS, SEARCH, Slots

STATIC = {
    "pages.css": "text/css",
    "layout.css": "text/css",
    "search.js": "text/javascript",
    "library.js": "text/javascript",
    "chat.js": "text/javascript",
}
FOR_GOOD = "public, max-age=31536000, immutable"
"""The longest that HTTP knows, a year: the address changes with the content."""
LONGEST_FILTER = 200
"""Characters of a role, document or chapter."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cache-control": "private, no-cache",
}


def add_pages(api: FastAPI, engine_in: Callable[[Request], Engine], slots: Slots) -> None:
    """Adds `/search`, `/search/results`, `/read/DOCUMENT` and their assets.

    `engine_in` gives the engine for a request, by its parameter `in`, which all links carry on.
    """

    async def told(
        work: Callable[[Engine, Request], Response], failed: Callable[[str, str], str], request: Request
    ) -> Response:
        try:
            async with slots.slot(SEARCH):
                return await slots.run(lambda: work(engine_in(request), request))
        except RolewiseError as error:
            message = without_paths(str(error))
            return _reply(failed(message, request.query_params.get("in", "")), _status(error))

    api.add_route("/search", partial(told, _search, failed_page))
    api.add_route("/search/results", partial(told, _results, lambda message, _: failure(message)))
    api.add_route("/read/{document:path}", partial(told, _read, failed_page))
    for name, kind in STATIC.items():
        api.add_route(static_address(name).partition("?")[0], partial(_static, asset(name), kind))


def _search(engine: Engine, request: Request) -> Response:
    asked = _asked(request)
    fragment, status = _found(engine, asked)
    return _reply(search_page(asked, _choices(engine), fragment), status)


def _results(engine: Engine, request: Request) -> Response:
    return _reply(*_found(engine, _asked(request)))


def _read(engine: Engine, request: Request) -> Response:
    documents = engine.version.documents
    within = request.query_params.get("in", "")
    document = documents.get(request.path_params["document"])
    if document is None:
        said = failure("there is no such document. These are there:")
        body = f"<main><h1>Not found</h1>{said}{shelf(engine.version.heads, within)}</main>"
        return _reply(page("Not found", body, within=within), 404)
    span = _span(request, len(document.text))
    note = "" if span else "Nothing is marked: the address names no part of the text by start and end."
    return _reply(reader_page(document, span, note, within))


async def _static(content: str, kind: str, _request: Request) -> Response:
    return Response(content, media_type=kind, headers={"cache-control": FOR_GOOD})


def _asked(request: Request) -> Asked:
    given = {name: request.query_params.get(name, "").strip() for name in ("q", "role", "document", "chapter", "k")}
    return Asked(question=given.pop("q"), **given, within=request.query_params.get("in", ""))


def _found(engine: Engine, asked: Asked) -> tuple[str, int]:
    """The part of the page below the form, and the status of the reply."""
    try:
        k = _count(asked.k) or engine.passages
        if max(map(len, (asked.role, asked.document, asked.chapter))) > LONGEST_FILTER:
            raise SettingsError(f"a role, document or chapter has at most {LONGEST_FILTER} characters.")
        if not asked.question:
            return nothing_asked(asked, engine.version.heads), 200
        passages = engine.search(
            asked.question, k=k, role=asked.role or None, document=asked.document, chapter=asked.chapter
        )
    except SettingsError as error:
        return failure(without_paths(str(error))), 400
    return found(asked, passages), 200


def _count(k: str) -> int | None:
    """How many passages are wanted, None for as many as usual. Raises SettingsError."""
    if not k:
        return None
    if not (_is_number(k) and 1 <= int(k) <= MOST_PASSAGES):
        raise SettingsError(f"the number of passages is {k[:20]}; give 1 to {MOST_PASSAGES}.")
    return int(k)


def _span(request: Request, length: int) -> tuple[int, int] | None:
    """The half-open span that the address names, None if it names none or one that is not in the text."""
    start, end = (request.query_params.get(name, "") for name in ("start", "end"))
    if not (_is_number(start) and _is_number(end)) or not int(start) < int(end) <= length:
        return None
    return int(start), int(end)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _choices(engine: Engine) -> Choices:
    version = engine.version
    names = [name for name, _ in version.chapters.most_common()]
    return Choices(engine.roles, version.heads, names, engine.passages, MOST_PASSAGES)


def _status(error: RolewiseError) -> int:
    return 400 if isinstance(error, SettingsError) else 429 if isinstance(error, Busy) else 503


def _reply(markup: str, status: int = 200) -> Response:
    return HTMLResponse(markup, status, HEADERS | ({"retry-after": str(RETRY_SECONDS)} if status == 429 else {}))
