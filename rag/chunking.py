"""Documents become sentences and passages: spans of their text, nothing rewritten.

A sentence is the smallest stretch that can be quoted: a sentence of prose, a list entry or a row of a table. A passage
is a contiguous run of whole sentences of one section, as long as the embedder's limit allows and split as evenly as
possible, so that nothing is cut and nothing is too long to be read. The heading trail counts against the limit,
because it is embedded with the passage, but it is no part of the passage's span.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rag.types import Document, Passage, Section, Sentence

ENTRY = re.compile(r"[ \t]*(?:[-*+•◦▪‣·–]|\d{1,3}[.)]|[a-zA-Z][.)])[ \t]+(?=\S)")
"""A line that begins so is a list entry; the match is its marker."""
_ABBREVIATIONS = frozenset(
    """e.g i.e vs cf al etc approx ca no nos vol fig figs eq sec dr mr mrs ms prof st inc ltd co corp jr sr dept est
    u.s u.k e.u a.m p.m ph.d m.sc b.sc jan feb mar apr jun jul aug sep sept oct nov dec""".split()
)
_SENTENCE_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s+[\"'“‘(\[]?[^\sa-z])|[。！？]+[」』”]*)\s*")
_REACH = 8
"""Characters for each token that a piece of a long stretch is sought in first: more than words have."""
LEAST = 16
"""Tokens that a heading trail must leave to its passage; a longer trail is not embedded with it."""
_WORD_BEFORE = re.compile(r"[\w.]+\Z")


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What the splitting of a document came to.

    `cut` counts sentences longer than the embedder can read whole, `tokens` those of the passages' own text.
    """

    passages: tuple[Passage, ...]
    cut: int
    tokens: int


def sentences_of(document: Document, section: Section) -> list[Sentence]:
    """The sentences of a section in order; between them lie only white space and list markers."""
    sentences: list[Sentence] = []
    parents: list[tuple[int, str]] = []  # (indent, text) of the entries that enclose the next one
    lead = ""
    for kind, indent, start, end in _blocks(document.text, section.start, section.end):
        text = document.text[start:end]
        if kind == "entry":
            while parents and parents[-1][0] >= indent:
                parents.pop()
            above = " ".join(filter(None, [lead, *(parent for _, parent in parents)]))
            sentences.append(Sentence(start, end, text, above, is_entry=True))
            parents.append((indent, text))
        elif kind == "row":
            sentences.append(Sentence(start, end, text, lead, is_entry=True))
            lead = lead or text  # the first row of a table names its columns
        else:
            prose = [
                Sentence(left, right, document.text[left:right])
                for left, right in sentence_spans(document.text, start, end)
            ]
            sentences.extend(prose)
            parents.clear()
            lead = prose[-1].text if prose and prose[-1].text.endswith(":") else ""
    return sentences


def split(document: Document, *, count: Callable[[str], int], limit: int, budget: int) -> SplitReport:
    """The passages of a document in order.

    `count` gives the embedder's tokens of a text, special ones included. Heading trail and passage together stay
    within `limit` tokens, the passage's own text within `budget` wherever a single sentence does.
    """
    passages: list[Passage] = []
    cut = total = 0
    for section in document.sections:
        trail = " > ".join((document.title, *section.path)) + "\n"
        own = limit - count(trail)
        if own < LEAST:  # only the reader is shown such a heading
            own = limit - 2
        pieces: list[tuple[int, int, int]] = []  # start, end, tokens
        for start, end in _outer_spans(document, section):
            tokens = count(document.text[start:end])
            if tokens <= own:
                pieces.append((start, end, max(1, tokens - 2)))
                continue
            parts = _cut(document.text, start, end, count, own)
            pieces += [(left, right, max(1, count(document.text[left:right]) - 2)) for left, right in parts]
            cut += 1
        introduces = {start for start, end, _ in pieces if document.text[start:end].endswith(":")}
        for group in _evenly(pieces, min(own - 2, budget), introduces):
            start, end = group[0][0], group[-1][1]
            total += sum(tokens for *_, tokens in group)
            passages.append(
                Passage(document.id, document.title, document.role, section.path, start, end, document.text[start:end])
            )
    return SplitReport(tuple(passages), cut, total)


