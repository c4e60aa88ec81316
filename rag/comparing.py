"""Questions that are about several labelled documents at once: which labels they cover, and the question about each.

A label is a role, or the title of a document where documents have no roles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.packing import is_near
from rag.types import Evidence
from rag.versions import IndexVersion

MOST = 12
"""Labels that are set side by side at the most; more is a search, not an answer."""
FEW = 3
"""Quotations for one label at the most, unless they are the entries of one list,"""
LONGEST_CELL = 8
"""of which this many are still taken whole."""
_OVER_ALL = re.compile(
    r"\b(?:which|what|any|each|every|all|both|these|those|across|between|who(?:se)?|how many)\b[^.?!]{0,40}?"
    r"\b(?:roles?|jobs?|guides?|positions?|careers?|professions?|documents?|papers?|files?|manuals?|handbooks?)\b"
    r"|\bof (?:them|these|those|the (?:five|four|three|two))\b",
    re.IGNORECASE,
)
_WHO = re.compile(r"^\W*who\s+(?!is\b|was\b|has\b)\w+s\b", re.IGNORECASE)
"""Asks for a role by what it does: "who needs Scala". Only roles are people."""


def labels_asked(question: str, version: IndexVersion) -> list[str]:
    """The labels to answer for one by one: several that the question names, or all if it asks across all; else none."""
    named = version.roles.find(question)
    if len(named) > 1:
        return named[:MOST]
    over_all = _OVER_ALL.search(question) or (version.roles.names and _WHO.search(question))
    if not named and over_all and 1 < len(version.roles.names or version.documents) <= MOST:
        return labels(version)
    return []


def labels(version: IndexVersion) -> list[str]:
    """The roles of the documents, or their titles where none has a role."""
    return version.roles.names or list(version.titles)


def question_about(question: str, label: str, version: IndexVersion) -> str:
    """The question as if it were about `label` alone: it takes the place of the roles that are named."""
    mentions = version.roles.mentions(question)
    if not mentions:
        return f"{label}: {question}" if label in version.roles.names else question
    parts, position = [], 0
    for number, mention in enumerate(mentions):
        parts += [question[position : mention.start], label if number == 0 else ""]
        position = mention.end
    return " ".join("".join([*parts, question[position:]]).split())


def cells(evidence: Sequence[Evidence]) -> list[Evidence]:
    """What is said for one label: a short list whole and in order, else the few pieces that are nearly the best."""
    near = [one for one in evidence if is_near(one, evidence)]
    of_list = [one for one in near if one.is_of_list]
    if 0 < len(of_list) <= LONGEST_CELL:
        return of_list
    return sorted(near, key=lambda one: -one.score)[:FEW]
