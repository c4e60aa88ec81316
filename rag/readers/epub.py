"""Books, EPUB: the chapters in reading order, each a page of XHTML taken whole."""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile

from rag.errors import Unreadable
from rag.parsed import Parsed, Writer
from rag.readers import html
from rag.readers.zipped import open_zip, part, xml

_PAGES = ("application/xhtml+xml", "text/html")


def read(raw: bytes) -> Parsed:
    """The title in `about`; the table of contents is left out. Raises Unreadable for a damaged or protected book."""
    with open_zip(raw) as archive:
        name = _package_name(archive)
        package = xml(archive, name)
        if package is None:
            raise Unreadable(f"is no whole EPUB book, it lacks {name}; fetch it again")
        title = " ".join("".join(package.itertext("{http://purl.org/dc/elements/1.1/}title")).split())
        locked = _locked(archive)
        writer = Writer()
        for chapter in _chapters(package, posixpath.dirname(name)):
            if chapter in locked:
                raise Unreadable("is protected against copying; use a copy without protection")
            _write_chapter(part(archive, chapter), chapter, writer, title)
    return writer.parsed({"title": title} if title else {})


def _write_chapter(source: bytes | None, name: str, writer: Writer, title: str) -> None:
    if source is None:
        writer.note(f"the chapter {name} is missing")
        return
    try:
        root, note = html.tree(source)
    except Unreadable as error:
        if source.strip():
            writer.note(f"the chapter {name} {error}")
        return
    writer.note(note)
    html.prune(root)
    html.write(root, writer, title)


def _package_name(archive: ZipFile) -> str:
    """Where the file lies that lists the chapters."""
    container = xml(archive, "META-INF/container.xml")
    found = container.find(".//{*}rootfile") if container is not None else None
    if found is None or not found.get("full-path"):
        raise Unreadable("is no EPUB book: it does not say where its chapters are")
    return str(found.get("full-path"))


def _chapters(package: Any, folder: str) -> list[str]:
    """The names of the parts in the order of the spine."""
    items = {item.get("id"): item for item in package.iterfind(".//{*}manifest/{*}item")}
    spine = [items.get(entry.get("idref")) for entry in package.iterfind(".//{*}spine/{*}itemref")]
    return [
        posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        for item in spine
        if item is not None and item.get("media-type") in _PAGES and "nav" not in item.get("properties", "").split()
    ]


def _locked(archive: ZipFile) -> set[str]:
    """The encrypted parts; fonts often are, without harm to the text."""
    root = xml(archive, "META-INF/encryption.xml")
    references = root.iterfind(".//{*}CipherReference") if root is not None else ()
    return {unquote(reference.get("URI", "")) for reference in references}
