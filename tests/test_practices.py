"""The page of practices names commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from eval.__main__ import cli as evaluation
from rag.__main__ import cli

PROJECT = Path(__file__).parents[1]
PAGE = (PROJECT / "docs" / "practices.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`(?:[A-Z_]+=\S+ )?python -m (rag|eval) ([^`]+)`", PAGE)))


@pytest.mark.parametrize(("program", "words"), COMMANDS, ids=str)
def test_a_command_of_the_page_is_there_with_its_options(program: str, words: str) -> None:
    command: click.Command = cli if program == "rag" else evaluation
    context = click.Context(command)
    rest = words.split()
    while rest and isinstance(command, click.Group):
        found = command.get_command(context, rest.pop(0))
        assert found is not None, words
        command = found
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= options


def test_links_of_the_page_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (PROJECT / "docs" / target).is_file(), target
