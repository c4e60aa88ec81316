"""Documents become proposals: questions with answers and exact quotations, for a person to review before use.

In goes an engine over the documents; out come rows as of eval/questions.py, marked as not reviewed. A model words one
question for each chosen sentence. Without one, rules do: a sentence is asked back with its figure replaced ("The safety
valve opens at how many bar?"), a "label: value" entry or a cell of a table is asked for by its labels, a list by the
line that introduces it. About a fifth are unanswerable: a question in which a name or a year was exchanged for one that
no passage has together with the rest.

What it cannot do: see whether another passage gives another answer, or tells what an exchanged question asks; ask over
several sentences; and by rule, without a model, put the question word first, ask for names or reasons, or read other
languages than English.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from eval.measures import Outcome, evidence_recall, outcome
from eval.questions import Question, resolve
from rag.answering import EXTRACTIVE, Engine
from rag.citations import spoken
from rag.errors import SettingsError
from rag.orders import addresses_program
from rag.prompts import Prompt, load_prompt
from rag.protocols import Generator
from rag.record import answer_record
from rag.types import Message, Passage, Sentence
from rag.versions import IndexVersion
from rag.words import STOPWORDS, stems, words

logger = logging.getLogger(__name__)

PROMPTS = Path(__file__).resolve().parent / "prompts"
SPLITS = ("dev", "test")
ABSENT_EVERY = 5
"""Every fifth proposal is unanswerable, if one can be made."""
TRIES = 6
"""Sentences tried at the most for each question wanted, so that a model that writes nonsense comes to an end."""
FOUND_AMONG = 10
"""Passages, best first, among which the quotations must be found."""
QUESTION_WORDS = range(4, 31)
SENTENCE_WORDS = range(4, 41)
FACT_WORDS = range(1, 9)
"""A longer fact is met by nothing but the quotation itself."""
TELLING_ALONE = 2
"""Words that may be worth asking for without a figure or a name, like the "red dot" of a finder."""
LIST_ENTRIES = range(2, 9)
TOLD = 0.5
"""A passage that has an exchanged name and this share of the question's other stems may tell what is asked."""
DRAFT_TOKENS = 96

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_MONEY = rf"(?:[$€£¥]|(?:USD|EUR|GBP|CHF)\ ){_NUMBER}(?:\ (?:thousand|million|billion|trillion)|[kKmM])?"
_FIGURE = re.compile(
    rf"""(?<![\w.,:/−-])(?:
     (?P<date>\d{{1,2}}\ {_MONTH}(?:\ \d{{4}})?|{_MONTH}\ \d{{1,2}}(?!\d)(?:,\ \d{{4}})?)
    |(?P<month>{_MONTH}\ \d{{4}})
    |(?P<time>\d{{1,2}}:\d\d)
    |(?P<money>{_MONEY}(?:(?:\ to\ |\ ?[–-]\ ?){_MONEY})?)
    |(?P<percentage>{_NUMBER}(?:(?:\ to\ |[–-]){_NUMBER})?\ ?%)
    |(?P<count>{_NUMBER}(?:(?:\ to\ |[–-]){_NUMBER})?)(?=\ (?P<unit>°?[^\W\d_]+)(?:\ (?P<noun>[^\W\d_]+s)\b)?)
    |(?P<year>(?:19|20)\d\d)
    )(?![\w%:]|[.,]\d)""",
    re.VERBOSE,
)
_ASKED_BY = {
    "date": "which date",
    "month": "which month",
    "time": "what time",
    "money": "how much",
    "percentage": "what percentage",
    "count": "how many",
    "year": "which year",
}
_AT_A_TIME = frozenset("at by to on in from since until after before".split())
"""What must stand before a date or a time for "which date" to stand in its place."""
_NO_QUANTITY_AFTER = frozenset(
    """a an all another any between each extra first last my next no or other our own same that the their these this
    those your from article chapter class edition figure level line model number page paragraph path room section step
    table type version""".split()
)
"""Behind these a figure is no quantity of its own, or "how many" cannot stand in its place."""
_FIRST_PART = re.compile(r"\d (?:hour|minute|day|week|month|year|foot|feet|pound)s?$")
_AND_MORE = re.compile(r",?(?: and| or)?(?: at| by| on| in)? [$€£¥]?\d")
"""Behind a figure that is one of several: alone it is not the answer."""
_CLAUSE = re.compile(r"[;:,](?!\d)|\(|\s[–—-]\s|\s(?:and|or)\b(?=.*\d)")
"""Where what follows a figure is no longer needed to ask for it."""
_OPENS = frozenset(
    """above after although as at because before below beside between by during for from if in inside once on outside
    over since under unless until upon when where while with within without""".split()
)
"""A sentence that begins so may have its main clause at its end."""
_UNITS = frozenset("kg g mg t km m cm mm l ml kW kWh W V A mA Hz GHz bar °C °F GB MB TB people percent".split())
"""What can be counted is one of these, or a word in the plural."""
_LEANS = re.compile(
    r"^(?:then|otherwise|however|therefore|thus|so|but|and|or|also|both|either|neither|here|after (?:that|this|it))\b"
    r"|^(?:\W*[\w'’]+\W+){0,6}?(?:it|its|they|them|their|she|he|her|his|this|that|these|those|such)\b"
    r"|\b(?:new|other|another|last|next|this|that) one\b",
    re.IGNORECASE,
)
"""A sentence that speaks of what another one named: nobody can ask for it by its own words."""
_ITEMS = re.compile(r",\s+(?:and\s+|or\s+)?|\s+(?:and|or)\s+")
_FOLLOWING = re.compile(r"\b(?:[Tt]he following|[Tt]hese)\b(?= [a-z])")
_NAME = re.compile(r"\b([a-z]+) ([A-Z][\w-]*(?: (?:[A-Z][\w-]*|\d+\b))*)")
"""A name and the small word before it, which tells places from persons a little."""
_CALENDAR = re.compile(rf"{_MONTH}|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?|I")
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_NUMBERED = re.compile(rf"\b(?!{_MONTH})([A-Z]\w*[ -])(\d{{1,3}})\b")
_QUESTION = re.compile(r"^\W*(?:question\W*:)?\W*(\w.*\?)\W*$", re.IGNORECASE | re.MULTILINE)
"""A small model may leave the label out; what ends in a question mark is the question."""
_ANSWER = re.compile(r"^\W*answer\W*:\s*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_AROUND = ' *`."“”'
"""What a model may put around a question or an answer."""

_UNDER = re.compile(' under "([^"]+)"')
"""The heading in a question that `_place` has given its place."""

_SETS_APART = re.compile(r":\s| \| ")
"""In an entry or a row: what it is about stands before this."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A question to be reviewed; it has no id and no split until `to_row` gives it both.

    `outcome` is what the extractive answer to it comes to: a hint at how hard the question is, or that it is wrong.
    """

    question: Question
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Source:
    """A sentence worth asking about. `entries` is the whole list it is of, empty if it is of none to ask for."""

    passage: Passage
    sentence: Sentence
    entries: tuple[Sentence, ...] = ()


_Exchanged = tuple[str, str, str]
"""A question after an exchange, what stood in it before, and what stands there now."""
_Writer = Callable[[_Source], Question | None]


def propose(engine: Engine, limit: int, generator: str, seed: int) -> Iterator[Proposal]:
    """Up to `limit` proposals, each given out as soon as it is checked; the same ones for the same seed.

    `generator` names the model that words the questions, or "extractive" for rules. Each fact stands word for word in
    the quotations, which retrieval finds. Raises SettingsError if there are no documents, or no such generator.
    """
    if not engine.version.passages:
        raise SettingsError("the documents hold no text to ask about. Name files or folders with text in them.")
    if generator == EXTRACTIVE:
        several = len(engine.version.documents) > 1
        return _proposals(engine, limit, lambda source: _by_rule(source, several), seed)
    model = engine.generator_named(generator)
    order, sentence = load_prompt(PROMPTS, "draft"), load_prompt(PROMPTS, "sentence")
    return _proposals(engine, limit, lambda source: _by_model(source, model, order, sentence), seed)


def to_row(proposal: Proposal, number: int) -> dict[str, Any]:
    """The proposal as a row of a question set, to be reviewed. `number` counts from 1, in the order proposed."""
    asked = proposal.question
    return {
        "id": f"draft-{number:03}",
        "split": SPLITS[(number - 1) % len(SPLITS)],
        "kind": asked.kind,
        "question": asked.question,
        "role": asked.role,
        "history": [],
        "answerable": asked.answerable,
        "reference": asked.reference,
        "facts": [list(fact) for fact in asked.facts],
        "evidence": [{"document": document, "quote": quote} for document, quote in asked.quotations],
        "outcome": proposal.outcome,
        "review": "todo",
    }


def _proposals(engine: Engine, limit: int, write: _Writer, seed: int) -> Iterator[Proposal]:
    given: list[Question] = []
    dropped: Counter[str] = Counter()
    exchange = _Exchange(engine.version, seed)
    for source in itertools.islice(_spread(_sources(engine.version), seed), TRIES * limit):
        if len(given) >= limit:
            break
        asked = write(source)
        if asked is None or (fault := _fault(asked, given)):
            dropped["no question" if asked is None else fault] += 1
            continue
        proposal, recall = _tried(engine, asked)
        if recall < 1:
            dropped["not found by retrieval"] += 1
            continue
        yield proposal
        given.append(asked)
        absents = sum(not one.answerable for one in given)
        due = absents < (len(given) + 1) // ABSENT_EVERY and len(given) < limit
        same_split = given[len(given) % len(SPLITS) :: len(SPLITS)]  # or its twin would be tuned on
        absent = exchange.absent([one for one in reversed(same_split) if one.answerable]) if due else None
        if absent and not _fault(absent, given):
            yield _tried(engine, absent)[0]
            given.append(absent)
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common()) or "none"
    level = logging.WARNING if len(given) < limit else logging.INFO
    logger.log(level, "%d of %d questions proposed; sentences left out: %s", len(given), limit, reasons)


