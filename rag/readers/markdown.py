"""Markdown: CommonMark with tables and YAML front matter."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rag.encodings import decoded
from rag.errors import Unreadable
from rag.parsed import Parsed, Writer, clean

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)

_MISTAGGED = (AttributeError, TypeError, LookupError, ArithmeticError)
"""What PyYAML lets through for a value that is not of the kind its tag names, as in "!!timestamp x"."""


def read(raw: bytes) -> Parsed:
    """Emphasis, links and HTML tags are dropped, their text stays. Raises Unreadable if front matter is not YAML."""
    source, note = decoded(raw)
    writer = Writer()
    writer.note(note)
    about: Mapping[str, Any] = {}
    if match := _FRONT_MATTER.match(source):
        try:
            about = _about(yaml.safe_load(match[1]))
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise Unreadable(f"its front matter is not valid YAML: {' '.join(str(error).split())}") from error
        except _MISTAGGED as error:
            raise Unreadable("its front matter is not valid YAML: a value is not of the kind its tag names") from error
        source = source[match.end() :]
    _write_blocks(_commonmark().parse(source), writer, about)
    return writer.parsed(about)


@functools.cache
def _commonmark() -> MarkdownIt:
    """Its rules are set up once: for a short file that takes as long as parsing."""
    return MarkdownIt("commonmark").enable("table")


def _about(front_matter: Any) -> dict[str, Any]:
    """Title, role, aliases and when it was reviewed, as text. All else is left out: dates as keys, or lists that hold
    themselves, say nothing of a document."""
    fields = front_matter if isinstance(front_matter, dict) else {}
    aliases = fields.get("aliases")
    plain = {name: text for name in ("title", "role", "reviewed") if (text := _scalar(fields.get(name)))}
    listed = list(filter(None, map(_scalar, aliases if isinstance(aliases, list) else [aliases])))
    return {**plain, "aliases": listed} if listed else plain


def _scalar(value: Any) -> str:
    return clean(str(value)) if isinstance(value, str | int | float | dt.date) else ""


def _write_blocks(tokens: list[Token], writer: Writer, about: Mapping[str, Any]) -> None:
    lists: list[int | None] = []  # for each open list the number of its next entry, None for bullets
    marker = ""  # of the entry whose first block is still to come
    cells: list[str] = []
    in_table = False
    level: int | None = None
    tight = False  # the last block was an entry or a row: the next one follows on the next line
    for token in tokens:
        indent = "  " * (len(lists) - 1)
        match token.type:
            case "heading_open":
                level = int(token.tag[1:])
            case "bullet_list_open":
                lists.append(None)
            case "ordered_list_open":
                lists.append(int(token.attrGet("start") or 1))
            case "bullet_list_close" | "ordered_list_close":
                lists.pop()
                tight = bool(lists)
            case "list_item_open":
                number = lists[-1]
                marker = "- " if number is None else f"{number}. "
                lists[-1] = None if number is None else number + 1
            case "table_open":
                in_table, tight = True, False
            case "table_close":
                in_table = tight = False
            case "tr_open":
                cells = []
            case "tr_close":
                writer.block(" | ".join(cells), gap="\n" if tight else "\n\n")
                tight = True
            case "inline" if in_table:
                cells.append(_plain(token))
            case "inline" if level is not None:
                if level == 1 and _plain(token) == str(about.get("title", "")):
                    writer.title(_plain(token))
                else:
                    writer.heading(_plain(token), level)
                level, tight = None, False
            case "inline" if lists:
                text = indent + (marker or "  ") + _plain(token)
                writer.block(text, gap="\n" if tight else "\n\n")
                marker, tight = "", True
            case "inline":
                writer.block(_plain(token))
                tight = False
            case "fence" | "code_block":
                writer.block(token.content)
                tight = False
            case "html_block":
                writer.block(_without_tags(token.content))
                tight = False
            case _:
                pass


def _plain(inline: Token) -> str:
    parts = []
    for child in inline.children or ():
        match child.type:
            case "text" | "code_inline":
                parts.append(child.content)
            case "softbreak" | "hardbreak":
                parts.append(" ")
            case "image":
                parts.append(child.content)
            case _:
                pass
    return re.sub(r"\s+", " ", "".join(parts)).strip()


class _TextOnly(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def _without_tags(html: str) -> str:
    parser = _TextOnly()
    parser.feed(html)
    return "\n".join(line.strip() for line in "".join(parser.parts).splitlines() if line.strip())
