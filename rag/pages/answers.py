"""The chat as markup: answers, their quotations, and what stands around them. Values in, HTML or Markdown out.

The only links of an answer are the ones that `bubble` makes from its own markers.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence

from rag.confidence import confidence
from rag.pages.frame import reader_address
from rag.pages.markup import as_html, as_markdown, place, trail
from rag.types import Answer, Citation, Message, Passage, ScoredPassage

WRITING = "*Writing from the passages …*"
STOPPED = "*Stopped.*"
NOTHING_YET = """<section class="sources" aria-label="Sources"><h2>Sources</h2>
<p class="quiet">The passages that an answer is made from appear here before the answer does, and each quotation stands
here in its place in the document.</p></section>"""
PROMISE = """<p class="promise"><strong>What the check proves:</strong> the quoted words stand in the source, at that
place, and hold every figure and name of the sentence. <strong>What it does not:</strong> that the sentence follows from
them, or that the source is right.</p>"""
HISTORY = """<dialog id="history" aria-labelledby="history-title"><form method="dialog"><h2 id="history-title">
Conversations</h2><button class="close" aria-label="Close">&times;</button></form>
<div class="finding"><label for="history-query">Search in them</label>
<input id="history-query" type="search" autocomplete="off" maxlength="200"></div>
<p class="quiet" role="status"></p><ul></ul></dialog>"""
NOT_FOUND_HINT = "The nearest passages are listed under Sources."
SUGGESTIONS = (
    "Name the role you mean, or choose it above the conversation.",
    "Ask for one thing at a time, in words that a document would use.",
    "See under Search what the documents hold.",
)
MOST_SUGGESTED = 3

_MARKERS = re.compile(r"(?: \[\d+\])+$")
_LINK = re.compile(r"\s?\[\d+\]\(#source-[^)]*\)")


def masthead(*, with_history: bool, with_documents: bool, with_monitor: bool = False) -> str:
    """What stands above the chat: the other pages, and the conversations to choose from."""
    history = '<button type="button" class="tab" id="history-open" aria-haspopup="dialog">Conversations</button>'
    links = ['<a class="tab" href="/" aria-current="page">Chat</a>', '<a class="tab" href="/search">Search</a>']
    links += ['<a class="tab" href="/documents">Documents</a>'] if with_documents else []
    links += ['<a class="tab" href="/monitor">Monitor</a>'] if with_monitor else []
    links += ['<a class="tab new" href="/">New conversation</a>', history] if with_history else []
    return (
        '<header class="masthead"><h1>Rolewise</h1><p>Answers from documents, every sentence with its quotation.</p>'
        f'<nav aria-label="Pages">{"".join(links)}</nav></header>{HISTORY if with_history else ""}'
    )


def bubble(text: str, turn: int) -> str:
    """An answer as Markdown, each marker a link to its quotation in the panel; `turn` counts the chat's questions."""
    return "\n\n".join(_linked(line, turn) for line in text.splitlines())


def said(answer: Answer, turn: int) -> str:
    """A finished answer as Markdown; what is set side by side becomes a table."""
    if answer.status == "not_found":
        return not_found_bubble(answer.text)
    if not answer.labels:
        return bubble(answer.text, turn)
    cells: dict[str, list[str]] = {label: [] for label in answer.labels}
    for line in answer.text.split("\n"):
        label = max((one for one in answer.labels if line.startswith(f"{one}: ")), key=len)
        cells[label].append(_linked(line[len(label) + 2 :], turn))
    rows = [f"| {as_markdown(label)} | {'<br>'.join(of_label)} |" for label, of_label in cells.items()]
    return "\n".join(["| About | The documents say |", "|---|---|", *rows])


def _linked(line: str, turn: int) -> str:
    found = _MARKERS.search(line)
    text = as_markdown(line[: found.start()] if found else line)
    numbers = re.findall(r"\d+", found[0]) if found else []
    links = [f'[{number}](#source-{turn}-{number} "Show quotation {number}")' for number in numbers]
    return " ".join([text, *links])


def waiting(ahead: int) -> str:
    """Shown while others are served."""
    before = {0: "You are next.", 1: "1 question is ahead of yours."}
    return f"*{before.get(ahead, f'{ahead} questions are ahead of yours.')}*"


def not_found_bubble(text: str) -> str:
    return f"{as_markdown(text)}\n\n{NOT_FOUND_HINT}"


def messages(history: Iterable[Mapping[str, object]]) -> list[Message]:
    """A chat as Gradio keeps it, without our links and entities. Content is a text or a list of blocks."""
    said = []
    for item in history:
        blocks = item["content"] if isinstance(item["content"], list) else [item["content"]]
        texts = [block.get("text", "") if isinstance(block, dict) else str(block) for block in blocks]
        text = "\n".join(filter(None, texts))
        if item["role"] == "user":
            said.append(Message("user", text))
        elif item["role"] == "assistant":
            said.append(Message("assistant", html.unescape(_LINK.sub("", text)).strip()))
    return said


def is_unwritten(said: Sequence[Message]) -> bool:
    """Whether the last that is said is a question, or only that its answer is being waited for."""
    return bool(said) and (said[-1].role == "user" or bool(re.fullmatch(r"\*[^*]+\*", said[-1].content)))


def reading(passages: Sequence[ScoredPassage], within: str = "") -> str:
    """The panel while an answer is written: the passages it will be made from."""
    return _panel("Reading these passages", _folds(passages, within))


