"""Answers and passages as markup: what the browser is sent. Values come in, HTML or Markdown goes out.

Documents and models are not trusted. `as_html` and `as_markdown` turn every character that could mean something to the
browser, to Gradio's templates or to Markdown into an entity, which displays as the character and is never syntax. The
only links of an answer are the ones that `bubble` makes from its own markers.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Iterable, Mapping, Sequence

from rag.types import Answer, Citation, Message, Passage, ScoredPassage
from rag.words import stems

WRITING = "*Writing from the passages …*"
NOTHING_YET = """<section class="sources" aria-label="Sources"><h2>Sources</h2>
<p class="quiet">The passages that an answer is made from appear here before the answer does, and each quotation stands
here in its place in the document.</p></section>"""
PROMISE = """<p class="promise"><strong>What the check proves:</strong> the quoted words stand in the source, at that
place, and hold every figure and name of the sentence. <strong>What it does not:</strong> that the sentence follows from
them, or that the source is right.</p>"""
HEADER = """<header class="masthead"><h1>Rolewise</h1>
<p>Answers from documents, every sentence with its quotation.</p></header>"""
NOT_FOUND_HINT = "The nearest passages are listed under Sources."
SUGGESTIONS = (
    "Name the role you mean, or choose it above the conversation.",
    "Ask for one thing at a time, in words that a document would use.",
    "See under Search what the documents hold.",
)

_MARKERS = re.compile(r"(?: \[\d+\])+$")
_LINK = re.compile(r"\s?\[\d+\]\(#source-[^)]*\)")
_ANYWHERE = re.compile(r"""[\\`*_{}\[\]<>&"'!|~^@$]|:(?=/)|(?<=www)\.""", re.IGNORECASE)
_AT_LINE_START = re.compile(r"^(?:[#=+-]|\d+[.)](?=\s))", re.MULTILINE)
_TOKEN = re.compile(r"\w+(?:[.,]\d+)*(?:\+\+|#)?")


def as_html(text: str) -> str:
    """`text` for the content or a quoted attribute of an element, inert in Gradio's templates (`${…}`, `{{…}}`) too."""
    escaped = html.escape(text, quote=True)
    return escaped.translate({ord(character): f"&#{ord(character)};" for character in "${}`\\"})


def as_markdown(text: str) -> str:
    """`text` as Markdown that displays as `text`: no emphasis, heading, list, link, image, address, maths or tag.

    CommonMark never reads an entity as syntax (https://spec.commonmark.org/0.31.2/#entity-and-numeric-character-references).
    Space at the beginning of a line, which could make it code, is dropped. `html.unescape` is the inverse.
    """
    text = "\n".join(line.strip() for line in text.splitlines())
    text = _ANYWHERE.sub(lambda match: f"&#{ord(match[0])};", text)
    return _AT_LINE_START.sub(lambda match: f"{match[0][:-1]}&#{ord(match[0][-1])};", text)


def bubble(text: str, turn: int) -> str:
    """An answer as Markdown, each marker a link to its quotation in the panel; `turn` counts the chat's questions."""
    paragraphs = []
    for line in text.splitlines():
        found = _MARKERS.search(line)
        said = as_markdown(line[: found.start()] if found else line)
        numbers = re.findall(r"\d+", found[0]) if found else []
        links = [f'[{number}](#source-{turn}-{number} "Show quotation {number}")' for number in numbers]
        paragraphs.append(" ".join([said, *links]))
    return "\n\n".join(paragraphs)


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


def reading(passages: Sequence[ScoredPassage]) -> str:
    """The panel while an answer is written: the passages it will be made from."""
    return _panel("Reading these passages", _folds(passages))


def sources(answer: Answer, turn: int, earlier: Mapping[int, str]) -> str:
    """The panel beside a finished answer. `earlier` holds the `quotations` of the chat's other answers by turn."""
    parts = [_notice(answer)]
    if answer.status == "not_found":
        title = "The documents do not tell"
        items = "".join(f"<li>{as_html(one)}</li>" for one in SUGGESTIONS)
        parts += [f"<h3>What may help</h3><ul>{items}</ul>", _signature(answer)]
        parts.append(_group("Nearest passages", answer.passages))
    else:
        count = len(answer.citations)
        title = f"{count} quotation{'s' if count != 1 else ''}, found word for word"
        cited = {citation.passage.id for citation in answer.citations}
        others = [one for one in answer.passages if one.passage.id not in cited]
        parts += [quotations(answer, turn), _signature(answer), _struck(answer), _group("Other passages read", others)]
    parts.append(_earlier(earlier))
    return _panel(title, "".join(parts))


def quotations(answer: Answer, turn: int) -> str:
    """A fold for each citation, with the element id that its marker links to."""
    return "".join(_quotation(one, f"source-{turn}-{one.marker}", one.marker == 1) for one in answer.citations)


def results(question: str, found: Sequence[ScoredPassage]) -> str:
    """Passages as cards, best first, with the question's words marked and the rank and score of every stage."""
    if not found:
        return '<p class="quiet">No passage was found.</p>'
    asked = frozenset(stems(question))
    cards = []
    for place, one in enumerate(found, start=1):
        stages = "".join(
            f"<div><dt>{as_html(stage)}</dt><dd>rank {rank}, score {one.scores.get(stage, 0.0):.3f}</dd></div>"
            for stage, rank in one.ranks.items()
        )
        cards.append(
            f'<li class="card"><h3><span class="number">{place}</span> {_trail(one.passage)}</h3>'
            f'<p class="text">{_marked(one.passage.text, asked)}</p>'
            f'<dl class="facts"><div><dt>fused</dt><dd>score {one.score:.4f}</dd></div>{stages}'
            f"<div><dt>place</dt><dd>{_place(one.passage)}</dd></div></dl></li>"
        )
    return f'<ol class="results" aria-label="Passages found">{"".join(cards)}</ol>'


def status(text: str, share: float | None = None) -> str:
    """A line about the local model; `share` of 1 is drawn as a bar where it is known."""
    if not text:
        return ""
    bar = f'<progress max="1" value="{share:.4f}" aria-label="Model pulled"></progress>' if share is not None else ""
    return f'<p class="status" role="status">{bar}<span>{as_html(text)}</span></p>'


def _panel(title: str, body: str) -> str:
    return f'<section class="sources" aria-label="Sources"><h2>{as_html(title)}</h2>{body}</section>'


def _group(title: str, passages: Sequence[ScoredPassage]) -> str:
    return f"<h3>{as_html(title)}</h3>{_folds(passages)}" if passages else ""


def _folds(passages: Sequence[ScoredPassage]) -> str:
    return "".join(
        f'<details><summary>{_trail(one.passage)}</summary><p class="text">{as_html(one.passage.text)}</p>'
        f'<p class="place">{_place(one.passage)}</p></details>'
        for one in passages
    )


def _quotation(citation: Citation, element: str, is_open: bool) -> str:
    passage = citation.passage
    start, end = citation.start - passage.start, citation.end - passage.start
    before, quote, after = passage.text[:start], passage.text[start:end], passage.text[end:]
    return (
        f'<details class="quotation" id="{element}"{" open" if is_open else ""}>'
        f'<summary><span class="number">{citation.marker}</span> {_trail(passage)}</summary>'
        f'<blockquote class="text">{as_html(before)}<mark>{as_html(quote)}</mark>{as_html(after)}</blockquote>'
        f'<p class="place">{_place(citation)}</p></details>'
    )


def _trail(passage: Passage) -> str:
    steps = "".join(f'<span class="step">{as_html(step)}</span>' for step in passage.section)
    return f'<span class="trail"><span class="title">{as_html(passage.title)}</span>{steps}</span>'


def _place(of: Passage | Citation) -> str:
    document = of.document if isinstance(of, Passage) else of.passage.document
    return f"<code>{as_html(document)}</code> characters {of.start:,}&ndash;{of.end:,}"


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
    return (
        f'<p class="signature">Written by <b>{as_html(named)}</b> in {seconds:.1f} s from index '
        f"<code>{as_html(answer.index.version)}</code></p>"
    )


def _earlier(quotations_by_turn: Mapping[int, str]) -> str:
    folds = "".join(
        f"<h4>Answer {turn}</h4>{one}" for turn, one in sorted(quotations_by_turn.items(), reverse=True) if one
    )
    return (
        f'<details class="earlier"><summary>Quotations of earlier answers</summary>{folds}</details>' if folds else ""
    )


def _marked(text: str, asked: frozenset[str]) -> str:
    """`text` as HTML with the words marked whose stem is `asked` for."""
    parts, done = [], 0
    for match in _TOKEN.finditer(text):
        if _stems_of_word(match[0]) & asked:
            parts += [as_html(text[done : match.start()]), f"<mark>{as_html(match[0])}</mark>"]
            done = match.end()
    return "".join([*parts, as_html(text[done:])])


@functools.lru_cache(maxsize=20_000)
def _stems_of_word(word: str) -> frozenset[str]:
    return frozenset(stems(word))


CSS = """
.gradio-container {
  --rw-ink: #1d5c8f; --rw-on-ink: #fff; --rw-wash: #eaf2f8; --rw-warn: #fff4dc; --rw-mark: #ffe9a0;
  --rw-on-mark: #3a2a00; --body-text-color-subdued: #55637a;
  --color-accent: var(--rw-ink); --slider-color: var(--rw-ink); }
.dark, .dark .gradio-container {
  --rw-ink: #8cc0ea; --rw-on-ink: #0d1b27; --rw-wash: #1c2f3f; --rw-warn: #3a2f14; --rw-mark: #5c4a10;
  --rw-on-mark: #fff1c4; --body-text-color-subdued: #a3b1c6; }
.gradio-container main { max-width: 1440px; margin: 0 auto !important; padding: 14px 28px 6px !important; }
.gradio-container main > .column { gap: 4px; }
.gradio-container footer { margin-top: 4px !important; padding-bottom: 8px; }
.gradio-container :is(a, summary, button, [tabindex]):focus-visible, .gradio-container :is(input, textarea):focus {
  outline: 2px solid var(--rw-ink) !important; outline-offset: 1px; box-shadow: none !important; }
.gradio-container button.primary { background: var(--rw-ink); color: var(--rw-on-ink); border: 0; }
#searching button { align-self: center; }
.masthead { display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 .9rem; }
.masthead h1 { font-size: 1.4rem; font-weight: 700; letter-spacing: -.01em; margin: 0; }
.masthead p, .quiet { color: var(--body-text-color-subdued); margin: 0; }
.promise { color: var(--body-text-color-subdued); font-size: .8rem; line-height: 1.45; margin: 0; padding-top: .6rem;
  border-top: 1px solid var(--border-color-primary); }
.promise strong { font-weight: 600; color: inherit; }
.status { display: flex; align-items: center; gap: .6rem; font-size: .85rem; margin: 0; overflow-wrap: anywhere; }
.status progress { width: 9rem; flex: none; accent-color: var(--rw-ink); }

#choices .block { padding: 5px 12px; }
#choices .container { display: flex; align-items: center; gap: .7rem; }
#choices .container > span { margin: 0; flex: none; }
#choices .container > .wrap { flex: 1; min-width: 0; }
#chat { height: max(300px, calc(100dvh - 288px)) !important; }
#model-status:not(:has(.status)) { display: none; }
.column:has(> #model-status .status) #chat { height: max(300px, calc(100dvh - 330px)) !important; }
#chat a[href^="#source-"] {
  display: inline-block; min-width: 1.5em; text-align: center; padding: 0 .3em; border-radius: 5px; font-size: .78em;
  line-height: 1.5; font-weight: 600; text-decoration: none; background: var(--rw-wash); color: var(--rw-ink); }
#chat a[href^="#source-"]:hover { background: var(--rw-ink); color: var(--rw-on-ink); }

.sources { line-height: 1.5; font-size: .9rem; }
.sources h2 { font-size: 1rem; font-weight: 700; margin: 0 0 .6rem; }
.sources h3, .sources h4 {
  font-size: .8rem; font-weight: 600; color: var(--body-text-color-subdued); margin: 1.1rem 0 .4rem; }
.sources ul { margin: 0; padding-left: 1.1rem; list-style: disc; }
.sources details { border: 1px solid var(--border-color-primary); border-radius: 8px; margin: 0 0 .45rem;
  background: var(--background-fill-primary); }
.sources summary {
  cursor: pointer; padding: .45rem .7rem; border-radius: 8px; list-style: none; display: flex; gap: .55rem; }
.sources summary::-webkit-details-marker { display: none; }
.sources summary::after {
  content: ""; flex: none; width: .42rem; height: .42rem; margin: .4rem .15rem 0 auto; opacity: .55;
  border-right: 1.5px solid; border-bottom: 1.5px solid; transform: rotate(45deg); }
.sources details[open] > summary::after { transform: rotate(-135deg); margin-top: .6rem; }
.sources summary:hover { background: var(--rw-wash); }
.sources .quotation { border-left: 3px solid var(--rw-ink); }
.sources .quotation.shown { border-color: var(--rw-ink); }
.sources .struck, .sources .earlier { border-style: dashed; margin-top: 1rem; }
.sources .struck ul { margin: 0 .7rem .7rem; }
.sources .earlier > :not(summary) { margin: .4rem .7rem; }
.number {
  flex: none; min-width: 1.5em; height: 1.5em; line-height: 1.5em; text-align: center; border-radius: 5px;
  background: var(--rw-wash); color: var(--rw-ink); font-weight: 600; font-size: .85em; }
.trail { color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.trail .title { color: var(--body-text-color); font-weight: 600; }
.trail .step::before { content: "\\203A"; margin: 0 .4em; opacity: .7; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 !important; }
.sources .text {
  padding: .1rem .8rem .5rem !important; border: 0 !important; font-style: normal; color: var(--body-text-color); }
.sources mark, .results mark {
  background: var(--rw-mark); color: var(--rw-on-mark); border-radius: 3px; padding: .08em .15em; }
.place { font-size: .78rem; color: var(--body-text-color-subdued); margin: 0; padding: 0 .8rem .55rem; }
.sources code, .results code { font-size: .95em; background: none; padding: 0; border: 0; color: inherit; }
.signature { font-size: .78rem; color: var(--body-text-color-subdued); margin: .6rem 0 0; }
.signature b { font-weight: 600; color: inherit; }
.notice {
  background: var(--rw-warn); border-radius: 8px; padding: .55rem .75rem; margin: 0 0 .7rem; overflow-wrap: anywhere; }

.results { list-style: none; padding: 0; margin: 0; display: grid; gap: .7rem; }
.results .card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .8rem 1rem; margin: 0;
  background: var(--background-fill-primary); }
.results h3 { font-size: .95rem; font-weight: 400; margin: 0 0 .4rem; display: flex; gap: .55rem; }
.results .text { line-height: 1.5; font-size: .92rem; max-width: 52rem; }
.facts { display: flex; flex-wrap: wrap; gap: .15rem 1.4rem; margin: .6rem 0 0; font-size: .78rem;
  color: var(--body-text-color-subdued); font-variant-numeric: tabular-nums; }
.facts div { display: flex; gap: .4rem; }
.facts dt { font-weight: 600; }
.facts dd { margin: 0; }

@media (min-width: 901px) {
  #panel { height: calc(100dvh - 142px); flex-wrap: nowrap; }
  #sources { flex: 1; min-height: 0; overflow-y: auto !important; padding: 0 6px 0 2px; }
}
@media (max-width: 900px) {
  #desk { flex-direction: column; }
  #desk > .column { width: 100%; min-width: 0 !important; }
  .gradio-container .wrap.fill, .gradio-container.fill_width, .gradio-container > * { padding-inline: 0 !important; }
  .gradio-container main { padding: 12px 10px 6px !important; }
}
@media (prefers-reduced-motion: reduce) { * { scroll-behavior: auto !important; transition: none !important; } }
"""

HEAD = """
<meta http-equiv="Content-Security-Policy" content="default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'">
<script>
(() => {
  let marker = null;  // the link that was followed last, to return to with Escape
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#source-"]');
    if (!link) return;
    event.preventDefault();
    const fold = document.getElementById(link.getAttribute("href").slice(1));
    if (!fold) return;
    for (let part = fold; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    document.querySelectorAll(".quotation.shown").forEach((other) => other.classList.remove("shown"));
    fold.classList.add("shown");
    marker = link;
    fold.querySelector("summary").focus({ preventScroll: true });
    fold.scrollIntoView({ block: "nearest" });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && marker?.isConnected && event.target.closest?.(".sources")) marker.focus();
  });
})();
</script>
"""
