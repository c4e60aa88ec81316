"""Data, JSON and JSON lines: records become list entries that name their fields, keys become headings.

Numbers stand as they are written in the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rag.encodings import decoded
from rag.errors import Unreadable
from rag.parsed import Parsed, Writer, clean
from rag.readers.tables import entry

_LONG = 200
"""Characters beyond which a value is prose: it stands as a paragraph of its own."""
_HEADINGS = 3
"""Depth down to which keys are headings."""
_DEEPEST = 50
"""Levels of nesting beyond which nothing is a fact that a person would look up."""
_UNNAMED = "unnamed"
"""The heading of a key that is blank."""
_TITLES = ("title", "name", "heading", "headline", "subject", "question", "label", "id", "_id")
"""Fields that say what a record is about, the most telling first."""


def read(raw: bytes) -> Parsed:
    """Lines of JSON are told from one value by trying. Raises Unreadable for neither and for data nested too deep."""
    source, note = decoded(raw)
    writer = Writer()
    writer.note(note)
    if not source.strip():
        raise Unreadable("is empty")
    about = {}
    try:
        value = _loaded(source)
    except json.JSONDecodeError as error:
        records = _lines(source, writer)
        if not records:
            raise Unreadable(f"is no valid JSON from line {error.lineno} on; mend it there or save it anew") from error
        _write_records(records, "line", writer, 1)
    else:
        if isinstance(value, dict):
            about = {"title": _seen(value["title"])} if _is_short(value.get("title")) else {}
            _write_object(value, writer, 1, "")
        else:
            records = list(enumerate(value if isinstance(value, list) else [value], 1))
            _write_records(records, "item", writer, 1)
    return writer.parsed(about)


def _loaded(source: str) -> Any:
    try:
        return json.loads(source, strict=False, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError as error:
        raise _too_deep() from error


def _too_deep() -> Unreadable:
    return Unreadable(f"is nested more than {_DEEPEST} levels deep; save it with fewer")


def _lines(source: str, writer: Writer) -> list[tuple[int, Any]]:
    """The records by the numbers of their lines; none if more lines are broken than whole."""
    records: list[tuple[int, Any]] = []
    broken: list[int] = []
    for number, line in enumerate(source.split("\n"), 1):
        if line.strip():
            try:
                value = _loaded(line)
            except json.JSONDecodeError:
                broken.append(number)
            else:
                if isinstance(value, dict | list):
                    records.append((number, value))
    if not records or len(broken) > len(records):
        return []
    if broken:
        few = ", ".join(map(str, broken[:10])) + (f", … ({len(broken):,} in all)" if len(broken) > 10 else "")
        writer.note(f"lines left out as they are no valid JSON: {few}")
    return records


def _write_records(records: Sequence[tuple[int, Any]], place: str, writer: Writer, level: int) -> None:
    """Each record as an entry; where one holds prose all are sections, so that none falls under another's heading."""
    pairs = [(number, record, list(_pairs(record, "", 1))) for number, record in records]
    has_prose = any(isinstance(record, dict) and any(map(_is_prose, dict(own).values())) for _, record, own in pairs)
    gap = "\n\n"
    for number, record, own in pairs:
        writer.mark(f"{place} {number}")
        if not has_prose:
            writer.block(entry(own) if isinstance(record, dict) else _listed(own), gap=gap)
            gap = "\n"
            continue
        title = _title(record)
        writer.heading(title or f"{place} {number}", level)
        writer.block(entry(pair for pair in own if pair[1] != title and not _is_prose(pair[1])))
        prose = [pair for pair in own if _is_prose(pair[1])]
        for name, value in prose:
            if len(prose) > 1 and _seen(name):
                writer.heading(name, level + 1)
            writer.block(value)


def _listed(pairs: Sequence[tuple[str, str]]) -> str:
    """An entry of values, with names where they lie deeper than in a plain list."""
    text = "; ".join(f"{name}: {value}" if name else value for name, value in pairs)
    return f"- {text}" if text else ""


def _write_object(value: Mapping[str, Any], writer: Writer, level: int, trail: str) -> None:
    """Its plain fields, then each field that holds more under its key as heading."""
    nested = {key: inner for key, inner in value.items() if _holds_more(inner) and level <= _HEADINGS}
    gap = "\n\n"
    for key, inner in value.items():
        for name, text in _pairs(inner, key, level) if key not in nested else ():
            writer.block(f"- {name}: {text}", gap=gap)
            gap = "\n"
    for key, inner in nested.items():
        writer.heading(_seen(key) or _UNNAMED, level)
        place = f"{trail}.{key}".lstrip(".")
        if isinstance(inner, dict):
            _write_object(inner, writer, level + 1, place)
        elif isinstance(inner, list):
            _write_records(list(enumerate(inner, 1)), f"{place} item", writer, level + 1)
        else:
            writer.block(inner)


def _holds_more(value: Any) -> bool:
    if isinstance(value, list):
        return any(isinstance(item, dict | list) or _is_prose(item) for item in value)
    return isinstance(value, dict) or _is_prose(value)


def _pairs(value: Any, name: str, depth: int) -> Iterator[tuple[str, str]]:
    """The plain values within, by the keys that lead to them: "address.city"; those of a plain list are one."""
    if depth > _DEEPEST:
        raise _too_deep()
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _pairs(inner, f"{name}.{key}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        if any(isinstance(item, dict | list) or _is_prose(item) for item in value):
            for number, item in enumerate(value, 1):
                yield from _pairs(item, f"{name}.{number}".lstrip("."), depth + 1)
        elif text := ", ".join(filter(None, map(_text, value))):
            yield name, text
    elif text := _text(value):
        yield name, text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = "" if value is None else str(value).strip()
    return text if _is_prose(text) else " ".join(text.split())


def _is_prose(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _LONG


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and bool(_seen(value)) and not _is_prose(value)


def _seen(text: str) -> str:
    """The text in one line without what is not seen."""
    return " ".join(clean(text).split())


def _title(record: Any) -> str:
    if not isinstance(record, dict):
        return ""
    fields = {key.casefold(): value for key, value in record.items()}
    return next((_seen(fields[key]) for key in _TITLES if _is_short(fields.get(key))), "")
