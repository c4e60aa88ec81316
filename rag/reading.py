"""Files become documents: plain text with the sections its headings make.

Whatever the format, the text of a document follows one light convention, which is all that later stages know:
blank lines between paragraphs, one list entry a line behind "- " or "1. " (indented under the entry it belongs to),
one table row a line with " | " between cells. Markup is dropped, so that a quotation reads as a person would see it.
A heading stands on its own line, outside of any section. A format is one function in READERS, bytes decoded to text
in, `Parsed` out; nothing here splits, embeds or judges.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rag.chunking import ENTRY
from rag.errors import SourceError
from rag.types import Document, Section

SOURCES_FILE = "sources.toml"
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_JOINERS = "\u200c\u200d"
"""The only invisible characters that words are written with: some scripts and emoji need them."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a format's reader returns. `about` holds what the file says of itself: title, role, aliases."""

    text: str
    sections: tuple[Section, ...]
    about: Mapping[str, Any] = field(default_factory=dict)


class _Writer:
    """Collects blocks of text and headings, and works out the sections between them."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._trail: list[tuple[int, str]] = []
        self._section_start: int | None = None
        self._sections: list[Section] = []

    def block(self, text: str, *, gap: str = "\n\n") -> None:
        if text.strip():
            start = self._write(text.rstrip(), gap)
            if self._section_start is None:
                self._section_start = start

    def title(self, text: str) -> None:
        """A heading that only repeats the document's title: it belongs to no trail."""
        self._close_section()
        self._write(text, "\n\n")

    def heading(self, text: str, level: int) -> None:
        self.title(text)
        while self._trail and self._trail[-1][0] >= level:
            self._trail.pop()
        self._trail.append((level, text))

    def parsed(self, about: Mapping[str, Any]) -> Parsed:
        self._close_section()
        return Parsed("".join(self._parts) + "\n" * bool(self._parts), tuple(self._sections), about)

    def _write(self, text: str, gap: str) -> int:
        """Appends `text` and returns the offset at which it starts."""
        gap = gap if self._length else ""
        self._parts += [gap, text]
        self._length += len(gap) + len(text)
        return self._length - len(text)

    def _close_section(self) -> None:
        if self._section_start is not None:
            self._sections.append(Section(tuple(text for _, text in self._trail), self._section_start, self._length))
            self._section_start = None


def read_markdown(source: str) -> Parsed:
    """CommonMark with tables and YAML front matter; emphasis, links and HTML tags are dropped, their text stays."""
    about: Mapping[str, Any] = {}
    if match := _FRONT_MATTER.match(source):
        loaded = yaml.safe_load(match[1])
        about = loaded if isinstance(loaded, dict) else {}
        source = source[match.end() :]
    writer = _Writer()
    tokens = MarkdownIt("commonmark").enable("table").parse(source)
    _write_blocks(tokens, writer, about)
    return writer.parsed(about)


def _write_blocks(tokens: list[Token], writer: _Writer, about: Mapping[str, Any]) -> None:
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


def read_text(source: str) -> Parsed:
    """Plain text. A heading is underlined, or a short line of its own without an end mark.

    A heading that is followed by prose opens a chapter; one that leads straight into a list or another heading's text
    stands under the last chapter.
    """
    lines = source.split("\n")
    writer = _Writer()
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


READERS: Mapping[str, Callable[[str], Parsed]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".txt": read_text,
    ".text": read_text,
}
"""Reader of each file name ending."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not read, and why."""

    source: str
    reason: str


