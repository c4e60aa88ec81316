"""A reader for each format: the bytes of a file in, `Parsed` out. Nothing here splits, embeds, judges or fetches.

A reader is a module with `read(raw: bytes) -> Parsed` that raises Unreadable, saying why, for bytes that it cannot
read. It is imported when the first file of its format is read.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from rag.errors import Unreadable
from rag.parsed import Parsed

READERS: Mapping[str, str] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".txt": "plain",
    ".text": "plain",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".epub": "epub",
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "sheets",
    ".csv": "tables",
    ".tsv": "tables",
    ".json": "data",
    ".jsonl": "data",
    ".ndjson": "data",
}
"""The module that reads each file name ending."""


def read(raw: bytes, ending: str) -> Parsed:
    """What the bytes of a file with this ending hold. Raises Unreadable, also where a library that it takes lacks."""
    name = READERS.get(ending.lower())
    if name is None:
        raise Unreadable(f"no reader for {ending or 'a file without an ending'} (read: {', '.join(READERS)})")
    parsed: Parsed = importlib.import_module(f"rag.readers.{name}").read(raw)
    if not parsed.sections:
        raise Unreadable("holds no text")
    return parsed
