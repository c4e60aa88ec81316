"""Readers take any bytes: they give a whole `Parsed` or say why not, and raise nothing else.

Small files of each format are broken in many ways. What once broke a reader stands here as an example.
"""

from __future__ import annotations

import io
import itertools
import json
import time
import unicodedata
import zipfile
from collections.abc import Callable
from datetime import timedelta

import docx
import openpyxl
import pptx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rag.errors import Unreadable
from rag.parsed import Parsed, clean
from rag.readers import READERS, read

Broken = Callable[[bytes], bytes]

FORMATS = {name: ending for ending, name in READERS.items()}
"""An ending for each reader."""
TEXT = "A baker bakes bread. Zürich opens at 8, and the “cats” purr."
HTML = f"""<html><head><title>Bread</title><meta charset="utf-8"></head><body><nav><a href="x">Home</a></nav><h1>Bread</h1>
<p>{TEXT}</p><ol start="3"><li>Flour<ul><li>white</li></ul></li></ol><dl><dt>a</dt><dd>b</dd></dl><pre> x </pre>
<table><tr><td rowspan="2">a</td><th colspan="2">b</th></tr><tr><td>1</td><td>2</td></tr></table></body></html>"""
MARKDOWN = f"""---
title: Bread
aliases: [Baker, 2]
---
# Bread

{TEXT} **bold** ![picture](x.png)

3. Flour
   - white

| a | b |
|---|---|
| 1 | 2 |

> said <b>so</b>

```
code
```
"""
PAGE = b"BT /F1 20 Tf 72 720 Td (Bread) Tj /F1 10 Tf 0 -30 Td (A baker bakes bread.) Tj 1 g 0 -12 Td (- White.) Tj ET"
PDF = b"""%%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Count 1/Kids[3 0 R]>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Rotate 0/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>> endobj
4 0 obj <</Length %d>> stream
%s
endstream endobj
5 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj
trailer <</Root 1 0 R/Size 6>>
%%%%EOF""" % (len(PAGE), PAGE)
RECORDS = [{"name": "Baker", "pay": 20.5, "skills": ["bread", {"rye": None}]}, {"name": "Cat", "text": TEXT * 4}]
BOOK = {
    "META-INF/container.xml": '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>',
    "a.opf": """<package xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Bread</dc:title><manifest>
<item id="one" href="one.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="one"/></spine></package>""",
    "one.xhtml": f'<?xml version="1.0" encoding="utf-8"?>{HTML}',
}
ODD = [
    *("", "-1", "0", "99999999999", "1e999", "nan", "true", "\u0663", "\u00b2", "\u200b", "\u2028", "\u00ad", "\u0301"),
    *("../../x", "9" * 5000, "ZZZ9", "2020-01-01", "!!timestamp x", "&a [*a]", '"\\ud800"', "hex", "idna", "\r", "\0"),
    *("- ", "---\n", "|", '"', "<table>", "</td>", "<!DOCTYPE a [<!ENTITY b 'c'>]>", "&#xD800;", "[" * 500, "0 0 R"),
]
"""What stands in broken files, or is put there to break a reader."""


def saved(document: object) -> bytes:
    file = io.BytesIO()
    document.save(file)  # type: ignore[attr-defined]
    return file.getvalue()


