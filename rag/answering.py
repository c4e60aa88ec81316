"""A question becomes an answer: retrieve, choose evidence, let a generator draft, show what its quotations bear.

One path serves every front door. Retrieval always runs. Text is given out sentence by sentence, each after its check;
what fails the check is listed as struck. If a draft leaves nothing, the evidence itself is the answer.
"""

from __future__ import annotations

import collections.abc
import contextlib
import hashlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

from rag.answerability import NOT_FOUND, REFUSED, Fit, bears_on, missing, not_found, signals_of, unknown_names
from rag.asides import without_asides
from rag.citations import DraftReader, DraftSentence, spoken
from rag.comparing import cells, labels_asked, question_about
from rag.errors import GeneratorError, ModelError, SettingsError
from rag.evidence import EvidenceFinder, Findings
from rag.following import made_whole
from rag.introductions import without_introduction
from rag.orders import is_only_orders, without_orders
from rag.packing import Packed, is_near, pack
from rag.prompts import Prompts
from rag.protocols import Embedder, Generator, Judge, ReadsAhead, Retriever, Rows
from rag.repeats import Asked, Parts, Repeats
from rag.retrieval import DENSE, rows_within
from rag.safety import without_paths
from rag.spelling import mend
from rag.types import (
    Answer,
    Citation,
    Event,
    Evidence,
    Finished,
    Message,
    Retrieved,
    ScoredPassage,
    Struck,
    Token,
    Weighed,
)
from rag.verification import verify
from rag.versions import IndexVersion
from rag.words import STOPWORDS, words

logger = logging.getLogger(__name__)

EXTRACTIVE = "extractive"
TELLING_WORDS = 6
"""Words of a question from which on its language can be told,"""
KNOWN_WORDS = 0.75
"""unless this share of them is known to the documents: names are the same in many languages;"""
SAMPLE = 20
"""and passages from which that of the documents is."""
SUSPECT = "Sentences left out because they give orders to a program that reads them: {}."
RIVALS = "The documents give different figures here; each is shown with its source."
FEWEST = 3
"""Pieces of evidence that are said at the least, if there are as many."""
MESSAGE = 16
"""Tokens that a chat template puts around a message at the most."""
LONGEST_QUESTION = 4000
"""Characters; a question is not a document."""
MOST_PASSAGES = 100
"""That one search of any front door gives."""
_NO_PART = ("generator_named", "repeats")
"""Parts of an engine that say nothing about its answers: a generator of a name writes the same if it may be stopped."""


