"""The figures of a text as numbers, whatever their notation: "$153k", "153,000" and "153 000" are all 153000."""

from __future__ import annotations

import re
from decimal import Decimal

_SCALES = {"k": 3, "thousand": 3, "m": 6, "mn": 6, "million": 6, "bn": 9, "b": 9, "billion": 9, "trillion": 12}
_CURRENCY = tuple("$€£¥")
_SPACE = "\u00a0\u202f "
_FIGURE = re.compile(
    rf"""(?<![\w.,])[$€£¥~]?\s?                                   # not inside a word, a version or another figure
    (\d{{1,3}}(?:[,{_SPACE}]\d{{3}})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)   # 153,000 or 153 000 or 26.03
    (?:\s?(k|thousand|mn|m|million|bn|b|billion|trillion)\b)?""",
    re.VERBOSE | re.IGNORECASE,
)
_RANGE = re.compile(r"\s*(?:-|–|—|to)\s*[$€£¥~]?\s?", re.IGNORECASE)


def figures(text: str) -> set[Decimal]:
    """The values of all figures in `text`. The scale of a range's end holds for its beginning too: "153-267k"."""
    matches = list(_FIGURE.finditer(text))
    values: set[Decimal] = set()
    for number, match in enumerate(matches):
        scale = match[2]
        if scale is None and number + 1 < len(matches):
            following = matches[number + 1]
            between = text[match.end() : following.start(1)]
            new_currency = between[-1:] in _CURRENCY and text[match.start()] not in _CURRENCY  # 2023 to $226 billion
            if following[2] and _RANGE.fullmatch(between) and not new_currency:
                scale = following[2]
        power = _SCALES[scale.lower()] if scale else 0
        values.add((Decimal(re.sub(rf"[,{_SPACE}]", "", match[1])) * 10**power).normalize())
    return values
