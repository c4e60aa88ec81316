"""Questions that are about several labelled documents at once: which labels they cover, and the question about each.

A label is a role, or the title of a document where documents have no roles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.versions import IndexVersion

MOST = 12
"""Labels that are set side by side at the most; more is a search, not an answer."""
_OVER_ALL = re.compile(
    r"\b(?:which|what|any|each|every|all|both|these|those|across|between|who(?:se)?|how many)\b[^.?!]{0,40}?"
    r"\b(?:roles?|jobs?|guides?|positions?|careers?|professions?|documents?|papers?|files?|manuals?|handbooks?)\b"
    r"|^\s*who\b|\bof (?:them|these|those|the (?:five|four|three|two))\b",
    re.IGNORECASE,
)


def labels_asked(question: str, version: IndexVersion) -> list[str]:
    """The labels to answer for one by one: several that the question names, or all if it asks across all; else none."""
    named = version.roles.find(question)
    if len(named) > 1:
        return named[:MOST]
    known = labels(version)
    if not named and 1 < len(known) <= MOST and _OVER_ALL.search(question):
        return known
    return []


def labels(version: IndexVersion) -> list[str]:
    """The roles of the documents, or their titles where none has a role."""
    return version.roles.names or sorted(document.title for document in version.documents.values())


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


def line(label: str, cells: Sequence[str]) -> str:
    """One line of the answer: what the documents say for a label."""
    return f"{label}: {'; '.join(cells) if cells else 'not stated'}"