@dataclass(frozen=True)
class Engine:
    """Everything an answer needs, opened once. `generator_named` loads a generator when it is first asked for."""

    version: IndexVersion
    embedder: Embedder
    retriever: Retriever
    evidence: EvidenceFinder
    generator_named: Callable[[str], Generator]
    prompts: Prompts
    fit: Fit
    language_of: Callable[[str], str]
    """The code of the language that a text is in."""
    passages: int = 10
    passages_each: int = 5
    """For each role or document of a question that is about several."""
    evidence_limit: int = 8
    notes: int = 4
    """Pieces of evidence that a model reads at the most: the worse ones cost time and draw it away."""
    notice: str = ""
    """What a reader of any answer should know: that the index is not the one that is meant."""
    refusal: float = REFUSED
    """Probability that the documents do not tell, from which on a question is refused."""
    answer_tokens: int = 320
    generator: str = EXTRACTIVE
    repeats: Repeats = field(default_factory=Repeats)

    def make_ready(self, generator: str) -> None:
        """Loads a generator, and has it read what its prompts begin with. Raises ModelError or GeneratorError."""
        made = self.generator_named(generator)
        if isinstance(made, ReadsAhead):
            made.read_ahead(self.prompts.opening())

    @property
    def roles(self) -> list[str]:
        return self.version.roles.names

    def search(
        self,
        question: str,
        *,
        k: int | None = None,
        role: str | None = None,
        document: str | None = None,
        chapter: str | None = None,
    ) -> list[ScoredPassage]:
        """The best passages, best first: of the given role, else of all, with those favoured that it names.

        If it asks about several roles or documents, each has its share of the passages, and they take turns. `document`
        (an id) and `chapter` (the first heading below a title) shut out all others before anything is ranked.
        """
        rows = rows_within(self.version, document, chapter)
        return self._found(self.understood(question), k=k, role=role, rows=rows, takes_turns=not document)

    def _found(
        self,
        question: str,
        *,
        k: int | None = None,
        role: str | None = None,
        rows: Rows | None = None,
        takes_turns: bool = True,
    ) -> list[ScoredPassage]:
        """The passages for a question that is understood already, among `rows`."""
        retrieve = partial(self.retriever.retrieve, rows=rows)
        if role:
            return retrieve(question, k or self.passages, [self.version.roles.resolve(role)])
        labels = labels_asked(question, self.version) if takes_turns else []
        if not labels:
            return retrieve(question, k or self.passages, favoured=self.version.roles.find(question))
        shares = [
            retrieve(question_about(question, label, self.version), k or self.passages_each, [label])
            for label in labels
        ]
        shares.sort(key=lambda share: -max((one.scores.get(DENSE, 0.0) for one in share), default=0.0))
        turns = itertools.chain.from_iterable(itertools.zip_longest(*shares))
        return [one for one in turns if one is not None][: k or None]

    def understood(self, question: str, history: Sequence[Message] = ()) -> str:
        """What is asked: no orders, nothing of who asks, mended, made whole, no asides, roles under their own names.

        Raises SettingsError if it is empty or too long.
        """
        roles = self.version.roles
        asked = without_introduction(without_orders(checked(question)), roles)
        mended = mend(asked, self.version.vocabulary, self.embedder.has_token)
        whole = made_whole(mended, history, roles)
        if whole == mended:  # it stands alone
            whole = without_asides(whole, self.embedder, self.version.vectors)
        return roles.spell_out(whole)

    def _foreign(self, asked: str) -> str:
        """What to say of a question in another language than the documents; empty if it is in theirs, or too short."""
        said = words(asked)
        known = sum(word in self.version.vocabulary or word in STOPWORDS for word in said)
        if len(said) < TELLING_WORDS or known >= KNOWN_WORDS * len(said) or not self.version.passages:
            return ""
        theirs = self.language_of(" ".join(one.text for one in self.version.passages[:SAMPLE]))
        if (language := self.language_of(asked)) == theirs:
            return ""
        return (
            f"The question seems to be in another language ({language}) than the documents ({theirs}). "
            f"Only questions in their language are understood well."
        )

    def ask(self, question: str, **options: str | Sequence[Message] | None) -> Answer:
        """The finished answer, for callers that do not show it as it grows. Options as of `stream_answer`."""
        finished = [event for event in self.stream_answer(question, **options) if isinstance(event, Finished)]  # type: ignore[arg-type]
        return finished[-1].answer

    def stream_answer(
        self,
        question: str,
        *,
        history: Sequence[Message] = (),
        role: str | None = None,
        generator: str | None = None,
        anew: bool = False,
    ) -> collections.abc.Generator[Event, None, None]:
        """Retrieved, Weighed, Tokens, Finished. Raises SettingsError for a question or role that cannot be used.

        A generator that is not there or fails is replaced by the extractive one, and the answer's notice says so.
        What was asked before is answered as it was then, and marked as repeated, unless it is to be answered `anew`.
        """
        clock = _Clock()
        with clock.stage("understand"):
            read_as = self.understood(question, history)
        parts = Parts(tuple(getattr(self, one.name) for one in fields(Engine) if one.name not in _NO_PART))
        asked = Asked(question.strip(), read_as, role, generator or self.generator, parts)
        if not anew and (kept := self.repeats.find(asked)):
            for event in kept:
                yield _again(event, clock)
            return
        failures: list[Exception] = []
        told: list[Event] = []
        with contextlib.closing(self._answered(asked, clock, failures)) as events:
            for event in events:
                told.append(event)
                yield event
        if not failures:  # what failed may succeed the next time
            self.repeats.keep(asked, told)

    def _answered(
        self, asked_for: Asked, clock: _Clock, failures: list[Exception]
    ) -> collections.abc.Generator[Event, None, None]:
        asked, question = asked_for.question, asked_for.read_as
        role, generator = asked_for.role, asked_for.generator
        with clock.stage("retrieve"):
            passages = self._found(question, role=role)
        clock.mark("retrieve")
        yield Retrieved(tuple(passages))
        draft = _Draft(self, asked, question, tuple(passages), clock, failures)
        draft.note(self._foreign(asked))
        if labels := [] if role else labels_asked(question, self.version):
            for text in draft.side_by_side(labels):
                yield Token(text)
            yield Finished(draft.finished() if draft.citations else draft.not_found())
            return
        with clock.stage("evidence"):
            findings = self.evidence.find(question, passages, self.evidence_limit)
        clock.mark("evidence")
        if findings.suspect:
            draft.note(SUSPECT.format(findings.suspect))
        near = [one for one in findings.evidence if is_near(one, findings.evidence)]
        further = [one for one in findings.evidence if one not in near]
        evidence = [*near, *further[: max(0, FEWEST - len(near))]]
        signals = signals_of(question, findings, self.version.roles)
        if self.fit.plain.probability(signals) > min(self.fit.clear, self.refusal):  # else a judgement changes nothing
            with clock.stage("judge"):
                judgement = draft.judgement(generator, evidence[: self.notes])
            signals = signals_of(question, findings, self.version.roles, judgement)
        clock.mark("judge")
        hopeless = is_only_orders(asked) or not evidence
        draft.unanswerable = 1.0 if hopeless else self.fit.probability(signals)
        yield Weighed(signals, draft.unanswerable)
        if draft.unanswerable >= self.refusal:
            yield Finished(draft.not_found(missing(question, findings.words, self.version.roles)))
            return
        if any(one.is_rival for one in evidence):
            draft.note(RIVALS)
        if any(one.is_of_list or one.is_rival for one in evidence):
            generator = EXTRACTIVE  # the quotations themselves: a small model would drop some, or pick one
        for name in dict.fromkeys([generator, EXTRACTIVE]):
            try:
                read = evidence if name == EXTRACTIVE else evidence[: self.notes]
                for text in draft.write(self.generator_named(name), read):
                    yield Token(text)
                break
            except (GeneratorError, ModelError) as error:
                if name == EXTRACTIVE:
                    raise
                failures.append(error)
                logger.warning("%s; answering with the extractive generator", error)
                reason = without_paths(str(error))  # it goes to whoever asks
                draft.note(f"The {name} generator could not answer ({reason}) The sentences are the documents' own.")
        if not draft.citations and draft.writer and draft.writer.info.name != EXTRACTIVE:
            draft.note("Nothing of the draft stood the check; the sentences are the documents' own.")
            for text in draft.write(self.generator_named(EXTRACTIVE), evidence):
                yield Token(text)
        yield Finished(draft.finished())