def find_files(paths: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """(root, file) of every file named by or lying under `paths`, in order of path; hidden ones are left out.

    Raises SourceError for a path that does not exist.
    """
    for path in paths:
        if path.is_file():
            yield path.parent, path
        elif path.is_dir():
            for file in sorted(path.rglob("*")):
                hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
                if file.is_file() and not hidden and file.name != SOURCES_FILE:
                    yield path, file
        else:
            raise SourceError(f"{path} does not exist. Name a file or a folder of documents.")


def read_documents(paths: Iterable[Path]) -> tuple[list[Document], list[Skipped]]:
    """The documents found under `paths`, by id, and the files that were skipped.

    A folder's `sources.toml` says what its documents are called and which bytes they must have. Raises SourceError if
    one differs from it or is missing.
    """
    documents: dict[str, Document] = {}
    skipped: list[Skipped] = []
    registers: dict[Path, dict[str, Mapping[str, str]]] = {}
    for root, file in find_files(paths):
        register = registers.setdefault(root, _register_of(root))
        name = file.relative_to(root).as_posix()
        document = read_document(file, root)
        if isinstance(document, Skipped):
            skipped.append(document)
            continue
        document = _as_registered(document, root, register.get(name))
        if (other := documents.get(document.id)) is not None:
            if other.sha256 == document.sha256:
                skipped.append(Skipped(name, f"the same bytes as {other.source}"))
                continue
            document = replace(document, id=f"{document.id}-{document.sha256[:8]}")
        documents[document.id] = document
    return [documents[key] for key in sorted(documents)], skipped


def read_document(file: Path, root: Path) -> Document | Skipped:
    """One file as a document, or the reason why it is none."""
    name = file.relative_to(root).as_posix()
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        return Skipped(name, f"no reader for {file.suffix or 'a file without an ending'} (read: {', '.join(READERS)})")
    try:
        raw = file.read_bytes()
        source = raw.decode("utf-8-sig")
    except OSError as error:
        return Skipped(name, f"cannot be opened: {error.strerror}")
    except UnicodeDecodeError as error:
        return Skipped(name, f"not UTF-8 text (byte {error.start}); save it as UTF-8")
    try:
        parsed = reader(clean(source))
    except yaml.YAMLError as error:
        return Skipped(name, f"its front matter is not valid YAML: {' '.join(str(error).split())}")
    if not parsed.sections:
        return Skipped(name, "holds no text")
    about = parsed.about
    return Document(
        id=_id_of(name),
        title=str(about.get("title") or file.stem.replace("_", " ").replace("-", " ")),
        role=str(about["role"]) if about.get("role") else None,
        text=parsed.text,
        sections=parsed.sections,
        source=name,
        sha256=hashlib.sha256(raw).hexdigest(),
        aliases=tuple(str(alias) for alias in about.get("aliases") or ()),
    )


def clean(source: str) -> str:
    """One kind of line end, composed characters, no control characters and none that is not seen."""
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    seen = (one for one in _CONTROL.sub("", source) if one in _JOINERS or unicodedata.category(one) != "Cf")
    return unicodedata.normalize("NFC", "".join(seen))


def _id_of(name: str) -> str:
    """The id of a document: its file's name, without the ending, in words joined by hyphens."""
    folded = unicodedata.normalize("NFKD", str(Path(name).with_suffix(""))).casefold()
    return re.sub(r"\W+", "-", folded).strip("-") or "document"


def _register_of(root: Path) -> dict[str, Mapping[str, str]]:
    path = root / SOURCES_FILE
    if not path.is_file():
        return {}
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8")).get("source", [])
        register = {str(row["file"]): row for row in rows}
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is damaged ({error}). Write it anew: python -m rag index register {root}") from error
    for name in register:
        if not (root / name).is_file():
            raise SourceError(
                f"{path} names {name}, which is missing. Restore it, or: python -m rag index register {root}"
            )
    return register


def _as_registered(document: Document, root: Path, row: Mapping[str, str] | None) -> Document:
    if row is None:
        return document
    if row.get("sha256") != document.sha256:
        raise SourceError(
            f"{root / document.source} is not the file that {SOURCES_FILE} registers (SHA-256 {document.sha256[:12]}…, "
            f"expected {str(row.get('sha256'))[:12]}…). If the change is meant: python -m rag index register {root}"
        )
    return replace(document, id=row["id"], title=row["title"], role=row.get("role") or None)


def register_sources(root: Path) -> Path:
    """Writes `sources.toml` of a folder anew from its files, and returns its path."""
    blocks = ["# Which documents this folder holds, and their bytes. Written by: python -m rag index register"]
    for _, file in find_files([root]):
        document = read_document(file, root)
        if isinstance(document, Document):
            rows = {"id": document.id, "title": document.title, "role": document.role or "", "file": document.source}
            rows["sha256"] = document.sha256
            blocks.append("\n".join(["[[source]]", *(f"{key} = {_toml(value)}" for key, value in rows.items())]))
    path = root / SOURCES_FILE
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    return path


def _toml(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
