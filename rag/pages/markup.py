"""Text as markup, inert; and how passages and places are named wherever they are shown.

Documents and models are not trusted. `as_html` and `as_markdown` turn every character that could mean something to the
browser, to Gradio's templates or to Markdown into an entity, which displays as the character and is never syntax.
"""

from __future__ import annotations

import functools
import html
import re

from rag.types import Citation, Passage
from rag.words import stems

_ANYWHERE = re.compile(r"""[\\`*_{}\[\]<>&"'!|~^@$]|:(?=/)|(?<=www)\.""", re.IGNORECASE)
_AT_LINE_START = re.compile(r"^(?:[#=+-]|\d+[.)](?=\s))", re.MULTILINE)
_TOKEN = re.compile(r"\w+(?:[.,]\d+)*(?:\+\+|#)?")


def as_html(text: str) -> str:
    """`text` for the content or a quoted attribute of an element, inert in Gradio's templates (`${…}`, `{{…}}`) too."""
    escaped = html.escape(text, quote=True)
    return escaped.translate({ord(character): f"&#{ord(character)};" for character in "${}`\\"})


def as_markdown(text: str) -> str:
    """`text` as Markdown that displays as `text`: no emphasis, heading, list, link, image, address, maths or tag.

    CommonMark never reads an entity as syntax (https://spec.commonmark.org/0.31.2/#entity-and-numeric-character-references).
    Space at the beginning of a line, which could make it code, is dropped. `html.unescape` is the inverse.
    """
    text = "\n".join(line.strip() for line in text.splitlines())
    text = _ANYWHERE.sub(lambda match: f"&#{ord(match[0])};", text)
    return _AT_LINE_START.sub(lambda match: f"{match[0][:-1]}&#{ord(match[0][-1])};", text)


def trail(passage: Passage) -> str:
    steps = "".join(f'<span class="step">{as_html(step)}</span>' for step in passage.section)
    return f'<span class="trail"><span class="title">{as_html(passage.title)}</span>{steps}</span>'


def place(of: Passage | Citation) -> str:
    document = of.document if isinstance(of, Passage) else of.passage.document
    return f"<code>{as_html(document)}</code> characters {of.start:,}&ndash;{of.end:,}"


def marked(text: str, asked: frozenset[str]) -> str:
    """`text` as HTML with the words marked whose stem is `asked` for."""
    parts, done = [], 0
    for match in _TOKEN.finditer(text):
        if _stems_of_word(match[0]) & asked:
            parts += [as_html(text[done : match.start()]), f"<mark>{as_html(match[0])}</mark>"]
            done = match.end()
    return "".join([*parts, as_html(text[done:])])


@functools.lru_cache(maxsize=20_000)
def _stems_of_word(word: str) -> frozenset[str]:
    return frozenset(stems(word))