def checked(question: str) -> str:
    """The question without white space around it. Raises SettingsError if it is empty or too long."""
    question = question.strip()
    if not question:
        raise SettingsError("the question is empty. Ask something about the documents.")
    if len(question) > LONGEST_QUESTION:
        raise SettingsError(f"the question has {len(question):,} characters; at most {LONGEST_QUESTION:,} are read.")
    return question


def _again(event: Event, clock: _Clock) -> Event:
    """An event of an answer that was kept, at the time it is told now."""
    if not isinstance(event, Finished):
        return event
    for name in event.answer.timings_ms:
        clock.mark(name)
    return Finished(replace(event.answer, timings_ms=clock.marks, repeated=True, stages=()))


@dataclass
class _Draft:
    """An answer while it is written."""

    engine: Engine
    asked: str
    question: str
    """As it was understood."""
    passages: tuple[ScoredPassage, ...]
    clock: _Clock
    failures: list[Exception]
    citations: list[Citation] = field(default_factory=list)
    struck: list[Struck] = field(default_factory=list)
    text: str = ""
    notice: str = ""
    labels: tuple[str, ...] = ()
    unstated: int = 0
    """Of how many roles or documents that were asked about the documents do not tell."""
    unanswerable: float | None = None
    prompt_sha256: str = ""
    tokens: dict[str, int] = field(default_factory=dict)
    writer: Generator | None = None

    def note(self, notice: str) -> None:
        self.notice = f"{self.notice} {notice}".strip()

    def judgement(self, generator: str, evidence: Sequence[Evidence]) -> float | None:
        """How likely a model finds it that the evidence states the answer; None if there is no model that judges."""
        if generator == EXTRACTIVE or not evidence:
            return None
        try:
            judge = self.engine.generator_named(generator)
            if not isinstance(judge, Judge) or judge.info.model != self.engine.fit.judge:
                return None
            packed = self._packed(judge, evidence)
            return judge.yes_probability(self.engine.prompts.to_judge(packed.notes, self.question))
        except (GeneratorError, ModelError) as error:
            self.failures.append(error)
            logger.warning("%s; judging by the evidence alone", error)
            return None

    def write(self, generator: Generator, evidence: Sequence[Evidence]) -> Iterator[str]:
        """Lets `generator` draft and gives out each sentence that stands."""
        self.writer = generator
        packed = self._packed(generator, evidence)
        if packed.dropped:
            self.note(f"{packed.dropped} of {len(evidence)} pieces of evidence did not fit into the model's context.")
        messages = self.engine.prompts.to_draft(packed.notes, self.question)
        self.prompt_sha256 = hashlib.sha256("\n\n".join(one.content for one in messages).encode()).hexdigest()
        reader = DraftReader([one.quote for one in packed.evidence])
        pieces = generator.stream(messages, packed.evidence, max_tokens=self.engine.answer_tokens)
        drafted = []
        with contextlib.closing(pieces):  # who leaves while it writes stops the model at once
            for piece in pieces:
                self.clock.mark("first_token")
                drafted.append(piece)
                for sentence in reader.feed(piece):
                    yield from self._shown(sentence, packed)
        for sentence in reader.close():
            yield from self._shown(sentence, packed)
        if generator.info.name != EXTRACTIVE:
            read = sum(generator.count(one.content) for one in messages)
            self.tokens = {"prompt": read, "draft": generator.count("".join(drafted))}

    def side_by_side(self, labels: Sequence[str]) -> Iterator[str]:
        """For each role or document what it says, a line for each quotation, or that it does not say.

        No generator takes part: a model that is given several roles at once mixes them up.
        """
        self.labels = tuple(labels)
        version, limit = self.engine.version, self.engine.evidence_limit
        found: dict[str, Findings] = {}
        for label in labels:
            of_label = [one for one in self.passages if label in (one.passage.role, one.passage.title)]
            found[label] = self.engine.evidence.find(question_about(self.question, label, version), of_label, limit)
        best = max((one.score for findings in found.values() for one in findings.evidence), default=0.0)
        for label, findings in found.items():
            tells = bears_on(findings.evidence, best) and not unknown_names(self.question, findings.words)
            said = [f"{spoken(one.quote)} [{self._marker(one)}]" for one in (cells(findings.evidence) if tells else ())]
            self.unstated += not said
            for cell in said or ["not stated"]:
                added = ("\n" if self.text else "") + f"{label}: {cell}"
                self.text += added
                self.clock.mark("first_token")
                self.clock.mark("first_sentence")
                yield added

    def _packed(self, generator: Generator, evidence: Sequence[Evidence]) -> Packed:
        bare = self.engine.prompts.to_draft("", self.question)
        around = sum(generator.count(one.content) + MESSAGE for one in bare) + self.engine.answer_tokens
        return pack(evidence, count=generator.count, budget=generator.context_tokens - around)

    def _shown(self, sentence: DraftSentence, packed: Packed) -> Iterator[str]:
        with self.clock.stage("verify"):
            verdict = verify(sentence, packed.evidence, self.engine.version.roles)
        if verdict.unknown:
            self.struck.append(Struck(sentence.text, f"{verdict.unknown} of its markers point to no source; removed"))
        if verdict.reason:
            self.struck.append(Struck(sentence.text, verdict.reason))
        if not verdict.evidence:
            return
        markers = " ".join(f"[{self._marker(one)}]" for one in verdict.evidence)
        added = f"{verdict.text} {markers}"
        if added in self.text.split("\n"):
            return  # a small model may say a thing twice
        added = ("\n" if self.text else "") + added
        self.text += added
        self.clock.mark("first_sentence")
        yield added

    def _marker(self, evidence: Evidence) -> int:
        """The number of this quotation, a new one on its first use."""
        start, end = evidence.sentence.start, evidence.sentence.end
        for citation in self.citations:
            if (citation.passage.document, citation.start, citation.end) == (evidence.passage.document, start, end):
                return citation.marker
        place = self.engine.version.documents[evidence.passage.document].place(start, end)
        self.citations.append(Citation(len(self.citations) + 1, evidence.passage, evidence.quote, start, end, place))
        return len(self.citations)

    def not_found(self, missing: Sequence[str] = ()) -> Answer:
        return replace(self.finished(), text=not_found(missing), status="not_found")

    def finished(self) -> Answer:
        self.clock.mark("first_token")  # where no generator wrote, the first text comes with the end
        self.clock.mark("total")
        writer = self.writer or self.engine.generator_named(EXTRACTIVE)
        return Answer(
            question=self.asked,
            read_as=self.question if self.question.casefold() != self.asked.casefold() else "",
            text=self.text or NOT_FOUND,
            status="not_found" if not self.citations else "partial" if self.unstated else "answered",
            citations=tuple(self.citations),
            struck=tuple(self.struck),
            passages=self.passages,
            generator=writer.info,
            index=self.engine.version.info,
            prompt_sha256=self.prompt_sha256,
            tokens=self.tokens,
            timings_ms=self.clock.marks,
            stages=tuple(self.clock.stages),
            notice=f"{self.engine.notice} {self.notice}".strip(),
            unanswerable=self.unanswerable,
            labels=self.labels if self.citations else (),
        )


class _Clock:
    """Milliseconds since the question came: at the first time each mark is passed, and of each stage."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.marks: dict[str, float] = {}
        self.stages: list[tuple[str, float, float]] = []

    def mark(self, name: str) -> None:
        self.marks.setdefault(name, round(self._now(), 1))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = self._now()
        yield
        self.stages.append((name, began, self._now()))

    def _now(self) -> float:
        return (time.perf_counter() - self._start) * 1000
