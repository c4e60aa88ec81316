"""Words that stand at places on pages become paragraphs, headings, list entries and table rows, by geometry alone.

Words become pieces of lines, pieces columns, rows and blocks, and blocks text. Lengths are in points, y grows upwards,
and "em" is the size of the letters at hand.
"""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from rag.parsed import Writer

_BULLET = re.compile(r"^[•◦▪▫‣∙●○■□➢➤✓·\x80-\x9f\uf000-\uf0ff*–-](?:\s+|$)")
_DASH_OR_STAR = ("-", "–", "*", "·")
"""Bullets that also stand at the start of a line within a sentence."""
_LEADER = re.compile(r"(?:\s?[.…]){5,}\s*")
_SENTENCE_END = re.compile(r"[.!?:;][\"'”’)\]]*$")
_NUMBER = re.compile(r"^\(?(\d{1,3})[.)](?:\s+|$)")
_MARGIN = 0.1
"""Share of a page's height, at either end, in which running headers and footers stand."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that stands together on one line. `y` is its baseline's, `size` that of its letters."""

    text: str
    x0: float
    x1: float
    y: float
    size: float
    bold: bool


@dataclass(slots=True)
class _Block:
    """Lines that belong together. `opens` says that it is the first of its column, so it may go on from another."""

    kind: Literal["text", "entry", "row"]
    lines: list[str]
    page: int
    x0: float
    size: float
    bold: bool
    opens: bool = False


@dataclass(slots=True)
class Page:
    """The pieces of lines on a page, in no order, and the heights between which it lies."""

    number: int
    pieces: list[Piece]
    bottom: float
    top: float


# Words to pieces of lines


def pieces_of_lines(words: Iterable[Piece]) -> list[Piece]:
    """The words of a page, in the order in which they are drawn, as pieces of its lines."""
    return _merged(_in_order_drawn(words))


