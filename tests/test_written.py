"""What documents tell of layers, packages and models is so; after a change: python -m tests.written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_architecture import LAYER
from tests.written import WRITTEN, current, direct, licence_of

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_current(name: str) -> None:
    text = (PROJECT / name).read_text(encoding="utf-8")
    assert "<!-- written: " in text
    assert current(text) == text


def test_the_picture_holds_every_file_once() -> None:
    text = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = re.findall(r'layer\d+\["<b>\d+</b><br>(.*)"\]', text)
    assert sorted(name for row in drawn for name in re.split(" · |<br>", row)) == sorted(LAYER)


def test_every_package_states_a_licence() -> None:
    assert all(licence_of(name) for name in (*direct(development=False), *direct(development=True)))


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md", *WRITTEN, "docs/deploy.md", "README.md"])
def test_what_a_document_links_to_is_there(name: str) -> None:
    path = PROJECT / name
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [one for one in links if "://" not in one and not (path.parent / one).exists()] == []
