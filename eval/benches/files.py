"""Files of the public sets, and what every reader of them writes: Markdown documents and questions.

The data are no part of the project: they lie in `../shared/bench` beside it, or where ROLEWISE_BENCH points.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yaml.reader import Reader

from eval.questions import Question
from rag.errors import SettingsError
from rag.types import Message
from rag.wiring import PROJECT
from rag.words import words

VARIABLE = "ROLEWISE_BENCH"
REMEDY = f"{VARIABLE} must name the folder of the public sets."
_MARKUP = re.compile(r"[\\`*_\[\]<>&|#~]")
_OPENING = re.compile(r"^(\d*)([-+=:.)])")

Facts = tuple[tuple[str, ...], ...]


class DataMissing(SettingsError):
    """A file of a set is not there."""


def bench_folder() -> Path:
    """The folder of all public sets."""
    return Path(os.environ.get(VARIABLE) or PROJECT.parent / "shared" / "bench")


def read_text(path: Path, remedy: str = REMEDY) -> str:
    """A file of a set, unpacked if its name ends in .gz.

    Raises SettingsError that names it, with the remedy if it is missing.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataMissing(f"{path} is missing. {remedy}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def numbered_rows(path: Path, remedy: str = REMEDY) -> Iterator[tuple[int, Any]]:
    """The rows of a JSON Lines file with the numbers of their lines, from 1; blank lines are left out.

    Raises SettingsError that names the file and the line, or as `read_text`.
    """
    for number, line in enumerate(read_text(path, remedy).split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise SettingsError(
                    f"{path}, line {number} is no JSON: {error}. Each line holds one object."
                ) from error


def read_rows(path: Path) -> list[Any]:
    """The rows of a JSON Lines file of a public set. Raises SettingsError as `numbered_rows`."""
    return [row for _, row in numbered_rows(path)]


def question(
    name: str,
    split: str,
    kind: str,
    text: str,
    role: str | None = None,
    *,
    history: tuple[Message, ...] = (),
    reference: str = "",
    facts: Facts = (),
) -> Question:
    """A question without gold quotations. The reference is the first wording of each fact unless one is given."""
    reference = reference or " / ".join(fact[0] for fact in facts)
    return Question(name, split, kind, text, role, history, kind != "absent", reference, facts, ())


def split_of(number: int) -> str:
    """The split of a set's row, by turns, where the set has no splits of its own."""
    return "test" if number % 2 else "dev"


def wordings(answers: Sequence[str]) -> tuple[str, ...]:
    """Each answer once, without those that hold no word."""
    return tuple(dict.fromkeys(answer.strip() for answer in answers if words(answer)))


def write_document(path: Path, body: str, title: str, role: str | None = None) -> None:
    """A Markdown file whose front matter says its title and role; of both, what YAML cannot hold becomes a space."""
    about = {"title": title} | ({"role": role} if role else {})
    front = "".join(f"{key}: {json.dumps(_printable(value), ensure_ascii=False)}\n" for key, value in about.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\n{front}---\n\n{body}\n", encoding="utf-8", errors="replace")


def escaped(text: str) -> str:
    """Plain text as one line of Markdown that is read back word for word."""
    line = _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
    return _OPENING.sub(r"\1\\\2", line)


def _printable(text: str) -> str:
    return " ".join(Reader.NON_PRINTABLE.sub(" ", text).split())
