"""What Tab completes in a shell: commands, and roles, documents and versions that are there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from rag.errors import RolewiseError
from rag.terminal import is_plain

ENABLING = {
    "bash": 'eval "$(rolewise completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(rolewise completion zsh)"   # in ~/.zshrc, behind compinit',
    "fish": "rolewise completion fish | source   # in ~/.config/fish/config.fish",
}


def completed(kind: str, home: Path | None, typed: str) -> list[str]:
    """The `roles`, `documents` or `versions` of the index that begin as `typed`; none where there is no index."""
    from rag.settings import load_settings
    from rag.versions import read_texts, versions

    try:
        folder = load_settings(home=home).build
        if kind == "versions":
            found: Iterable[str] = versions(folder)
        else:
            heads = read_texts(folder).heads.values()
            found = sorted({name for one in heads if (name := one.role if kind == "roles" else one.id)})
    except (RolewiseError, OSError):
        return []
    return [one for one in found if one and is_plain(one) and one.casefold().startswith(typed.casefold())]


def completion_script(cli: click.Command, shell: str, variable: str) -> str:
    """What a shell runs to complete `rolewise`, asking by this environment variable, and how to have it run that."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind
    return f"{kind(cli, {}, 'rolewise', variable).source()}\n# To enable it: {ENABLING[shell]}"


def quote_for_bash() -> None:
    """Has click give bash completions that are one word of a command line, which a document's name might not be.

    Within quotation marks, where other escapes hold, only values that need none are given.
    """
    from click.shell_completion import BashComplete, CompletionItem, add_completion_class

    class Quoting(BashComplete):
        def format_completion(self, item: CompletionItem[Any]) -> str:
            if item.type != "plain":
                return super().format_completion(item)
            word = "".join(os.environ["COMP_WORDS"].split("\n")[int(os.environ["COMP_CWORD"]) :][:1])
            value = str(item.value)
            if word.startswith(("'", '"')):
                return f"plain,{value}" if re.fullmatch(r"[\w ./,:()&+-]*", value) else "none,"
            escaped = re.sub(r"[^\w./:+-]", r"\\\g<0>", value)
            return "plain," + escaped.replace("\\", "\\\\")  # the script's `read` takes one away

    add_completion_class(Quoting)
