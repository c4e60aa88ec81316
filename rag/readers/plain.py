"""Plain text, whose headings and lists have no agreed marks."""

from __future__ import annotations

import re

from rag.chunking import ENTRY
from rag.encodings import decoded
from rag.parsed import Parsed, Writer


def read(raw: bytes) -> Parsed:
    """A heading is underlined, or a short line of its own without an end mark.

    A heading that is followed by prose opens a chapter; one that leads straight into a list or another heading's text
    stands under the last chapter.
    """
    source, note = decoded(raw)
    lines = source.split("\n")
    writer = Writer()
    writer.note(note)
    paragraph: list[str] = []
    title = ""

    def flush() -> None:
        if paragraph:
            writer.block("\n".join(paragraph))
            paragraph.clear()

    skip = False
    has_chapter = False
    for number, line in enumerate(lines):
        if skip:
            skip = False
        elif not line.strip():
            if paragraph and not _list_goes_on(lines, number):
                flush()
        elif number + 1 < len(lines) and re.fullmatch(r"\s*(={3,}|-{3,})\s*", lines[number + 1]):
            flush()
            writer.heading(line.strip(), 1 if "=" in lines[number + 1] else 2)
            skip = has_chapter = True
        elif _is_heading(lines, number):
            flush()
            title = title or line.strip()
            opens_chapter = not has_chapter or not _leads_into_list(lines, number)
            writer.heading(line.strip(), 1 if opens_chapter else 2)
            has_chapter = True
        else:
            paragraph.append(line.rstrip())
    flush()
    return writer.parsed({"title": title} if title else {})


def _is_heading(lines: list[str], number: int) -> bool:
    line = lines[number].strip()
    if len(line) > 80 or len(line.split()) > 10 or ENTRY.match(lines[number]) or " | " in line:
        return False
    if not line[0].isupper() or line[-1] in ".,:;!?\"'" or lines[number] != lines[number].lstrip():
        return False
    above = lines[number - 1].strip() if number else ""
    below = next((other for other in lines[number + 1 :] if other.strip()), "")
    if above and not (above[-1] in ".:!?" or ENTRY.match(lines[number - 1])):
        return False  # the middle or the end of a paragraph that was wrapped by hand
    follows_on = number + 1 < len(lines) and lines[number + 1].strip()
    return bool(below) and (not follows_on or bool(ENTRY.match(below)) or len(below) > len(line))


def _leads_into_list(lines: list[str], number: int) -> bool:
    below = next((other for other in lines[number + 1 :] if other.strip()), "")
    return bool(ENTRY.match(below))


def _list_goes_on(lines: list[str], number: int) -> bool:
    """Whether the blank line `number` stands between two entries of one list."""
    above = next((other for other in reversed(lines[:number]) if other.strip()), "")
    below = next((other for other in lines[number + 1 :] if other.strip()), "")
    return bool(ENTRY.match(above)) and bool(ENTRY.match(below))
