"""What the command line shows: answers and passages as text, and a status line.

On a terminal text is wrapped and styled; elsewhere it is the same text without either. Documents and models are not
trusted: all of theirs goes through `plain`, which `laid_out` calls, so that none of it can steer the terminal.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import click

from rag.types import Answer, Finished, Retrieved, ScoredPassage, Token, Weighed
from rag.words import stems

if TYPE_CHECKING:
    from rag.answering import Engine

WIDEST = 100
"""Columns that text is wrapped at, if the terminal has as many: longer lines read badly."""
NARROWEST = 20
NEAREST = 3
"""Passages that a refusal names."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ESCAPED = re.compile("[\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What embeds, overrides or isolates a direction of writing; and half characters, which cannot be encoded."""
_SPACE = re.compile(r"[ \t\n]+")
_HELD = re.compile(r"(?<=\d) (?=\d{3}(?!\d))|(?<=\d) (?=[%‰°€$£¥])|(?<=[€$£¥]) (?=\d)| (?=\[\d+\])")
"""Spaces inside a figure, and before a marker."""
_HOLD = "\0"  # which no text holds that went through `plain`
_BULLET = re.compile(r" *(?:(?:[-*+•]|\d+[.)]) +)?")
_MARKER = re.compile(r"\[\d+\]")
_WORD = re.compile(r"\w+(?:[.,]\d+)*(?:\+\+|#)?")
_CLEAR = "\r\x1b[K"

Style = Callable[[str], str]


def plain(text: str) -> str:
    """`text` without control characters except newline and tab; what turns the direction of writing as an escape."""
    return _escaped(_ESCAPED, _CONTROL.sub("", text))


def json_line(record: Any) -> str:
    """The record on one line. On a terminal the characters that could steer it are JSON's own escapes."""
    text = json.dumps(record, ensure_ascii=False)
    return _escaped(_CONTROL, _escaped(_ESCAPED, text)) if sys.stdout.isatty() else text


def _escaped(characters: re.Pattern[str], text: str) -> str:
    return characters.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@dataclass(frozen=True, slots=True)
class Look:
    """How to lay text out: `width` is in columns, or None where there is no terminal and lines stay as they are."""

    width: int | None = None
    is_styled: bool = False


def look_of(stream: TextIO) -> Look:
    """That of a terminal as wide as it is now, in styles unless NO_COLOR is set (https://no-color.org)."""
    if not stream.isatty():
        return Look()
    width = max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
    return Look(width, is_styled=not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


def bold(line: str) -> str:
    return click.style(line, bold=True)


def dim(line: str) -> str:
    return click.style(line, dim=True)


def noted(line: str) -> str:
    return click.style(line, fg="yellow")


def marked(line: str) -> str:
    """With the markers of quotations coloured."""
    return _MARKER.sub(lambda found: click.style(found[0], fg="cyan"), line)


def bold_words(asked: frozenset[str]) -> Style:
    """Makes the words bold whose stem is `asked` for."""
    return lambda line: _WORD.sub(lambda found: bold(found[0]) if _stems(found[0]) & asked else found[0], line)


def laid_out(text: str, look: Look, *, indent: str = "", hanging: int = 0, style: Style | None = None) -> str:
    """`text`, made plain, behind `indent`. Where a line is wrapped, the rest of it stands `hanging` columns further in.

    The rest of a list entry stands behind its bullet. No word or figure is broken, so a line may exceed the width.
    """
    lines = [part for line in plain(text).split("\n") for part in _wrapped(line.rstrip(), look.width, indent, hanging)]
    return "\n".join(map(style, lines) if style and look.is_styled else lines)


def one_line(text: str) -> str:
    return _SPACE.sub(" ", plain(text)).strip()


def is_plain(text: str) -> bool:
    """Whether it is one line as it stands."""
    return one_line(text) == text


def passage(number: int, scored: ScoredPassage, look: Look, asked: frozenset[str] = frozenset()) -> str:
    """A passage with its rank, trail, id and stages, words bold whose stems are `asked` for; a blank line behind."""
    one = scored.passage
    stages = (f"{stage} #{rank} ({scored.scores.get(stage, 0.0):.3f})" for stage, rank in scored.ranks.items())
    facts = "  ".join(filter(None, [one.id, one.place, f"score {scored.score:.4f}", *stages]))
    return "\n".join(
        (
            laid_out(f"{number}. {one_line(one.trail)}", look, hanging=3, style=bold),
            laid_out(facts, look, indent="   ", style=dim),
            laid_out(one.text, look, indent="   ", style=bold_words(asked)),
            "",
        )
    )


def below(answer: Answer, look: Look, hint: str = "") -> str:
    """What stands below the sentences of an answer: its quotations, what was struck, who wrote it. Or a refusal.

    `hint` tells on a terminal how to read on where the documents do not tell.
    """
    lines = _refusal(answer, look, hint) if answer.status == "not_found" else []
    for one in answer.citations:
        where = "  ".join(filter(None, [f"{one.passage.document}:{one.start}-{one.end}", one.place]))
        lines += [
            "",
            laid_out(f"[{one.marker}] {one_line(one.passage.trail)}", look, hanging=4, style=bold),
            laid_out(f"“{one.quote}”", look, indent="    ", hanging=1),
            laid_out(where, look, indent="    ", style=dim),
        ]
    if answer.struck:
        lines += ["", "Struck from the draft:"]
        lines += [
            laid_out(one_line(f"{one.sentence} ({one.reason})"), look, indent="  ", hanging=2, style=dim)
            for one in answer.struck
        ]
    who, seconds = answer.generator, answer.timings_ms.get("total", 0) / 1000
    named = who.name if who.name == who.model else f"{who.name} ({who.model})"
    lines += ["", laid_out(one_line(f"{named}, index {answer.index.version}, {seconds:.1f} s"), look, style=dim)]
    notes = [f"Read as: {answer.read_as}" if answer.read_as else "", answer.notice]
    lines += [laid_out(one_line(note), look, hanging=2, style=noted) for note in notes if note]
    return "\n".join(lines)


def _refusal(answer: Answer, look: Look, hint: str) -> list[str]:
    lines = [laid_out(answer.text, look, style=bold)]
    if answer.passages:
        lines += ["", "Nearest in the documents:"]
    for one in answer.passages[:NEAREST]:
        where = "  ".join(filter(None, [one.passage.id, one.passage.place]))
        lines += [
            laid_out(one_line(one.passage.trail), look, indent="  ", hanging=2),
            laid_out(where, look, indent="    ", style=dim),
        ]
    return [*lines, laid_out(hint, look, style=dim)] if hint and look.width and answer.passages else lines


class Status:
    """A line on stderr that tells what is being done and goes away again; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> Status:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, text: str) -> None:
        if self._is_live:
            room = shutil.get_terminal_size().columns - 1
            click.echo(f"{_CLEAR}{text[:room]}", nl=False, err=True)

    def clear(self) -> None:
        if self._is_live:
            click.echo(_CLEAR, nl=False, err=True)


def show_answer(engine: Engine, question: str, *, hint: str = "", **options: Any) -> Answer:
    """Prints an answer as it grows. `hint` as of `below`; `options` and what is raised as of `Engine.stream_answer`."""
    from rag.comparing import labels

    look, label = look_of(sys.stdout), ""
    known: Sequence[str] = sorted(labels(engine.version), key=len, reverse=True) if look.width else ()
    events = engine.stream_answer(question, **options)
    with Status() as status, contextlib.closing(events):
        status("Searching …")
        for event in events:
            status.clear()
            match event:
                case Retrieved(passages):
                    status(f"Reading {len(passages)} passages …")
                case Weighed():
                    known = ()  # roles that are set side by side are not weighed
                    status("Writing …")
                case Token(text):
                    before, label, text = label, *_row(text.strip("\n"), known)
                    if label != before:
                        click.echo(("\n" if before else "") + laid_out(one_line(label), look, style=bold))
                    click.echo(laid_out(text, look, indent="  " if label else "", hanging=2, style=marked))
                    status("Writing …")
                case Finished(answer):
                    if label and answer.status == "not_found":
                        click.echo()
                    click.echo(below(answer, look, hint))
                    return answer
    raise AssertionError("unreachable")


def _row(text: str, labels: Sequence[str]) -> tuple[str, str]:
    """The role or document that a line of an answer is about, and what it says of it; "" and the line if of none."""
    label = next((one for one in labels if text.startswith(f"{one}: ")), "")
    return label, text.removeprefix(f"{label}: ") if label else text


@functools.lru_cache(maxsize=20_000)
def _stems(word: str) -> frozenset[str]:
    return frozenset(stems(word))


def _wrapped(line: str, width: int | None, indent: str, hanging: int) -> list[str]:
    if width is None:
        return [f"{indent}{line}".rstrip()]
    line = line.expandtabs(4)
    if _columns(indent + line) <= width:
        return [f"{indent}{line}".rstrip()]
    bullet = _BULLET.match(line)
    own = bullet[0] if bullet else ""
    rest = indent + " " * (len(own) or hanging)
    lines, current, is_bare = [], indent + own, True
    for word in filter(None, _HELD.sub(_HOLD, line[len(own) :]).split(" ")):
        if not is_bare and _columns(current) + 1 + _columns(word) > width:
            lines.append(current)
            current, is_bare = rest, True
        current += word if is_bare else f" {word}"
        is_bare = False
    return [one.replace(_HOLD, " ") for one in (*lines, current)]


def _columns(text: str) -> int:
    """How wide a terminal draws it: East Asian characters twice, what is put on others not at all."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(one) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )
