"""What a reader makes of a file: plain text with the sections its headings make.

Whatever the format, the text of a document follows one light convention, which is all that later stages know:
blank lines between paragraphs, one list entry a line behind "- " or "1. " (indented under the entry it belongs to),
one table row a line with " | " between cells. Markup is dropped, so that a quotation reads as a person would see it.
A heading stands on its own line, outside of any section.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rag.types import Mark, Section

_JOINERS = "\u200c\u200d"
"""The only invisible characters that words are written with: some scripts and emoji need them."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a format's reader returns.

    `about` holds what the file says of itself: title, role, aliases. `marks` say from which offset on the text stands
    on which page, slide or row. `notes` are what a person should know of the reading, a line each.
    """

    text: str
    sections: tuple[Section, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()


def clean(source: str) -> str:
    """One kind of line end, composed characters, no control characters and none that is not seen."""
    return unicodedata.normalize("NFC", source.replace("\r\n", "\n").translate(_unseen()))


@functools.cache
def _unseen() -> dict[int, str | None]:
    """What becomes of characters that are not seen: other line ends and tabs become plain ones, the rest nothing."""
    codes = (code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs"))
    table: dict[int, str | None] = {code: None for code in codes if chr(code) not in _JOINERS}
    return table | {ord(end): "\n" for end in "\n\r\v\f\x85\u2028\u2029"} | {ord("\t"): "    "}


class Writer:
    """Collects blocks of text and headings, cleans them, and works out the sections between them."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._trail: list[tuple[int, str]] = []
        self._section_start: int | None = None
        self._sections: list[Section] = []
        self._marks: list[Mark] = []
        self._notes: list[str] = []
        self._label = ""

    def mark(self, label: str) -> None:
        """What is written from here on stands there in the file: "page 3", "row 17"."""
        self._label = label

    def note(self, text: str) -> None:
        """Something that a person should know of the reading."""
        if text and text not in self._notes:
            self._notes.append(text)

    def block(self, text: str, *, gap: str = "\n\n") -> None:
        text = clean(text)
        if text.strip():
            start = self._write(text.rstrip(), gap)
            if self._section_start is None:
                self._section_start = start

    def title(self, text: str) -> None:
        """A heading that only repeats the document's title: it belongs to no trail. A blank one is none."""
        text = clean(text)
        if text.strip():
            self._close_section()
            self._write(text, "\n\n")

    def heading(self, text: str, level: int) -> None:
        text = " ".join(clean(text).split())
        if not text:
            return
        self.title(text)
        while self._trail and self._trail[-1][0] >= level:
            self._trail.pop()
        self._trail.append((level, text))

    def parsed(self, about: Mapping[str, Any] | None = None) -> Parsed:
        self._close_section()
        text = "".join(self._parts) + "\n" * bool(self._parts)
        return Parsed(text, tuple(self._sections), about or {}, tuple(self._marks), tuple(self._notes))

    def _write(self, text: str, gap: str) -> int:
        """Appends `text` and returns the offset at which it starts."""
        gap = gap if self._length else ""
        start = self._length + len(gap)
        if self._label and (not self._marks or self._marks[-1].label != self._label):
            self._marks.append(Mark(start, self._label))
        self._parts += [gap, text]
        self._length = start + len(text)
        return start

    def _close_section(self) -> None:
        if self._section_start is not None:
            self._sections.append(Section(tuple(text for _, text in self._trail), self._section_start, self._length))
            self._section_start = None
