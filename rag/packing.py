"""Evidence becomes numbered notes that fit a budget of tokens: whole notes, dropped from the lowest rank up.

Notes from one place stand together under a line that says where, said once: it is often longer than they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.citations import spoken
from rag.types import Evidence

NEAR = 0.12
"""Evidence that scores no less than this below the best is said too; chosen on the development questions."""


@dataclass(frozen=True, slots=True)
class Packed:
    """The notes as one text, the evidence they number from 1 on, and how many pieces were left out."""

    notes: str
    evidence: tuple[Evidence, ...]
    dropped: int


def pack(evidence: Sequence[Evidence], *, count: Callable[[str], int], budget: int) -> Packed:
    """As much of the evidence as `budget` tokens hold, best first. One note is kept even where none fits."""
    kept = list(evidence)
    while len(kept) > 1 and count(_notes(kept)) > budget:
        kept.pop()
    return Packed(_notes(kept), tuple(kept), len(evidence) - len(kept))


def _notes(evidence: Sequence[Evidence]) -> str:
    places: dict[str, list[str]] = {}
    for number, one in enumerate(evidence, start=1):
        places.setdefault(label(one), []).append(f"[{number}] {spoken(one.quote)}")
    return "\n".join(line for place, notes in places.items() for line in (f"{place}:", *notes))


def label(evidence: Evidence) -> str:
    """Where a quotation stands, on one line: title, headings, and the words that introduce its list."""
    lead = " ".join(evidence.sentence.lead.split()).rstrip(":")
    return " ".join(f"{evidence.passage.trail}{' > ' if lead else ''}{lead}".split())


def is_near(one: Evidence, evidence: Sequence[Evidence]) -> bool:
    """Whether a piece of evidence is to be said: nearly as good as the best, or wanted beside it for its own sake."""
    wanted = one.is_of_list or one.is_complement or one.is_rival
    return wanted or one.score >= max(other.score for other in evidence) - NEAR
