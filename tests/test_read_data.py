"""JSON and JSON lines become facts that name the fields which they come from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import Unreadable
from rag.parsed import Parsed
from rag.readers import data

PROSE = "Cats purr when they are content. " * 8


def read(value: Any) -> Parsed:
    return data.read(json.dumps(value).encode())


def sections(parsed: Parsed) -> list[tuple[tuple[str, ...], str]]:
    return [(section.path, parsed.text[section.start : section.end]) for section in parsed.sections]


def test_each_record_of_an_array_is_an_entry() -> None:
    parsed = data.read(
        b'[{"name": "Ann", "age": 3.10, "home": {"town": "Bern"}}, {"name": "Bob", "pets": ["cat", "dog"], "x": null}]'
    )
    assert parsed.text == "- name: Ann; age: 3.10; home.town: Bern\n- name: Bob; pets: cat, dog\n"
    assert [(mark.start, mark.label) for mark in parsed.marks] == [(0, "item 1"), (40, "item 2")]


def test_an_array_of_plain_values_or_arrays_is_a_list() -> None:
    assert read([1, "two", [3, 4], [{"a": 5}]]).text == "- 1\n- two\n- 3, 4\n- 1.a: 5\n"


def test_keys_become_headings_down_to_the_third() -> None:
    parsed = read(
        {"a": {"b": {"c": {"d": {"e": 1}}, "f": True}}, "title": "Tree", "list": [{"k": 1}, {"k": 2}], "l": [1, 2]}
    )
    assert sections(parsed) == [
        ((), "- title: Tree\n- l: 1, 2"),
        (("a", "b"), "- f: true"),
        (("a", "b", "c"), "- d.e: 1"),
        (("list",), "- k: 1\n- k: 2"),
    ]
    assert parsed.about == {"title": "Tree"}
    assert [mark.label for mark in parsed.marks] == ["list item 1", "list item 2"]


def test_a_long_string_is_a_paragraph_under_its_key() -> None:
    assert sections(read({"intro": PROSE, "n": 1})) == [((), "- n: 1"), (("intro",), PROSE.strip())]


def test_a_record_with_prose_is_a_section_under_its_title() -> None:
    parsed = read([{"text": PROSE, "title": "Cats", "year": 2020}, {"title": "Dogs", "text": "Bark."}, {"text": PROSE}])
    assert sections(parsed) == [
        (("Cats",), f"- year: 2020\n\n{PROSE.strip()}"),
        (("Dogs",), "- text: Bark."),
        (("item 3",), PROSE.strip()),
    ]


def test_broken_lines_are_left_out_and_noted() -> None:
    parsed = data.read(b'{"a": 1}\n\n{"a": \n{"a": 2}\n')
    assert parsed.text == "- a: 1\n- a: 2\n"
    assert parsed.notes == ("lines left out as they are no valid JSON: 3",)
    assert [mark.label for mark in parsed.marks] == ["line 1", "line 4"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is empty"),
        (b"{bad\n{bad", "no valid JSON from line 1 on"),
        (b'{"a": [1,\n 2', "no valid JSON from line 2 on"),
        (b"[" * 100_000 + b"]" * 100_000, "nested more than 50"),
        (b"[" * 60 + b"]" * 60, "nested more than 50"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "nested more than 50"),
        (b'{"a":' * 100_000, "nested more than 50"),
        (bytes(range(256)) * 9, "are no text"),
    ],
)
def test_data_that_cannot_be_read_says_why(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        data.read(raw)


PLAIN = st.none() | st.booleans() | st.integers() | st.text(alphabet="xyz \n", max_size=300)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner), max_leaves=12
)


@settings(max_examples=40)
@given(VALUES)
def test_every_plain_value_is_said(value: Any) -> None:
    text = read(value).text.split()
    for leaf in leaves(value):
        for word in str(leaf).lower().split() if leaf is not None else ():
            assert any(word in said for said in text)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner)]
    return [value]
