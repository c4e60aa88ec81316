"""Whether the check of sentences takes claims that people found borne by a web page, and only these.

WiCE (Kamoi, Goyal, Rodriguez and Durrett, "WiCE: Real-World Entailment for Claims in Wikipedia", EMNLP 2023): claims
of Wikipedia with the page they cite, in sentences, and how far it bears them. Claims CC BY-SA, pages under the terms of
Common Crawl, labels ODC-BY.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eval.benches.files import read_rows
from rag.citations import DraftSentence
from rag.types import Evidence, Passage, Sentence
from rag.verification import verify
from rag.words import stems

UNSUPPORTED = "not_supported"
LABELS = ("supported", "partially_supported", UNSUPPORTED)
NEAREST = 3
"""Sentences that a claim cites where people found no support."""
_TITLE = "(meta data) TITLE: "

Claim = dict[str, Any]


def load_claims(source: Path, split: str) -> list[Claim]:
    """The claims of a split. Raises SettingsError that names the file if it is missing."""
    return read_rows(source / "wice" / "entailment_retrieval" / "claim" / f"{split}.jsonl")


def named(claim: Claim) -> list[list[int]]:
    """The sets of sentences that people named, each enough by itself; the nearest ones where they found no support."""
    sets: list[list[int]] = [one for one in claim["supporting_sentences"] if one]
    return sets if sets and claim["label"] != UNSUPPORTED else [nearest(claim)]


def nearest(claim: Claim) -> list[int]:
    """The sentences of the page that share most stems with the claim; of equal ones the first."""
    said = set(stems(claim["claim"]))
    shared = [len(said & set(stems(sentence))) for sentence in claim["evidence"]]
    return sorted(range(len(shared)), key=lambda place: (-shared[place], place))[:NEAREST]


def stands(claim: Claim, cited: Sequence[int]) -> bool:
    """Whether the claim stands whole, as a sentence that cites these sentences of its page."""
    evidence = [_evidence(claim["evidence"], place) for place in cited]
    markers = tuple(range(1, len(evidence) + 1))
    return not verify(DraftSentence(claim["claim"], markers), evidence).reason


def table(claims: Sequence[Claim]) -> str:
    """How many claims of each label stand, as a Markdown table, by what they cite.

    Only the last column has its sentences chosen alike for all labels; where there is support, people chose the others.
    """
    choices: dict[str, Callable[[Claim], list[list[int]]]] = {
        "citing the first set named": lambda claim: named(claim)[:1],
        "any set named": named,
        f"the {NEAREST} nearest sentences": lambda claim: [nearest(claim)],
    }
    lines = [f"| claims | n | {' | '.join(choices)} |", f"|---|--:|{'--:|' * len(choices)}"]
    for label in LABELS:
        if of_label := [claim for claim in claims if claim["label"] == label]:
            counts = [
                sum(any(stands(claim, cited) for cited in choice(claim)) for claim in of_label)
                for choice in choices.values()
            ]
            cells = " | ".join(f"{count} ({count / len(of_label):.0%})" for count in counts)
            lines.append(f"| {label.replace('_', ' ')} | {len(of_label)} | {cells} |")
    return "\n".join(lines)


def _evidence(page: Sequence[str], place: int) -> Evidence:
    title = page[0].removeprefix(_TITLE) if page[0].startswith(_TITLE) else ""
    passage = Passage("page", title, None, (), 0, len(page[place]), page[place])
    return Evidence(passage, Sentence(0, len(page[place]), page[place]), 1.0)
