"""Web pages: their main text, without menus, advertisements, footers and whatever a browser does not show."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from rag.encodings import decoded
from rag.errors import Unreadable
from rag.parsed import Parsed, Writer

_CHARSET = re.compile(rb"""(?:<meta\s[^>]*charset|<\?xml\s[^>]*encoding)\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)
_CLOSED = re.compile(r"<(?!(?:br|hr|img|col|link|meta|base|wbr|area|input|source)\b)(\w+)(\s[^<>]*)?/>")
"""An element that XML lets end where it begins; in HTML it would go on."""
_DROPPED = frozenset(
    """script style template noscript head iframe object embed video audio canvas svg annotation map rp input button
    select datalist textarea progress meter""".split()
)
"""Elements whose text a page does not show as its own."""
_AROUND = frozenset("nav aside footer".split())
_AROUND_ROLES = frozenset("navigation banner contentinfo complementary search dialog alertdialog menu menubar".split())
_CONSENT = re.compile(r"cookie|consent|gdpr", re.IGNORECASE)
"""What banners that ask for leave to store cookies are called."""
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0+(?:\.0+)?\s*(?:[a-z%]+\s*)?(?:;|!|$)"
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    """address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure
    footer form header hgroup hr html legend li main menu nav ol option p pre section summary table tbody tfoot thead
    tr td th ul""".split()
)
_LISTS = frozenset(("ul", "ol", "menu", "dir", "dl"))
_CELLS = frozenset(("tr", "td", "th"))
_PARTS = _CELLS | _LISTS | {"li", "dt", "dd", "tbody", "thead", "tfoot", "table"}
"""Elements that say little without those around them."""
_MOST_CELL = 1000
"""Characters of a cell beyond which its table lays out a page: nobody quotes such a row."""
_MOST_SPAN = 100
"""Rows in which a cell that spans them is said again; without a limit a small page could fill the memory."""
_TITLE_JOINT = re.compile(r"\s+[|\-–—·•»:]+\s+|\s*[|»]\s*|:\s+")
_SHORT = 1000
"""Characters up to which a page is taken whole: there is too little to tell its main text by."""
_LONG = 500_000
"""Characters beyond which a page is taken whole too: telling its main text takes 5 s and more."""
_LEAST_SHARE = 0.1
"""Of the text of a page that is no link: main text with less of it was mistaken."""
_MOST_SHARE = 0.9
"""Of the main text: an element that holds as much holds all of it, but for a line under a picture or the like."""
_TELLING = 15
"""Characters from which a stretch of text is told from others by its words."""


def read(raw: bytes) -> Parsed:
    """The page's title in `about`. Raises Unreadable for bytes that are no text and for a page nested too deep."""
    root, note = tree(raw)
    title = _title(root)
    prune(root)
    writer = Writer()
    writer.note(note)
    write(_main(root), writer, title)
    parsed = writer.parsed({"title": title} if title else {})
    if parsed.sections:
        return parsed
    headings = Writer()  # a page of nothing else: they are its text
    headings.block(parsed.text)
    return headings.parsed(parsed.about)


def tree(raw: bytes) -> tuple[Any, str]:
    """A page of HTML or XHTML as lxml parses it, and a note on its encoding. Raises Unreadable as `read`."""
    from lxml import etree, html

    declared = match[1].decode("ascii") if (match := _CHARSET.search(raw[:4096])) else ""
    source, note = decoded(raw, declared)
    if source.lstrip().startswith("<?xml"):
        source = _CLOSED.sub(r"<\1\2></\1>", source)
    parser = html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = html.document_fromstring(source.encode(), parser=parser)
    except etree.LxmlError as error:
        raise Unreadable("holds no text") from error
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise Unreadable("its tags are nested too deep; save the page anew from a browser")
    return root, note


def _main(root: Any) -> Any:
    """The element that holds the main text of a page, without the menus and lists of links within.

    trafilatura finds the main text; it is then looked up in the page, so that nested lists, tables and numbers stay
    what they were. Main text that is found is nearly always right but for gaps, which the page fills.
    """
    page = copy.deepcopy(root)
    body = root if root.find("body") is None else root.find("body")
    around = [element for element in body.iterdescendants() if _is_around(element)]
    for element in around:
        element.drop_tree()
    if not (text := _flat(body)):
        return page
    if not _SHORT <= len(text) <= _LONG:
        return body
    found = _words(_found(page))
    sizes = _sizes(body, found)
    size, of_main, linked = sizes[body]
    if of_main < _LEAST_SHARE * (size - linked):
        return body
    main = body
    while (inner := next((e for e in main if sizes[e][1] >= _MOST_SHARE * of_main), None)) is not None:
        main = inner
    while main is not body and main.tag in _PARTS:
        main = main.getparent()
    _drop_links(main, sizes)
    return main


