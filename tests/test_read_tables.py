"""A row of a table becomes a fact that names its columns, whichever file the table came in."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import Unreadable
from rag.parsed import Parsed
from rag.readers import sheets, tables


def places(parsed: Parsed) -> list[tuple[str, str]]:
    """What stands at each mark."""
    ends = [mark.start for mark in parsed.marks[1:]] + [len(parsed.text)]
    return [(mark.label, parsed.text[mark.start : end].strip()) for mark, end in zip(parsed.marks, ends, strict=True)]


def workbook(fill: Callable[[Any], object]) -> bytes:
    book = openpyxl.Workbook()
    fill(book)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def with_part(raw: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, change(old.read(entry)) if entry == name else old.read(entry))
    return file.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_rows_name_their_columns_and_places(delimiter: str) -> None:
    source = 'Name,Age,Note\nAnn,3,\n"Bob",4,"two\nlines"\n\nEve,5,x\n'.replace(",", delimiter)
    parsed = tables.read(source.encode())
    assert parsed.text == "- Name: Ann; Age: 3\n- Name: Bob; Age: 4; Note: two lines\n- Name: Eve; Age: 5; Note: x\n"
    assert [label for label, _ in places(parsed)] == ["row 2", "row 3", "row 5"]
    assert parsed.notes == ()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("1,2\n3,4\n", "- column 1: 1; column 2: 2\n- column 1: 3; column 2: 4\n"),
        ("City,2019,2020\nBern,1,2\nBasel,3,4\n", "- City: Bern; 2019: 1; 2020: 2\n- City: Basel; 2019: 3; 2020: 4\n"),
        ("Bern,a\nBasel,b\nBern,c\n", "- column 1: Bern; column 2: a\n- column 1: Basel; column 2: b\n- column 1: Bern; column 2: c\n"),
        ("# made in 2024, by hand\n\nTown,Fee\nBern,$3\n", "made in 2024 by hand\n\n- Town: Bern; Fee: $3\n"),
        ("Fees of the club,\nTown,Fee\nBern,3\nBasel,4\n", "Fees of the club\n\n- Town: Bern; Fee: 3\n- Town: Basel; Fee: 4\n"),
        ("#,Town\n1,Bern\n", "- #: 1; Town: Bern\n"),
        ("Town,\nBern,3\nBasel,4\n", "- Town: Bern; column 2: 3\n- Town: Basel; column 2: 4\n"),
        ("sep=;\r\na;b\r\n1;2\r\n", "- a: 1; b: 2\n"),
        ("Industry\nSales\nOther\n", "- Industry: Sales\n- Industry: Other\n"),
        ("Alone,here\n", "Alone | here\n"),
    ],
)  # fmt: skip
def test_the_header_is_found(source: str, text: str) -> None:
    assert tables.read(source.encode()).text == text


def test_ragged_rows_are_counted() -> None:
    parsed = tables.read(b"a,b\n1,2\n1,2,3\n4\n5,6\n")
    assert parsed.text == "- a: 1; b: 2\n- a: 1; b: 2; column 3: 3\n- a: 4\n- a: 5; b: 6\n"
    assert parsed.notes == ("2 of 5 rows have more or fewer cells than the others",)


def test_a_quotation_mark_that_is_not_closed_swallows_no_rows() -> None:
    for long in ("", "y" * 200_000):
        parsed = tables.read(f'a,b\n"x,1\ny,{long}2\n'.encode())
        assert parsed.text == f'- a: "x; b: 1\n- a: y; b: {long}2\n'
        assert parsed.notes == ("a quotation mark is not closed: each line was taken as a row",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tabs_part_cells_in_every_encoding(encoding: str) -> None:
    parsed = tables.read("Straße\tOrt\nAm Weg    3\tKöln\n".encode(encoding))
    assert parsed.text == "- Straße: Am Weg 3; Ort: Köln\n"


@pytest.mark.parametrize("raw", [b"", b"\n\n", b",,\n,,\n", bytes(range(256)) * 9])
def test_a_file_without_a_table_says_so(raw: bytes) -> None:
    with pytest.raises(Unreadable, match="holds no row|are no text"):
        tables.read(raw)


@settings(max_examples=40, derandomize=True)  # a separator is guessed, and some such cells can mislead it
@given(st.lists(st.lists(st.text(alphabet="abc ,;\n\"'#1.", max_size=5), min_size=1, max_size=4), max_size=6))
def test_no_cell_below_a_header_is_lost(rows: list[list[str]]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([["k", "l", "m", "n"], *rows, ["x", "x", "x", "x"]])
    said = dict(places(tables.read(file.getvalue().encode())))
    for number, row in enumerate(rows, 2):
        cells = [" ".join(cell.split()) for cell in row]
        pairs = [f"{name}: {cell}" for name, cell in zip("klmn", cells, strict=False) if cell]
        assert said.get(f"row {number}", "") == (f"- {'; '.join(pairs)}" if pairs else "")


def test_a_sheet_is_a_section_and_a_row_an_entry() -> None:
    def fill(book: Any) -> None:
        prices = book.active
        prices.title = "Prices"
        for row in (["Fees of the club"], ["Kind", "Fee", "Share", "From"], ["Adult", 20, 0.25, dt.date(2024, 1, 2)]):
            prices.append(row)
        prices.append(["Child", 0.1 + 0.2, 0.075, dt.datetime(2024, 1, 2, 3, 4)])
        prices["C3"].number_format, prices["C4"].number_format = "0%", "0.0%"
        book.create_sheet("Empty")
        other = book.create_sheet("Towns")
        other.append(["Town", "Canton"])
        other.append(["Bern", "BE"])

    parsed = sheets.read(workbook(fill))
    assert [(section.path, parsed.text[section.start : section.end]) for section in parsed.sections] == [
        (
            ("Prices",),
            (
                "Fees of the club\n\n- Kind: Adult; Fee: 20; Share: 25%; From: 2024-01-02\n"
                "- Kind: Child; Fee: 0.3; Share: 7.5%; From: 2024-01-02 03:04:00"
            ),
        ),
        (("Towns",), "- Town: Bern; Canton: BE"),
    ]
    labels = [label for label, _ in places(parsed)]
    assert labels == ["sheet Prices, row 1", "sheet Prices, row 3", "sheet Prices, row 4", "sheet Towns, row 2"]


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        (3.0000000001, "General", "3"),
        (12345678901.5, "General", "12345678901.5"),
        (1e20, "General", "1e+20"),
        (True, "General", "TRUE"),
        (0.255, "0.0%", "25.5%"),
        (1234.5, '"€"#,##0.00', "€1,234.50"),
        (1234.5, "#,##0.00\\ [$€-407]", "1,234.50 €"),
        (-3, "[Red]$#,##0", "-$3"),
        (-1234.5, '_($* #,##0.00_);_($* (#,##0.00);_($* "-"??_)', "-$1,234.50"),
        (12, '0 "kg"', "12 kg"),
        (5.5, "0.0##", "5.5"),
        (5, "@", "5"),
        (1234567, "#,##0,", "1234567"),
    ],
)
def test_numbers_are_as_they_are_shown(value: float, number_format: str, text: str) -> None:
    assert sheets.shown(value, number_format) == text


def test_cells_merged_over_rows_are_said_in_each() -> None:
    def fill(book: Any) -> None:
        for row in (["Kind", "Fee"], ["Adult", 20], [None, 25], ["Child", 5]):
            book.active.append(row)
        book.active.merge_cells("A2:A3")

    parsed = sheets.read(workbook(fill))
    assert parsed.text == "Sheet\n\n- Kind: Adult; Fee: 20\n- Kind: Adult; Fee: 25\n- Kind: Child; Fee: 5\n"


def test_tables_below_each_other_keep_their_own_headers() -> None:
    def fill(book: Any) -> None:
        rows: tuple[list[object], ...] = (
            ["Kind", "Fee"],
            ["Adult", 20],
            ["Child", 5],
            [],
            ["Guest", 9],
            [],
            ["Town", "Members"],
            ["Bern", 7],
        )
        for row in rows:
            book.active.append(row)

    parsed = sheets.read(workbook(fill))
    assert parsed.text == (
        "Sheet\n\n- Kind: Adult; Fee: 20\n- Kind: Child; Fee: 5\n- Kind: Guest; Fee: 9\n\n- Town: Bern; Members: 7\n"
    )


def test_hidden_sheets_and_formulas_without_a_value_are_noted() -> None:
    def fill(book: Any) -> None:
        for row in (["Kind", "Fee"], ["Adult", 20], ["Both", "=B2*2"]):
            book.active.append(row)
        secret = book.create_sheet("Secret")
        secret.append(["SECRET", 1])
        secret.sheet_state = "hidden"

    parsed = sheets.read(workbook(fill))
    assert parsed.text == "Sheet\n\n- Kind: Adult; Fee: 20\n- Kind: Both\n"
    assert parsed.notes == (
        '1 formulas of sheet "Sheet" have no stored value: save it in a spreadsheet program',
        'the hidden sheet "Secret" was left out',
    )


def test_a_formula_stands_as_its_stored_value() -> None:
    raw = workbook(lambda book: [book.active.append(row) for row in (["Kind", "Fee"], ["Both", "=20*2"])])
    raw = with_part(
        raw, "xl/worksheets/sheet1.xml", lambda xml: re.sub(rb"</f>\s*(<v\s*/>|<v></v>)?", b"</f><v>40</v>", xml)
    )
    parsed = sheets.read(raw)
    assert (parsed.text, parsed.notes) == ("Sheet\n\n- Kind: Both; Fee: 40\n", ())


def test_an_empty_range_that_is_declared_costs_nothing() -> None:
    raw = workbook(lambda book: [book.active.append(row) for row in (["Kind", "Fee"], ["Adult", 20])])
    vast = with_part(raw, "xl/worksheets/sheet1.xml", lambda xml: xml.replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"'))
    assert vast != raw
    assert sheets.read(vast).text == "Sheet\n\n- Kind: Adult; Fee: 20\n"


def test_a_damaged_workbook_says_so() -> None:
    raw = workbook(lambda book: book.active.append(["a"]))
    broken = [raw[:length] for length in (0, 10, 500, len(raw) // 2, len(raw) - 5)]
    broken += [
        with_part(raw, name, lambda part: part[: len(part) // 2])
        for name in ("xl/workbook.xml", "xl/worksheets/sheet1.xml")
    ]
    broken.append(b"no archive")
    for source in broken:
        with pytest.raises(Unreadable) as caught:
            sheets.read(source)
        assert "\n" not in str(caught.value)
