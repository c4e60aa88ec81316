"""Rules for text that was copied from a page: what is no text of it, and lines that ran together.

Lines go in, lines come out. Words are never changed, added or reordered: a line is left out (and told of), cut in two
or indented. Each rule asks for several signs at once, because text wrongly cut is worse than text left as it was.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from rag.chunking import ENTRY, sentence_spans
from rag.words import STOPWORDS

WRAPPED = 80
"""Characters up to which a line may come from a text that was wrapped by hand."""
_LONGEST = 10_000
"""Characters beyond which a line is no entry of a list that a person wrote; it is left as it is."""
_SENTENCE = 6
"""Words from which a stretch with an end mark counts as a sentence."""
_HEADING = 6
"""Words up to which a line whose words are all capitalised counts as a heading."""
_LONG = 4
"""Letters from which a word is taken to be none of those that join others, in most languages."""
_STATEMENT = 4
"""Words, with its marker, that entries have on average if they say something and do not only name it."""
_TEASER = 12
"""Words from which a paragraph under a repeated title counts as a teaser."""

_PICTURE = re.compile(
    r"""(?ix) (?: (?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|\d+(?:st|nd|rd|th)?) \s+
        (?:image|picture|photo|img|thumbnail|icon) | (?:image|picture|photo|img|thumbnail|icon|logo)\s*[-_#]?\s*\d+
        | (?:image|picture|photo|logo|icon)\s*: | [\w-]+\.(?:png|jpe?g|gif|svg|webp) )"""
)
_LOGO = re.compile(r"[Ll]ogo[A-Z]\w+|(?:[A-Z]\w*)?[a-z]Logo")
_END = (".", "!", "?", "…", "。")
_COUNTED = ("1", "a")
"""Kinds of markers that count their entries, which therefore stand beside each other."""
_SMALL = frozenset("a an and as at by de der des die du el et for from in la le of on or the to und von with y".split())
"""Words that stay small in a heading whose words are capitalised."""
_LINKS = frozenset(
    "and as at but by for from in into like nor of on or per than through to using via with within without".split()
)
"""Words that stand before and behind names in the middle of an entry."""
_LOOKS_BACK = re.compile(r"By (?:[\w-]+ ){1,4}th(?:is|ese)\s|\w+ing these\s|(?:Overall|In summary|In conclusion),\s")
"""How a sentence begins that speaks of a list as a whole."""
_POINTS_BACK = re.compile(r"These\s")
"""How such a sentence may begin where no entry of the list has a second sentence."""
_WORD_INSIDE = re.compile(r"(?<=\s)[\"“(]?([^\W\d_]\w+)")
_NOUN_SHARE = 0.3
"""Share of capitalised words behind small ones from which a text writes its nouns large, as German does. 22 English
texts have at most 0.06, German prose has about 0.6."""


def tidied(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """The lines without what is no text, cut where they ran together, lists nested; and notes on what was left out."""
    kept, pictures = without_pictures(lines)
    kept, teasers = without_teasers(kept)
    return nested(cut_run_ons(kept)), [note for note in (pictures, teasers) if note]


def without_pictures(lines: Sequence[str]) -> tuple[list[str], str]:
    """Leaves out lines that stand alone and only name a picture or a logo ("first image", "logoAcme")."""

    def is_picture(number: int) -> bool:
        line = lines[number].strip()
        alone = not "".join([*lines[max(number - 1, 0) : number], *lines[number + 1 : number + 2]]).strip()
        return alone and bool(_PICTURE.fullmatch(line) or _LOGO.fullmatch(line))

    kept = [line for number, line in enumerate(lines) if not is_picture(number)]
    count = len(lines) - len(kept)
    named = (
        "1 line that only names a picture or a logo"
        if count == 1
        else f"{count} lines that only name pictures or logos"
    )
    return kept, f"left out {named}" if count else ""


def without_teasers(lines: Sequence[str]) -> tuple[list[str], str]:
    """Leaves out what a page shows of others at its end: twice a title that the page never names, then a paragraph.

    At least two of them must stand there, and more lines before them than they have. A heading above them goes too.
    """
    full = [number for number, line in enumerate(lines) if line.strip()]
    titles: list[str] = []
    while len(full) >= 3:
        first, second, text = (lines[number].strip() for number in full[-3:])
        if first != second or first.endswith(_END) or len(first.split()) > 10 or len(text.split()) < _TEASER:
            break
        titles.insert(0, first)
        full = full[:-3]
    before = "\n".join(lines[number] for number in full).casefold()
    if len(titles) < 2 or len(full) < 3 * len(titles) or any(title.casefold() in before for title in titles):
        return list(lines), ""
    above = lines[full[-1]].strip()
    stands_alone = full[-1] > 0 and not lines[full[-1] - 1].strip()
    if stands_alone and len(above.split()) <= _HEADING and above[-1] not in (*_END, ":") and not ENTRY.match(above):
        full = full[:-1]
    return list(lines[: full[-1] + 1]), f"left out {len(titles)} teasers at the end: {', '.join(titles)}"


def cut_run_ons(lines: Sequence[str]) -> list[str]:
    """Cuts what ran on behind the last entry of a list, and headings that ran on behind a sentence.

    What follows is a line of its own: the introduction or heading of the next list, or a paragraph that ends the list.
    A text that writes its nouns large stays as it is: there a capital inside of a line tells nothing.
    """
    if _noun_share(lines) > _NOUN_SHARE:
        return list(lines)
    cut: list[str] = []
    entries: list[str] = []  # of the list so far
    has_label = False  # whether one of them ends in a colon
    for line, below in zip(lines, lines_below(lines), strict=True):
        leads_into_list = bool(ENTRY.match(below)) and _indent(below) <= _indent(line)
        at = 0
        if marker := ENTRY.match(line):
            text = line[marker.end() :]
            if len(line) > _LONGEST:
                at = 0
            elif leads_into_list and entries and not has_label:
                at = _introduction(text)
            elif not ENTRY.match(below) and entries and len(line) > WRAPPED:
                at = _closing(text, entries)
            entries.append(text.rstrip())
            has_label = has_label or entries[-1].endswith(":")
            at = at and at + marker.end()
        elif line.strip():
            entries, has_label = [], False
            at = _heading_behind(line) if leads_into_list else 0
        if at:
            behind = line[at:].strip()
            is_heading = behind.endswith(":") and _is_capitalised(behind[:-1])
            cut += [line[:at].rstrip(), "", behind[:-1] if is_heading else behind, ""]
            entries, has_label = [], False
        else:
            cut.append(line)
    return cut


def _noun_share(lines: Sequence[str]) -> float:
    """How many of the words behind a small word of four letters or more are capitalised, but not all capitals."""
    pairs = [
        (before, after)
        for line in lines
        for before, after in itertools.pairwise(line.split())
        if before.islower() and before.isalpha() and len(before) >= _LONG and after.isalpha()
    ]
    return sum(after.istitle() for _, after in pairs) / max(len(pairs), 1)


def lines_below(lines: Sequence[str]) -> list[str]:
    """For each line the next one below it that is not blank; "" where there is none."""
    below = [""] * len(lines)
    for number in range(len(lines) - 2, -1, -1):
        below[number] = lines[number + 1] if lines[number + 1].strip() else below[number + 1]
    return below


def nested(lines: Sequence[str]) -> list[str]:
    """Indents the entries of a list that stand under others, where the list itself shows no levels."""
    out = list(lines)
    for run in _lists(lines):
        if len({_indent(lines[number]) for number in run}) == 1:
            for number in _inner([lines[number].strip() for number in run]):
                out[run[number]] = "    " + out[run[number]]
    return out


def headings_in_lists(lines: Sequence[str]) -> dict[int, str]:
    """Entries that are headings of those beneath them, by line number: all of their list are written like headings.

    A number stays with its heading, unless all are the same.
    """
    found: dict[int, str] = {}
    for run in _lists(lines):
        least = min(_indent(lines[number]) for number in run)
        outer = [number for number in run if _indent(lines[number]) == least]
        texts = {number: lines[number].strip()[len(_marker(lines[number].strip())) :].rstrip(":") for number in outer}
        inner = [lines[number] for number in run if number not in texts]
        holds_entries = run[0] in texts and run[-1] not in texts
        stands_alone = any(one in texts and other in texts for one, other in itertools.pairwise(run))
        if len(outer) < 2 or not holds_entries or stands_alone or _mean_words(inner) < _STATEMENT:
            continue
        if all(_is_capitalised(text) for text in texts.values()):
            counts = lines[outer[0]].strip()[0].isdigit() and len({_marker(lines[number]) for number in outer}) > 1
            found |= {number: lines[number].strip().rstrip(":") if counts else texts[number] for number in outer}
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _lists(lines: Sequence[str]) -> Iterator[list[int]]:
    """The numbers of the lines of each list. Blank lines between entries end it only where another marker follows."""
    run: list[int] = []
    for number, line in enumerate([*lines, "end"]):
        if not line.strip():
            continue
        is_entry = ENTRY.match(line) is not None
        goes_on = is_entry and run and (run[-1] == number - 1 or _kind(lines[run[-1]]) == _kind(line))
        if run and not goes_on:
            yield run
            run = []
        if is_entry:
            run.append(number)


def _inner(entries: Sequence[str]) -> list[int]:
    """Which entries of a list stand under the one above them that is none of these."""
    kinds = [_kind(entry) for entry in entries]
    texts = [entry[len(_marker(entry)) :] for entry in entries]
    if len(set(kinds)) > 1:
        changes = sum(one != other for one, other in itertools.pairwise(kinds))
        outer = kinds.count(kinds[0])
        holds = texts[outer - 1].endswith(":") or (outer == 1 and kinds[0] in _COUNTED)
        is_nested = "+" not in kinds and (changes > 1 or holds)
        return [number for number, kind in enumerate(kinds) if kind != kinds[0]] if is_nested else []
    if kinds[0] in _COUNTED:
        return []
    labels = [number for number, text in enumerate(texts) if text.endswith(":")]
    if any(number and len(texts[number].split()) > _HEADING for number in labels):
        return []
    heads = set(labels or _heads(texts))
    return [number for number in range(min(heads), len(texts)) if number not in heads] if heads else []


def _heads(texts: Sequence[str]) -> list[int]:
    """Entries written like headings ("Data Management"), if each has longer ones, like sentences, beneath it."""
    heads = [number for number, text in enumerate(texts) if _is_capitalised(text)]
    rest = [text for text in texts if not _is_capitalised(text)]
    if (
        len(heads) < 2
        or heads[0] != 0
        or heads[-1] == len(texts) - 1
        or 1 in (b - a for a, b in itertools.pairwise(heads))
    ):
        return []
    is_longer = _mean_words(rest) > 1.5 * _mean_words([texts[number] for number in heads])
    is_sentence_like = all(not text[0].islower() for text in rest)
    return heads if is_longer and is_sentence_like and any(" " in texts[number] for number in heads) else []


def _mean_words(texts: Sequence[str]) -> float:
    return sum(len(text.split()) for text in texts) / max(len(texts), 1)


def _marker(entry: str) -> str:
    match = ENTRY.match(entry)
    return match[0] if match else ""


def _kind(entry: str) -> str:
    marker = _marker(entry).strip()
    return "1" if marker[0].isdigit() else "a" if marker[0].isalpha() else marker[0]


def _is_capitalised(text: str) -> bool:
    """Whether a line is written like a heading: few words, the first and all longer ones capitalised, no end mark."""
    words = re.findall(r"[^\W_][\w'’-]*", text)
    if not words or len(text.split()) > _HEADING or text.rstrip()[-1] in ".,:;!?…" or not words[0][0].isupper():
        return False
    return all(word[0].isupper() or word in _SMALL for word in words)


def _heading_behind(text: str) -> int:
    """Where a heading that ends in a colon stands behind the last sentence or introduction; 0 if none does."""
    ends = [match.end() for match in re.finditer(r"[.!?:]\s+", text.rstrip())]
    at = ends[-1] if ends else 0
    behind = text[at:].rstrip()
    return at if at and behind.endswith(":") and _is_capitalised(behind[:-1]) else 0


def _introduction(text: str) -> int:
    """Where the heading or introduction of the next list begins behind an entry; 0 if it does not."""
    if not text.rstrip().endswith(":"):
        return 0
    if at := _heading_behind(text):
        return at
    breaks = [at for at in _breaks(text) if len(text[:at].split()) >= 2 and len(text[at:].split()) >= 2]
    headings = [at for at in breaks if _is_capitalised(text[at:].rstrip()[:-1])]
    breaks = [at for at in breaks if len(text[at:].split()) >= 3]
    openings = [at for at in breaks if _opens(text[at:])]
    return (headings or openings or breaks or [0])[0]


def _closing(text: str, entries: Sequence[str]) -> int:
    """Where a paragraph that ends the list begins behind its last entry; 0 if none does."""
    text = text.rstrip()
    if not text.endswith(_END):
        return 0
    spans = list(sentence_spans(text, 0, len(text)))
    if 2 * sum(entry.endswith(_END) for entry in entries) < len(entries):  # entries are no sentences
        first = spans[0]
        breaks = [at for at in _breaks(text) if at < first[1] and len(text[at : first[1]].split()) >= _SENTENCE]
        openings = [at for at in breaks if _opens(text[at:])]
        if found := openings or [at for at in breaks if _goes_on(text[at:])]:
            return found[0]
    others = [entry[slice(*span)] for entry in entries for span in sentence_spans(entry, 0, len(entry))]
    looks_back = [_LOOKS_BACK] if len(others) > len(entries) else [_LOOKS_BACK, _POINTS_BACK]
    if any(_LOOKS_BACK.match(other) for other in others):
        return 0
    backward = (left for left, right in spans[1:] if any(one.match(text[left:right]) for one in looks_back))
    return next((left for left in backward if len(text[left:].split()) >= _SENTENCE), 0)


def _breaks(text: str) -> list[int]:
    """Where a capitalised word follows one that could end an entry: no comma, no "and", "of" or "with" before it."""
    found = []
    for match in _WORD_INSIDE.finditer(text):
        if not match[1][0].isupper():
            continue
        word = [",", *text[: match.start()].split()][-1]
        opens = _opens(text[match.start() :])
        could_end = word[-1].isalnum() or word[-1] in ")+%"
        is_name = word[0].isupper() or len(word) < _LONG or word.casefold() in STOPWORDS
        if could_end and word.casefold() not in _SMALL | _LINKS and (opens or not is_name):
            found.append(match.start())
    return found


def _opens(text: str) -> bool:
    """Whether a text begins as only sentences do: "The ideal …", "By meeting …"."""
    first, second = [*text.split()[:2], "", ""][:2]
    word = first.strip('"“(,').casefold().replace("’", "'").split("'")[0]
    return len(word) > 1 and (word in STOPWORDS or word.endswith("ing")) and second[:1].islower()


def _goes_on(text: str) -> bool:
    """Whether a name at the beginning of a text is followed by what may be its verb, not by "with" or "and"."""
    following = next((word for word in text.split() if word[0].islower()), "")
    return bool(following) and following not in _LINKS
