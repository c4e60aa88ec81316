"""Checks on documents before they are indexed: what a person should look at before trusting answers from them.

In come the documents that were read, their passages, what was skipped and what the readers noted; out come findings
and how evenly roles and chapters are covered. Nothing is dropped, changed or fetched. Whatever is said of one document
under one check is one finding, with a count and a few examples, so that no document can flood the report.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rag.chunking import sentences_of
from rag.files import Skipped
from rag.languages import language_of
from rag.likeness import near_duplicates, repetitions, shingles_of
from rag.orders import addresses_program
from rag.parsed import clean
from rag.redaction import EMAIL, IBAN, PHONE, checked_iban, luhn_holds, may_ring
from rag.types import Document, Passage, Sentence
from rag.words import words

Severity = Literal["warning", "info"]
"""A warning can make answers wrong or disclose what should not be; the rest is worth knowing."""

FEW_WORDS = 20
"""Words below which a document is nearly empty: about one sentence."""
MOSTLY = 0.5
"""Part of a document's words in boilerplate from which it is mostly that."""
UNDERSERVED = 1 / 3
"""Part of the mean passages of a role below which it is poorly covered. Were questions spread evenly, passages of such
a role would be found three times less often by chance; roles written to one plan differ by far less."""
TELLS_LANGUAGE = 50
"""Words below which the language of a document is not told: names and codes mislead on fewer."""
_SAMPLE = 200
"""Characters taken from the start, the middle and the end of a document to tell its language."""
_EXAMPLES = 3
_LISTED = 10
"""Repeated paragraphs that are named, and findings of a check and chapters that are printed."""
_QUOTED = 100
"""Characters of a quotation that are shown."""
_WORTH_NAMING = 5
"""Words from which on a repeated paragraph is named: below stand headings and names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`source` is the file, "" for the whole; `place` is "document id:offset" of its first instance, "" for none."""

    check: str
    severity: Severity
    source: str
    message: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """What a role or a chapter has of everything. Its words are those of its passages, as white space divides them, and
    `share` is their part of all, 0 to 1."""

    name: str
    documents: int
    passages: int
    words: int
    share: float


@dataclass(frozen=True, slots=True)
class Inspection:
    """`words` counts those of all documents. Warnings come first; shares are sorted, the largest first."""

    documents: int
    passages: int
    words: int
    findings: tuple[Finding, ...]
    roles: tuple[Share, ...]
    chapters: tuple[Share, ...]


Instance = tuple[int, str]
"""Where in a document something stands, and how it is shown."""


def inspect(
    documents: Sequence[Document],
    passages: Sequence[Passage],
    *,
    skipped: Sequence[Skipped] = (),
    notes: Mapping[str, Sequence[str]] | None = None,
) -> Inspection:
    """Runs every check. `notes` are the readers', by source. The order of the documents makes no difference."""
    documents = sorted(documents, key=lambda document: document.id)
    words_of = {document.id: words(document.text) for document in documents}
    of_document: dict[str, list[Passage]] = defaultdict(list)
    for passage in sorted(passages, key=lambda passage: (passage.document, passage.start)):
        of_document[passage.document].append(passage)
    roles = _shares([(passage.role or "", passage) for passage in passages], {one.role or "" for one in documents})
    chapters = _shares([(passage.section[0] if passage.section else "", passage) for passage in passages], ())
    findings = [
        *_skipped(skipped),
        *(Finding("reading", "info", source, note) for source, of in sorted((notes or {}).items()) for note in of),
        *_empty(documents, words_of),
        *_repeated(documents, words_of),
        *_foreign(documents, words_of),
        *_underserved(roles),
    ]
    for document in documents:
        findings += _in_document(document, of_document[document.id])
    findings.sort(key=lambda finding: (finding.severity != "warning", finding.check, finding.source))
    total = sum(map(len, words_of.values()))
    return Inspection(len(documents), len(passages), total, tuple(findings), roles, chapters)


def as_record(inspection: Inspection) -> dict[str, Any]:
    """The inspection as plain values, for JSON."""
    return asdict(inspection)


