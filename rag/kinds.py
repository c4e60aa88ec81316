"""The kind of thing a question asks for, and whether a text has one: the answer to "how much" holds an amount.

Rules for English, after the expected answer types of Li and Roth, "Learning question classifiers", COLING 2002. A
question that none of them fits asks for no kind in particular.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ONES = "one two three four five six seven eight nine ten eleven twelve dozen half twice once none no"
_NUMBER = rf"\b(?:\d[\d,.]*|{'|'.join(_ONES.split())})\b"
_TIMES = "second minute hour day week month year decade"
_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Mondays? Tuesdays? Wednesdays? Thursdays? Fridays? Saturdays? Sundays? weekdays? noon midnight century"
_SEASONS = "spring summer autumn winter"
_PRICED = "price costs? fees? fare salary salaries wages? pay earn earns"
_DATED = r"\b(?:what|which) (?:year|date|day|month|time)\b"
_SPENT = "cost earn pay make charge owe price worth paid fee fine fare get"
_MEASURED = "many much far high tall heavy big large often fast"
_FREE = "free|no charge"
_REASON = re.compile(r"\bwhy\b|\b(?:influenc|affect|determin|depend|factor|benefit|reason|drive)\w*", re.IGNORECASE)
_AUXILIARIES = "am is are was were do does did has have had can could will would shall should may might must"
_YES_OR_NO = re.compile(rf"\W*(?:and |so |but )?(?:{'|'.join(_AUXILIARIES.split())})\b", re.IGNORECASE)
_ASKING = re.compile(r"\b(?:who(?:se|m)?|what|which|when|where|how)\b", re.IGNORECASE)
_NAME = r"(?<=[a-z,;:)] )[A-Z][\w'’-]+|^[A-Z]\w+ [A-Z]\w+"


@dataclass(frozen=True)
class Kind:
    """`asked` finds the question, `given` what answers it."""

    name: str
    asked: re.Pattern[str]
    given: re.Pattern[str]

    def is_in(self, text: str) -> bool:
        return bool(self.given.search(text))


def _any(words: str) -> str:
    return rf"\b(?:{'|'.join(words.split())})\b"


def _kinds() -> Iterator[Kind]:
    written_large = {"person", "place"}
    for name, asked, given in (
        (
            "percentage",
            r"\b(?:what|which) (?:percentage|share|proportion|percent)\b|\b(?:in|how many) percent\b",
            r"\d\s?%|percent|\b(?:half|third|quarter)\b",
        ),
        ("contact", r"\b(?:phone|telephone|e-?mail|fax)\b", r"\+?\d[\d ()-]{6,}|@\w"),
        (
            "money",
            rf"\bhow much\b.{{0,60}}{_any(_SPENT)}|{_any(_PRICED)}",
            rf"[$€£¥]\s?\d|\d\s?(?:francs|dollars|euros?|pounds|USD|EUR|GBP|CHF|cents|p\b)|\b(?:{_FREE})\b",
        ),
        (
            "duration",
            r"\bhow (?:long|old)\b|\bwhat age\b",
            rf"{_NUMBER}[- ]?(?:to \d+ )?(?:or more )?\+?\s*(?:{'|'.join(_TIMES.split())})s?|\d\+ years",
        ),
        ("number", rf"\bhow {_any(_MEASURED)}|\bweight of|\bcapacity\b", _NUMBER),
        (
            "date",
            rf"^\W*(?:and )?when\b|\bwhen {_any(_AUXILIARIES)}|\b(?:tell me|know|say) when\b|{_DATED}",
            rf"\b\d{{1,2}}:\d\d\b|\b(?:1[5-9]|20)\d\d\b|(?-i:{_any(_MONTHS)})|{_any(f'{_DAYS} {_SEASONS}')}",
        ),
        ("person", r"^\W*(?:and )?who(?:se|m)?\b|\b(?:called|name of|by whom)\b", _NAME),
        ("place", r"^\W*(?:and )?where\b|\b(?:which|what) (?:country|city|town|state)\b", _NAME),
    ):
        case = re.NOFLAG if name in written_large else re.IGNORECASE
        yield Kind(name, re.compile(asked, re.IGNORECASE), re.compile(given, case))


KINDS = tuple(_kinds())
"""In the order in which they are tried: "how much does it cost" asks for money before it asks for a number."""


def kind_asked(question: str) -> Kind | None:
    """The first kind whose form the question has; none for one that asks for a reason, or only for yes or no."""
    if _REASON.search(question) or (_YES_OR_NO.match(question) and not _ASKING.search(question)):
        return None
    return next((kind for kind in KINDS if kind.asked.search(question)), None)


def lacks_kind(question: str, text: str) -> bool:
    """Whether the question asks for a kind of thing, and `text` has none."""
    kind = kind_asked(question)
    return kind is not None and not kind.is_in(text)
