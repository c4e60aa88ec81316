"""What a search finds, as markup: the page, and the part of it that changes as a question is typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.pages.frame import MOST_LISTED, address, page, reader_address, shelf
from rag.pages.markup import as_html, marked, place, trail
from rag.types import Head, ScoredPassage
from rag.words import stems

KEYS = {"/": "to the field", "↓ ↑": "through the passages", "Enter": "opens one", "Esc": "back to the field"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of a search asks for, as it was given; "" where it says nothing."""

    question: str = ""
    role: str = ""
    document: str = ""
    chapter: str = ""
    k: str = ""
    within: str = ""
    """The parameter `in`: which documents are searched at all."""

    def address(self, fragment: str = "") -> str:
        """Where this search can be seen again."""
        return address(
            "/search",
            {
                "q": self.question,
                "role": self.role,
                "document": self.document,
                "chapter": self.chapter,
                "k": self.k,
                "in": self.within,
            },
            fragment,
        )


@dataclass(frozen=True, slots=True)
class Choices:
    """What a search can be narrowed to, and how many passages are shown where nobody says."""

    roles: Sequence[str]
    documents: Mapping[str, Head]
    chapters: Sequence[str]
    k: int
    most: int


def search_page(asked: Asked, choices: Choices, fragment: str) -> str:
    """The page around what `found` or `nothing_asked` gave."""
    titles = Counter(one.title for one in choices.documents.values())
    documents = {
        one.id: one.title if titles[one.title] == 1 else f"{one.title} ({one.id})" for one in choices.documents.values()
    }
    filters = (
        _select(
            "role", "Documents about", "All roles", dict(zip(choices.roles, choices.roles, strict=True)), asked.role
        )
        + _select("document", "Document", "All documents", documents, asked.document)
        + _select(
            "chapter",
            "Chapter",
            "All chapters",
            dict(zip(choices.chapters, choices.chapters, strict=True)),
            asked.chapter,
        )
    )
    within = f'<input type="hidden" name="in" value="{as_html(asked.within)}">' if asked.within else ""
    keys = "".join(f"<li><kbd>{key}</kbd> {what}</li>" for key, what in KEYS.items())
    body = (
        '<main><h1 class="unseen">Search</h1><form role="search" action="/search" id="searching" autocomplete="off">'
        '<div class="asking"><label for="q">Search for</label>'
        f'<input id="q" name="q" type="search" value="{as_html(asked.question)}" autofocus autocapitalize="none" '
        'placeholder="A question or a few words" enterkeyhint="search"><button>Search</button></div>'
        f'<div class="filters">{filters}<label>Passages <input name="k" inputmode="numeric" size="3" '
        f'value="{as_html(asked.k)}" placeholder="{choices.k}" aria-describedby="most"></label>'
        f'<span id="most" class="unseen">At most {choices.most}</span></div>{within}</form>'
        f'<ul id="keys" aria-label="Keys" hidden>{keys}</ul>'
        '<p id="told" class="unseen" role="status"></p>'
        f'<section id="found" aria-label="Passages found">{fragment}</section></main>'
    )
    return page("Search", body, within=asked.within, script="search.js")


def found(asked: Asked, passages: Sequence[ScoredPassage]) -> str:
    """Passages as cards, best first, each with an address of its own and a link to where it stands in its document."""
    words = frozenset(stems(asked.question))
    cards = "".join(_card(asked, number, one, words) for number, one in enumerate(passages, start=1))
    listed = f'<ol class="results">{cards}</ol>' if passages else ""
    count = f"{len(passages)} passage{'s' * (len(passages) != 1)}" if passages else "No passage was found."
    return f'<p class="quiet count" data-address="{asked.address()}">{count}</p>{listed}'


def nothing_asked(asked: Asked, documents: Mapping[str, Head]) -> str:
    """What there is to search, each document with a link to it."""
    said = "Or read a document from its beginning:" if documents else "There are no documents yet."
    return f'<p class="quiet" data-address="{asked.address()}">{said}</p>{shelf(documents, asked.within)}'


def _card(asked: Asked, number: int, one: ScoredPassage, words: frozenset[str]) -> str:
    passage = one.passage
    reader = reader_address(passage.document, asked.within, span=(passage.start, passage.end))
    return (
        f'<li class="card" id="{as_html(passage.id)}"><h2><span class="number">{number}</span> '
        f'<a class="open" href="{reader}">{trail(passage)}</a></h2>'
        f'<p class="text">{marked(passage.text, words)}</p>{_facts(one)}'
        f'<a class="self" href="{asked.address(passage.id)}" aria-label="Link to passage {number}">Link</a></li>'
    )


def _facts(one: ScoredPassage) -> str:
    stages = "".join(
        f"<div><dt>{as_html(stage)}</dt><dd>rank {rank}, score {one.scores.get(stage, 0.0):.3f}</dd></div>"
        for stage, rank in one.ranks.items()
    )
    where = f"{as_html(one.passage.place)}, " if one.passage.place else ""
    return (
        f'<dl class="facts"><div><dt>fused</dt><dd>score {one.score:.4f}</dd></div>{stages}'
        f"<div><dt>place</dt><dd>{where}{place(one.passage)}</dd></div></dl>"
    )


def _select(name: str, label: str, every: str, options: Mapping[str, str], chosen: str) -> str:
    """A choice by name, with `chosen` in it whatever it is; none where there is nothing to choose."""
    if not options and not chosen:
        return ""
    shown = dict(list(options.items())[:MOST_LISTED])
    if chosen:
        shown.setdefault(chosen, options.get(chosen, chosen))
    items = "".join(
        f'<option value="{as_html(value)}"{" selected" if value == chosen else ""}>{as_html(said)}</option>'
        for value, said in {"": every, **shown}.items()
    )
    more = len(set(options) - set(shown))
    rest = f"<option disabled>and {more:,} more</option>" if more else ""
    return f'<label>{label} <select name="{name}">{items}{rest}</select></label>'
