"""Spreadsheets, XLSX: each sheet is a section, each row an entry that names its columns, cells as they are shown."""

from __future__ import annotations

import datetime as dt
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from rag.errors import Unreadable
from rag.parsed import Parsed, Writer
from rag.readers.tables import likeness, write_rows
from rag.readers.zipped import open_zip, part

_Rows = list[tuple[int, list[str]]]
_DAMAGED = (
    *(KeyError, ValueError, TypeError, AttributeError, IndexError, OSError, SyntaxError, EOFError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What openpyxl raises for a workbook that lacks parts, or whose parts are cut or not what they should be."""
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]+)(\d+):[A-Z]+(\d+)"')
_UNCOUNTED = re.compile(rb"<f\b[^<>]*(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v></v>|</c>)")
"""A formula without the value that it had when the workbook was saved."""
_LAST_ROW = 2**20
"""Of any sheet in Excel. A row may claim a number far beyond, and openpyxl fills the gap with empty ones."""
_HINTS = re.compile(r"\[(?!\$)[^\]]*\]|_.|\*.")
"""What a number format says of colour, conditions and space."""
_FORMAT = re.compile(r"([^#0?]*)(?:[#0?]*[#0?,]*[#0?]+)(?:\.([#0?]*))?([^#0?.,]*)")


def read(raw: bytes) -> Parsed:
    """Formulas stand as their stored value; hidden sheets are left out. Raises Unreadable for a damaged workbook."""
    import openpyxl

    archive = open_zip(raw)
    writer = Writer()
    with archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of extensions that hold no text
        try:
            book = openpyxl.load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
            for sheet in book.worksheets:
                _write_sheet(sheet, archive, writer)
            book.close()
        except _DAMAGED as error:
            raise Unreadable("is a damaged workbook; open it in a spreadsheet program and save it as .xlsx") from error
    return writer.parsed()


def _write_sheet(sheet: Any, archive: zipfile.ZipFile, writer: Writer) -> None:
    name = sheet.title
    if sheet.sheet_state != "visible":
        writer.note(f'the hidden sheet "{name}" was left out')
        return
    source = part(archive, sheet._worksheet_path) or b""
    if uncounted := len(_UNCOUNTED.findall(source)):
        writer.note(f'{uncounted:,} formulas of sheet "{name}" have no stored value: save it in a spreadsheet program')
    sheet.reset_dimensions()  # those that it declares may be a million empty rows
    rows = list(_shown_rows(sheet, _merged(source)))
    if rows:
        writer.heading(name, 1)
    for table in _tables(rows):
        write_rows(table, writer, lambda number: f"sheet {name}, row {number}")


def _shown_rows(sheet: Any, merged: dict[tuple[int, int], int]) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold anything; a cell merged over rows is said in each of them."""
    held: dict[int, tuple[str, int]] = {}  # by column: a text and the last row that it holds for
    for number, row in enumerate(sheet.iter_rows(), 1):
        if number > _LAST_ROW:
            raise Unreadable(f"numbers a row beyond {_LAST_ROW:,}, the last that a sheet can have; save it anew")
        cells = [shown(cell.value, cell.number_format) if cell.value is not None else "" for cell in row]
        if not any(cells):
            continue
        for column, (text, last) in held.items():
            if number <= last and column < len(cells):
                cells[column] = cells[column] or text
        for column, text in enumerate(cells):
            if (last := merged.get((column + 1, number), 0)) and text:
                held[column] = text, last
        yield number, cells


def _merged(source: bytes) -> dict[tuple[int, int], int]:
    """By column and row of its first cell, the last row of each range of merged cells that has more than one row."""
    from openpyxl.utils import column_index_from_string

    return {
        (column_index_from_string(column.decode()), int(first)): int(last)
        for column, first, last in _MERGED.findall(source)
        if int(last) > int(first) and len(column) <= 3
    }


def _tables(rows: Sequence[tuple[int, list[str]]]) -> Iterator[_Rows]:
    """The tables of a sheet: empty rows part them, if other columns are filled below or a header stands there."""
    table: _Rows = []
    run: _Rows = []
    for number, cells in [*rows, (0, [])]:
        if run and number != run[-1][0] + 1:
            if table and not _continues(run, table):
                yield table
                table = []
            table, run = table + run, []
        run.append((number, cells))
    if table:
        yield table


def _continues(run: _Rows, table: _Rows) -> bool:
    below = [cells for _, cells in run[1:] or table[1:]]
    return _columns(run) <= _columns(table) and len(table) > 1 and likeness(run[0][1], below) >= 0


def _columns(rows: _Rows) -> set[int]:
    return {column for _, cells in rows for column, cell in enumerate(cells) if cell}


def shown(value: Any, number_format: str = "General") -> str:
    """A cell as a spreadsheet shows it, but dates as ISO 8601 and numbers without the noise of binary fractions."""
    match value:
        case bool():
            return str(value).upper()
        case dt.datetime():
            return value.date().isoformat() if value.time() == dt.time() else value.isoformat(" ", "seconds")
        case dt.date() | dt.time():
            return value.isoformat()
        case int() | float():
            return _number(value, number_format or "General")
        case _:
            return " ".join(str(value).split())


def _number(value: float, number_format: str) -> str:
    style = re.sub(r"\[\$([^\]-]*)[^\]]*\]", r"\1", _HINTS.sub("", number_format.split(";", maxsplit=1)[0]))
    style = re.sub(r"\\(.)", r"\1", style).replace('"', "")
    if number_format == "General" or not (match := _FORMAT.fullmatch(style)):
        return _plain(value)
    before, decimals, after = match[1], match[2] or "", match[3]
    size = abs(value) * 100 if "%" in style else abs(value)
    grouping = "," if "," in style else ""
    digits = f"{size:{grouping}.{len(decimals)}f}"
    if "#" in decimals:
        digits = digits.rstrip("0").rstrip(".")
    return f"{'-' if value < 0 else ''}{before}{digits}{after}".strip()


def _plain(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.9f}".rstrip("0").rstrip(".") if 1e-4 <= abs(value) < 1e15 or value == 0 else f"{value:.10g}"
