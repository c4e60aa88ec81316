"""What the plain pages share: head, masthead, addresses, and what is said where there is nothing to show."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from rag.pages import asset
from rag.pages.markup import as_html
from rag.types import Head

MOST_LISTED = 500
"""Documents, chapters or roles in one list; more make a page slow and are found by searching."""


def page(title: str, body: str, *, within: str = "", script: str = "") -> str:
    """A whole page. `within` is the parameter `in`, which every link carries on; `body` is markup."""
    same = {"in": within}
    links = {
        "Chat": address("/", same),
        "Search": address("/search", same),
        "Documents": "/documents",
        "Monitor": "/monitor",
    }
    current = ' aria-current="page"'
    items = "".join(f'<a href="{to}"{current if name == title else ""}>{name}</a>' for name, to in links.items())
    tail = f'<script src="{static_address(script)}" defer></script>' if script else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{as_html(title)} – Rolewise</title>"
        f'<link rel="stylesheet" href="{static_address("pages.css")}">{tail}</head><body>'
        f'<header class="masthead"><p class="brand">Rolewise</p>'
        f'<p class="quiet">Answers from documents, every sentence with its quotation.</p>'
        f'<nav aria-label="Pages">{items}</nav></header>{body}</body></html>'
    )


def address(path: str, parameters: Mapping[str, str] | None = None, fragment: str = "") -> str:
    """An address of this server for a quoted attribute; parameters that are empty are left out."""
    query = urlencode({name: value for name, value in (parameters or {}).items() if value})
    return as_html(path + (f"?{query}" if query else "") + (f"#{quote(fragment, safe='')}" if fragment else ""))


def reader_address(document: str, within: str, *, span: tuple[int, int] | None = None) -> str:
    """Where a document is read, with the span of its text marked if there is one."""
    path = f"/read/{quote(document, safe='')}"
    if span is None:
        return address(path, {"in": within})
    return address(path, {"start": str(span[0]), "end": str(span[1]), "in": within}, "quotation")


@functools.cache
def static_address(name: str) -> str:
    """Where a style sheet or script is served; it changes with the content, so that it can be cached for good."""
    return f"/static/{name}?v={hashlib.sha256(asset(name).encode()).hexdigest()[:12]}"


def failure(message: str) -> str:
    message = message[:1].upper() + message[1:]
    return f'<p class="notice" role="alert">{as_html(message)}</p>'


def failed_page(message: str, within: str) -> str:
    return page("Not possible", f"<main><h1>Not possible</h1>{failure(message)}</main>", within=within)


def shelf(documents: Mapping[str, Head], within: str) -> str:
    """The documents as links to the reader."""
    listed = list(documents.values())[:MOST_LISTED]
    items = "".join(f'<li><a href="{reader_address(one.id, within)}">{as_html(one.title)}</a></li>' for one in listed)
    more = f'<p class="quiet">and {len(documents) - len(listed):,} more</p>' if len(listed) < len(documents) else ""
    return f'<ul class="shelf" aria-label="Documents">{items}</ul>{more}'
