"""A sentence of a draft is shown only if its quotations bear it. Deterministic, offline, no model.

What is checked: each citation points to evidence that was given; every figure of the sentence stands in the quotations
it cites, in any notation, and every name there or in the headings above; it speaks of no other role than they; and
most of its words are theirs. What is not: whether the sentence follows from them. A sentence that cites nothing, or
the wrong note, is held against all of the evidence and gets the citation that bears it, if one does; one that holds a
quotation word for word is cut to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rag.citations import DraftSentence, spoken
from rag.figures import figures
from rag.packing import label
from rag.roles import Roles
from rag.types import Evidence
from rag.words import spells_out, stems

SUPPORT = 0.6
"""Share of a sentence's content words that its quotations, or the headings above them, must contain."""
OWN = 0.25
"""Share that the quotations themselves must contain: a heading alone bears nothing."""

NO_ROLES = Roles({})
_WORD = re.compile(r"\b(?![A-Z]{3}\s?\d)[^\W\d_][\w'’&+#-]*")
"""A word that may name something; the code of a currency before its figure does not."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`evidence` bears `text`, the sentence or what is left of it; empty if none does.

    `reason` says why the sentence does not stand as it was drafted. `unknown` counts markers that point nowhere.
    """

    text: str
    evidence: tuple[Evidence, ...]
    reason: str
    unknown: int


def verify(sentence: DraftSentence, evidence: Sequence[Evidence], roles: Roles = NO_ROLES) -> Verdict:
    """Holds a sentence against the evidence that its markers number from 1 on. `roles` are those of the documents."""
    cited = [evidence[number - 1] for number in sentence.markers if 1 <= number <= len(evidence)]
    unknown = len(sentence.markers) - len(cited)
    text = _without_label(sentence.text, evidence)
    fault = _fault(text, cited, roles)
    if not fault:
        return Verdict(text, tuple(cited), "", unknown)
    for other in sorted(evidence, key=lambda one: -_support(text, [one])):
        if not _fault(text, [other], roles):
            return Verdict(text, (other,), "", unknown)
    for other in evidence:
        quotation = spoken(other.quote)
        if quotation in " ".join(text.split()):
            return Verdict(quotation, (other,), f"{fault}; shortened to the quotation it holds", unknown)
    return Verdict("", (), fault, unknown)


def _without_label(sentence: str, evidence: Sequence[Evidence]) -> str:
    """The sentence without the label of a note that a small model has copied before it."""
    for one in evidence:
        if sentence.startswith(label(one)) and (rest := sentence[len(label(one)) :].lstrip(" :")):
            return rest
    return sentence


def _fault(sentence: str, cited: Sequence[Evidence], roles: Roles) -> str:
    """Why these quotations do not bear the sentence; empty if they do."""
    if not cited:
        return "it cites no quotation"
    return next(_faults(sentence, cited, roles), "")


def _faults(sentence: str, cited: Sequence[Evidence], roles: Roles) -> Iterator[str]:
    stated = {value for one in cited for value in figures(one.quote)}
    if missing := figures(sentence) - stated:
        yield f"its quotation does not contain {_listed(missing)}"
    if unnamed := _names(sentence, cited):
        yield f"its quotation does not name {', '.join(unnamed)}"
    about = {one.passage.role for one in cited}
    if None not in about and (named := roles.find(sentence)) and not about & set(named):
        yield f"it speaks of {named[0]}, its quotation of {', '.join(sorted(map(str, about)))}"
    if (support := _support(sentence, cited)) < SUPPORT:
        yield f"only {support:.0%} of its words are in its quotation"
    if (own := _share(sentence, [one.quote for one in cited])) < OWN:
        yield f"only {own:.0%} of its words are in its quotation, the rest in the headings above it"


def _names(sentence: str, cited: Sequence[Evidence]) -> list[str]:
    """Words that are written large within the sentence and that neither the quotations nor their headings hold."""
    texts = [f"{label(one)} {one.quote}" for one in cited]
    borne = {stem for text in texts for stem in stems(text)}
    names = [match[0] for match in _WORD.finditer(sentence) if match.start() > 0 and match[0][0].isupper()]
    return [
        name
        for name in names
        if not set(stems(name)) <= borne and not any(spells_out(text, name.rstrip("s")) for text in texts)
    ]


def _support(sentence: str, cited: Sequence[Evidence]) -> float:
    return _share(sentence, [f"{label(one)} {one.quote}" for one in cited])


def _share(sentence: str, texts: Sequence[str]) -> float:
    """Share of the sentence's content words that stand in one of the texts."""
    said = set(stems(sentence))
    borne = {stem for text in texts for stem in stems(text)}
    return len(said & borne) / len(said) if said else 1.0


def _listed(values: set[Decimal]) -> str:
    return ", ".join(f"{value:,f}" if value >= 10_000 else f"{value:f}" for value in sorted(values))