def sentence_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The spans of the sentences of a stretch of prose, without the white space around them."""
    left = start
    for match in _SENTENCE_END.finditer(text, start, end):
        before = _WORD_BEFORE.search(text, left, match.start())
        word = before[0].casefold() if before else ""
        is_initial = len(word) == 1 and word.isalpha()
        if match[0].lstrip().startswith(".") and (word in _ABBREVIATIONS or is_initial):
            continue
        right = match.start() + len(match[0].rstrip())
        if text[left:right].strip():
            yield left, right
        left = match.end()
    if text[left:end].strip():
        yield left, end


def embedded_text(passage: Passage, *, count: Callable[[str], int], limit: int) -> str:
    """What is embedded for a passage: its heading trail and its text, or its text alone where the trail is too long."""
    trail = f"{passage.trail}\n"
    return trail + passage.text if limit - count(trail) >= LEAST else passage.text


def _outer_spans(document: Document, section: Section) -> Iterator[tuple[int, int]]:
    """The spans of the sentences with their list markers, so that a passage shows them."""
    floor = section.start
    for sentence in sentences_of(document, section):
        line = max(document.text.rfind("\n", 0, sentence.start) + 1, floor)
        before = document.text[line : sentence.start]
        marker = ENTRY.match(before + "x")
        start = line if (marker and marker.end() == len(before)) or not before.strip() else sentence.start
        yield start, sentence.end
        floor = sentence.end


def _evenly(
    pieces: Sequence[tuple[int, int, int]], most: int, introduces: set[int]
) -> Iterator[Sequence[tuple[int, int, int]]]:
    """Runs of pieces of at most `most` tokens: as few runs as possible, the fullest of them as small as possible."""
    if not pieces:
        return
    fewest = len(_packed(pieces, most, introduces))
    low, high = max(tokens for *_, tokens in pieces), most
    while low < high:
        middle = (low + high) // 2
        if len(_packed(pieces, middle, introduces)) <= fewest:
            high = middle
        else:
            low = middle + 1
    yield from _packed(pieces, max(low, 1), introduces)


def _packed(
    pieces: Sequence[tuple[int, int, int]], most: int, introduces: set[int]
) -> list[Sequence[tuple[int, int, int]]]:
    groups: list[list[tuple[int, int, int]]] = [[]]
    total = 0
    for piece in pieces:
        if groups[-1] and total + piece[2] > most:
            carried = [groups[-1].pop()] if len(groups[-1]) > 1 and groups[-1][-1][0] in introduces else []
            if sum(tokens for *_, tokens in [*carried, piece]) > most:
                groups[-1] += carried  # an introduction that fits nowhere else stays where it was
                carried = []
            groups.append(carried)
            total = sum(tokens for *_, tokens in carried)
        groups[-1].append(piece)
        total += piece[2]
    return list(groups)


def _cut(text: str, start: int, end: int, count: Callable[[str], int], most: int) -> Iterator[tuple[int, int]]:
    """A stretch that no passage can hold whole, in pieces that end at a white space, or anywhere if there is none."""
    while start < end:
        low, high = start + 1, min(start + _REACH * most, end)
        while high < end and count(text[start:high]) <= most:
            low, high = high, min(start + 2 * (high - start), end)
        while low < high:  # the longest piece that fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if count(text[start:middle]) <= most else (low, middle - 1)
        stop = low
        if stop < end and (space := max(text.rfind(" ", start, stop), text.rfind("\n", start, stop))) > start:
            stop = space
        yield start, stop
        start = stop + len(text[stop:end]) - len(text[stop:end].lstrip())


def _blocks(text: str, start: int, end: int) -> Iterator[tuple[str, int, int, int]]:
    """(kind, indent, start, end) of the entries, rows and paragraphs of a stretch, without their markers."""
    position = start
    open_block: tuple[str, int, int, int] | None = None
    for line in text[start:end].splitlines(keepends=True):
        left, right = position, position + len(line.rstrip())
        position += len(line)
        indent = len(line) - len(line.lstrip(" "))
        if right <= left:
            if open_block:
                yield open_block
            open_block = None
        elif marker := ENTRY.match(line):
            if open_block:
                yield open_block
            open_block = ("entry", indent, left + marker.end(), right)
        elif " | " in line.strip():
            if open_block:
                yield open_block
            open_block = None
            yield "row", indent, left + indent, right
        elif open_block and (open_block[0] == "prose" or indent > open_block[1]):
            open_block = (*open_block[:3], right)
        else:
            if open_block:
                yield open_block
            open_block = ("prose", indent, left + indent, right)
    if open_block:
        yield open_block