def _is_around(element: Any) -> bool:
    if element.tag in _AROUND or element.get("role") in _AROUND_ROLES:
        return True
    if not _CONSENT.search(f"{element.get('id', '')} {element.get('class', '')}"):
        return False
    text = _flat(element)
    return len(text) < _SHORT and "cookie" in text.lower() and not any(map(element.findall, (".//h1", ".//main")))


def _found(page: Any) -> str:
    import trafilatura
    from lxml import etree

    etree.strip_attributes(page, "colspan", "rowspan")  # it fills them with empty cells: minutes for a small page
    try:
        return trafilatura.extract(page, include_comments=False, include_formatting=False, favor_recall=True) or ""
    except RecursionError:  # on pages nested some hundred deep
        return ""


def _words(text: str | None) -> str:
    return " ".join(re.findall(r"\w+", text or ""))


def _sizes(body: Any, found: str) -> dict[Any, tuple[int, int, int]]:
    """By element the characters of its words, how many of them stand in `found`, and how many in links."""
    from lxml import etree

    sizes: dict[Any, tuple[int, int, int]] = {}
    for _, element in etree.iterwalk(body, events=("end",)):
        own = [_words(text) for text in (element.text, *(child.tail for child in element))]
        size = sum(map(len, own))
        of_main = sum(len(text) for text in own if len(text) >= _TELLING and text in found)
        sums = zip((size, of_main, 0), *(sizes[child] for child in element), strict=True)
        size, of_main, linked = map(sum, sums)
        sizes[element] = size, of_main, size if element.tag == "a" else linked
    return sizes


def _drop_links(main: Any, sizes: dict[Any, tuple[int, int, int]]) -> None:
    """Takes away the blocks without main text that are links for the most part."""
    from lxml import etree

    dropped = []
    walk = etree.iterwalk(main, events=("start",))
    for _, element in walk:
        size, of_main, linked = sizes[element]
        if element is main or of_main or element.tag not in _BLOCKS or element.tag in _CELLS:
            continue
        if 2 * linked > size:
            dropped.append(element)
            walk.skip_subtree()
    for element in dropped:
        element.drop_tree()


def prune(root: Any) -> None:
    """Takes away what is not shown. The body itself stays: some pages hide it until their script has run."""
    unseen = [element for element in root.iterdescendants() if element.tag != "body" and _is_unseen(element)]
    for element in unseen:
        element.drop_tree()


def _is_unseen(element: Any) -> bool:
    if element.tag in _DROPPED or (element.tag == "dialog" and "open" not in element.attrib):
        return True
    if not element.attrib:
        return False
    style = element.get("style", "").lower()
    return "hidden" in element.attrib or element.get("aria-hidden", "").lower() == "true" or bool(_HIDDEN.search(style))


def write(root: Any, writer: Writer, title: str = "") -> None:
    """Writes the headings, paragraphs, list entries and table rows of a parsed page, all that is left in it."""
    from lxml import etree

    lines = _Lines(writer, title)
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        if event == "end":
            lines.close(element)
        elif element.tag == "table" and _holds_data(element):
            lines.table(element)
            walk.skip_subtree()
        else:
            lines.open(element)
    lines.flush()