def as_text(inspection: Inspection) -> str:
    """The inspection for a terminal; file names and quotations lose the characters that could steer one."""
    severities = Counter(finding.severity for finding in inspection.findings)
    sizes = f"documents: {inspection.documents:,}, passages: {inspection.passages:,}, words: {inspection.words:,}"
    lines = [f"{sizes}; findings: {severities['warning']:,} to look at, {severities['info']:,} to know"]
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in inspection.findings:
        groups[finding.severity, finding.check].append(finding)
    for (severity, check), findings in groups.items():
        lines += ["", f"{severity}: {check} ({len(findings):,})"]
        for finding in findings[:_LISTED]:
            lines.append("  " + (f"{finding.source}: " if finding.source else "") + finding.message)
        lines += [f"  and {len(findings) - _LISTED:,} more"] * (len(findings) > _LISTED)
    for title, shares in (("role", inspection.roles), ("chapter", inspection.chapters)):
        lines += ["", f"{'documents':>9}  {'passages':>9}  {'words':>10}  {'share':>6}  {title}"]
        for one in shares[:_LISTED]:
            name = one.name or "(none)"
            lines.append(f"{one.documents:>9,}  {one.passages:>9,}  {one.words:>10,}  {one.share:>6.1%}  {name}")
        lines += [f"  and {len(shares) - _LISTED:,} more"] * (len(shares) > _LISTED)
    return "\n".join(clean(line).replace("\n", " ") for line in lines)


# Checks on the whole


def _skipped(skipped: Iterable[Skipped]) -> Iterator[Finding]:
    """One finding for each reason, without the formats that it lists in brackets."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for one in skipped:
        reasons[one.reason.partition(" (read: ")[0]].append(one.source)
    for reason, sources in sorted(reasons.items()):
        if reason.startswith("the same bytes as "):
            yield from (Finding("duplicate", "info", source, f"left out: {reason}") for source in sorted(sources))
        elif len(sources) == 1:
            yield Finding("skipped", "warning", sources[0], reason)
        else:
            shown = _listed(sorted(sources), len(sources))
            yield Finding("skipped", "warning", "", f"{len(sources):,} files: {reason} ({shown})")


def _empty(documents: Iterable[Document], words_of: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    for document in documents:
        if (count := len(words_of[document.id])) < FEW_WORDS:
            what = f"holds only {count} word{'s' * (count > 1)}" if count else "holds no words"
            yield Finding("empty", "warning", document.source, what)


def _repeated(documents: Sequence[Document], words_of: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Duplicates, near-duplicates, and boilerplate in the documents that are neither."""
    by_id = {document.id: document for document in documents}
    first_with: dict[str, Document] = {}
    originals: dict[str, Document] = {}
    for document in documents:
        first = first_with.setdefault(document.text, document)
        if first is document:
            originals[document.id] = document
        elif words_of[document.id]:
            yield Finding("duplicate", "warning", document.source, f"the same text as {first.source}")
    for like in near_duplicates({name: shingles_of(words_of[name]) for name in originals}):
        message = (
            f"much the same as {by_id[like.other].source}: {like.jaccard:.0%} of their runs of five words in common"
        )
        yield Finding("near-duplicate", "warning", originals.pop(like.name).source, message)
    repeated = repetitions({name: document.text for name, document in originals.items()})
    for name, share in repeated.shares.items():
        if share >= MOSTLY and len(words_of[name]) >= FEW_WORDS:
            message = f"mostly boilerplate: {share:.0%} of its words stand in paragraphs that come again"
            yield Finding("boilerplate", "warning", by_id[name].source, message)
    worth_naming = [(one, names) for one, names in repeated.paragraphs if len(one.split()) >= _WORTH_NAMING]
    for paragraph, names in worth_naming[:_LISTED]:
        message = f"stands in {len(names):,} documents: {_quoted(paragraph)}"
        yield Finding("repeated paragraph", "info", by_id[names[0]].source, message)


