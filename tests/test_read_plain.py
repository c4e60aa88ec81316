"""Plain text gets sections and lists that a person would agree with, and keeps its words."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.chunking import ENTRY, sentences_of
from rag.parsed import Parsed, clean
from rag.readers import plain
from rag.readers.tidying import cut_run_ons, nested, tidied
from rag.types import Document

SAMPLES = Path(__file__).parents[2] / "shared" / "bench" / "messy-docs"


def read_text(source: str) -> Parsed:
    return plain.read(source.encode())


def sections(parsed: Parsed) -> list[tuple[tuple[str, ...], str]]:
    return [(section.path, parsed.text[section.start : section.end]) for section in parsed.sections]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def without_markers(text: str) -> str:
    return "\n".join(line[match.end() :] if (match := ENTRY.match(line)) else line for line in text.split("\n"))


def test_headings_are_found_without_marks() -> None:
    parsed = read_text(
        "Overview\n\nA baker bakes bread for the people of a town.\n\nTools\n\n• oven\n\n• peel\n\nWages\n\nLow but steady.\n"
    )
    assert [path for path, _ in sections(parsed)] == [("Overview",), ("Overview", "Tools"), ("Wages",)]
    assert sections(parsed)[1][1] == "• oven\n• peel"


def test_underlined_lines_are_headings() -> None:
    parsed = read_text("mill\n====\n\nIt grinds.\n\nstones\n------\n\nThere are two.\n")
    assert sections(parsed) == [(("mill",), "It grinds."), (("mill", "stones"), "There are two.")]


def test_a_paragraph_wrapped_by_hand_has_no_headings_in_it() -> None:
    text = "The mill of the town stands by the river and has two\nstones of Jura granite which grind the grain of the\nValley of Bern\nand its farms.\n"
    assert sections(read_text(text)) == [((), text.rstrip("\n"))]


RECIPE = """logoKitchenTable

Plum Cake

first image

Overview

A plum cake is a sheet cake that is baked with yeast dough in late summer. You will need:

  • 500 g of flour
  • 1 kg of ripe plums, halved and without their stones
  • a little lemon peel Tools for the dough include:
  • a large bowl
  • a baking tray
  • a kitchen towel Keep all ingredients at the warmth of the room for an hour before you begin with the dough.

Method

Work through these stages in order:

  1. Dough
  • Mix flour, yeast and warm milk
  • Knead the dough until it is smooth
  1. Topping
  • Lay the plums on the dough in rows
  • Sprinkle sugar over them By following these stages, you get a cake that stays moist for three days and can be frozen.

Storage

Under a cloth the cake keeps for three days.

You May Also Like

Apple Strudel

Apple Strudel

Thin dough is drawn over a cloth until one can read a newspaper through it, then rolled around apples.

Cheese Straws

Cheese Straws

Puff pastry with mountain cheese, cut into strips and twisted, goes well with a glass of white wine.
"""


def test_a_recipe_copied_from_a_page() -> None:
    parsed = read_text(RECIPE)
    assert parsed.about == {"title": "Plum Cake"}
    assert parsed.notes == (
        "left out 2 lines that only name pictures or logos",
        "left out 2 teasers at the end: Apple Strudel, Cheese Straws",
    )
    assert sections(parsed) == [
        (
            ("Overview",),
            (
                "A plum cake is a sheet cake that is baked with yeast dough in late summer. You will need:\n\n"
                "  • 500 g of flour\n  • 1 kg of ripe plums, halved and without their stones\n  • a little lemon peel\n\n"
                "Tools for the dough include:\n\n"
                "  • a large bowl\n  • a baking tray\n  • a kitchen towel\n\n"
                "Keep all ingredients at the warmth of the room for an hour before you begin with the dough."
            ),
        ),
        (
            ("Method",),
            "Work through these stages in order:",
        ),
        (
            ("Method", "Dough"),
            "      • Mix flour, yeast and warm milk\n      • Knead the dough until it is smooth",
        ),
        (
            ("Method", "Topping"),
            (
                "      • Lay the plums on the dough in rows\n      • Sprinkle sugar over them\n\n"
                "By following these stages, you get a cake that stays moist for three days and can be frozen."
            ),
        ),
        (("Storage",), "Under a cloth the cake keeps for three days."),
    ]


NOTICE = """Overview
The Lower Bridge is a wooden bridge over the river that is closed from May to October. These offices are in charge: Road Office:
- Diversion of buses and of lorries above 7.5 tonnes
- Signs at both ends of the valley Building Office:
- Works on the piers, which are from 1871
- Permits for boats under the bridge The town thanks all residents for their patience while the bridge is being repaired for the next generation.
Traffic
Cars are led through these streets during the works:
Weekdays
- Mill Lane from six in the morning
- River Street all day
Weekends
On Saturdays and Sundays one lane of the bridge is open.
Noise
The following hours are quiet:
Mornings
- before seven
"""


def test_a_town_notice_without_blank_lines() -> None:
    parsed = read_text(NOTICE)
    assert parsed.about == {"title": "Lower Bridge"}
    assert parsed.notes == ()
    assert sections(parsed) == [
        (
            ("Overview",),
            (
                "The Lower Bridge is a wooden bridge over the river that is closed from May to October. "
                "These offices are in charge:"
            ),
        ),
        (
            ("Overview", "Road Office"),
            "- Diversion of buses and of lorries above 7.5 tonnes\n- Signs at both ends of the valley",
        ),
        (
            ("Overview", "Building Office"),
            (
                "- Works on the piers, which are from 1871\n- Permits for boats under the bridge\n\n"
                "The town thanks all residents for their patience while the bridge is being repaired for the next generation."
            ),
        ),
        (("Traffic",), "Cars are led through these streets during the works:"),
        (("Traffic", "Weekdays"), "- Mill Lane from six in the morning\n- River Street all day"),
        (("Traffic", "Weekends"), "On Saturdays and Sundays one lane of the bridge is open."),
        (("Noise",), "The following hours are quiet:"),
        (("Noise", "Mornings"), "- before seven"),
    ]


MANUAL = """Kettle K2

