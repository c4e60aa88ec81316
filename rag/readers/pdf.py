"""PDF: the words that can be seen on each page and where they stand, from which `layout` makes text.

A PDF says where each character is drawn and nothing of what it belongs to; pdfium tells the characters. Pictures are
not read, and forms only as far as their text is part of the page.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rag.errors import Unreadable
from rag.parsed import Parsed, Writer
from rag.readers.layout import Page, Piece, drop_repeated, pieces_of_lines, write
from rag.readers.titles import sensible

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage, PdfTextPage

_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
_LINE_END_HYPHENS = (0x02, 0xFFFE)
"""What pdfium tells for a hyphen after which the word goes on in the next line."""
_SOFT_HYPHEN = "\u00ad"
_DAMAGED_IN_A_ROW = 50
"""Pages that may be damaged one after another before the rest is given up: a file can claim to have a billion."""
_END = 2048
"""Bytes at the end of a file among which its end mark is looked for; readers allow for some bytes behind it."""
_INVISIBLE, _IMAGE, _WHITE = 3, 3, 250
"""pdfium's numbers for a text render mode and for a kind of object; the least of 0-255 that counts as white."""


def read(raw: bytes) -> Parsed:
    """What is drawn as text and can be seen; running headers and footers are dropped. Raises Unreadable."""
    import pypdfium2

    if not raw:
        raise Unreadable("is empty; fetch it again")
    try:
        document = pypdfium2.PdfDocument(raw)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            raise Unreadable("is locked with a password; save it without one") from error
        if error.err_code == pypdfium2.raw.FPDF_ERR_SECURITY:
            raise Unreadable("is locked in a way not known here; print it to a new PDF") from error
        raise Unreadable("is not a PDF, damaged or cut short; fetch it again or save it anew") from error
    with document:
        writer = Writer()
        writer.note("" if b"%%EOF" in raw[-_END:] else "the end of the file is missing, and maybe pages with it")
        pages = _read_pages(document, writer)
        title = sensible(document.get_metadata_value("Title"))
    drop_repeated(pages, writer)
    write(pages, title, writer)
    return writer.parsed({"title": title} if title else {})


def _read_pages(document: PdfDocument, writer: Writer) -> list[Page]:
    from pypdfium2 import PdfiumError

    pages: list[Page] = []
    damaged: list[int] = []
    pictures: list[int] = []
    unseen = 0
    for number in range(1, len(document) + 1):
        try:
            page = document[number - 1]
            left, bottom, right, top = page.get_bbox()
            (_, bottom), (_, top) = _turned(left, bottom, page.get_rotation()), _turned(right, top, page.get_rotation())
            pieces, hidden = _pieces_of(page)
        except PdfiumError:
            damaged.append(number)
            if damaged[-_DAMAGED_IN_A_ROW:] == list(range(number - _DAMAGED_IN_A_ROW + 1, number + 1)):
                break
            continue
        unseen += hidden
        if not pieces and _has_picture(page):
            pictures.append(number)
        pages.append(Page(number, pieces, min(bottom, top), max(bottom, top)))
        page.close()
    if not any(page.pieces for page in pages):
        if pictures:
            raise Unreadable(
                f"holds pictures of text only ({_pages(pictures)}); run it through text recognition (OCR) first"
            )
        raise Unreadable("has no page that can be read; save it anew" if damaged else "holds no text")
    writer.note(f"{_pages(damaged)} damaged and left out" if damaged else "")
    writer.note(f"{_pages(pictures)} without text, only pictures: left out" if pictures else "")
    writer.note(f"{unseen:,} words that cannot be seen on the page were left out" if unseen else "")
    return pages


def _pages(numbers: list[int]) -> str:
    if len(numbers) > 5:
        return f"{len(numbers)} pages"
    return f"page{'s' * (len(numbers) > 1)} " + ", ".join(map(str, numbers))


def _has_picture(page: PdfPage) -> bool:
    return any(item.type == _IMAGE for item in page.get_objects())


def _turned(x: float, y: float, degrees: int) -> tuple[float, float]:
    """A point as it lies once the page is turned clockwise to be shown."""
    return {90: (y, -x), 180: (-x, -y), 270: (-y, x)}.get(degrees, (x, y))


