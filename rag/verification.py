"""A sentence of a draft is shown only if its quotations bear it. Deterministic, offline, no model.

What is checked: each citation points to evidence that was given; every figure of the sentence stands in the
quotations it cites, in any notation; and most of its words are those of the quotations or of where they stand. What is
not: whether the sentence follows from them. A sentence that cites nothing, or the wrong note, is held against all of
the evidence and gets the citation that bears it, if one does; one that holds a quotation word for word is cut to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from rag.citations import DraftSentence
from rag.figures import figures
from rag.packing import label
from rag.types import Evidence
from rag.words import stems

SUPPORT = 0.6
"""Share of a sentence's content words that its quotations, or the headings above them, must contain."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`evidence` bears `text`, the sentence or what is left of it; empty if none does.

    `reason` says why the sentence does not stand as it was drafted. `unknown` counts markers that point nowhere.
    """

    text: str
    evidence: tuple[Evidence, ...]
    reason: str
    unknown: int


def verify(sentence: DraftSentence, evidence: Sequence[Evidence]) -> Verdict:
    """Holds a sentence against the evidence that its markers number from 1 on."""
    cited = [evidence[number - 1] for number in sentence.markers if 1 <= number <= len(evidence)]
    unknown = len(sentence.markers) - len(cited)
    fault = _fault(sentence.text, cited)
    if not fault:
        return Verdict(sentence.text, tuple(cited), "", unknown)
    for other in sorted(evidence, key=lambda one: -_support(sentence.text, [one])):
        if not _fault(sentence.text, [other]):
            return Verdict(sentence.text, (other,), "", unknown)
    for other in evidence:
        quotation = " ".join(other.quote.split())
        if quotation in " ".join(sentence.text.split()):
            return Verdict(quotation, (other,), f"{fault}; shortened to the quotation it holds", unknown)
    return Verdict("", (), fault, unknown)


def _fault(sentence: str, cited: Sequence[Evidence]) -> str:
    """Why these quotations do not bear the sentence; empty if they do."""
    if not cited:
        return "it cites no quotation"
    stated = {value for one in cited for value in figures(one.quote)}
    if missing := figures(sentence) - stated:
        return f"its quotation does not contain {_listed(missing)}"
    if (support := _support(sentence, cited)) < SUPPORT:
        return f"only {support:.0%} of its words are in its quotation"
    return ""


def _support(sentence: str, cited: Sequence[Evidence]) -> float:
    said = set(stems(sentence))
    borne = {stem for one in cited for stem in stems(f"{label(one)} {one.quote}")}
    return len(said & borne) / len(said) if said else 1.0


def _listed(values: set[Decimal]) -> str:
    return ", ".join(f"{value:,f}" if value >= 10_000 else f"{value:f}" for value in sorted(values))