Image 1

Care

Your kettle needs care at times:
- Descaling
- Fill it with water and a spoon of citric acid
- Boil it, then wait for twenty minutes
- Daily Cleaning
- Wipe the outside with a damp cloth
- Never put the base into water
"""


def test_a_manual_whose_lists_show_no_levels() -> None:
    parsed = read_text(MANUAL)
    assert parsed.about == {"title": "Kettle K2"}
    assert parsed.notes == ("left out 1 line that only names a picture or a logo",)
    assert sections(parsed) == [
        (("Care",), "Your kettle needs care at times:"),
        (
            ("Care", "Descaling"),
            "    - Fill it with water and a spoon of citric acid\n    - Boil it, then wait for twenty minutes",
        ),
        (
            ("Care", "Daily Cleaning"),
            "    - Wipe the outside with a damp cloth\n    - Never put the base into water",
        ),
    ]


def test_an_entry_leads_those_beneath_it() -> None:
    parsed = read_text(
        "Clean it so:\n1. Open the lid\n• Hold it by the handle\n1. Wipe the filter\n• Use a damp cloth\n"
    )
    one = Document("d", "T", None, parsed.text, parsed.sections, "d.txt", "0" * 64)
    assert [(found.text, found.lead) for found in sentences_of(one, one.sections[0])] == [
        ("Clean it so:", ""),
        ("Open the lid", "Clean it so:"),
        ("Hold it by the handle", "Clean it so: Open the lid"),
        ("Wipe the filter", "Clean it so:"),
        ("Use a damp cloth", "Clean it so: Wipe the filter"),
    ]


def test_a_number_that_counts_stays_with_its_heading() -> None:
    parsed = read_text("Rules\n\n1. Quiet Hours\n  - No noise at noon\n2. Waste Paper\n  - It is fetched on Mondays\n")
    assert [path for path, _ in sections(parsed)] == [("Rules", "1. Quiet Hours"), ("Rules", "2. Waste Paper")]


def test_entries_that_end_in_a_colon_hold_those_beneath() -> None:
    assert nested(["- Small:", "- Price: 20", "- Weight: 1 kg", "- Large:", "- Price: 30"]) == [
        "- Small:",
        "    - Price: 20",
        "    - Weight: 1 kg",
        "- Large:",
        "    - Price: 30",
    ]


def test_a_paragraph_behind_entries_that_are_sentences_is_known_by_looking_back() -> None:
    lines = [
        "1. Patience: Dough takes time. Do not hurry it.",
        "2. Warmth: Yeast wants thirty degrees, no more. Addressing these points makes bread rise as it should.",
    ]
    assert cut_run_ons(lines) == [
        lines[0],
        "2. Warmth: Yeast wants thirty degrees, no more.",
        "",
        "Addressing these points makes bread rise as it should.",
        "",
    ]


UNTOUCHED = {
    "names in entries": [
        "- Familiarity with Apache Spark and with services like AWS or Google Cloud in daily work of a team",
        "- Two years in the service of the Canton of Bern or of the City of Basel, or in Upper Bavaria",
        "- Experience with production Google Cloud and with none of the other providers that are named above",
    ],
    "entries of several sentences": [
        "- Close the lid. Then press the button on the left side until the lamp is lit. It shines green.",
        "- Wait for a minute. The water boils. To stop it, press the button on the left side once more, please.",
    ],
    "nouns written large": [
        "- Kenntnisse der modernen Programmierung",
        "- sichere Bedienung von großen Maschinen",
        "- einige Jahre praktische Erfahrung in einem größeren Betrieb werden für diese Stelle vorausgesetzt, sonst nichts.",
    ],
    "letters beyond ASCII": [
        "- la cuisson lente des légumes",
        "- une cuisson plus rapide évite que les légumes perdent leur goût et leurs vitamines pendant la préparation.",
    ],
    "sentences in entries that name people": [
        "- In May the mayor Anna Keller opened the bridge.",
        "- In June the sculptor Paul Frey and the painter Rosa Lang moved into the house by the river Aare.",
    ],
    "a poem": [
        "Nevermore",
        "",
        "Nevermore",
        "",
        "The raven sat above the door",
        "And said no word but this,",
        "O Night",
    ],
    "an address": ["Anna Keller", "12 Mill Lane", "Bern 3011", "Switzerland"],
    "an e-mail": [
        "From: Anna Keller",
        "To: Paul Frey",
        "Subject: first image",
        "",
        "Dear Paul,",
        "",
        "the first image is missing, see",
        "image.png",
        "for the one I mean.",
        "",
        "Best",
        "Anna",
    ],
    "log lines": [
        "2024-05-01 10:00:00 INFO Server started",
        "2024-05-01 10:00:01 WARN Disk is nearly full: Retrying",
        "- retry 1 of 3",
    ],
    "code": [
        "def bake(dough):",
        "    # first image",
        "    x = a - b",
        "- a",
        "+ b",
        "- c",
        "+ d",
        "    return [",
        "    ]",
    ],
    "numbered sections wrapped by hand": [
        "1.  Introduction",
        "",
        "   This memo describes a Protocol for the exchange of Messages.  These",
        "   messages are short.  The Sender waits for an Answer.",
        "",
        "2.  Messages",
        "",
        "   A message has these parts:",
        "",
        "   o  the Header, which names the Sender and",
        "      the Receiver of the message and ends",
        "      here.",
        "",
        "   o  the Body.",
    ],
    "two lists": ["- salt", "- pepper", "1. Chop the onions", "2. Fry them"],
    "a shopping list": ["- Flour", "- caster sugar, sifted twice", "- Eggs", "- whole milk from the farm"],
    "capitalised entries": ["- Anna Keller", "- Paul Frey", "- Rosa Lang"],
    "a doubled title that the text names": [
        *("Shipping is free.", "Payment is by card.", "And more follows here.", "More lines.", "Yet more.", "Enough."),
        *("Shipping", "Shipping", "We ship within two days to all of the country, and within a week to the islands."),
        *("Payment", "Payment", "We take all cards, and bills for those who have bought here once before this."),
    ],
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_in_order_stays_as_it_is(name: str) -> None:
    assert tidied(UNTOUCHED[name]) == (UNTOUCHED[name], [])


def test_a_heading_over_a_short_introduction_is_found() -> None:
    parsed = read_text(
        "Work\nA baker works at night.\nTools of the trade and their care\nNeeded are:\n- oven\n- peel\n"
    )
    assert [path for path, _ in sections(parsed)] == [("Work",), ("Tools of the trade and their care",)]


lines = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            *(
                "",
                "",
                "first image",
                "logoAcme",
                "Care",
                "Care",
                "More Pages",
                "Steps:",
                "1. Dough",
                "• Mix it",
                "- Wait",
            ),
            *(
                "- Daily Care",
                "- Mix the flour Tools for the dough include:",
                "All of it. Road Office:",
                "====",
                "a | b",
            ),
            *set(chain(RECIPE.splitlines(), NOTICE.splitlines(), MANUAL.splitlines())),
        ]
    ),
)
teasers = st.lists(st.sampled_from(["Apple Tart", "Old Mill", "Care"]), max_size=3).map(
    lambda titles: [
        line for title in titles for line in (title, "", title, "", "It is known " + "very " * 12 + "well.")
    ]
)


@given(st.lists(lines, max_size=25), teasers)
def test_no_word_is_changed_added_moved_or_lost_in_silence(body: list[str], ending: list[str]) -> None:
    source = clean("\n".join(["x", *body, *ending]))
    before = source.split("\n")
    kept, notes = tidied(before)
    assert words(without_markers(read_text(source).text)) == words(without_markers("\n".join(kept)))
    assert words("\n".join(cut_run_ons(before))) == words(source) == words("\n".join(nested(before)))
    remaining = iter(words(source))
    assert all(word in remaining for word in words("\n".join(kept)))  # a subsequence
    assert bool(notes) == (words("\n".join(kept)) != words(source))
    assert tuple(notes) == read_text(source).notes


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of messy documents is not here")
def test_text_that_is_laid_out_by_a_printer_loses_nothing() -> None:
    for file in sorted(SAMPLES.glob("pypdf-resources/*.txt")):
        parsed = plain.read(file.read_bytes())
        assert parsed.notes == ()
        assert words(parsed.text) == words(file.read_text(encoding="utf-8"))