def sources(answer: Answer, turn: int, earlier: Mapping[int, str], *, within: str = "", conversation: str = "") -> str:
    """The panel beside a finished answer. `earlier` holds the `quotations` of the chat's other answers by turn.

    `within` is the parameter `in` of links to the reader; `conversation` is the id under which the chat is kept.
    """
    parts = [_notice(answer)]
    if answer.status == "not_found":
        title = "The documents do not tell"
        items = "".join(f"<li>{as_html(one)}</li>" for one in SUGGESTIONS)
        parts += [_suggested(answer), f"<h3>What may help</h3><ul>{items}</ul>", _signature(answer)]
        parts.append(_group("Nearest passages", answer.passages, within))
    else:
        count = len(answer.citations)
        title = f"{count} quotation{'s' if count != 1 else ''}, found word for word"
        cited = {citation.passage.id for citation in answer.citations}
        others = [one for one in answer.passages if one.passage.id not in cited]
        parts += [_confidence(answer), quotations(answer, turn, within), _signature(answer), _struck(answer)]
        parts.append(_group("Other passages read", others, within))
    parts.append(_earlier(earlier))
    return _panel(title, "".join(parts), conversation)


def quotations(answer: Answer, turn: int, within: str = "") -> str:
    """A fold for each citation, with the element id that its marker links to."""
    return "".join(
        _quotation(one, f"source-{turn}-{one.marker}", is_open=one.marker == 1, within=within)
        for one in answer.citations
    )


def status(text: str, share: float | None = None) -> str:
    """A line about the local model; `share` of 1 is drawn as a bar where it is known."""
    if not text:
        return ""
    bar = f'<progress max="1" value="{share:.4f}" aria-label="Model pulled"></progress>' if share is not None else ""
    return f'<p class="status" role="status">{bar}<span>{as_html(text)}</span></p>'


def _panel(title: str, body: str, conversation: str = "") -> str:
    return (
        f'<section class="sources" aria-label="Sources" data-conversation="{as_html(conversation)}">'
        f"<h2>{as_html(title)}</h2>{body}</section>"
    )


def _group(title: str, passages: Sequence[ScoredPassage], within: str) -> str:
    return f"<h3>{as_html(title)}</h3>{_folds(passages, within)}" if passages else ""


def _folds(passages: Sequence[ScoredPassage], within: str) -> str:
    return "".join(
        f'<details><summary>{trail(one.passage)}</summary><p class="text">{as_html(one.passage.text)}</p>'
        f'<p class="place">{place(one.passage)} {_read(one.passage, within)}</p></details>'
        for one in passages
    )


def _quotation(citation: Citation, element: str, *, is_open: bool, within: str) -> str:
    passage = citation.passage
    start, end = citation.start - passage.start, citation.end - passage.start
    before, quote, after = passage.text[:start], passage.text[start:end], passage.text[end:]
    return (
        f'<details class="quotation" id="{element}"{" open" if is_open else ""}>'
        f'<summary><span class="number">{citation.marker}</span> {trail(passage)}</summary>'
        f'<blockquote class="text">{as_html(before)}<mark>{as_html(quote)}</mark>{as_html(after)}</blockquote>'
        f'<p class="place">{place(citation)} {_read(citation, within)}</p></details>'
    )


def _read(of: Passage | Citation, within: str) -> str:
    document = of.document if isinstance(of, Passage) else of.passage.document
    return f'<a href="{reader_address(document, within, span=(of.start, of.end))}">Read in the document</a>'


def _confidence(answer: Answer) -> str:
    words = confidence(answer.unanswerable)
    return f'<p class="confidence">{as_html(words)}</p>' if words else ""


def suggested(answer: Answer) -> list[str]:
    """Questions about the sections that came nearest to one that the documents do not answer."""
    sections = dict.fromkeys(
        (one.passage.title, one.passage.section[-1]) for one in answer.passages if one.passage.section
    )
    return [f"What does {title} say about {section}?" for title, section in list(sections)[:MOST_SUGGESTED]]


def _suggested(answer: Answer) -> str:
    """Each question asks itself when it is chosen."""
    items = "".join(
        f'<li><button type="button" class="suggested">{as_html(question)}</button></li>'
        for question in suggested(answer)
    )
    return f'<h3>You could ask</h3><ul class="asking">{items}</ul>' if items else ""


def _notice(answer: Answer) -> str:
    notes = [f"Read as: {answer.read_as}" if answer.read_as else "", answer.notice]
    return "".join(f'<p class="notice" role="note">{as_html(note)}</p>' for note in notes if note)


def _struck(answer: Answer) -> str:
    if not answer.struck:
        return ""
    items = "".join(f"<li><s>{as_html(one.sentence)}</s> <em>{as_html(one.reason)}</em></li>" for one in answer.struck)
    summary = f"<summary>Struck from the draft ({len(answer.struck)})</summary>"
    return f'<details class="struck">{summary}<ul>{items}</ul></details>'


def _signature(answer: Answer) -> str:
    who = answer.generator
    named = who.name if who.name == who.model else f"{who.name} ({who.model})"
    seconds = answer.timings_ms.get("total", 0.0) / 1000
    receipt = f", receipt <code>{as_html(answer.receipt)}</code>" if answer.receipt else ""
    return (
        f'<p class="signature">Written by <b>{as_html(named)}</b> in {seconds:.1f} s from index '
        f"<code>{as_html(answer.index.version)}</code>{receipt}</p>"
    )


def _earlier(quotations_by_turn: Mapping[int, str]) -> str:
    folds = "".join(
        f"<h4>Answer {turn}</h4>{one}" for turn, one in sorted(quotations_by_turn.items(), reverse=True) if one
    )
    return (
        f'<details class="earlier"><summary>Quotations of earlier answers</summary>{folds}</details>' if folds else ""
    )