def _pieces_of(page: PdfPage) -> tuple[list[Piece], int]:
    """The pieces of a page, and how many of its words cannot be seen, which are left out.

    Where most words are invisible and there is a picture, they are what text recognition found in it, and are kept.
    """
    textpage = page.get_textpage()
    spans = list(_word_spans(textpage))
    hidden = _hidden(page, textpage, [span[0] for span in spans])
    if 2 * len(hidden) > len(spans) and _has_picture(page):
        hidden = set()
    turn = page.get_rotation()
    words = [word for span in spans if span[0] not in hidden if (word := _word(textpage, span, turn))]
    textpage.close()
    return pieces_of_lines(words), len(hidden)


def _word_spans(textpage: PdfTextPage) -> Iterator[list[int]]:
    """The indices of the characters of each word."""
    from pypdfium2 import raw

    span: list[int] = []
    for index in range(textpage.count_chars()):
        code = raw.FPDFText_GetUnicode(textpage, index)
        if code == 0 or chr(code).isspace():
            if span:
                yield span
            span = []
        else:
            span.append(index)
            if code in _LINE_END_HYPHENS:
                yield span
                span = []
    if span:
        yield span


def _hidden(page: PdfPage, textpage: PdfTextPage, firsts: list[int]) -> set[int]:
    """Which of the words, told by their first characters, are drawn invisibly, white on white or beside the page.

    What stands under white words is looked up in a small picture of the page, drawn only if there are any.
    """
    from pypdfium2 import raw

    left, bottom, right, top = page.get_bbox()
    box = raw.FS_RECTF()
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    hidden, white = set(), []
    for index in firsts:
        raw.FPDFText_GetLooseCharBox(textpage, index, box)
        shape = raw.FPDFText_GetTextObject(textpage, index)
        raw.FPDFText_GetFillColor(textpage, index, red, green, blue, alpha)
        outside = box.right <= left or box.left >= right or box.top <= bottom or box.bottom >= top
        if outside or alpha.value == 0 or (shape and raw.FPDFTextObj_GetTextRenderMode(shape) == _INVISIBLE):
            hidden.add(index)
        elif min(red.value, green.value, blue.value) >= _WHITE:
            place = (box.left - left, top - box.top, box.right - left, top - box.bottom)
            if all(map(math.isfinite, place)):
                white.append((index, *place))
    if white and max(right - left, top - bottom) < 5000:  # points; a larger picture would take too much memory
        picture = page.render(scale=1, rotation=(360 - page.get_rotation()) % 360, grayscale=True).to_numpy()
        for index, x0, y0, x1, y1 in white:
            ground = picture[max(0, int(y0)) : math.ceil(y1) + 1, max(0, int(x0)) : math.ceil(x1) + 1]
            if not ground.size or ground.min() >= _WHITE:
                hidden.add(index)
    return hidden


def _word(textpage: PdfTextPage, span: list[int], turn: int) -> Piece | None:
    from pypdfium2 import raw

    box, matrix = raw.FS_RECTF(), raw.FS_MATRIX()
    x, y, flags = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
    corners = []
    for index in span:
        if raw.FPDFText_GetLooseCharBox(textpage, index, box):
            corners += [_turned(box.left, box.bottom, turn)[0], _turned(box.right, box.top, turn)[0]]
    raw.FPDFText_GetCharOrigin(textpage, span[0], x, y)
    raw.FPDFText_GetMatrix(textpage, span[0], matrix)
    size = raw.FPDFText_GetFontSize(textpage, span[0]) * math.hypot(matrix.c, matrix.d)
    baseline = _turned(x.value, y.value, turn)[1]
    if not corners or not all(map(math.isfinite, [*corners, size, baseline])) or size <= 0:
        return None
    name = ctypes.create_string_buffer(128)
    raw.FPDFText_GetFontInfo(textpage, span[0], name, len(name), flags)
    bold = re.search(rb"bold|black|heavy|cmbx|-medi", name.value, re.IGNORECASE) is not None
    codes = (raw.FPDFText_GetUnicode(textpage, index) for index in span)
    text = "".join("-" if code in _LINE_END_HYPHENS else _LIGATURES.get(code, chr(code)) for code in codes)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = re.sub(f"{_SOFT_HYPHEN}$", "-", text).replace(_SOFT_HYPHEN, "")
    return Piece(text, min(corners), max(corners), baseline, size, bold)