def _foreign(documents: Iterable[Document], words_of: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Documents in another language than most."""
    languages = {
        document.source: language_of(_sample(document.text))
        for document in documents
        if len(words_of[document.id]) >= TELLS_LANGUAGE
    }
    counts = Counter(languages.values())
    most = min(counts, key=lambda language: (-counts[language], language), default="")
    for source, language in languages.items():
        if language != most:
            yield Finding("language", "info", source, f"reads as {language}, most documents as {most}")


def _sample(text: str) -> str:
    middle = max(0, len(text) // 2 - _SAMPLE // 2)
    return text if len(text) <= 3 * _SAMPLE else text[:_SAMPLE] + text[middle : middle + _SAMPLE] + text[-_SAMPLE:]


def _shares(named: Sequence[tuple[str, Passage]], known: Iterable[str]) -> tuple[Share, ...]:
    """What each name has; a `known` one is named even if it has nothing."""
    documents: dict[str, set[str]] = {name: set() for name in known}
    passages: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name, passage in named:
        documents.setdefault(name, set()).add(passage.document)
        passages[name] += 1
        sizes[name] += len(passage.text.split())
    total = max(1, sum(sizes.values()))
    shares = (Share(name, len(of), passages[name], sizes[name], sizes[name] / total) for name, of in documents.items())
    return tuple(sorted(shares, key=lambda share: (-share.words, share.name)))


def _underserved(roles: Iterable[Share]) -> Iterator[Finding]:
    named = [share for share in roles if share.name]
    mean = sum(share.passages for share in named) / max(1, len(named))
    for share in named:
        if share.passages < mean * UNDERSERVED:
            message = f"{share.name} has {share.passages:,} passages, roles have {mean:,.0f} on average"
            yield Finding("balance", "warning", "", message)


# Checks on one document


def _in_document(document: Document, passages: Sequence[Passage]) -> Iterator[Finding]:
    sentences = [sentence for section in document.sections for sentence in sentences_of(document, section)]
    headings = list(_headings(document))
    quotable = [(one.start, one.text) for one in sentences] + [(start, heading) for start, heading, _ in headings]
    orders = sorted((start, _quoted(text)) for start, text in quotable if addresses_program(text))
    checks: list[tuple[str, Severity, str, Iterable[Instance]]] = [
        ("encoding", "warning", "characters that were lost", _around(document.text, _LOST)),
        ("encoding", "warning", "characters read in a wrong encoding", _mojibake(document.text)),
        ("table", "warning", "tables whose rows differ in their number of cells", _uneven_tables(document.text)),
        ("orders", "warning", "sentences that speak to a program", orders),
        ("long sentence", "info", "sentences longer than the embedder reads", _cut(sentences, passages)),
        ("heading", "info", "headings without text", _without_text(headings)),
        ("heading", "info", "headings that come again", _again(document)),
        *((("personal data", severity, what, find(document.text))) for what, severity, find in _PERSONAL),
    ]
    for check, severity, what, instances in checks:
        if found := list(instances):
            shown = _listed([f"{text} at {document.id}:{start}" for start, text in found[:_EXAMPLES]], len(found))
            place = f"{document.id}:{found[0][0]}"
            yield Finding(check, severity, document.source, f"{what} ({len(found):,}): {shown}", place)


_LOST = re.compile("\ufffd+")
_BYTE_OF = {character: bytes([code]) for code in range(0x80, 0x100) for character in [chr(code)]} | {
    bytes([code]).decode("cp1252"): bytes([code])
    for code in range(0x80, 0xA0)
    if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
"""The byte that cp1252 shows as a character, or Latin-1 where cp1252 shows none."""
_TAIL = "[" + "".join(character for character, byte in _BYTE_OF.items() if byte[0] < 0xC0) + "]"
_MISREAD = re.compile(f"(?:[Â-ß]{_TAIL}|[à-ï]{_TAIL}{{2}}|[ð-ô]{_TAIL}{{3}})+|â€")
"""UTF-8 that was read as cp1252; behind the last two a byte is missing that no encoding shows."""
_TELLING = "ÂÃâïð"
"""What misread accents, dashes, byte order marks and emoji begin with. Others, such as É before a quotation mark, count
only in a row: twice by accident is rare."""


def _mojibake(text: str) -> Iterator[Instance]:
    for match in () if text.isascii() else _MISREAD.finditer(text):
        try:
            is_one = len(b"".join(map(_BYTE_OF.__getitem__, match[0])).decode()) == 1
        except UnicodeDecodeError:
            is_one = True
            if match[0] != "â€":
                continue
        if not is_one or match[0][0] in _TELLING:
            yield match.start(), _context(text, match.start(), match.end())


def _around(text: str, pattern: re.Pattern[str]) -> Iterator[Instance]:
    return ((match.start(), _context(text, match.start(), match.end())) for match in pattern.finditer(text))


_BAR = re.compile(r"(?<= )\|(?= )")


def _uneven_tables(text: str) -> Iterator[Instance]:
    """The first row of each table whose number of cells is not that of most."""
    table: list[tuple[int, str]] = []
    position = 0
    for line in [*text.splitlines(keepends=True), ""]:
        row = f" {line.rstrip()} "  # the first and the last cell may be empty
        if " | " in row:
            table.append((position, row))
        else:
            cells = [1 + len(_BAR.findall(row)) for _, row in table]
            usual = Counter(cells).most_common(1)[0][0] if cells else 0
            odd = next((number for number, count in enumerate(cells) if count != usual), None)
            if odd is not None:
                yield table[odd][0], f"{cells[odd]} instead of {usual} in {_quoted(table[odd][1])}"
            table = []
        position += len(line)


def _cut(sentences: Iterable[Sentence], passages: Sequence[Passage]) -> Iterator[Instance]:
    """Sentences that no passage holds whole."""
    starts = [passage.start for passage in passages]
    for sentence in sentences if passages else ():
        last = bisect.bisect_right(starts, sentence.start) - 1
        if last < 0 or passages[last].end < sentence.end:
            yield sentence.start, _quoted(sentence.text)


def _headings(document: Document) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Each line outside of the sections, with its offset and the trail of the section that comes next."""
    position = 0
    for start, path, end in [
        *((one.start, one.path, one.end) for one in document.sections),
        (len(document.text), (), 0),
    ]:
        for line in document.text[position:start].splitlines(keepends=True):
            if line.strip():
                yield position, line.strip(), path
            position += len(line)
        position = end


def _without_text(headings: Iterable[tuple[int, str, tuple[str, ...]]]) -> Iterator[Instance]:
    """Headings that lead to no section; the first line of a document is its title, which need not."""
    return ((start, _quoted(text)) for start, text, trail in headings if start and text not in trail)


def _again(document: Document) -> Iterator[Instance]:
    seen: set[tuple[str, ...]] = set()
    for section in document.sections:
        if section.path in seen and section.path:
            yield section.start, _quoted(" > ".join(section.path))
        seen.add(section.path)


# Personal data

_CARD = re.compile(
    r"(?<![\w.-])(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d|35\d\d)([ -]?)\d{4}\1\d{4}\1\d{4}"
    r"|3[47]\d\d([ -]?)\d{6}\2\d{5})(?![\w-]|\.\d)"
)
"""As the large issuers number their cards."""


def _emails(text: str) -> Iterator[Instance]:
    found = EMAIL.finditer(text) if "@" in text else ()
    return _distinct((match.start(), match[0], f"{match[1][0]}…@{match[2]}") for match in found)


def _phones(text: str) -> Iterator[Instance]:
    numbers = ((match.start(), match["labelled"] or match[0]) for match in PHONE.finditer(text))
    return _distinct((start, _digits(number), _masked(number)) for start, number in numbers if may_ring(number))


def _ibans(text: str) -> Iterator[Instance]:
    found = ((match.start(), checked_iban(match[0])) for match in IBAN.finditer(text))
    return _distinct((start, iban.replace(" ", ""), f"{iban[:2]} {_masked(iban)}") for start, iban in found if iban)


def _cards(text: str) -> Iterator[Instance]:
    found = ((match.start(), match[0]) for match in _CARD.finditer(text))
    return _distinct((start, _digits(card), _masked(card)) for start, card in found if luhn_holds(_digits(card)))


_PERSONAL: tuple[tuple[str, Severity, Callable[[str], Iterator[Instance]]], ...] = (
    ("e-mail addresses", "info", _emails),
    ("telephone numbers", "info", _phones),
    ("bank accounts (IBAN)", "warning", _ibans),
    ("payment cards", "warning", _cards),
)


def _distinct(found: Iterable[tuple[int, str, str]]) -> Iterator[Instance]:
    """The first place and the mask of each value."""
    seen: set[str] = set()
    for start, value, mask in found:
        if value.casefold() not in seen:
            seen.add(value.casefold())
            yield start, mask


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _masked(number: str) -> str:
    """The code of the country, where it stands apart, and the last two digits."""
    country = re.match(r"\+\d{1,3}(?!\d)", number)
    return (f"{country[0]} " if country else "") + f"… {_digits(number)[-2:]}"


# How things are shown


def _context(text: str, start: int, end: int) -> str:
    return _quoted(text[max(0, start - 20) : end + 20])


def _quoted(text: str) -> str:
    text = " ".join(text[: 2 * _QUOTED].split())
    return f"“{text[: _QUOTED - 1]}…”" if len(text) > _QUOTED else f"“{text}”"


def _listed(shown: Sequence[str], count: int) -> str:
    """The first few of `count` things, and how many more there are."""
    few = shown[:_EXAMPLES]
    return "; ".join(few) + (f"; and {count - len(few):,} more" if count > len(few) else "")
