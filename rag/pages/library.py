"""The page of documents: what can be asked, and a person's own files with what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rag.pages.frame import address, failure, page, shelf
from rag.pages.markup import as_html
from rag.types import Head

SCRIPT = "library.js"
_FORMATS = "Markdown, text, HTML, PDF, Word, PowerPoint, Excel, CSV, JSON, EPUB, or a ZIP of these"


class File(Protocol):
    """See uploads.Held."""

    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def title(self) -> str: ...
    @property
    def passages(self) -> int: ...
    @property
    def problem(self) -> str: ...


def library_page(documents: Mapping[str, Head], own: Sequence[File], damage: str = "") -> str:
    """Both shelves, and what is wrong with a person's own. Adding and removing need the script."""
    ask, search = (address(path, {"in": "own"}) for path in ("/", "/search"))
    asking = f' <a href="{ask}">Ask them</a> or <a href="{search}">search them</a>.' if own else ""
    held = "".join(map(_held, own)) or '<li class="none quiet">There are none yet.</li>'
    if damage:
        held = (
            f'<li>{failure(damage)}<button type="button" class="mend" data-method="POST" data-path="/rebuild">'
            'Build it again</button> <button type="button" class="mend" data-method="DELETE" data-path="">'
            f"Remove all</button></li>{held if own else ''}"
        )
    body = (
        '<main><h1>Documents</h1><section aria-labelledby="own"><h2 id="own">Your own</h2>'
        f'<p class="quiet">Files that you add are read on this server and asked apart from the others.{asking}</p>'
        '<form id="adding" class="adding"><label for="files">Add files</label>'
        '<input id="files" name="files" type="file" multiple required><button>Add</button>'
        f'<p class="quiet">{_FORMATS}.</p>'
        '<progress id="progress" max="1" value="0" aria-label="Progress" hidden></progress>'
        '<p id="told" role="status"></p></form>'
        f'<ul class="held" aria-label="Your own documents">{held}</ul></section>'
        f'<section aria-labelledby="all"><h2 id="all">On this server</h2>{shelf(documents, "")}</section></main>'
    )
    return page("Documents", body, script=SCRIPT)


def _held(file: File) -> str:
    facts = [f"{file.bytes / 1000:,.1f} kB"]
    facts += [f"{file.passages:,} passage{'s' if file.passages != 1 else ''}"] if file.passages else []
    problem = f'<p class="notice">{as_html(file.problem)}</p>' if file.problem else ""
    title = f'<span class="trail">{as_html(file.title)}</span> ' if file.title and file.title != file.name else ""
    return (
        f'<li><p><strong>{as_html(file.name)}</strong> {title}<span class="quiet">{", ".join(facts)}</span></p>'
        f'<button type="button" class="remove" data-name="{as_html(file.name)}" '
        f'aria-label="Remove {as_html(file.name)}">Remove</button>{problem}</li>'
    )
