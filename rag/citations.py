"""A draft in pieces becomes sentences with the markers they cite; nothing here judges what they say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rag.chunking import ENTRY, sentence_spans

_OPENING = "[【"
_ROUND = str.maketrans("[]【】", "()()")
_MARKER = re.compile(r"\s*[\[【]\s*(?:notes?\s+)?(\d{1,3}(?:\s*(?:,|;|and|&)\s*\d{1,3})*)\s*[\]】]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DraftSentence:
    """A sentence without its markers, and the numbers they held, in order and once each."""

    text: str
    markers: tuple[int, ...]


def spoken(quotation: str) -> str:
    """A quotation as an answer shows it: on one line, with what looks like a marker of ours in round brackets."""
    line = " ".join(quotation.split())
    return _MARKER.sub(lambda match: match[0].translate(_ROUND), line)


class DraftReader:
    """Takes a draft piece by piece and gives out each sentence as soon as its markers must be complete.

    A line that is one of `quotations` word for word counts as one sentence, however many it holds.
    """

    def __init__(self, quotations: Collection[str] = ()) -> None:
        self._quotations = {spoken(one) for one in quotations}
        self._rest = ""

    def feed(self, piece: str) -> list[DraftSentence]:
        *lines, self._rest = (self._rest + piece).split("\n")
        finished = [sentence for line in lines for sentence in self._read_line(line)]
        spans = list(_sentences(self._rest))
        finished += [_read(self._rest[start:end]) for start, end in spans[:-1]]
        if len(spans) > 1:
            self._rest = self._rest[spans[-1][0] :]
        return [one for one in finished if one.text]

    def close(self) -> list[DraftSentence]:
        rest, self._rest = self._rest, ""
        return self._read_line(rest)

    def _read_line(self, line: str) -> list[DraftSentence]:
        whole = _read(line)
        if whole.text in self._quotations:
            return [whole]
        return [one for start, end in _sentences(line) if (one := _read(line[start:end])).text]


def _sentences(line: str) -> Iterator[tuple[int, int]]:
    """Spans of sentences with the markers behind them. A marker that opens a span belongs to the sentence before."""
    entry = ENTRY.match(line)
    pending: tuple[int, int] | None = None
    for start, end in sentence_spans(line, entry.end() if entry else 0, len(line)):
        if pending is None or line[start] not in _OPENING:
            if pending is not None:
                yield pending
            pending = (start, end)
            continue
        stop = start
        while marker := _MARKER.match(line, stop, end):
            stop = marker.end()
        after = stop + len(line[stop:end]) - len(line[stop:end].lstrip(" ."))
        if stop == start or after == end:  # a marker that is still being written, or nothing but markers
            pending = (pending[0], end)
        else:
            yield pending[0], stop
            pending = (after, end)
    if pending is not None:
        yield pending


def _read(text: str) -> DraftSentence:
    numbers = [int(number) for match in _MARKER.finditer(text) for number in re.findall(r"\d+", match[1])]
    bare = _MARKER.sub("", text).strip(" *")
    return DraftSentence(bare, tuple(dict.fromkeys(numbers)))
