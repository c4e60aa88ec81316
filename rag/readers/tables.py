"""Tables of text, CSV and TSV: each row is a list entry that names its columns, so that it can be quoted alone."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from rag.encodings import decoded
from rag.errors import Unreadable
from rag.parsed import Parsed, Writer

Rows = Iterable[tuple[int, Sequence[str]]]
"""Numbers of rows as a spreadsheet shows them, and their cells."""

_DELIMITERS = ",;\t|"
_SAMPLE = 100
"""Rows from which the delimiter and the header are told."""
_MOST_ABOVE = 20
"""Rows that may stand above a header: what the table is called, when it was made."""
_NUMBER = re.compile(
    r"[-+(]?[$€£¥]?\s?[-+]?[\d.,'’\s]*\d[\d.,]*\s?[%$€£¥)]?|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T][\d:.]+Z?)?"
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)


def read(raw: bytes) -> Parsed:
    """The delimiter is told by the first rows. Raises Unreadable for bytes that are no text or hold no row."""
    _, note = decoded(raw)
    encoding = note.removeprefix("read as ").split(",")[0] or "utf-8-sig"
    source = raw.decode(encoding, errors="replace").replace("\0", "")  # as `decoded`, which makes spaces of tabs
    writer = Writer()
    writer.note(note)
    first = 1
    delimiter = ""
    if match := _SEPARATOR.match(source):
        delimiter, source, first = match[1], source[match.end() :], 2
    delimiter = delimiter or _delimiter(source)
    rows, note = _records(source, delimiter)
    writer.note(note)
    widths = write_rows(enumerate(rows, first), writer, "row {}".format)
    if not widths:
        raise Unreadable("holds no row; save the table anew")
    usual = widths.most_common(1)[0][0]
    if ragged := widths.total() - widths[usual]:
        writer.note(f"{ragged:,} of {widths.total():,} rows have more or fewer cells than the others")
    return writer.parsed()


def write_rows(rows: Rows, writer: Writer, place: Callable[[int], str]) -> Counter[int]:
    """Writes what stands above the header as paragraphs and each row below as an entry "- Header: cell; Header: cell".

    A row that is alone has no header and stands as it is. `place` names a row by its number.
    Returns how many rows have how many cells, without the ones that are empty.
    """
    filled = [(number, cells) for number, row in rows if any(cells := [" ".join(cell.split()) for cell in row])]
    if not filled:
        return Counter()
    if len(filled) == 1:
        writer.mark(place(filled[0][0]))
        writer.block(" | ".join(filter(None, filled[0][1])))
        return Counter({len(filled[0][1]): 1})
    above, names = _header([cells for _, cells in filled[: _SAMPLE + _MOST_ABOVE]])
    for number, cells in filled[:above]:
        writer.mark(place(number))
        writer.block(" ".join(filter(None, cells)).lstrip("# "))
    gap = "\n\n"
    for number, cells in filled[above + bool(names) :]:
        writer.mark(place(number))
        writer.block(entry((_name(names, column), cell) for column, cell in enumerate(cells)), gap=gap)
        gap = "\n"
    return Counter(len(cells) for _, cells in filled[above:])


def entry(pairs: Iterable[tuple[str, str]]) -> str:
    """A list entry of names and values without those that are empty; "" if all are."""
    text = "; ".join(f"{name}: {value}" for name, value in pairs if value)
    return f"- {text}" if text else ""


def _name(names: Sequence[str], column: int) -> str:
    return (names[column] if column < len(names) else "") or f"column {column + 1}"


def _header(rows: Sequence[Sequence[str]]) -> tuple[int, Sequence[str]]:
    """How many rows stand above the table, and its header: empty if the first row is data as well."""
    counts = [sum(map(bool, row)) for row in rows]
    usual = Counter(counts).most_common(1)[0][0]
    above = 0
    while above < min(_MOST_ABOVE, len(rows) - 1) and _is_above(rows[above:], counts[above], usual):
        above += 1
    first, rest = rows[above], rows[above + 1 :]
    if not rest or likeness(first, rest) > 0:
        return above, ()
    return above, [first[0].removeprefix("#").strip() or first[0], *first[1:]]


def _is_above(rows: Sequence[Sequence[str]], count: int, usual: int) -> bool:
    """Whether the first of these rows, of which `count` cells are filled, speaks of the table and is not its header."""
    if (first := rows[0][0]).startswith("#"):
        return count != usual or " " in first.lstrip("# ")
    return count == 1 and usual > 1 and likeness(rows[1], rows[2:]) <= 0


def likeness(first: Sequence[str], rest: Sequence[Sequence[str]]) -> int:
    """In how many more columns than not a row is of the kind of the rows below it; a header is in none."""
    votes = 0
    for column, cell in enumerate(first):
        below = [row[column] for row in rest if column < len(row) and row[column]]
        if not cell or not below:
            continue
        numbers = sum(map(_is_number, below)) > 0.7 * len(below)
        if numbers and not _YEAR.fullmatch(cell):
            votes += 1 if _is_number(cell) else -1
        elif not numbers and cell in below:
            votes += 1
    return votes


def _is_number(cell: str) -> bool:
    return len(cell) <= 40 and bool(_NUMBER.fullmatch(cell))


def _delimiter(source: str) -> str:
    """The one that splits most of the first rows into equally many cells, at least two; a comma if none does."""
    best, delimiter = (0.0, 0), ","
    head = "".join(line for line, _ in zip(io.StringIO(source, newline=""), range(_SAMPLE), strict=False))
    for candidate in _DELIMITERS:
        rows, _ = _records(head, candidate)
        widths = Counter(len(row) for row in rows if len(row) > 1)
        if widths:
            width, times = max(widths.items(), key=lambda item: (item[1], item[0]))
            if (score := (times / len(rows), width)) > best:
                best, delimiter = score, candidate
    return delimiter


def _records(source: str, delimiter: str) -> tuple[list[list[str]], str]:
    """The rows, and a note if quotation marks are not closed and were taken as they stand."""
    try:
        return _parsed(source, delimiter, strict=True), ""
    except csv.Error:
        if source.count('"') % 2 == 0:
            try:
                return _parsed(source, delimiter, strict=False), ""
            except csv.Error:
                pass
    lines = [line.rstrip("\r\n").split(delimiter) for line in io.StringIO(source, newline="")]
    return lines, "a quotation mark is not closed: each line was taken as a row"


def _parsed(source: str, delimiter: str, *, strict: bool) -> list[list[str]]:
    lines = io.StringIO(source, newline="")
    return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=strict))
