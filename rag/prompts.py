"""The messages a model is given: Markdown files with `$name` placeholders, filled by string.Template.

A document's text is data. It is put in as the value of a placeholder, after the template was read, so that nothing in
it can be taken for one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from string import Template

from rag.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Prompt:
    """One message. `sha256` is that of its file, so that an answer can tell which words it was asked with."""

    name: str
    template: Template
    sha256: str

    def fill(self, **values: str) -> str:
        """The message. Raises SettingsError naming each placeholder without a value and the reverse."""
        names = set(self.template.get_identifiers())
        if names != set(values):
            odd = ", ".join(sorted(names ^ set(values)))
            raise SettingsError(f"prompts/{self.name}.md and the program disagree on: {odd}. Restore the file.")
        return self.template.substitute(values).strip()


def load_prompt(folder: Path, name: str) -> Prompt:
    path = folder / f"{name}.md"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"the prompt {path} cannot be read ({error.strerror}). Restore the file.") from error
    return Prompt(name, Template(text), hashlib.sha256(text.encode()).hexdigest())
