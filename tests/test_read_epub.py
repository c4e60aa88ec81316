"""A book is read chapter by chapter in the order in which it is to be read."""

from __future__ import annotations

import io
import zipfile

import pytest

from rag.errors import Unreadable
from rag.readers import epub

CONTAINER = """<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Cats</dc:title></metadata>
<manifest><item id="two" href="two%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="text/one.xhtml" media-type="application/xhtml+xml"/>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="art" href="art.svg" media-type="image/svg+xml"/></manifest>
<spine><itemref idref="nav"/><itemref idref="one"/><itemref idref="art"/><itemref idref="two"/></spine></package>"""
ONE = """<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head>
<body><h1>The Cats</h1><h2>One</h2><p>Cats<a id="x"/> purr.</p><script src="x.js"/><ul><li>at night</li></ul></body></html>"""
TWO = "<html><body><h2>Two</h2><p>They &nbsp;sl\u00ebep.</p></body></html>"
PARTS = {
    "META-INF/container.xml": CONTAINER,
    "OPS/book.opf": PACKAGE,
    "OPS/text/one.xhtml": ONE,
    "OPS/two b.xhtml": TWO,
    "OPS/nav.xhtml": "<nav>Contents</nav>",
}


def book(**parts: str | None) -> bytes:
    """A book in which the parts whose names contain a key are replaced, or left out where the value is None."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in {**PARTS, "META-INF/encryption.xml": None}.items():
            new = next((value for key, value in parts.items() if key in name), source)
            if new is not None:
                archive.writestr(name, new)
    return file.getvalue()


def test_chapters_stand_in_reading_order_without_the_contents() -> None:
    parsed = epub.read(book())
    assert parsed.about == {"title": "The Cats"}
    assert parsed.text == "The Cats\n\nOne\n\nCats purr.\n\n- at night\n\nTwo\n\nThey slëep.\n"
    assert [section.path for section in parsed.sections] == [("One",), ("Two",)]
    assert parsed.notes == ()


def test_a_missing_chapter_is_noted_and_an_empty_one_is_no_matter() -> None:
    assert epub.read(book(one=None)).notes == ("the chapter OPS/text/one.xhtml is missing",)
    assert epub.read(book(one="\n")).text == "Two\n\nThey slëep.\n"


def test_locked_chapters_are_refused_and_locked_fonts_are_not() -> None:
    locked = (
        "<encryption><EncryptedData><CipherData><CipherReference URI='{}'/></CipherData></EncryptedData></encryption>"
    )
    with pytest.raises(Unreadable, match="protected against copying"):
        epub.read(book(encryption=locked.format("OPS/two%20b.xhtml")))
    assert epub.read(book(encryption=locked.format("OPS/font.otf"))) == epub.read(book())


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is empty"),
        (b"no archive", "is not what its name says"),
        (book()[:300], "damaged or cut short"),
        (book(container=None), "no EPUB book"),
        (book(container="<container/>"), "no EPUB book"),
        (book(opf=None), "lacks OPS/book.opf"),
        (book(opf=PACKAGE[:200]), "damaged inside"),
        (book(opf=PACKAGE.replace("<package", "<!DOCTYPE package [<!ENTITY a 'b'>]><package")), "entities"),
        (book(one="<p>" + " " * 30_000_000), "packed over"),
        (book(one="<div>" * 100_000, two="<div>" * 100_000), ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_book_that_cannot_be_read_says_why(raw: bytes, reason: str) -> None:
    if not reason:
        assert epub.read(raw).notes[0].startswith("the chapter OPS/text/one.xhtml its tags are nested too deep")
        return
    with pytest.raises(Unreadable, match=reason):
        epub.read(raw)
