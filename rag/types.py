"""The frozen values that travel through the pipeline.

Offsets are half-open character offsets into the text of a document as stored in an index version, so
`document.text[start:end]` is what they speak of. Ids are functions of content: no clock, host name or random
number is part of one.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["answered", "partial", "not_found", "error"]


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a document under one heading; `path` is the trail of headings that leads to it."""

    path: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Mark:
    """From `start` to the next mark the text of a document stands on this page, slide or row of its file."""

    start: int
    label: str


@dataclass(frozen=True, slots=True)
class Head:
    """A document without its text: what lists of documents, role names and filters need."""

    id: str
    title: str
    role: str | None
    aliases: tuple[str, ...]
    source: str
    sections: int
    characters: int


@dataclass(frozen=True, slots=True)
class Document:
    """A text that was read. `aliases` are other names of its role; `sha256` is that of the file's bytes."""

    id: str
    title: str
    role: str | None
    text: str
    sections: tuple[Section, ...]
    source: str
    sha256: str
    aliases: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()

    @property
    def head(self) -> Head:
        return Head(self.id, self.title, self.role, self.aliases, self.source, len(self.sections), len(self.text))

    def place(self, start: int, end: int) -> str:
        """Where in its file a stretch stands: "page 3", "page 3 to page 4"; empty where the format has no places."""
        first, last = (
            bisect.bisect_right(self.marks, offset, key=lambda mark: mark.start) for offset in (start, end - 1)
        )
        labels = [self.marks[number - 1].label for number in dict.fromkeys((first, last)) if number]
        return " to ".join(labels)


@dataclass(frozen=True, slots=True)
class Sentence:
    """The smallest stretch that can be quoted: a sentence, a list entry or a row of a table.

    `lead` is the line that introduces the list or table it belongs to ("" if none).
    """

    start: int
    end: int
    text: str
    lead: str = ""
    is_entry: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """A contiguous run of whole sentences of one section: what is embedded and retrieved."""

    document: str
    title: str
    role: str | None
    section: tuple[str, ...]
    start: int
    end: int
    text: str
    place: str = ""
    """Page, slide or row of the file, where its format has any."""

    @property
    def id(self) -> str:
        return f"{self.document}:{self.start}-{self.end}"

    @property
    def trail(self) -> str:
        """Title and headings, as they are put before the text when it is embedded."""
        return " > ".join((self.title, *self.section))


@dataclass(frozen=True, slots=True)
class ScoredPassage:
    """A passage with its fused score, and its rank (from 1) and raw score in each stage that found it."""

    passage: Passage
    score: float
    ranks: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence chosen for a question, with the passage it stands in. Higher scores are nearer.

    It is said although better evidence is there if it is `is_of_list`, of a list that was asked for whole,
    `is_complement`, speaking of a word of the question that the better evidence leaves out or for another document, or
    `is_rival`, giving another figure for what the better evidence gives one for.
    """

    passage: Passage
    sentence: Sentence
    score: float
    is_of_list: bool = False
    is_complement: bool = False
    is_rival: bool = False

    @property
    def quote(self) -> str:
        return self.sentence.text


@dataclass(frozen=True, slots=True)
class Citation:
    """Marker `[marker]` of an answer stands for `quote`, which is the document's text from `start` to `end`."""

    marker: int
    passage: Passage
    quote: str
    start: int
    end: int
    place: str = ""


@dataclass(frozen=True, slots=True)
class Struck:
    """A sentence of a draft that is not shown as said, and why."""

    sentence: str
    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class GeneratorInfo:
    """Which generator wrote an answer. `sha256` is that of the model file, None where there is no file."""

    name: str
    model: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class IndexInfo:
    version: str
    embedder: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and all that is needed to check it. `timings_ms` is in milliseconds since the question came.

    `notice` tells the reader of something that degraded the answer, such as a fallback to another generator.
    """

    question: str
    text: str
    status: Status
    citations: tuple[Citation, ...]
    struck: tuple[Struck, ...]
    passages: tuple[ScoredPassage, ...]
    generator: GeneratorInfo
    index: IndexInfo
    prompt_sha256: str
    timings_ms: Mapping[str, float]
    notice: str = ""
    read_as: str = ""
    """The question as it was understood, where that differs from how it was put."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """Counted by the model's own tokenizer: the `prompt` it read and the `draft` it wrote; empty without a model."""
    unanswerable: float | None = None
    """The probability that the documents do not tell, as it was weighed; None where roles are set side by side."""
    labels: tuple[str, ...] = ()
    """The roles or titles that are set side by side; each line of the text then begins with one of them and ": "."""
    receipt: str = ""
    """The id under which the answer is kept in the log; empty if none is."""
    repeated: bool = False
    """Whether it was written when the same was asked before. The timings are those of the repetition."""
    stages: tuple[tuple[str, float, float], ...] = field(default=(), compare=False)
    """What was done, from when to when, in milliseconds since the question came; not in the record."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """First event of an answer: the passages it will be made from."""

    passages: tuple[ScoredPassage, ...]


@dataclass(frozen=True, slots=True)
class Weighed:
    """Second event, unless roles are set side by side: the signals, and how likely the documents do not tell."""

    signals: Mapping[str, float]
    unanswerable: float


@dataclass(frozen=True, slots=True)
class Token:
    """A checked piece of the answer's text, to be appended to what came before."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Last event of an answer."""

    answer: Answer


Event = Retrieved | Weighed | Token | Finished
