"""What a search finds, as markup."""

from __future__ import annotations

from collections.abc import Sequence

from rag.pages.markup import as_html, marked, place, trail
from rag.types import ScoredPassage
from rag.words import stems


def results(question: str, found: Sequence[ScoredPassage]) -> str:
    """Passages as cards, best first, with the question's words marked and the rank and score of every stage."""
    if not found:
        return '<p class="quiet">No passage was found.</p>'
    asked = frozenset(stems(question))
    cards = []
    for number, one in enumerate(found, start=1):
        stages = "".join(
            f"<div><dt>{as_html(stage)}</dt><dd>rank {rank}, score {one.scores.get(stage, 0.0):.3f}</dd></div>"
            for stage, rank in one.ranks.items()
        )
        cards.append(
            f'<li class="card"><h3><span class="number">{number}</span> {trail(one.passage)}</h3>'
            f'<p class="text">{marked(one.passage.text, asked)}</p>'
            f'<dl class="facts"><div><dt>fused</dt><dd>score {one.score:.4f}</dd></div>{stages}'
            f"<div><dt>place</dt><dd>{place(one.passage)}</dd></div></dl></li>"
        )
    return f'<ol class="results" aria-label="Passages found">{"".join(cards)}</ol>'
