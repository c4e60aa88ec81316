from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.figures import figures


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("$153,000 to $267,000 a year", {153000, 267000}),
        ("$153k", {153000}),
        ("153 000 francs", {153000}),
        ("153-267k", {153000, 267000}),
        ("$1.5 million", {1500000}),
        ("from $26.03 billion in 2023 to $225.91 billion by 2030", {"26030000000", 2023, "225910000000", 2030}),
        ("7-10+ years, 40%", {7, 10, 40}),
        ("9.8x more", {"9.8"}),
        ("GPT4 and C3PO", set()),
        ("3, 5 and 7", {3, 5, 7}),
    ],
)
def test_figures_in_any_notation(text: str, values: set[int | str]) -> None:
    assert figures(text) == {Decimal(value) for value in values}


@given(st.integers(min_value=0, max_value=10**12))
def test_separators_do_not_change_a_figure(value: int) -> None:
    assert figures(f"{value:,}") == figures(str(value)) == figures(f"{value:,}".replace(",", "\u202f"))
