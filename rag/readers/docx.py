"""DOCX: the paragraphs, list entries and tables of a Word document, in their order.

The XML is walked here, as python-docx leaves out text boxes, notes, list numbers and content controls, and keeps
hidden text. Headers, footers, comments and tracked deletions are dropped. Names are compared without their namespace:
the strict and the transitional kind of the format differ in little else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zipfile import ZipFile

from rag.errors import Unreadable
from rag.parsed import Parsed, Writer
from rag.readers.zipped import attribute, local_name, open_zip, related, title_of, whole, xml

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_AS_IF_ABSENT = {"ins", "moveTo", "hyperlink", "smartTag", "sdt", "sdtContent", "fldSimple", "customXml", "dir", "bdo"}
"""Elements that count as their content does. Tracked insertions are among them, deletions are not."""
_HEADING = re.compile(
    r"(?:heading|überschrift|titre|título|titolo|encabezado|kop|rubrik|overskrift|otsikko|nagłówek|nadpis|заголовок|"
    r"başlık|επικεφαλίδα|标题|標題|見出し|제목)\s*([1-9])",
    re.IGNORECASE,
)
"""Names of heading styles. Word itself stores the English ones, whatever its language; other programs may not."""
_TITLES = {"title", "titel", "titre", "título", "titolo"}


@dataclass(frozen=True, slots=True)
class _Style:
    """What a style settles, itself or by the styles it builds on. `level` is that of its heading: 0 for the title."""

    level: int | None = None
    numbering: tuple[str, int] | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class _Level:
    """How one level of a list is numbered: "%1.%2" stands for the counts of the first and the second level."""

    kind: str
    pattern: str
    start: int


@dataclass(slots=True)
class _List:
    """The levels of a list, and how far each has counted."""

    levels: dict[int, _Level]
    counts: dict[int, int] = field(default_factory=dict)

    def next_label(self, level: int) -> str:
        """What stands before the next entry: "2.", "(a)", "" for a bullet."""
        rule = self.levels.get(level, _Level("bullet", "", 1))
        self.counts = {at: count for at, count in self.counts.items() if at <= level}
        for skipped in range(level):
            self.counts.setdefault(skipped, self.levels[skipped].start if skipped in self.levels else 1)
        self.counts[level] = self.counts.get(level, rule.start - 1) + 1
        if rule.kind in ("bullet", "none"):
            return ""
        return re.sub(r"%([1-9])", lambda match: self._count(int(match[1]) - 1), rule.pattern)

    def _count(self, level: int) -> str:
        rule = self.levels.get(level, _Level("decimal", "", 1))
        return _numeral(self.counts.get(level, rule.start), rule.kind)


def read(raw: bytes) -> Parsed:
    """Foot- and endnotes stand at the end. Raises Unreadable for bytes that are no Word document."""
    archive = open_zip(raw)
    main = next((name for kind, name in related(archive, "").values() if kind == "officeDocument"), "word/document.xml")
    root = xml(archive, main)
    body = None if root is None else root.find("{*}body")
    if body is None:
        raise Unreadable("is not a Word document, whatever its name; save it anew as .docx")
    title = title_of(archive)
    walk = _Walk(archive, main, title)
    walk.blocks(body)
    walk.cited_notes()
    return walk.writer.parsed({"title": title} if title else {})


class _Walk:
    """Goes through a document once and writes what it meets."""

    def __init__(self, archive: ZipFile, main: str, title: str) -> None:
        parts = {kind: xml(archive, name) for kind, name in related(archive, main).values() if kind in _PARTS}
        self.writer = Writer()
        self._title = title
        self._styles = _styles(parts.get("styles"))
        self._lists = _lists(parts.get("numbering"))
        self._notes = {
            (local_name(note), _value(note, "id")): note
            for kind in ("footnotes", "endnotes")
            if (root := parts.get(kind)) is not None
            for note in root
        }
        self._cited: list[Element] = []
        self._boxes: list[Element] = []
        self._fields: list[bool] = []  # for each open field, whether its code is being read and not yet its result
        self._entry_level = -1  # of the entry that the last block was, -1 if it was none

    def blocks(self, parent: Element) -> None:
        for child in _children(parent):
            if local_name(child) == "p":
                self._paragraph(child)
            elif local_name(child) == "tbl":
                self._table(child)

    def cited_notes(self) -> None:
        for number, note in enumerate(self._cited, 1):  # grows where a note cites another
            text = " ".join(filter(None, (self._text(paragraph) for paragraph in note.iterfind("{*}p"))))
            self.writer.block(f"{number}. {text}", gap="\n" if number > 1 else "\n\n")

    def _paragraph(self, paragraph: Element) -> None:
        properties = paragraph.find("{*}pPr")
        style = self._styles.get(_value(_find(properties, "pStyle")), self._styles.get("", _Style()))
        text = self._text(paragraph, is_hidden=style.hidden)
        numbering = _numbering(properties) or style.numbering
        outline = _value(_find(properties, "outlineLvl"))
        level = int(outline) + 1 if re.fullmatch("[0-8]", outline) else style.level
        numbered = self._lists.get(numbering[0]) if numbering and text else None
        label = numbered.next_label(numbering[1]) if numbered and numbering else ""
        if text and level is not None:
            if text == self._title:
                self.writer.title(text)
            else:
                self.writer.heading(f"{label} {text}", level)
            self._entry_level = -1
        elif text and numbered and numbering:
            entry_level = min(numbering[1], self._entry_level + 1)
            label = label if re.fullmatch(r"\d+\.", label) else f"- {label}".strip()
            self.writer.block(f"{'  ' * entry_level}{label} {text}", gap="\n" if self._entry_level >= 0 else "\n\n")
            self._entry_level = entry_level
        elif text:
            self.writer.block(text)
            self._entry_level = -1
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            self.blocks(box)

    def _table(self, table: Element) -> None:
        rows = [
            [cell for cell in _children(row) if local_name(cell) == "tc"] for row in _children(table) if _is_row(row)
        ]
        self._entry_level = -1
        if all(len(row) == 1 for row in rows):  # a frame around text
            for cell in (cell for row in rows for cell in row):
                self.blocks(cell)
            return
        gap = "\n\n"
        for row in rows:
            cells = [text for cell in row for text in self._spanned(cell)]
            if any(cells):
                self.writer.block(" | ".join(cells), gap=gap)
                gap = "\n"
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            self.blocks(box)

    def _spanned(self, cell: Element) -> list[str]:
        """The text of a cell and an empty one for each further column that it covers."""
        span = whole(_value(cell.find("{*}tcPr/{*}gridSpan")), 1)
        return [self._cell(cell)] + [""] * (min(span, 63) - 1)  # Word has 63 columns at most

    def _cell(self, cell: Element) -> str:
        """The text of a cell in one line; none for one that only goes on from the row above."""
        merge = cell.find("{*}tcPr/{*}vMerge")
        if merge is not None and _value(merge) != "restart":
            return ""
        parts = []
        for child in _children(cell):
            if local_name(child) == "p":
                style = self._styles.get(_value(child.find("{*}pPr/{*}pStyle")), _Style())
                parts.append(self._text(child, is_hidden=style.hidden))
            elif local_name(child) == "tbl":
                parts += [self._cell(inner) for row in _children(child) for inner in _children(row)]
        return " ".join(filter(None, parts))

    def _text(self, paragraph: Element, *, is_hidden: bool = False) -> str:
        return " ".join("".join(self._inline(paragraph, is_hidden=is_hidden)).split())

    def _inline(self, parent: Element, *, is_hidden: bool) -> Iterator[str]:
        for child in _children(parent):
            match local_name(child):
                case "r":
                    yield from self._run(child, is_hidden=is_hidden)
                case "oMath" | "oMathPara":
                    yield f" {''.join(child.itertext('{*}t'))} "
                case _:
                    pass

    def _run(self, run: Element, *, is_hidden: bool) -> Iterator[str]:
        properties = run.find("{*}rPr")
        is_hidden |= self._styles.get(_value(_find(properties, "rStyle")), _Style()).hidden
        vanish = _find(properties, "vanish")
        is_hidden = is_hidden if vanish is None else _is_on(vanish)
        for child in _children(run):
            match local_name(child):
                case "fldChar":
                    self._field(_value(child, "fldCharType"))
                case _ if is_hidden or any(self._fields):
                    pass
                case "t":
                    yield child.text or ""
                case "tab" | "br" | "cr" | "ptab":
                    yield " "
                case "noBreakHyphen":
                    yield "-"
                case "sym" if re.fullmatch("[0-9A-Ea-e][0-9A-Fa-f]{3}", _value(child, "char")):  # F000: a symbol font's
                    yield chr(int(_value(child, "char"), 16))
                case "footnoteReference" | "endnoteReference" as kind:
                    note = self._notes.get((kind.removesuffix("Reference"), _value(child, "id")))
                    if note is not None and note not in self._cited:
                        self._cited.append(note)
                case "ruby":
                    yield "".join(text for base in child.iterfind("{*}rubyBase") for text in base.itertext("{*}t"))
                case "drawing" | "pict" | "object":
                    self._boxes += _boxes(child)
                case _:
                    pass

    def _field(self, kind: str) -> None:
        if kind == "begin":
            self._fields.append(True)
        elif self._fields and kind == "separate":
            self._fields[-1] = False
        elif self._fields and kind == "end":
            self._fields.pop()


_PARTS = {"styles", "numbering", "footnotes", "endnotes"}


def _find(element: Element | None, name: str) -> Element | None:
    return None if element is None else element.find("{*}" + name)


def _value(element: Element | None, name: str = "val") -> str:
    return attribute(element, name)


def _is_on(element: Element) -> bool:
    return _value(element) not in ("0", "false", "off")


def _children(parent: Element) -> Iterator[Element]:
    """Children, with those of elements that count as if they were not there, and one of alternative renderings."""
    for child in parent:
        name = local_name(child)
        if name in _AS_IF_ABSENT:
            yield from _children(child)
        elif name == "AlternateContent":
            chosen = _find(child, "Choice")
            chosen = _find(child, "Fallback") if chosen is None else chosen
            if chosen is not None:
                yield from _children(chosen)
        else:
            yield child


def _boxes(drawing: Element) -> Iterator[Element]:
    """The contents of the outermost text boxes in a drawing."""
    for child in _children(drawing):
        if local_name(child) == "txbxContent":
            yield child
        else:
            yield from _boxes(child)


def _is_row(row: Element) -> bool:
    """Whether it is a row of a table that is neither hidden nor deleted."""
    return local_name(row) == "tr" and row.find("{*}trPr/{*}del") is None and row.find("{*}trPr/{*}hidden") is None


def _numbering(properties: Element | None) -> tuple[str, int] | None:
    """The list and the level in it that a paragraph or a style is put at."""
    found = _find(properties, "numPr")
    number, level = _value(_find(found, "numId")), _value(_find(found, "ilvl"))
    return (number, int(level) if re.fullmatch("[0-8]", level) else 0) if number else None


def _styles(root: Element | None) -> dict[str, _Style]:
    """By id the styles of a document, and under "" the one of paragraphs that name none."""
    if root is None:
        return {f"Heading{level}": _Style(level) for level in range(1, 10)} | {"Title": _Style(0)}
    elements = {_value(style, "styleId"): style for style in root.iterfind("{*}style")}
    styles = {}
    for key, style in elements.items():
        chain = [style]
        while (base := elements.get(_value(_find(chain[-1], "basedOn")))) is not None and base not in chain:
            chain.append(base)
        levels = [level for style in chain if (level := _own_level(style)) is not None]
        numberings = [found for style in chain if (found := _numbering(_find(style, "pPr")))]
        hidings = [_is_on(found) for style in chain if (found := style.find("{*}rPr/{*}vanish")) is not None]
        styles[key] = _Style(levels[0] if levels else None, (*numberings, None)[0], any(hidings[:1]))
        if _value(style, "default") in ("1", "true") and _value(style, "type") == "paragraph":
            styles[""] = styles[key]
    return styles


def _own_level(style: Element) -> int | None:
    outline = _value(style.find("{*}pPr/{*}outlineLvl"))
    name = _value(_find(style, "name"))
    if named := _HEADING.fullmatch(name):
        return int(named[1])
    if name.lower() in _TITLES:
        return 0
    return int(outline) + 1 if re.fullmatch("[0-8]", outline) else None


def _lists(root: Element | None) -> dict[str, _List]:
    """By id the lists of a document. Those of one design count on from each other, unless one starts anew."""
    if root is None:
        return {}
    designs = {_value(design, "abstractNumId"): _List(_levels(design)) for design in root.iterfind("{*}abstractNum")}
    lists = {}
    for number in root.iterfind("{*}num"):
        design = designs.get(_value(_find(number, "abstractNumId")), _List({}))
        restarts = {
            _value(override, "ilvl"): _value(start)
            for override in number.iterfind("{*}lvlOverride")
            if (start := _find(override, "startOverride")) is not None
        }
        if restarts:
            design = _List(
                {
                    at: _Level(level.kind, level.pattern, whole(restarts.get(str(at), ""), level.start))
                    for at, level in design.levels.items()
                }
            )
        lists[_value(number, "numId")] = design
    return lists


def _levels(design: Element) -> dict[int, _Level]:
    return {
        whole(_value(level, "ilvl"), 0): _Level(
            _value(_find(level, "numFmt")) or "decimal",
            _value(_find(level, "lvlText")),
            whole(_value(_find(level, "start")), 1),
        )
        for level in design.iterfind("{*}lvl")
    }


def _numeral(count: int, kind: str) -> str:
    """A count as letters, Roman or plain digits: 27 is "aa", 4 is "iv"."""
    if not 0 < count < 4000:
        return str(count)
    if kind.endswith("Letter"):
        letters = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
    elif kind.endswith("Roman"):
        letters = ""
        for value, sign in zip(_ROMAN_VALUES, _ROMAN_SIGNS, strict=True):
            letters += sign * (count // value)
            count %= value
    else:
        return str(count)
    return letters.upper() if kind.startswith("upper") else letters


_ROMAN_VALUES = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)
_ROMAN_SIGNS = ("m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i")
