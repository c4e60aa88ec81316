"""PPTX: each slide of a presentation becomes a section under its title, with its text in the order of reading.

The XML is walked as for DOCX: python-pptx would need Pillow and XlsxWriter besides, and reads no diagrams. Hidden
slides and shapes, dates, footers, slide numbers, pictures, charts and comments are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zipfile import ZipFile

from rag.errors import Unreadable
from rag.parsed import Parsed, Writer
from rag.readers.zipped import attribute, local_name, open_zip, related, title_of, whole, xml

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_SAME_HEIGHT = 228_600
"""A quarter of an inch in the unit of positions (English Metric Units): shapes that differ less are read from left."""
_LEFT_OUT = {"sldNum", "dt", "ftr", "hdr", "sldImg"}
_TITLES = {"title", "ctrTitle"}
_LISTED = {"", "body", "obj"}
"""Kinds of placeholders whose paragraphs are list entries unless they say otherwise."""


@dataclass(frozen=True, slots=True)
class _Slide:
    """The parts of a slide; those that shapes take their places from stand in order of precedence."""

    archive: ZipFile
    related: Mapping[str, tuple[str, str]]
    patterns: list[Element]


def read(raw: bytes) -> Parsed:
    """Raises Unreadable for bytes that are no presentation."""
    archive = open_zip(raw)
    main = next(
        (name for kind, name in related(archive, "").values() if kind == "officeDocument"), "ppt/presentation.xml"
    )
    root = xml(archive, main)
    if root is None or local_name(root) != "presentation":
        raise Unreadable("is not a PowerPoint presentation, whatever its name; save it anew as .pptx")
    parts = related(archive, main)
    writer = Writer()
    hidden, missing = [], []
    for number, entry in enumerate(root.iterfind("{*}sldIdLst/{*}sldId"), 1):
        name = parts.get(entry.get(_relation(entry), ""), ("", ""))[1]
        slide = xml(archive, name) if name else None
        if slide is None:
            missing.append(number)
        elif slide.get("show") in ("0", "false"):
            hidden.append(number)
        else:
            writer.mark(f"slide {number}")
            _write_slide(slide, name, archive, number, writer)
    writer.note(f"hidden slides left out: {', '.join(map(str, hidden))}" if hidden else "")
    writer.note(f"slides missing from the file: {', '.join(map(str, missing))}" if missing else "")
    title = title_of(archive)
    return writer.parsed({"title": title} if title else {})


def _relation(element: Element) -> str:
    """The full name of the attribute that names a related part; a plain "id" beside it is another thing."""
    return next((str(key) for key in element.attrib if str(key).startswith("{") and str(key).endswith("}id")), "")


def _write_slide(root: Element, name: str, archive: ZipFile, number: int, writer: Writer) -> None:
    parts = related(archive, name)
    layout = next((part for kind, part in parts.values() if kind == "slideLayout"), "")
    master = next((part for kind, part in related(archive, layout).values() if kind == "slideMaster"), "")
    patterns = [xml(archive, pattern) for pattern in (layout, master) if pattern]
    slide = _Slide(archive, parts, [pattern for pattern in patterns if pattern is not None])
    shapes = list(_shapes(root.find("{*}cSld/{*}spTree"), slide))
    titles = [shape for shape in shapes if attribute(_placeholder(shape), "type") in _TITLES]
    others = [shape for shape in shapes if shape not in titles]
    heading = " ".join(filter(None, (_text(paragraph) for shape in titles for paragraph in _paragraphs(shape))))
    notes = list(_notes(archive, parts))
    is_bare = not notes and not any(_text(paragraph) for shape in others for paragraph in shape.iter("{*}p"))
    if is_bare or not heading:  # a title with nothing under it is what the slide says
        writer.heading(f"Slide {number}", 1)
        writer.block(heading)
    else:
        writer.heading(heading, 1)
    for shape in others:
        _write_shape(shape, slide, writer)
    for at, text in enumerate(notes):
        writer.block(text if at else f"Notes: {text}")


def _notes(archive: ZipFile, parts: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """The paragraphs of a slide's speaker notes."""
    for kind, part in parts.values():
        root = xml(archive, part) if kind == "notesSlide" else None
        for shape in () if root is None else root.iterfind("{*}cSld/{*}spTree/{*}sp"):
            if attribute(_placeholder(shape), "type") == "body":
                yield from filter(None, map(_text, _paragraphs(shape)))


def _shapes(tree: Element | None, slide: _Slide) -> Iterator[Element]:
    """Shapes that are seen, from top to bottom and from left to right; those of a group one after another."""
    children = [_chosen(child) for child in (() if tree is None else tree)]
    shapes = [child for child in children if child is not None and local_name(child) in ("sp", "graphicFrame", "grpSp")]
    for shape in sorted(shapes, key=lambda shape: _place(shape, slide)):
        if attribute(shape.find("{*}*/{*}cNvPr"), "hidden") in ("1", "true"):
            continue
        if local_name(shape) == "grpSp":
            yield from _shapes(shape, slide)
        elif attribute(_placeholder(shape), "type") not in _LEFT_OUT:
            yield shape


