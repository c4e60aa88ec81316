"""Bytes become text, whatever encoding they are in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.encodings import decoded
from rag.errors import Unreadable
from rag.parsed import clean

GERMAN = "Die Gebühren für Zürich sind höher als die für Köln; überall gilt außerdem: Kinder zahlen die Hälfte. " * 5
RUSSIAN = "Музей открыт каждый день, кроме понедельника, с десяти утра до шести вечера. " * 5


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufeff"), max_size=200))
def test_utf_8_is_read_without_a_note(text: str) -> None:
    assert decoded(text.encode()) == (clean(text), "")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-8-sig"])
def test_a_byte_order_mark_tells(encoding: str) -> None:
    marks = b"\xff\xfe" if encoding == "utf-16-le" else b""
    assert decoded(marks + GERMAN.encode(encoding))[0] == GERMAN


@pytest.mark.parametrize(("text", "encoding"), [(GERMAN, "cp1252"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r")])
def test_an_old_encoding_is_told_from_the_bytes(text: str, encoding: str) -> None:
    found, note = decoded(text.encode(encoding))
    assert found == text
    assert note.startswith("read as ")


def test_few_bytes_beyond_ascii_are_taken_for_western_ones() -> None:
    assert decoded("Zürich – “Café”".encode("cp1252")) == ("Zürich – “Café”", "read as cp1252")


def test_what_the_file_declares_counts_before_a_guess() -> None:
    assert decoded("naïve".encode("latin-1"), "iso-8859-1") == ("naïve", "read as iso8859-1")
    assert decoded("naïve".encode("latin-1"), "no-such-encoding")[0] == "naïve"


def test_bytes_that_an_encoding_lacks_are_told() -> None:
    assert decoded(b"a\x81b")[1] == "read as cp1252, 1 bytes that it lacks were lost"


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(Unreadable, match="no text in any encoding"):
        decoded(bytes(range(256)) * 50)
