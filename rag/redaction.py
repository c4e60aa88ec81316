"""Personal data in a question becomes its kind in brackets before anything is written: "[e-mail]", "[phone]", "[name]".

Rules alone decide, and where a kind of number has check digits they must be right, so that salaries, years and versions
stay. A text without such data comes back as it is. What no rule can tell, such as a name in the middle of a sentence,
stays: this makes logs harmless to keep, not anonymous.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from rag.introductions import FULL_NAME
from rag.roles import Roles

EMAIL = re.compile(
    r"(?<![\w.+-])([\w.+-]{1,64})@((?:[\w-]{1,63}\.){1,8}(?!(?:png|jpe?g|gif|svg|webp)\b)[A-Za-z]{2,24})\b"
)
PHONE = re.compile(
    r"""(?<![\w.+/-])(?:
    (?P<international>\+[1-9][\d\ \u00a0()/-]{6,22}\d)
    |(?:\+?1[\ .-])?(?:\([2-9]\d\d\)\ ?|[2-9]\d\d[.-])[2-9]\d\d[\ .-]\d{4}
    |(?:t[ée]l|t[ée]l[ée](?:ph|f)one?|phone|mobile?|cell|fax|whatsapp)\b[.:]*\ {0,2}
        (?P<labelled>\(?\d[\d\ ()/.-]{6,18}\d)
    )(?:\ ?(?:x|ext\.?)\ ?\d{1,6})?(?![\w/-]|\.\d)""",
    re.IGNORECASE | re.VERBOSE,
)
"""With the code of a country, in the form of North America, or behind a word such as "Tel.". No bare row of digits:
those are years, prices, versions and numbers of books more often than not."""
IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")

_TRUNK = re.compile(
    r"(?<![\w.,+/-])(?!\d\d[./-]\d\d[./-](?:19|20)\d\d)(?:00[1-9]\d|0\d)\d{0,3}"
    r"(?:[ \u00a0/.-]?\(?\d{2,4}\)?){2,5}(?![\w/-]|[.,]\d)"
)
"""A number dialled with a leading 0, as most of Europe writes its own; no figure begins so, but dates do."""
_SAID = re.compile(
    r"\b(?:number|call (?:me|us)|reach (?:me|us)|text me|phone|mobile|cell|whatsapp|tel)\b[^\d\n]{0,24}"
    r"(?P<number>\+?\(?\d[\d \u00a0()/.-]{5,20}\d)(?![\w/-]|[.,]\d)",
    re.IGNORECASE,
)
_CARD = re.compile(
    r"(?<![\w.,-])(?:(?:[3-6]\d{3}|2[2-7]\d\d)(?:([ \u00a0-]?)\d{4}\1\d{4}\1\d{1,7}|([ \u00a0-]?)\d{6}\2\d{4,5}))"
    r"(?![\w-]|[.,]\d)"
)
"""13 to 19 digits that begin as cards do, together or in the groups that are printed on them."""
_FOUR = re.compile(r"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?![\w:]|\.\d)")
_SIX = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])")
_SHORTEST_SIX = 5
"""Characters of an address from which on "::" is one, and no punctuation or piece of a program."""
_TOLD_NAME = re.compile(
    rf"\b(?:my\ (?:full\ )?name(?:\ is|['’]s)|I\ am\ (?:called|named))\ +({FULL_NAME}|[\w'’-]+)", re.IGNORECASE
)
_SELF_NAME = re.compile(rf"\b(?:I\ am|I['’]m|call\ me|this\ is|it['’]s)\ +({FULL_NAME})(?!\w)", re.IGNORECASE)
_SURE = re.compile(r"\b(?:I\ am|I['’]m|call\ me)\b", re.IGNORECASE)
_GREETING = re.compile(r"^\W*(?:(?:hi|hello|hey|dear all)\b\W*)?$", re.IGNORECASE)
_FIGURES = re.compile(r".*000|(?:19|20)\d\d(?:[ -](?:19|20)\d\d)*")
"""Round figures, and years in a row."""
_ABBREVIATED = re.compile(r"[A-Z]{2,3}")
"""What somebody is said to be by this is no name: "I'm AWS certified"."""


@dataclass(frozen=True, slots=True)
class _Identity:
    """A number that a state gives to a person: what it looks like, and whose check (of stdnum) it must stand."""

    check: str
    pattern: re.Pattern[str]


def _bounded(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.,+-])(?:{pattern})(?![\w-]|[.,]\d)", re.IGNORECASE)


_IDENTITIES = (
    _Identity("ch.ssn", _bounded(r"756\.?\d{4}\.?\d{4}\.?\d{2}")),
    _Identity("de.idnr", _bounded(r"\d{11}|\d\d \d{3} \d{3} \d{3}")),
    _Identity("at.vnr", _bounded(r"\d{4} ?\d{6}")),
    _Identity("fr.nir", _bounded(r"[12] ?\d\d ?\d\d ?(?:\d\d|2[AB]) ?\d{3} ?\d{3} ?\d\d")),
    _Identity("es.dni", _bounded(r"\d{8}-?[A-Z]")),
    _Identity("es.nie", _bounded(r"[XYZ]-?\d{7}-?[A-Z]")),
    _Identity("it.codicefiscale", _bounded(r"[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z]")),
    _Identity("nl.bsn", _bounded(r"(?<=bsn )\d{9}|(?<=bsn: )\d{9}|(?<=bsn is )\d{9}|\d{4}\.\d\d\.\d{3}")),
    _Identity("be.nn", _bounded(r"\d\d\.\d\d\.\d\d-\d{3}[. ]\d\d")),
    _Identity("pl.pesel", _bounded(r"\d{11}")),
    _Identity("se.personnummer", _bounded(r"(?:\d\d)?\d{6}[-+]\d{4}")),
    _Identity("dk.cpr", _bounded(r"\d{6}-\d{4}")),
    _Identity("fi.hetu", _bounded(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]")),
    _Identity("no.fodselsnummer", _bounded(r"\d{6} ?\d{5}")),
    _Identity("gb.nhs", _bounded(r"\d{3} \d{3} \d{4}")),
    _Identity("us.ssn", _bounded(r"\d{3}-\d\d-\d{4}")),  # without check digits, but no figure is written so
    _Identity("ca.sin", _bounded(r"\d{3}-\d{3}-\d{3}")),
    _Identity("br.cpf", _bounded(r"\d{3}\.\d{3}\.\d{3}-\d\d")),
    _Identity("in_.aadhaar", _bounded(r"\d{4}[ -]\d{4}[ -]\d{4}")),
    _Identity("cn.ric", _bounded(r"\d{17}[\dX]")),
    _Identity("za.idnr", _bounded(r"\d{13}")),
)


def redacted(text: str, roles: Roles | None = None) -> str:
    """The text with all personal data that a rule finds replaced by its kind. A name that is one of `roles` stays."""
    return _replaced(text, roles)[0]


def kinds_in(text: str, roles: Roles | None = None) -> tuple[str, ...]:
    """Which kinds of personal data were found: "card", "e-mail", …, each once and sorted."""
    return tuple(sorted(set(_replaced(text, roles)[1])))


def _replaced(text: str, roles: Roles | None) -> tuple[str, list[str]]:
    rules: tuple[tuple[str, Callable[[str], Iterable[tuple[int, int]]]], ...] = (
        ("e-mail", _emails),
        ("IBAN", _ibans),
        ("card", _cards),
        ("national id", _identities),
        ("IP address", _addresses),
        ("phone", _phones),
        ("name", lambda one: _names(one, roles)),
    )
    found: list[str] = []
    for kind, spans in rules:  # what one rule has replaced, none of the next can find
        for start, end in sorted(set(spans(text)), reverse=True):
            text = f"{text[:start]}[{kind}]{text[end:]}"
            found.append(kind)
    return text, found


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (match.span() for match in EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    upper = text.upper()  # people write it in small letters, too
    for match in IBAN.finditer(upper if len(upper) == len(text) else text):
        if iban := checked_iban(match[0]):
            yield match.start(), match.start() + len(iban)


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if 13 <= len(digits) <= 19 and luhn_holds(digits) and not digits.endswith("000000"):
            yield match.span()


def _identities(text: str) -> Iterator[tuple[int, int]]:
    if not any(character.isdecimal() for character in text):
        return
    taken = 0
    found = (
        match.span()
        for one in _IDENTITIES
        for match in one.pattern.finditer(text)
        if not _FIGURES.fullmatch(match[0]) and importlib.import_module(f"stdnum.{one.check}").is_valid(match[0])
    )
    for start, end in sorted(found):
        if start >= taken:  # one number may stand the check of two states
            yield start, end
            taken = end


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for match in (*_FOUR.finditer(text), *_SIX.finditer(text)):
        try:
            ipaddress.ip_address(match[0])
        except ValueError:
            continue
        if ":" not in match[0] or len(match[0]) >= _SHORTEST_SIX:
            yield match.span()


def _phones(text: str) -> Iterator[tuple[int, int]]:
    spans = [match.span() for match in PHONE.finditer(text) if may_ring(match["labelled"] or match[0])]
    spans += [match.span() for match in _TRUNK.finditer(text) if may_ring(match[0])]
    spans += [match.span("number") for match in _SAID.finditer(text) if _is_dialled(match["number"])]
    taken = 0
    for start, end in sorted(spans):
        if start >= taken:
            yield start, end
            taken = end


def _names(text: str, roles: Roles | None) -> Iterator[tuple[int, int]]:
    for pattern in (_TOLD_NAME, _SELF_NAME):
        for match in pattern.finditer(text):
            # "This is Anna." introduces at the beginning alone; "this is Python" elsewhere speaks of something else.
            introduces = pattern is _TOLD_NAME or _SURE.match(match[0]) or _GREETING.match(text[: match.start()])
            if introduces and not _ABBREVIATED.fullmatch(match[1]) and not (roles and roles.find(match[1])):
                yield match.span(1)


def may_ring(number: str) -> bool:
    """Whether it is as long as telephone numbers are (E.164: 15 digits at most) and no round or spaced figure."""
    groups = re.findall(r"\d+", number)
    return 9 <= len("".join(groups)) <= 15 and len(groups) <= 7 and groups[-2:] != ["000", "000"]


def _is_dialled(number: str) -> bool:
    """Whether a number that is said to be a telephone's may be one: 7 digits are enough, round ones are figures."""
    digits = re.sub(r"\D", "", number)
    return 7 <= len(digits) <= 15 and not digits.endswith("000")


def checked_iban(text: str) -> str:
    """The longest beginning, in whole groups, whose check digits are right (ISO 13616: 97 divides all but one)."""
    while len(compact := text.replace(" ", "")) >= 15:
        if int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1:
            return text
        text = text.rpartition(" ")[0]
    return ""


def luhn_holds(digits: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right counts twice."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0
