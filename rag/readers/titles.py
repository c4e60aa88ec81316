"""Titles as files tell them in their properties: often a program's doing, so only what a person gave is taken."""

from __future__ import annotations

import re

from rag.parsed import clean

_BY_A_PROGRAM = re.compile(
    r"(untitled|unbenannt|document|dokument|presentation|(power)?point[- ]pr\w+|word document|slide|"
    r"microsoft \w+ - .*|.*\.\w{2,4}|[\W\d]*)[\s\d]*",
    re.IGNORECASE,
)


def sensible(title: str | None) -> str:
    """The title in one line, "" for none, a file name or what a program puts there by itself."""
    title = " ".join(clean(title or "").split())
    return "" if _BY_A_PROGRAM.fullmatch(title) else title
