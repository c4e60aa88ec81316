"""Plain text, whose headings and lists have no agreed marks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rag.chunking import ENTRY
from rag.encodings import decoded
from rag.parsed import Parsed, Writer
from rag.readers.tidying import headings_in_lists, lines_below, tidied

_IN_LIST = 3
"""The level of a heading that is an entry of a list: under chapters and their parts."""
_UNDERLINE = re.compile(r"\s*(={3,}|-{3,})\s*")
_OPENING = frozenset("overview introduction summary abstract about background contents preface".split())
"""Headings that open many documents and name none."""
_DEFINITION = re.compile(r"(?:An?|The) ((?:\(?[A-Z][\w&/-]*\)? )+)(?:is|are|plays?|was|were) ")


@dataclass(slots=True)
class _Part:
    """A heading ("" before the first), the level that its underline gives it (0 without), and the blocks under it."""

    heading: str
    level: int = 0
    blocks: list[str] = field(default_factory=list)


def read(raw: bytes) -> Parsed:
    """A heading is underlined, or a short line of its own without an end mark.

    The document's title is its first heading, or what its first sentence defines ("A baker is …") where that heading
    is one like "Overview". Lines that only name pictures and teasers of other pages are left out, which notes tell.
    """
    source, note = decoded(raw)
    writer = Writer()
    writer.note(note)
    lines, notes = tidied(source.split("\n"))
    for left_out in notes:
        writer.note(left_out)
    parts = _parts(lines)
    for part, level in zip(parts, _levels(parts), strict=True):
        if level:
            writer.heading(part.heading, level)
        elif part.heading:
            writer.title(part.heading)
        for block in part.blocks:
            writer.block(block)
    title = _title(parts)
    return writer.parsed({"title": title} if title else {})


def _parts(lines: Sequence[str]) -> list[_Part]:
    """The text cut at its headings."""
    parts = [_Part("")]
    paragraph: list[str] = []
    underlined = False
    below = lines_below(lines)
    in_lists = headings_in_lists(lines)

    def flush() -> None:
        if paragraph:
            parts[-1].blocks.append("\n".join(paragraph))
            paragraph.clear()

    for number, line in enumerate(lines):
        underline = _UNDERLINE.fullmatch(lines[number + 1]) if number + 1 < len(lines) else None
        if underlined:
            underlined = False
        elif not line.strip():
            if paragraph and not (ENTRY.match(paragraph[-1]) and ENTRY.match(below[number])):
                flush()
        elif number in in_lists:
            flush()
            parts.append(_Part(in_lists[number], _IN_LIST))
        elif underline or _is_heading(lines, number, below[number]):
            flush()
            parts.append(_Part(line.strip(), {"": 0, "=": 1, "-": 2}[underline[1][0] if underline else ""]))
            underlined = underline is not None
        else:
            paragraph.append(line.rstrip())
    flush()
    return parts


def _levels(parts: Sequence[_Part]) -> list[int]:
    """The level of each heading; 0 for the title, which has nothing under it but other headings.

    A heading opens a chapter if its text introduces the headings below it ("… these skills:"), or if it leads into
    prose and no chapter that introduced its headings is open. A paragraph that ends a list ends such a chapter.
    """
    levels: list[int] = []
    is_first = True
    introduced = False
    for number, part in enumerate(parts):
        below = parts[number + 1].level if number + 1 < len(parts) else _IN_LIST
        leads_into_list = bool(ENTRY.match(part.blocks[0])) if part.blocks else below == _IN_LIST
        introduces = below != _IN_LIST and _introduces(part)
        if not part.heading or (is_first and not part.level and not part.blocks and below != _IN_LIST):
            levels.append(0)
        elif part.level:
            levels.append(part.level)
        elif is_first or introduces or (not leads_into_list and (not introduced or _is_closed(parts[number - 1]))):
            levels.append(1)
            introduced = introduces
        else:
            levels.append(2)
        is_first = is_first and levels[-1] == 0
    return levels


def _introduces(part: _Part) -> bool:
    last = part.blocks[-1].rsplit("\n", 1)[-1] if part.blocks else ""
    return last.endswith(":") and not ENTRY.match(last)


def _is_closed(part: _Part) -> bool:
    """Whether a paragraph stands behind a list in a part."""
    return any(
        ENTRY.match(above.rsplit("\n", 1)[-1]) and not ENTRY.match(below)
        for above, below in itertools.pairwise(part.blocks)
    )


def _title(parts: Sequence[_Part]) -> str:
    first = next((part for part in parts if part.heading and part.level != _IN_LIST), _Part(""))
    if first.heading.casefold() in _OPENING and first.blocks and (match := _DEFINITION.match(first.blocks[0])):
        return match[1].strip()
    return first.heading


def _is_heading(lines: Sequence[str], number: int, below: str) -> bool:
    line = lines[number].strip()
    if len(line) > 80 or len(line.split()) > 10 or ENTRY.match(lines[number]) or " | " in line:
        return False
    if not line[0].isupper() or line[-1] in ".,:;!?\"'" or lines[number] != lines[number].lstrip():
        return False
    above, next_line, next_but_one = (
        lines[other].strip() if 0 <= other < len(lines) else "" for other in (number - 1, number + 1, number + 2)
    )
    if above and not (above[-1] in ".:!?" or ENTRY.match(lines[number - 1])):
        return False  # the middle or the end of a paragraph that was wrapped by hand
    if not next_line or ENTRY.match(below):
        return bool(below)
    introduces = next_line[0].isupper() and next_line.endswith(":") and bool(ENTRY.match(next_but_one))
    return len(below) > len(line) or introduces