def _in_order_drawn(words: Iterable[Piece]) -> list[Piece]:
    """Words drawn one after another and side by side become one piece, so that superscripts stay where they belong."""
    pieces: list[Piece] = []
    for word in words:
        if pieces and _adjoin(pieces[-1], word, 0.6):
            pieces[-1] = _together(pieces[-1], word, f"{pieces[-1].text} {word.text}")
        else:
            pieces.append(word)
    return pieces


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Pieces of a line that were drawn at different times become one."""
    merged: list[Piece] = []
    for row in _rows(pieces):
        merged.append(row[0])
        for piece in row[1:]:
            last = merged[-1]
            if _adjoin(last, piece, 0.6):
                space = " " * (max(piece.x0 - last.x1, last.x0 - piece.x1) > 0.15 * piece.size)
                merged[-1] = _together(last, piece, last.text + space + piece.text)
            else:
                merged.append(piece)
    return merged


def _adjoin(one: Piece, other: Piece, rise: float) -> bool:
    """Whether they stand on one line (apart by `rise` em at most), less than an em between them."""
    em = max(one.size, other.size)
    gap = max(other.x0 - one.x1, one.x0 - other.x1)
    return abs(one.y - other.y) < rise * em and -em < gap < em


def _together(one: Piece, other: Piece, text: str) -> Piece:
    main = one if len(one.text) >= len(other.text) else other
    x0, x1 = min(one.x0, other.x0), max(one.x1, other.x1)
    return replace(main, text=text, x0=x0, x1=x1, bold=one.bold and other.bold)


def _rows(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """From top to bottom the pieces that stand on one line, in the direction that their script is read."""
    rows: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.y):
        if rows and rows[-1][0].y - piece.y < 0.4 * min(piece.size, rows[-1][0].size):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row, key=lambda piece: piece.x0, reverse=_is_right_to_left(row)) for row in rows]


def _is_right_to_left(row: list[Piece]) -> bool:
    text = "".join(piece.text for piece in row)
    return 2 * len(re.findall("[\u0590-\u08ff\ufb1d-\ufefc]", text)) > len(re.findall(r"\w", text))


# Pages to columns


def drop_repeated(pages: list[Page], writer: Writer) -> None:
    """Takes out what stands in the same words and size, whatever the digits, in the margins of several pages.

    Nothing is taken out of a document that holds nothing else.
    """
    least = 2 if len(pages) <= 3 else 3

    def in_margin(page: Page) -> dict[tuple[str, int], list[Piece]]:
        depth = _MARGIN * (page.top - page.bottom)
        found: dict[tuple[str, int], list[Piece]] = {}
        for piece in page.pieces:
            if piece.y < page.bottom + depth or piece.y > page.top - depth:
                text = re.sub(r"\d+|^[ivxlc]+$", "#", piece.text)
                found.setdefault((text, round(piece.size)), []).append(piece)
        return found

    per_page = [in_margin(page) for page in pages]
    counts = Counter(key for found in per_page for key in found)
    dropped = {id(p) for found in per_page for key, same in found.items() if counts[key] >= least for p in same}
    if len(dropped) == sum(len(page.pieces) for page in pages):
        return
    for page in pages:
        page.pieces = [piece for piece in page.pieces if id(piece) not in dropped]
    repeated = [text for (text, _), count in counts.most_common() if count >= least and text != "#"]
    writer.note(f"repeated in page margins, left out: {'; '.join(repeated[:4])[:200]}" if repeated else "")


def _columns(pieces: list[Piece]) -> list[list[Piece]]:
    """Stretches of a page in the order of reading; each is read row by row from top to bottom.

    What crosses the gap between two columns parts what stands above it from what stands below.
    """
    gutter = _gutter(pieces)
    if gutter is None:
        return [pieces]
    stretches = []
    ordered = sorted(pieces, key=lambda piece: -piece.y)
    for crosses, group in itertools.groupby(ordered, key=lambda piece: piece.x0 < gutter < piece.x1):
        band = list(group)
        left, right = [p for p in band if p.x1 <= gutter], [p for p in band if p.x0 >= gutter]
        if crosses or not left or not right:
            stretches.append(band)
        elif len(band) > 6 and not (_is_prose(left) or _is_prose(right)):
            stretches.append(band)  # a table over the whole width
        else:
            sides = (right, left) if _is_right_to_left(band) else (left, right)
            stretches += [stretch for side in sides for stretch in _columns(side)]
    return stretches


def _gutter(pieces: list[Piece]) -> float | None:
    """The x of the widest gap that few pieces cross and that has running text on both sides."""
    steps = 200
    if len(pieces) < 8:
        return None
    start, end = min(piece.x0 for piece in pieces), max(piece.x1 for piece in pieces)
    step = (end - start) / steps or 1.0
    cover = [0] * (steps + 1)
    for piece in pieces:
        for at in range(round((piece.x0 - start) / step), round((piece.x1 - start) / step)):
            cover[at] += 1
    middle = range(steps // 5, steps - steps // 5)
    least = min(cover[at] for at in middle)
    if least > len(pieces) / 4:
        return None
    runs = [list(run) for low, run in itertools.groupby(middle, key=lambda at: cover[at] == least) if low]
    run = max(runs, key=len)
    gutter = start + step * (run[0] + run[-1] + 1) / 2
    sides = [p for p in pieces if p.x1 <= gutter], [p for p in pieces if p.x0 >= gutter]
    return gutter if all(len(_rows(side)) >= 4 and _is_prose(side) for side in sides) else None


def _is_prose(side: list[Piece]) -> bool:
    """Whether most letters stand in lines too long for cells of a table."""
    lengths = [len(piece.text) for piece in side]
    return sum(length for length in lengths if length >= 25) > 0.6 * sum(lengths)


# Columns to blocks


def _blocks(stretch: list[Piece], page: int, body: float) -> list[_Block]:
    rows = [_with_marker(row) for row in _rows(stretch)]
    blocks: list[_Block] = []
    lines: list[Piece] = []
    for is_table, zone in _zones(rows):
        if is_table:
            blocks += _paragraphs(lines, page, body)
            lines = []
            first = zone[0][0]
            blocks += [_Block("row", [row], page, first.x0, first.size, bold=False) for row in _table(zone)]
        else:
            lines += [_joined_row(row) for row in zone]
    blocks += _paragraphs(lines, page, body)
    if blocks:
        blocks[0].opens = True
    return blocks


def _with_marker(row: list[Piece]) -> list[Piece]:
    """A bullet or number that stands alone before its entry is put to it."""
    if len(row) > 1 and (re.fullmatch(_BULLET, row[0].text) or re.fullmatch(_NUMBER, row[0].text)):
        return [replace(_together(row[0], row[1], f"{row[0].text} {row[1].text}"), y=row[1].y), *row[2:]]
    return row


def _joined_row(row: list[Piece]) -> Piece:
    line = row[0]
    for piece in row[1:]:
        line = _together(line, piece, f"{line.text} {piece.text}")
    return line


def _zones(rows: list[list[Piece]]) -> Iterator[tuple[bool, list[list[Piece]]]]:
    """Runs of rows, and whether they are a table: two rows or more of several cells, with what goes on inside cells."""
    run: list[list[Piece]] = []

    def ended() -> Iterator[tuple[bool, list[list[Piece]]]]:
        tail = list(itertools.takewhile(lambda row: len(row) == 1, reversed(run)))[::-1]
        table = run[: len(run) - len(tail)]
        if table:
            yield sum(len(row) > 1 for row in table) > 1, table
        if tail:
            yield False, tail

    for row in rows:
        goes_on = bool(run) and len(row) == 1 and row[0].x0 > run[0][0].x1 and _is_near(run[-1], row)
        if len(row) == 1 and not goes_on:
            yield from ended()
            run = []
            yield False, [row]
        else:
            if run and not _is_near(run[-1], row):
                yield from ended()
                run = []
            run.append(row)
    yield from ended()


def _is_near(row: list[Piece], following: list[Piece]) -> bool:
    """Whether less than three lines lie between two rows."""
    return row[0].y - following[0].y < 4 * max(row[0].size, following[0].size)


def _table(rows: list[list[Piece]]) -> list[str]:
    """The rows of a table as text, cells in the columns that the fullest rows show; a row without its first cell goes
    on in the row above."""
    most = max(len(row) for row in rows)
    spans: list[tuple[float, float]] = []
    for piece in sorted((piece for row in rows if len(row) == most for piece in row), key=lambda piece: piece.x0):
        if spans and piece.x0 < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], piece.x1))
        else:
            spans.append((piece.x0, piece.x1))
    table: list[list[str]] = []
    for row in rows:
        cells = [""] * len(spans)
        for piece in row:
            overlaps = [min(piece.x1, end) - max(piece.x0, start) for start, end in spans]
            column = overlaps.index(max(overlaps))
            cells[column] = f"{cells[column]} {piece.text}".strip()
        if table and not cells[0] and table[-1][0]:
            table[-1] = [f"{above} {cell}".strip() for above, cell in zip(table[-1], cells, strict=True)]
        else:
            table.append(cells)
    return [" | ".join(cells) for cells in table]


def _paragraphs(lines: list[Piece], page: int, body: float) -> list[_Block]:
    """Lines that follow each other become paragraphs and list entries."""
    if not lines:
        return []
    right = max(line.x1 for line in lines)
    pitches = [one.y - other.y for one, other in itertools.pairwise(lines) if one.y - other.y < 2.5 * one.size]
    pitch = statistics.median_low(pitches) if pitches else 0.0
    blocks: list[_Block] = []
    number = 0
    for above, line in zip([None, *lines], lines, strict=False):
        stands_out = line.bold or line.size > 1.1 * body
        counted = None if stands_out else _NUMBER.match(line.text)
        is_next = counted is not None and int(counted[1]) in (1, number + 1)
        if is_next and counted is not None:
            number = int(counted[1])
        bullet = None if is_next or stands_out else _BULLET.match(line.text)
        if bullet and line.text.startswith(_DASH_OR_STAR) and above and blocks[-1].kind == "text":
            bullet = bullet if _SENTENCE_END.search(above.text) else None
        if is_next or bullet:
            text = line.text if bullet is None else f"- {line.text[bullet.end() :]}"
            blocks.append(_Block("entry", [text], page, line.x0, line.size, line.bold))
        elif above is None or _starts(line, above, blocks[-1], max(pitch, 1.2 * line.size), right):
            blocks.append(_Block("text", [line.text], page, line.x0, line.size, line.bold))
        else:
            blocks[-1].lines.append(line.text)
            blocks[-1].bold &= line.bold
    return blocks


def _starts(line: Piece, above: Piece, block: _Block, pitch: float, right: float) -> bool:
    """Whether a line starts a paragraph: by distance, by letters, by its indent or as there was room for its first word
    in the line above."""
    if above.y - line.y > 1.35 * pitch or abs(line.size - above.size) > 0.08 * above.size or line.bold != above.bold:
        return True
    if re.search(_LEADER.pattern + r"\w+$", above.text[-100:]):
        return True
    if line.text[:1].islower() or above.text.endswith(("-", ",")):
        return False
    if block.kind == "entry":
        return line.x0 < block.x0 + 0.3 * line.size
    if len(block.lines) > 1 and line.x0 > above.x0 + 0.8 * line.size:
        return True
    width = (line.x1 - line.x0) / len(line.text)
    return above.x1 + width * (len(line.text.split()[0]) + 3) < right and not line.bold


# Blocks to text


def write(pages: list[Page], title: str, writer: Writer) -> None:
    sizes: Counter[float] = Counter()
    bold = 0
    vocabulary: Counter[str] = Counter()
    for piece in itertools.chain.from_iterable(page.pieces for page in pages):
        sizes[_half(piece.size)] += len(piece.text)
        bold += len(piece.text) * piece.bold
        vocabulary.update(re.findall(r"\w+(?:-\w+)*", piece.text.lower()))
    if not sizes:
        return
    body = sizes.most_common(1)[0][0]
    blocks = _run_on([b for page in pages for part in _columns(page.pieces) for b in _blocks(part, page.number, body)])
    is_bold_rare = 2 * bold < sizes.total()
    levels = _levels(blocks, body, is_bold_rare)
    indents: list[float] = []
    kind = ""
    for block in blocks:
        text = _joined(block.lines, vocabulary)
        writer.mark(f"page {block.page}")
        key = _heading_size(block, body, is_bold_rare)
        if key is not None and text == title:
            writer.title(text)
        elif key is not None:
            writer.heading(text, levels[key])
        elif block.kind == "entry":
            while indents and block.x0 < indents[-1] - 1:
                indents.pop()
            if not indents or block.x0 > indents[-1] + 1:
                indents.append(block.x0)
            writer.block("  " * (len(indents) - 1) + text, gap="\n" if kind == "entry" else "\n\n")
        else:
            writer.block(text, gap="\n" if kind == block.kind == "row" else "\n\n")
        if block.kind != "entry":
            indents = []
        kind = block.kind


def _half(size: float) -> float:
    return round(2 * size) / 2


def _heading_size(block: _Block, body: float, is_bold_rare: bool) -> float | None:
    """The size of letters of a block that is a heading, None for others: larger than the body's, or bold and short."""
    text = " ".join(block.lines)
    if block.kind != "text" or len(text) > 200 or len(block.lines) > 4 or not re.search(r"[^\W\d_]{2}", text):
        return None
    if block.size > 1.12 * body:
        return _half(block.size)
    is_bold = block.bold and is_bold_rare and block.size > 0.9 * body
    return body if is_bold and len(text) < 120 and text[0] not in "([" and text[-1] not in ".,;:!" else None