def _chosen(child: Element) -> Element | None:
    """The shape itself, or of alternative renderings the first."""
    return child.find("{*}Choice/{*}*") if local_name(child) == "AlternateContent" else child


def _placeholder(shape: Element) -> Element | None:
    return shape.find("{*}*/{*}nvPr/{*}ph")


def _place(shape: Element, slide: _Slide) -> tuple[int, int]:
    """Height band and left edge of a shape. Placeholders without a place of their own take that of their pattern."""
    for candidate in (shape, *_patterns_of(shape, slide)):
        for path in ("{*}spPr/{*}xfrm/{*}off", "{*}xfrm/{*}off", "{*}grpSpPr/{*}xfrm/{*}off"):
            if (offset := candidate.find(path)) is not None:
                return whole(offset.get("y", ""), 0) // _SAME_HEIGHT, whole(offset.get("x", ""), 0)
    return 0, 0


def _patterns_of(shape: Element, slide: _Slide) -> Iterator[Element]:
    """The placeholders of layout and master that a placeholder is made after: of the same index or else kind."""
    placeholder = _placeholder(shape)
    if placeholder is None:
        return
    index, kind = placeholder.get("idx", "0"), placeholder.get("type", "obj")
    for pattern in slide.patterns:
        others = [(other, _placeholder(other)) for other in pattern.iterfind("{*}cSld/{*}spTree/{*}sp")]
        same = [other for other, its in others if its is not None and its.get("idx", "0") == index]
        alike = [other for other, its in others if its is not None and its.get("type", "obj") == kind]
        yield from (same if pattern is slide.patterns[0] and same else alike)[:1]


def _write_shape(shape: Element, slide: _Slide, writer: Writer) -> None:
    if (table := shape.find("{*}graphic/{*}graphicData/{*}tbl")) is not None:
        _write_table(table, writer)
    elif (diagram := shape.find("{*}graphic/{*}graphicData/{*}relIds")) is not None:
        data = xml(slide.archive, slide.related.get(attribute(diagram, "dm"), ("", ""))[1])
        texts = [] if data is None else [_text(paragraph) for paragraph in data.iter("{*}p")]
        for at, text in enumerate(filter(None, texts)):
            writer.block(f"- {text}", gap="\n" if at else "\n\n")
    elif shape.find("{*}graphic/{*}graphicData/{*}chart") is not None:
        writer.note("charts were left out")
    else:
        _write_text(shape, slide, writer)


def _write_table(table: Element, writer: Writer) -> None:
    gap = "\n\n"
    for row in table.iterfind("{*}tr"):
        cells = [
            ""
            if {cell.get("hMerge"), cell.get("vMerge")} & {"1", "true"}
            else " ".join(filter(None, map(_text, cell.iterfind("{*}txBody/{*}p"))))
            for cell in row.iterfind("{*}tc")
        ]
        if any(cells):
            writer.block(" | ".join(cells), gap=gap)
            gap = "\n"


def _write_text(shape: Element, slide: _Slide, writer: Writer) -> None:
    paragraphs = [(paragraph, text) for paragraph in _paragraphs(shape) if (text := _text(paragraph))]
    placeholder = _placeholder(shape)
    is_listed = placeholder is not None and attribute(placeholder, "type") in _LISTED and len(paragraphs) > 1
    styles = [style for one in (shape, *_patterns_of(shape, slide)) for style in one.iterfind("{*}txBody/{*}lstStyle")]
    counts: dict[int, int] = {}
    last = -1  # level of the entry before, -1 if there is none
    for paragraph, text in paragraphs:
        properties = paragraph.find("{*}pPr")
        level = min(max(whole(attribute(properties, "lvl"), 0), 0), 8)
        bullet = _bullet(properties, styles, level)
        if (bullet is None and not is_listed) or bullet == "buNone":
            writer.block(text)
            counts, last = {}, -1
            continue
        counts = {at: count for at, count in counts.items() if at <= level}
        label = "-"
        numbering = None if properties is None else properties.find("{*}buAutoNum")
        if numbering is not None and numbering.get("type", "").startswith("arabic"):
            counts[level] = counts.get(level, whole(numbering.get("startAt", ""), 1) - 1) + 1
            label = f"{counts[level]}."
        gap = "\n" if last >= 0 else "\n\n"
        last = min(level, last + 1)
        writer.block(f"{'  ' * last}{label} {text}", gap=gap)


def _bullet(properties: Element | None, styles: list[Element], level: int) -> str | None:
    """The kind of bullet that a paragraph or the nearest style of its level sets; None where none says anything."""
    for one in (properties, *(style.find(f"{{*}}lvl{level + 1}pPr") for style in styles)):
        for child in () if one is None else one:
            if local_name(child) in ("buNone", "buChar", "buAutoNum", "buBlip"):
                return local_name(child)
    return None


def _paragraphs(shape: Element) -> Iterator[Element]:
    yield from shape.iterfind("{*}txBody/{*}p")


def _text(paragraph: Element) -> str:
    pieces = paragraph.iter("{*}t", "{*}br", "{*}tab")
    text = "".join((piece.text or "") if local_name(piece) == "t" else " " for piece in pieces)
    return " ".join(text.split())
