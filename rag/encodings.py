"""Bytes become text, whatever encoding they are in."""

from __future__ import annotations

import codecs

from rag.errors import Unreadable
from rag.parsed import clean

SAMPLE = 200_000
"""Bytes from which an encoding is told; more would only take longer."""
FEW = 16
"""Bytes beyond ASCII below which statistics tell nothing, and the most common of the old encodings is taken."""
_PLAIN = rb'<a b="c">\u0041+AAA-'
"""Reads the same in every encoding that leaves ASCII as it is; not so in UTF-16, UTF-7, EBCDIC or Python's escapes."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks; the longer ones stand before those they begin with."""


def decoded(raw: bytes, declared: str = "") -> tuple[str, str]:
    """The clean text of a file, and a note on its encoding; no note for UTF-8.

    `declared` is the encoding that the file itself names. Raises Unreadable for bytes that are no text.
    """
    encoding = next((name for mark, name in _MARKS.items() if raw.startswith(mark)), "utf-8")
    try:
        return clean(raw.decode(encoding)), "" if encoding.startswith("utf-8") else f"read as {encoding}"
    except UnicodeDecodeError:
        encoding = _known(declared) or _detected(raw)
    text = raw.decode(encoding, errors="replace")
    lost = text.count("\ufffd")
    return clean(text), f"read as {encoding}" + (f", {lost:,} bytes that it lacks were lost" if lost else "")


def _known(name: str) -> str:
    """The encoding of this name; "" for none and for one in which a file could not have named it as it did."""
    try:
        return codecs.lookup(name).name if name and _PLAIN.decode(name, "replace") == _PLAIN.decode("ascii") else ""
    except (LookupError, ValueError):  # among them codecs that make no text, like "hex"
        return ""


def _detected(raw: bytes) -> str:
    from charset_normalizer import from_bytes

    if sum(byte > 127 for byte in raw[:SAMPLE]) < FEW and b"\0" not in raw[:SAMPLE]:
        return "cp1252"
    best = from_bytes(raw[:SAMPLE]).best()
    if best is None or (b"\0" in raw[:SAMPLE] and not best.encoding.startswith(("utf_16", "utf_32"))):
        raise Unreadable("its bytes are no text in any encoding known here")
    return best.encoding
