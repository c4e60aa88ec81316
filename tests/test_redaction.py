"""Personal data is replaced by its kind, and figures are left alone."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.introductions import without_introduction
from rag.redaction import kinds_in, luhn_holds, redacted
from rag.roles import Roles

ROLES = Roles({"Master Baker": [], "Miller": []})

# Numbers from the standards' own examples, test numbers of card issuers, and numbers set aside for fiction.
PERSONAL = {
    "e-mail": ["ada.lovelace+jobs@mail.example.org", "x_y@sub.example.co.uk"],
    "IBAN": ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "ch93 0076 2011 6238 5295 7"],
    "card": ["4111 1111 1111 1111", "5555555555554444", "3782-822463-10005", "6011111111111117"],
    "national id": [
        "756.9217.0769.85",  # Switzerland
        "12345678Z",  # Spain
        "RSSMRA85T10A562S",  # Italy
        "86095742719",  # Germany
        "44051401359",  # Poland
        "390.533.447-05",  # Brazil
        "943 476 5919",  # England
        "536-90-4399",  # United States
        "131052-308T",  # Finland
    ],
    "IP address": ["192.0.2.17", "2001:db8::8a2e:370:7334"],
    "phone": [
        "+41 44 668 18 00",
        "+1 (555) 010-4477",
        "(212) 555-0147",
        "212-555-0147",
        "030 1234 5678",
        "01.42.68.53.00",
        "0171/1234567",
        "0044 20 7946 0958",
    ],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, one) for kind, values in PERSONAL.items() for one in values])
def test_each_kind_is_replaced_by_its_name(kind: str, value: str) -> None:
    asked = f"Does a miller who has {value} earn 60,000 francs?"
    assert redacted(asked, ROLES) == f"Does a miller who has [{kind}] earn 60,000 francs?"
    assert kinds_in(asked) == (kind,)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("My name is Aisha Khan. What does a Miller earn?", "My name is [name]. What does a Miller earn?"),
        ("my name is jamal, what now?", "my name is [name], what now?"),
        ("Hi, I am Ada Lovelace and I bake.", "Hi, I am [name] and I bake."),
        ("I’m José. Which ovens?", "I’m [name]. Which ovens?"),
        ("Hello! This is Wei. Which ovens?", "Hello! This is [name]. Which ovens?"),
        ("You can call me Grace.", "You can call me [name]."),
        ("Call me at 555 0147, please.", "Call me at [phone], please."),
    ],
)
def test_who_asks_is_replaced(said: str, kept: str) -> None:
    assert redacted(said, ROLES) == kept


@pytest.mark.parametrize(
    "text",
    [
        "Is $153,000 to $267,000 a year usual in 2024-2025?",
        "Between 110000-166000 or 1100000-1660000?",
        "Is 4 000 000 000 000 000 a large number?",
        "Years 2021 2022 2023, 2021-2022-2023-2024 and 01.02.2024 10:30",
        "Version 1.2.3, section 4.5, 16:9 and std::vector",
        "ISBN 978-3-16-148410-0 and 0-306-40615-2?",
        "1,000,000 rows of 12,345,678 and 250000000 in all",
        "I am a miller. I am Master Baker. I am allergic. I'm AWS certified.",
        "What is this? This is Python code, is it not?",
        "Ratio 0.0001 of 100000000000 or 4000000000000000",
        "@decorator, a@b and name@host",
    ],
)
def test_figures_roles_and_words_stay(text: str) -> None:
    assert redacted(text, ROLES) == text
    assert kinds_in(text, ROLES) == ()


def test_a_wrong_check_digit_is_no_personal_number() -> None:
    for text in ("4111 1111 1111 1112", "DE89370400440532013001", "12345678A", "390.533.447-06"):
        assert redacted(f"Is {text} right?") == f"Is {text} right?"


def test_luhn_by_hand() -> None:
    assert luhn_holds(
        "79927398713"
    )  # 3 + 1·2 + 7 + (8·2 = 16: 7) + 9 + (3·2: 6) + 7 + (2·2: 4) + 9 + (9·2: 9) + 7 = 70
    assert not luhn_holds("79927398710")


def test_a_question_of_a_log_is_understood_as_it_was() -> None:
    for told in ("My name is Aisha Khan.", "I am Wei, from Peru.", "Hello, I'm Ada."):
        asked = f"{told} What does rye cost?"
        assert redacted(asked) != asked
        assert without_introduction(redacted(asked), ROLES) == without_introduction(asked, ROLES)


FIGURE = st.integers(1000, 999_999).map(lambda number: f"${number:,}")
PLAIN = st.sampled_from("what does a baker earn in Bern per year and is that more than".split())
WORD = st.one_of(PLAIN, FIGURE)


@given(
    st.lists(WORD, max_size=8),
    st.lists(st.sampled_from([(kind, one) for kind, values in PERSONAL.items() for one in values]), max_size=3),
    st.randoms(use_true_random=False),
)
def test_nothing_that_was_put_in_remains_and_all_else_does(
    words: list[str], put: list[tuple[str, str]], random: Random
) -> None:
    parts = [(word, word) for word in words] + [(f"; {value};", f"; [{kind}];") for kind, value in put]
    random.shuffle(parts)
    text, expected = (" ".join(column) for column in zip(*parts, strict=True)) if parts else ("", "")
    assert redacted(text) == expected
    assert redacted(redacted(text)) == redacted(text)


@given(st.text(max_size=200))
def test_any_text_can_be_redacted_once_and_for_all(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once
    assert not kinds_in(once)
    assert bool(kinds_in(text)) == (once != text)


@given(st.integers(0, 10**15 - 1))
def test_any_card_with_its_check_digit_is_found(number: int) -> None:
    begun = f"4{number:015d}"[:15]
    digits = next(f"{begun}{last}" for last in range(10) if luhn_holds(f"{begun}{last}"))
    text = redacted(f"card {digits} please")
    assert digits.endswith("000000") or not re.search(r"\d{4}", text)