def packed(parts: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, source in parts.items():
            archive.writestr(name, source)
    return file.getvalue()


def document() -> bytes:
    word = docx.Document()
    word.add_heading("Bread", 1)
    word.add_paragraph(TEXT)
    word.add_paragraph("Flour", style="List Number")
    table = word.add_table(rows=2, cols=2)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "Pay"
    return saved(word)


def presentation() -> bytes:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Bread"
    slide.placeholders[1].text = f"{TEXT}\nFlour"
    slide.notes_slide.notes_text_frame.text = "Smile."
    return saved(deck)


def workbook() -> bytes:
    book = openpyxl.Workbook()
    for row in (["Kind", "Fee"], ["Adult", 20.5], ["Child", "=B2/2"], ["Cat", None]):
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    return saved(book)


SAMPLES = {
    "markdown": [MARKDOWN.encode()],
    "plain": [f"Bread\n=====\n\n{TEXT}\n\nFlour\n\n1. white\n   a) fine\n- rye\n".encode()],
    "html": [HTML.encode(), HTML.replace("utf-8", "latin-1").encode("latin-1", "replace")],
    "epub": [packed(BOOK)],
    "pdf": [PDF],
    "docx": [document()],
    "pptx": [presentation()],
    "sheets": [workbook()],
    "tables": [b'Kind,Fee\nAdult,20.5\n"Child, small",10\n', "Kind;Fee\r\nCafé;1\r\n".encode("cp1252")],
    "data": [json.dumps(RECORDS[0]).encode(), "\n".join(map(json.dumps, RECORDS)).encode()],
}
PARTS = ("document.xml", "numbering.xml", "slide1.xml", "sheet1.xml", "workbook.xml", "one.xhtml", "a.opf", ".rels")
"""Of packages those worth breaking; elsewhere most damage goes unseen."""


@st.composite
def breaks(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes flipped, cut, said twice, or with something put in, one to three times."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.sampled_from([0, 1, 8, 100])))
        put = st.sampled_from([odd.encode() for odd in ODD]) | st.binary(max_size=4) | st.just(raw[start:end] * 3)
        raw = raw[:start] + draw(put) + (raw[end:] if draw(st.integers(0, 9)) else b"")
    return raw


@st.composite
def broken(draw: st.DrawFn, raw: bytes) -> bytes:
    """A file broken as a whole, or a package broken inside one of its parts."""
    if not zipfile.is_zipfile(io.BytesIO(raw)) or draw(st.integers(0, 3)) == 0:
        return draw(breaks(raw))
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(file, "w") as new:
        names = old.namelist()
        chosen = draw(st.sampled_from([name for name in names if name.endswith(PARTS)]))
        for name in names:
            source = old.read(name)
            new.writestr(name, draw(values(source) | breaks(source)) if name == chosen else source)
    return file.getvalue()


@st.composite
def values(draw: st.DrawFn, source: bytes) -> bytes:
    """XML that stays well formed, with another value in one of its attributes."""
    pieces = source.split(b'"')
    if len(pieces) > 2:
        at = draw(st.sampled_from(range(1, len(pieces) - 1, 2)))
        odd = draw(st.sampled_from([odd for odd in ODD if odd.isprintable() and not set(odd) & set('<&"')]))
        pieces[at] = odd.encode()
    return b'"'.join(pieces)


def outcome(raw: bytes, name: str) -> Parsed | str:
    """What a file holds or why it cannot be read. Anything else that is raised fails the test."""
    try:
        parsed = read(raw, FORMATS[name])
    except Unreadable as error:
        return str(error)
    assert_whole(parsed)
    return parsed


def assert_whole(parsed: Parsed) -> None:
    text = parsed.text
    assert clean(text) == text
    assert not {unicodedata.category(character) for character in set(text) - set("\n\u200c\u200d")} & {"Cc", "Cf", "Cs"}
    assert parsed.sections
    edges = [edge for section in parsed.sections for edge in (section.start, section.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= len(text)
    for section in parsed.sections:
        assert text[section.start : section.end].strip()
        assert all(heading in text for heading in section.path)
    starts = [mark.start for mark in parsed.marks]
    assert all(one < other for one, other in itertools.pairwise(starts))
    assert all(0 <= start < len(text) for start in starts)
    assert json.loads(json.dumps(parsed.about)) == parsed.about, "must pass from the child to its parent"
    json.dumps(parsed.about, ensure_ascii=False).encode()


DEADLINE = timedelta(seconds=20)
"""For one file. The slowest takes 1 s: it claims a row whose number is vast."""
UNHURRIED = settings(deadline=DEADLINE, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_are_whole(name: str) -> None:
    for raw in SAMPLES[name]:
        assert isinstance(outcome(raw, name), Parsed)


def test_every_reader_has_a_sample() -> None:
    assert set(SAMPLES) == set(READERS.values())


@pytest.mark.parametrize("name", SAMPLES)
@settings(UNHURRIED, max_examples=150)
@given(st.data())
def test_broken_files_are_read_or_refused(name: str, data: st.DataObject) -> None:
    assert outcome(data.draw(broken(data.draw(st.sampled_from(SAMPLES[name])))), name)  # what it holds, or why not


@settings(UNHURRIED, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(sorted(SAMPLES)))
@example(b"---\n2020-01-01: a date as a key\n---\nText.", "markdown")
@example(b"---\nlog: {2020-01-01: deeper}\n---\nText.", "markdown")
@example(b"---\nitself: &a [*a]\n---\nText.", "markdown")
@example(b"---\ntitle: !!timestamp x\n---\nText.", "markdown")
@example(b"---\ntitle: !!bool x\n---\nText.", "markdown")
@example(b'---\ntitle: "\\ud800"\n---\nText.', "markdown")
@example(b'{"title": "\\ud800", "text": "lone surrogate"}', "data")
@example(b'<meta charset="hex"><p>caf\xe9', "html")
@example(b'<meta charset="idna"><p>caf\xe9', "html")
@example(b'<meta charset="undefined"><p>caf\xe9', "html")
@example(b'<?xml version="1.0" encoding="rot13"?><p>caf\xe9', "html")
def test_any_bytes_are_read_or_refused(raw: bytes, name: str) -> None:
    assert outcome(raw, name)


def test_an_alias_in_front_matter_is_text_in_a_list() -> None:
    parsed = read(b"---\ntitle: 2020\nrole: [no]\naliases: Baker\nother: x\n---\nText.", ".md")
    assert parsed.about == {"title": "2020", "aliases": ["Baker"]}


def test_a_declared_encoding_that_is_none_for_text_is_passed_over() -> None:
    for name in ("hex", "idna", "undefined", "utf-16", "utf-7", "unicode_escape"):
        parsed = read(f'<meta charset="{name}"><p>café +2AA- \\u0041'.encode("cp1252"), ".html")
        assert (parsed.text, parsed.notes) == ("café +2AA- \\u0041\n", ("read as cp1252",))


def test_cells_that_span_a_hundred_others_take_no_time() -> None:
    page = "<table><tr>" + "<td colspan=100 rowspan=100>ab cd</td>" * 3000
    began = time.process_time()
    assert isinstance(outcome(page.encode(), "html"), Parsed)
    assert time.process_time() - began < 5


def test_a_row_with_a_vast_number_is_refused_in_time() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook())) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'<row r="3"', b'<row r="99999999999"'))
    assert outcome(file.getvalue(), "sheets") == (
        "numbers a row beyond 1,048,576, the last that a sheet can have; save it anew"
    )