class _Lines:
    """Gathers the text of a block while the page is walked, and writes it where the block ends."""

    def __init__(self, writer: Writer, title: str) -> None:
        self._writer = writer
        self._title = title
        self._text: list[str] = []
        self._level: int | None = None
        self._lists: list[int | None] = []  # for each open list the number of its next entry, None for bullets
        self._marker: str | None = ""  # of the entry whose first block is still to come; None behind its heading
        self._preformatted = 0
        self._tight = False  # the last block was an entry: the next one follows on the next line

    def open(self, element: Any) -> None:
        tag = element.tag
        if tag in _BLOCKS or tag in _HEADINGS:
            self.flush()
        if tag in _HEADINGS:
            self._level = _HEADINGS[tag]
        elif tag in _LISTS:
            self._lists.append(_first_number(element) if tag == "ol" else None)
        elif tag == "li":
            number = self._lists[-1] if self._lists else None
            self._marker = "- " if number is None else f"{number}. "
            if number is not None:
                self._lists[-1] = number + 1
        elif tag == "dt":
            self._marker = "- "
        elif tag == "pre":
            self._preformatted += 1
        elif tag == "br":
            self._text.append("\n")
        self._add(element.text)

    def close(self, element: Any) -> None:
        tag = element.tag
        if tag == "dt" and (following := element.getnext()) is not None and following.tag == "dd":
            self._marker = f"- {' '.join(''.join(self._text).split())}: "
            self._text = []
        elif tag in _BLOCKS or tag in _HEADINGS:
            self.flush()
        if tag in _HEADINGS:
            self._level = None
        elif tag in _LISTS:
            self._lists.pop()
            self._marker, self._tight = "", bool(self._lists)
        elif tag == "pre":
            self._preformatted -= 1
        self._add(element.tail)

    def table(self, table: Any) -> None:
        self.flush()
        gap = "\n\n"
        for row in _rows(table):
            self._writer.block(" | ".join(row), gap=gap)
            gap = "\n"
        self._tight = False

    def flush(self) -> None:
        text, self._text = "".join(self._text), []
        if self._level is not None:
            self._heading(" ".join(text.split()), self._level)
            return
        for paragraph in re.split(r"\n[ \n]*\n", text):
            if not paragraph.strip():
                continue
            if self._lists and self._marker is not None:
                entry = "  " * (len(self._lists) - 1) + (self._marker or "  ") + " ".join(paragraph.split())
                self._writer.block(entry, gap="\n" if self._tight else "\n\n")
                self._marker, self._tight = "", True
            else:
                lines = paragraph.strip("\n").split("\n")
                self._writer.block("\n".join(line.rstrip() if self._preformatted else line.strip() for line in lines))
                self._tight = False

    def _heading(self, text: str, level: int) -> None:
        if not text:
            return
        if level == 1 and text == self._title:
            self._writer.title(text)
        else:
            self._writer.heading(text, level)
        self._tight = False
        self._marker = None if self._lists else ""

    def _add(self, text: str | None) -> None:
        if text:
            self._text.append(text if self._preformatted else re.sub(r"\s+", " ", text))


def _first_number(element: Any) -> int:
    start = element.get("start", "1").strip()
    return int(start) if re.fullmatch(r"-?[0-9]{1,9}", start) else 1


def _holds_data(table: Any) -> bool:
    """Whether a table's rows are to be read across; other tables only lay out the page."""
    if table.get("role") in ("presentation", "none"):
        return False
    if any(element.tag == "table" or element.tag in _HEADINGS for element in table.iterdescendants()):
        return False
    rows = list(_rows(table))
    return max(map(len, rows), default=0) > 1 and all(len(cell) <= _MOST_CELL for row in rows for cell in row)


def _rows(table: Any) -> Iterator[list[str]]:
    """The texts of the cells of each row that has any; a cell that spans rows is said in each of them."""
    if (caption := table.find("caption")) is not None and _flat(caption):
        yield [_flat(caption)]
    spanning: dict[int, tuple[str, int]] = {}  # by column: a text and for how many more rows it holds
    for row in table.iter("tr"):
        cells: list[str] = []
        column = 0
        below: dict[int, tuple[str, int]] = {}
        own = [cell for cell in row if cell.tag in ("td", "th")]
        while own or column in spanning:
            if column in spanning:
                text, left = spanning.pop(column)
                width = 1
            else:
                cell = own.pop(0)
                text, left, width = _flat(cell), _span(cell, "rowspan") - 1, _span(cell, "colspan")
            if left:
                below[column] = text, left - 1
            cells.append(text)
            column += width
        spanning = {**spanning, **below}
        if any(cells):
            yield cells


def _span(cell: Any, name: str) -> int:
    number = cell.get(name, "").strip()
    return min(max(int(number), 1), _MOST_SPAN) if re.fullmatch(r"[0-9]{1,9}", number) else 1


def _flat(element: Any) -> str:
    """The text of an element on one line."""
    from lxml import etree

    parts: list[str] = []
    for event, inner in etree.iterwalk(element, events=("start", "end")):
        if inner.tag in _BLOCKS or inner.tag in _HEADINGS or inner.tag == "br":
            parts.append(" ")
        parts.append((inner.text if event == "start" else inner.tail if inner is not element else "") or "")
    return " ".join("".join(parts).split())


def _title(root: Any) -> str:
    """What the page calls itself, without the site's name where a heading or its metadata shows which part that is."""
    element = root.find("head/title")
    whole = _flat(element) if element is not None else ""
    headings = [text for heading in root.iter("h1") if (text := _flat(heading))]
    named = [*headings, *root.xpath("//meta[@property='og:title']/@content")]
    if not whole:
        return headings[0] if len(headings) == 1 else ""
    parts = {part.casefold(): part for part in _TITLE_JOINT.split(whole)}
    return next((parts[name.casefold()] for name in named if name.casefold() in parts), whole)
