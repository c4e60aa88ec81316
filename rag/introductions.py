"""Who asks is no part of what is asked: "My name is Aisha. What does …?" gets the answer that anybody gets.

A clause at the beginning that tells nothing but the asker's name, gender, origin or age is dropped, unless the question
points back to it ("… there", "at my age") or it names a role. Everything else that askers tell of themselves stays.
"""

from __future__ import annotations

import re

from rag.roles import Roles

FULL_NAME = r"(?-i:[A-ZÀ-ÖØ-Þ][\w'’-]*(?:\ [A-ZÀ-ÖØ-Þ][\w'’-]*){0,2})"
"""Part of a verbose pattern: up to three words with capitals."""
_NAME = rf"(?:{FULL_NAME}|\[name\])"
"""A name, or what a log has in its place (`redaction`), so that a question of a log is understood as it was."""
_AGE = r"\d{1,3}[-\ ]years?[-\ ]old|\d{1,3}\ years\ of\ age"
_TRAIT = r"young|old|older|elderly|teenage|black|white|brown|female|male|trans(?:gender)?|non-?binary|gay|queer"
_PERSON = (
    r"(?:woman|man|girl|boy|lady|gentleman|person|guy|someone|mother|father|mom|mum|dad|immigrant|refugee|foreigner)"
)
_NATION = r"(?-i:[A-Z][a-z]+(?:an|ese|ish|ian|ch|i))"
_SELF = rf"""(?:an?\ )?(?:(?:{_AGE}|{_TRAIT}|{_NATION})\b(?:,?\ |(?=[,.:;!])))*(?:(?:{_PERSON})\b)?
    (?:\ (?:named|called)\ {_NAME})?(?:\ (?:(?:who\ comes|coming|originally)\ )?from\ {_NAME})?"""
_INTRODUCTION = re.compile(
    rf"""\W*(?:(?:hi|hello|hey|dear\ all)\b\W*)?(?:
    my\ name\ is\ (?:\[name\]|\w[\w'’-]*)(?:\ {_NAME})?
    |(?:I\ am|I['’]m)\ (?:{_NAME}(?!\w)|{_SELF})
    |(?:I\ am|I['’]m|I\ come)\ (?:originally\ )?from\ {_NAME}
    |as\ {_SELF}
    )(?:,?\ (?:an?\ {_PERSON}\ )?(?:originally\ )?from\ {_NAME})?
    (?:,?\ and\ I(?:\ would|['’]d)?\ (?:like|want|need|wish)\ to\ (?:know|ask|learn))?\s*[,.:;!]+\s*""",
    re.IGNORECASE | re.VERBOSE,
)
_POINTS_BACK = re.compile(
    r"(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )\bthere\b(?! (?:is|are|was|were|be|will|has|have)\b)"
    r"|\b(?:people|someone|somebody|women|men) like (?:me|us)\b"
    r"|\b(?:at|in|of|for) my (?:own )?(?:age|gender|sex|country|city|region|home|origin|nationality)\b",
    re.IGNORECASE,
)
"""A place where one comes from is "there"; "is there" and "there are" point to nothing."""


def without_introduction(question: str, roles: Roles) -> str:
    """The question without what the asker tells of themselves at its beginning; itself if nothing else is left."""
    rest = question
    while told := _INTRODUCTION.match(rest):
        if roles.find(told[0]) or not (behind := rest[told.end() :].strip()) or points_back(behind):
            break
        rest = behind
    return rest


def points_back(text: str) -> bool:
    """Whether a text speaks of a place or of people that stand before it: "… there", "at my age"."""
    return bool(_POINTS_BACK.search(text))
