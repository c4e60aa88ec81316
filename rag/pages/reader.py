"""A stored document as a page: its headings, its text character for character, and a quotation marked in it.

The markup of the text, without its tags and the names of pages and rows, is the text: what is marked is what the
offsets say.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.pages.frame import address, page
from rag.pages.markup import as_html
from rag.types import Document

QUOTATION = "quotation"
"""Element id of the marked text."""
DEEPEST = 6
"""HTML has no deeper headings."""
_LINE = re.compile(r"\S[^\n]*")
_GAP = re.compile(r"\n{2,}")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and where it stands. Level 0 is the title, 1 a chapter."""

    text: str
    start: int
    end: int
    level: int


def reader_page(document: Document, span: tuple[int, int] | None, note: str, within: str) -> str:
    """The whole document with `text[start:end]` of `span` marked; `note` is a line for the reader."""
    headings = headings_of(document)
    has_title = any(one.level == 0 for one in headings)
    title = "" if has_title else f'<h1 id="title">{as_html(document.title)}</h1>'
    facts = " · ".join(filter(None, [document.role, document.source, f"{len(document.text):,} characters"]))
    here = address("/search", {"document": document.id, "in": within})
    said = f'<p class="notice" role="note">{as_html(note)}</p>' if note else ""
    body = (
        f'<main class="reading">{_outline(headings)}<article aria-labelledby="title"><p class="facts">'
        f'<span>{as_html(facts)}</span> <a href="{here}">Search in it</a></p>{said}{title}'
        f'<div class="document">{text_of(document, headings, span)}</div></article></main>'
    )
    return page(document.title, body, within=within)


def headings_of(document: Document) -> list[Heading]:
    """The headings in order: the lines outside of all sections, whose levels the paths of the sections tell."""
    found: list[Heading] = []
    position = 0
    for section in sorted(document.sections, key=lambda one: one.start):
        found += _between(document, position, section.start, section.path)
        position = max(position, section.end)
    return found + _between(document, position, len(document.text), ())


def text_of(document: Document, headings: Sequence[Heading], span: tuple[int, int] | None) -> str:
    """The text as headings and paragraphs, with the white space between them and the mark across them."""
    inline = _Inline(document, span)
    parts: list[str] = []
    position = 0
    for number, heading in enumerate(headings):
        parts += _paragraphs(inline, position, heading.start)
        tag = f"h{min(heading.level + 1, DEEPEST)}"
        element = "title" if heading.level == 0 else f"section-{number}"
        parts.append(f'<{tag} id="{element}">{inline.markup(heading.start, heading.end)}</{tag}>')
        position = heading.end
    parts += _paragraphs(inline, position, len(document.text))
    return "".join(parts)


class _Inline:
    """Stretches of a document's text as markup that can stand in a line."""

    def __init__(self, document: Document, span: tuple[int, int] | None) -> None:
        self.text = document.text
        self._marks = document.marks
        self._starts = [mark.start for mark in document.marks]
        self._start, self._end = span or (0, 0)
        seen = re.compile(r"\S").search(self.text, self._start, self._end)
        self._first = seen.start() if seen else self._start  # what is not seen cannot be scrolled to

    def markup(self, start: int, end: int) -> str:
        first, last = (bisect.bisect_left(self._starts, offset) for offset in (start, end))
        ends = (one for one in (self._start, self._end) if start < one < end)
        cuts = sorted({start, *self._starts[first:last], *ends, end})
        labels = {mark.start: mark.label for mark in self._marks[first:last]}
        return "".join(
            (f'<span class="where">{as_html(labels[left])}</span>' if left in labels else "") + self._piece(left, right)
            for left, right in itertools.pairwise(cuts)
        )

    def _piece(self, start: int, end: int) -> str:
        text = as_html(self.text[start:end])
        if not self._start <= start < end <= self._end:
            return text
        is_first = start <= self._first < end
        return f'<mark id="{QUOTATION}" tabindex="-1">{text}</mark>' if is_first else f"<mark>{text}</mark>"


def _paragraphs(inline: _Inline, start: int, end: int) -> Iterator[str]:
    for gap in [*_GAP.finditer(inline.text, start, end), None]:
        stop = gap.start() if gap else end
        content = inline.markup(start, stop)
        yield f"<p>{content}</p>" if inline.text[start:stop].strip() else content
        if gap:
            yield inline.markup(*gap.span())
            start = gap.end()


def _between(document: Document, start: int, end: int, path: Sequence[str]) -> list[Heading]:
    """The headings between two sections, the second of which has this path: its last ones are the last of them.

    How deep one without text of its own stands is not stored; it is taken to stand as deep as the one behind it.
    """
    found: list[Heading] = []
    above = len(path)
    for line in reversed(list(_LINE.finditer(document.text, start, end))):
        text = line[0].rstrip()
        if above and path[above - 1] == text:
            level, above = above, above - 1
        elif text == document.title and not document.text[: line.start()].strip():
            level = 0
        else:
            level = above + 1
        found.append(Heading(text, *line.span(), level))
    return found[::-1]


def _outline(headings: Sequence[Heading]) -> str:
    items = "".join(
        f'<li class="level-{min(one.level, DEEPEST)}"><a href="#section-{number}">{as_html(one.text)}</a></li>'
        for number, one in enumerate(headings)
        if one.level
    )
    return f'<nav class="outline" aria-label="Outline"><ol>{items}</ol></nav>' if items else ""