def _levels(blocks: list[_Block], body: float, is_bold_rare: bool) -> dict[float, int]:
    """The level of headings by the size of their letters: the largest are of level 1."""
    sizes = {size for block in blocks if (size := _heading_size(block, body, is_bold_rare)) is not None}
    return {size: min(level, 6) for level, size in enumerate(sorted(sizes, reverse=True), 1)}


def _run_on(blocks: list[_Block]) -> list[_Block]:
    """Joins a paragraph that a column or page breaks; footnotes, captions and tables may lie between its parts."""
    joined: list[_Block] = []
    for block in blocks:
        if block.opens and block.kind == "text" and block.lines[0][:1].islower():
            for other in itertools.islice(reversed(joined), 8):
                is_same = other.kind != "row" and abs(other.size - block.size) < 0.5 and other.bold == block.bold
                if is_same and not _SENTENCE_END.search(other.lines[-1]):
                    other.lines += block.lines
                    break
                if is_same or other.size > block.size:
                    joined.append(block)
                    break
            else:
                joined.append(block)
        else:
            joined.append(block)
    return joined


def _joined(lines: list[str], vocabulary: Counter[str]) -> str:
    """Lines as one, words that were parted at their ends put together again.

    A hyphen stays where the document elsewhere has the word with it and never without, and before capitals and digits.
    """
    text = lines[0]
    for line in lines[1:]:
        head = re.search(r"([^\W\d_]+)-$", text[-100:])
        tail = re.match(r"[^\W\d_]+", line)
        if head and tail:
            with_hyphen, without = f"{head[1]}-{tail[0]}".lower(), f"{head[1]}{tail[0]}".lower()
            keeps = not tail[0][0].islower() or (vocabulary[with_hyphen] and not vocabulary[without])
            text = (text if keeps else text[:-1]) + line
        else:
            text += ("" if re.search(r"\w-$", text[-2:]) else " ") + line
    return _LEADER.sub(" ... ", text).strip()
