"""The packages that DOCX, PPTX, XLSX and EPUB files are: a zip archive of XML parts, opened with its size bounded.

Nothing is unpacked to disk, no entity is expanded and nothing is fetched.
"""

from __future__ import annotations

import io
import posixpath
import re
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING
from urllib.parse import unquote

from rag.errors import Unreadable
from rag.readers.titles import sensible

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

LARGEST = 200 * 10**6
"""Bytes that an archive may unpack to in all: some 50 times the text of the Bible."""
LARGEST_PACKED_TIGHT, TIGHT = 10 * 10**6, 200
"""Bytes that one part may have if packed by more than this ratio. Deflate reaches 1,032, on one byte repeated."""
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_ZIP = b"PK"
_ENCRYPTED = 0x1
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, IndexError)
"""What zipfile raises for bytes that it cannot make out. It never reads more of a part than the part declares."""


def open_zip(raw: bytes) -> zipfile.ZipFile:
    """The archive that the bytes of a file hold. Raises Unreadable for none, a damaged, a locked or a vast one."""
    if not raw:
        raise Unreadable("is empty; save it anew")
    if raw.startswith(_OLE):
        raise Unreadable("is an old or an encrypted Office file; save it without a password as .docx, .pptx or .xlsx")
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
    except (*_DAMAGED, NotImplementedError) as error:
        why = "is damaged or cut short; fetch it again" if raw.startswith(_ZIP) else "is not what its name says it is"
        raise Unreadable(f"{why}, or save it anew in the program that made it") from error
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > LARGEST:
        raise Unreadable(f"unpacks to {_mb(unpacked)}; more than {_mb(LARGEST)} are not read, split it")
    for entry in entries:
        if entry.file_size > max(LARGEST_PACKED_TIGHT, TIGHT * entry.compress_size):
            raise Unreadable(
                f"unpacks to {_mb(unpacked)}; one part is packed over {TIGHT} times, as in a file made to do harm"
            )
        if entry.flag_bits & _ENCRYPTED:
            raise Unreadable("is locked with a password; save it without one")
    return archive


def part(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """The bytes of a part, None if there is none of that name. Raises Unreadable if they are damaged."""
    try:
        return archive.read(name)
    except KeyError:
        return None
    except (*_DAMAGED, NotImplementedError, RuntimeError) as error:
        raise Unreadable(f"is damaged inside ({name}); fetch it again or save it anew") from error


def xml(archive: zipfile.ZipFile, name: str) -> Element | None:
    """The root of a part that is XML, None if there is no such part. Raises Unreadable if it is damaged.

    Entities are left unexpanded: Office files have none, so one that defines any means harm.
    """
    from lxml import etree

    if (source := part(archive, name)) is None:
        return None
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(source, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Unreadable(f"is damaged inside ({name}); open it in the program that made it and save it anew") from error
    doctype = root.getroottree().docinfo.internalDTD
    if doctype is not None and any(doctype.iterentities()):
        raise Unreadable(f"defines entities ({name}), as only a file made to do harm does; save it anew")
    return root


def related(archive: zipfile.ZipFile, name: str) -> dict[str, tuple[str, str]]:
    """By id, the kind and the name of each part of an Office package that the part `name` points to ("" for none)."""
    folder, file = posixpath.split(name)
    root = xml(archive, posixpath.join(folder, "_rels", f"{file}.rels"))
    found = {}
    for row in () if root is None else root.iterfind("{*}Relationship"):
        if row.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/", folder, unquote(row.get("Target", "")))).lstrip("/")
            found[row.get("Id", "")] = (row.get("Type", "").rsplit("/", 1)[-1], target)
    return found


def local_name(element: Element) -> str:
    """The name of an element without its namespace; Office formats have two sets of those for the same names."""
    return str(element.tag).rpartition("}")[2]


def attribute(element: Element | None, name: str) -> str:
    """An attribute by its name without namespace, "" where there is none."""
    if element is None:
        return ""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def whole(text: str, default: int) -> int:
    """A number as it stands in an attribute, `default` for none and for one that no program writes."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else default


def title_of(archive: zipfile.ZipFile) -> str:
    """The title that an Office package says it has, "" for none that a person gave."""
    name = next((name for kind, name in related(archive, "").values() if kind == "core-properties"), "")
    root = xml(archive, name) if name else None
    return "" if root is None else sensible(root.findtext("{*}title"))


def _mb(size: int) -> str:
    return f"{size / 10**6:,.0f} MB"