def _tried(engine: Engine, asked: Question) -> tuple[Proposal, float]:
    """The question with what its extractive answer comes to, and the share of its quotations that was found."""
    record = answer_record(engine.ask(asked.question, role=asked.role, generator=EXTRACTIVE))
    gold = resolve(asked, engine.version.documents)
    recall = evidence_recall(gold, {"passages": record["passages"][:FOUND_AMONG]})
    return Proposal(asked, outcome(asked, record)), recall


def _fault(asked: Question, given: Sequence[Question]) -> str:
    """What is wrong with a question as such; empty if nothing is."""
    quoted = [words(cell) for _, quote in asked.quotations for cell in quote.split(" | ")]
    question = words(asked.question)
    facts = [words(wording) for fact in asked.facts for wording in fact]
    if not asked.question.endswith("?") or len(question) not in QUESTION_WORDS or addresses_program(asked.question):
        return "unusable question"
    if not all(len(fact) in FACT_WORDS and any(_holds(text, fact) for text in quoted) for fact in facts):
        return "answer not in the sentence"
    if any(_holds(question, fact) for fact in facts):
        return "answer in the question"
    if any(words(one.question) == question for one in given):
        return "question asked already"
    return ""


def _holds(text: Sequence[str], part: Sequence[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(text)} "


def _sources(version: IndexVersion) -> list[_Source]:
    """The sentences worth asking about, each once, in the order of the documents.

    A quotation is looked up by its text, so where the same text stands earlier in the document it is left out.
    """
    lists: defaultdict[tuple[str, tuple[str, ...], str], list[Sentence]] = defaultdict(list)
    found: dict[tuple[str, ...], tuple[Passage, Sentence]] = {}
    elsewhere: set[Sentence] = set()
    for passage in version.passages:
        for sentence in version.sentences(passage):
            if sentence.is_entry and sentence.lead:
                lists[passage.document, passage.section, sentence.lead].append(sentence)
            if version.documents[passage.document].text.find(sentence.text) != sentence.start:
                elsewhere.add(sentence)
            elif _is_worth_asking(passage, sentence):
                found.setdefault(tuple(words(sentence.text)), (passage, sentence))
    sources = []
    for passage, sentence in found.values():
        entries = lists.get((passage.document, passage.section, sentence.lead), [])
        sound = not any(one in elsewhere or addresses_program(one.text) for one in entries)
        sources.append(_Source(passage, sentence, tuple(entries) if sound else ()))
    return sources


def _is_worth_asking(passage: Passage, sentence: Sentence) -> bool:
    """Whether it stands for itself, tells a figure, a name or a list, and speaks to people."""
    text = spoken(sentence.text)
    if any(addresses_program(part) for part in (*passage.section, sentence.lead, text)):
        return False
    if sentence.is_entry:
        return bool(sentence.lead or ": " in text) and not text.endswith(":") and len(words(text)) >= 2
    tells = any(map(str.isdigit, text)) or _NAME.search(text) or len(_ITEMS.findall(text)) > 1
    begins, ends = text[0].isalpha() and not text[0].islower(), text.rstrip("\"'”’)")[-1:] in tuple(".!。")
    whole = begins and ends and len(words(text)) in SENTENCE_WORDS and text.count('"') % 2 == 0
    return bool(tells and whole and not _LEANS.search(text))


def _spread(sources: Iterable[_Source], seed: int) -> list[_Source]:
    """In an order drawn by `seed` in which the documents take turns, and in each document its headings."""
    drawn = sorted(sources, key=lambda one: _draw(seed, one.passage.document, str(one.sentence.start)))
    documents: defaultdict[str, defaultdict[tuple[str, ...], list[_Source]]] = defaultdict(lambda: defaultdict(list))
    for source in drawn:
        documents[source.passage.document][source.passage.section].append(source)
    return _in_turns(_in_turns(sections.values()) for sections in documents.values())


def _in_turns(groups: Iterable[Sequence[T]]) -> list[T]:
    return [one for turn in itertools.zip_longest(*groups) for one in turn if one is not None]


def _draw(seed: int, *names: str) -> str:
    """A key to sort by, as good as drawn; what is added to the documents leaves the order of the rest as it was."""
    return hashlib.sha256("\n".join([str(seed), *names]).encode()).hexdigest()


def _answerable(source: _Source, question: str, facts: Sequence[str], quoted: Sequence[Sentence] = ()) -> Question:
    passage = source.passage
    return Question(
        id="",
        split="",
        kind="list" if len(facts) > 1 else "fact",
        question=question,
        role=passage.role,
        history=(),
        answerable=True,
        reference=", ".join(facts),
        facts=tuple((fact,) for fact in facts),
        quotations=tuple((passage.document, one.text) for one in quoted or (source.sentence,)),
    )


def _by_model(source: _Source, model: Generator, order: Prompt, sentence: Prompt) -> Question | None:
    """The question and answer that a model writes; None if it does not keep to the two lines asked for.

    A list of which an entry is a part of the answer is asked for whole, by rule.
    """
    passage = source.passage
    if source.sentence.is_entry and not _SETS_APART.search(source.sentence.text):
        return _of_list(source)
    messages = [
        Message("system", order.fill()),
        Message(
            "user",
            sentence.fill(
                title=passage.title,
                headings=" > ".join(passage.section) or "-",
                sentence=spoken(f"{source.sentence.lead} {source.sentence.text}"),
            ),
        ),
    ]
    draft = "".join(model.stream(messages, [], max_tokens=DRAFT_TOKENS))
    question, answer = _QUESTION.search(draft), _ANSWER.search(draft)
    if not question or not answer:
        return None
    said = answer[1].strip(_AROUND)
    items = _ITEMS.split(said)
    return _answerable(source, question[1], items if len(items) > 2 else [said])


def _by_rule(source: _Source, several: bool) -> Question | None:
    """The question that the form of the sentence allows, if any. With `several` documents it names its own."""
    if not source.sentence.is_entry:
        return _asked_back(source)
    if " | " in source.sentence.text:
        return _of_table(source, several)
    if source.sentence in source.entries[1:] and (asked := _of_label(source, several)):
        return asked
    return _of_list(source) or _of_label(source, several)


def _asked_back(source: _Source) -> Question | None:
    """The sentence with its first figure that can be asked for replaced, up to the end of the clause."""
    text = spoken(source.sentence.text)
    for match in _FIGURE.finditer(text):
        kind = next(name for name in _ASKED_BY if match[name])
        before, behind, unit = text[: match.start()], text[match.end() :], match["unit"] or ""
        is_unit = unit in _UNITS or unit.endswith("s")
        counted = [unit] if is_unit else [unit, match["noun"]] if match["noun"] else []
        is_bare = kind == "count" and (not counted or unit in STOPWORDS or match[0] == "1")
        if is_bare or _AND_MORE.match(behind) or not _can_be_asked_for(kind, before.split()):
            continue
        end = None if before.split()[:1] and before.split()[0].casefold() in _OPENS else _CLAUSE.search(behind)
        question = f"{before}{_ASKED_BY[kind]}{behind[: end.start() if end else None]}".rstrip(_AROUND + "!") + "?"
        fact = " ".join([match[0], *counted])
        return _answerable(source, _capitalised(question), [fact])
    return None


def _can_be_asked_for(kind: str, before: Sequence[str]) -> bool:
    """Whether a question word can replace a figure behind these words. A name and a number are one: "Nocturne 80"."""
    last = before[-1] if before else ""
    if "between" in map(str.casefold, before[-3:]) or _FIRST_PART.search(" ".join(before)):
        return False  # one end of a range, or the minutes behind the hours
    if kind in ("date", "month", "time", "year"):
        return last.casefold() in _AT_A_TIME
    is_named = last[:1].isupper() and last.casefold() not in STOPWORDS
    return not is_named and last.casefold() not in _NO_QUANTITY_AFTER


def _of_label(source: _Source, several: bool) -> Question | None:
    label, colon, value = spoken(source.sentence.text).partition(": ")
    tells = re.search(r"[\dA-Z]", value) or len(words(value)) <= TELLING_ALONE
    if not colon or not tells or len(words(label)) not in FACT_WORDS:
        return None
    question = f'{_ask_for(value)} "{label}"{_place(source.passage, several)}?'
    return _answerable(source, question, [value.rstrip(".;")])


def _of_table(source: _Source, several: bool) -> Question | None:
    """Asks for a cell by the first cell of its row and the name of its column."""
    columns, cells = (spoken(row).split(" | ") for row in (source.sentence.lead, source.sentence.text))
    if len(columns) != len(cells):
        return None
    chosen = min(range(1, len(cells)), key=lambda column: _draw(column, *cells))
    place = _place(source.passage, several)
    question = f'{_ask_for(cells[chosen])} "{cells[0]}" as "{columns[chosen]}"{place}?'
    return _answerable(source, question, [cells[chosen]])


def _of_list(source: _Source) -> Question | None:
    """Asks for all entries, if the line that introduces them can be turned into a question and they are short."""
    lead = spoken(source.sentence.lead).removesuffix(":")
    named = [spoken(one.text).partition(": ") for one in source.entries]
    if len(named) not in LIST_ENTRIES or _LEANS.search(lead) or any(re.search(r"\d", value) for *_, value in named):
        return None
    first, _, rest = lead.partition(" ")
    if first.casefold() in STOPWORDS - _OPENS and (match := re.fullmatch(r"(.+) are(?:, in order)?", rest)):
        question = f"What are {first.casefold()} {match[1]}?"
    elif re.search(_FOLLOWING, lead):
        question = re.sub(_FOLLOWING, "which", lead, count=1) + "?"
    else:
        return None
    facts = [entry.rstrip(".;") for entry, *_ in named]
    return _answerable(source, _capitalised(question), facts, source.entries)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ask_for(value: str) -> str:
    return "How much is" if re.fullmatch(_MONEY, value) else "What is given for"


def _place(passage: Passage, several: bool) -> str:
    heading = f' under "{passage.section[-1]}"' if passage.section else ""
    return heading + (f" in {passage.title}" if several else "")


class _Exchange:
    """Makes questions that the documents do not answer out of some that they do."""

    def __init__(self, version: IndexVersion, seed: int) -> None:
        self._seed = seed
        self._roles = version.roles
        self._texts = [spoken(f"{one.trail} {one.role or ''} {one.text}") for one in version.passages]
        self._titles = {head.id: head.title for head in version.heads.values()}
        self._documents: defaultdict[str, set[str]] = defaultdict(set)
        """Those that a title or a role stands for,"""
        self._headings: defaultdict[str, set[str]] = defaultdict(set)
        """and their headings."""
        self._names: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        """For each small word the names that stand behind it, with their documents: "in" goes before places."""
        for passage in version.passages:
            for label in filter(None, (passage.title, passage.role)):
                self._documents[label].add(passage.document)
                self._headings[label].update(passage.section)
            for before, name in _named(spoken(passage.text)):
                self._names[before][name].add(passage.document)
        self._used: set[Question] = set()

    def absent(self, sources: Sequence[Question]) -> Question | None:
        """The first of the sources in which something can be exchanged, exchanged; each is used once at the most."""
        for exchanges in (self._labels, self._names_and_numbers, self._elsewhere):
            for source in sources:
                for question, old, new in () if source in self._used else exchanges(source):
                    if not self._may_be_told(question, new):
                        self._used.add(source)
                        return replace(
                            source,
                            kind="absent",
                            question=self._with_article(question, new),
                            role=None if new in self._documents else source.role,
                            answerable=False,
                            reference=f"The documents do not tell of {new}; they do of {old}.",
                            facts=(),
                            quotations=(),
                        )
        return None

    def _labels(self, source: Question) -> Iterator[_Exchanged]:
        """Another role or document of those that have the same headings, in place of the one that is named."""
        text = source.question
        for old, label in self._named_in(text)[:1]:
            wanted = set(_UNDER.findall(text)) or self._headings[label]
            for new in self._drawn(text, self._documents):
                if self._headings[new] & wanted and not self._documents[new] & self._documents[label]:
                    yield text.replace(old, new, 1), old, new

    def _names_and_numbers(self, source: Question) -> Iterator[_Exchanged]:
        """Another number of a model, another year, or another name, of the same family or at least of a kind."""
        text, document = source.question, source.quotations[0][0]
        rest = functools.reduce(
            lambda left, old: left.replace(old, " "), [old for old, _ in self._named_in(text)], text
        )
        exchanged: list[tuple[str, str]] = []
        for match in _NUMBERED.finditer(rest):
            step = 10 ** (len(match[2]) - 1)
            exchanged += [(match[0], f"{match[1]}{int(match[2]) + times * step}") for times in (1, 2, 3)]
        for year in _YEAR.findall(rest):
            exchanged += [(year, str(int(year) + step)) for step in (1, -1, 2, -2, 3, -3)]
        for before, name in _named(rest):
            known = self._names[before]
            kin = {one for one in known if set(one.split()) & set(name.split())}
            others = [one for one in self._drawn(text, known) if one not in text and name not in one]
            others = sorted(others, key=lambda one: (one not in kin, document in known[one]))
            exchanged += [(name, one) for one in others if one in kin or before != "the"]
        for old, new in exchanged:
            yield text.replace(old, new, 1), old, new

    def _elsewhere(self, source: Question) -> Iterator[_Exchanged]:
        """The same question of another document; where all documents are of one kind, that is a likely mistake."""
        own = self._titles[source.quotations[0][0]]
        if not self._named_in(source.question):
            first, rest = source.question.split(" ", 1)
            first = first.casefold() if first.casefold() in STOPWORDS else first
            for title in self._drawn(source.question, set(self._titles.values()) - {own}):
                yield f"According to {title}, {first} {rest}", own, title

    def _named_in(self, text: str) -> list[tuple[str, str]]:
        """How the text calls documents and roles, and which titles and roles are meant, the longest name first."""
        named = [(label, label) for label in self._documents if label in text]
        named += [(text[one.start : one.end], one.role) for one in self._roles.mentions(text)]
        return sorted(named, key=lambda one: -len(one[0]))

    def _drawn(self, text: str, names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: _draw(self._seed, text, name))

    def _with_article(self, question: str, new: str) -> str:
        """With "a" or "an" before what was put in, as the documents have it."""
        texts = [text.casefold() for text in self._texts]
        is_an = any(f" an {new.casefold()}" in text for text in texts)
        return re.sub(rf"\b([Aa])n? (?={re.escape(new)})", rf"\1{'n' * is_an} ", question)

    def _may_be_told(self, question: str, new: str) -> bool:
        """Whether a passage, under its title and role, has what was put in and much of the rest of the question."""
        rest = set(stems(question.replace(new, "")))
        return any(
            len(rest & set(stems(text))) >= TOLD * len(rest)
            for text in self._texts
            if new.casefold() in text.casefold()
        )


def _named(text: str) -> list[tuple[str, str]]:
    """The names in a text, each with the small word before it; months and days of the week are none."""
    found = [(match[1], match[2]) for match in _NAME.finditer(text)]
    return [(before, name) for before, name in found if not _CALENDAR.fullmatch(name.split()[0])]
