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
from rag.types import Message


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


@dataclass(frozen=True, slots=True)
class Prompts:
    """The messages that a model is given, in the order of a conversation."""

    system: Prompt
    question: Prompt
    read: Prompt
    judge: Prompt

    def opening(self) -> list[Message]:
        """What every conversation opens with."""
        return [Message("system", self.system.fill())]

    def to_draft(self, notes: str, question: str) -> list[Message]:
        """Asks for the answer."""
        return [*self.opening(), Message("user", self.question.fill(notes=notes, question=question))]

    def to_judge(self, notes: str, question: str) -> list[Message]:
        """Asks whether the notes tell: the answer begins with yes or no.

        It opens like the request for the answer, so that a model that keeps what it has read reads the notes once.
        """
        read, judge = Message("assistant", self.read.fill()), Message("user", self.judge.fill())
        return [*self.to_draft(notes, question), read, judge]


def load_prompts(folder: Path) -> Prompts:
    return Prompts(*(load_prompt(folder, name) for name in Prompts.__slots__))
