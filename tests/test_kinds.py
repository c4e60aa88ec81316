"""The kind of thing that a question asks for, and whether a text has one."""

from __future__ import annotations

import pytest

from rag.kinds import kind_asked, lacks_kind


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How much does a ticket cost?", "money"),
        ("library card price", "money"),
        ("How many bees live in a hive?", "number"),
        ("How long does the ferry take?", "duration"),
        ("When does the museum open?", "date"),
        ("Can you tell me when it was founded?", "date"),
        ("In which year was it founded?", "date"),
        ("Who designed the bridge?", "person"),
        ("Where was she born?", "place"),
        ("What percentage of bread is water?", "percentage"),
        ("What is the phone number of the hut?", "contact"),
        ("What influences how much a baker earns?", None),
        ("Why does the fee rise?", None),
        ("Do bakers get paid on Sundays?", None),
        ("Which tools does a baker use?", None),
    ],
)
def test_the_form_of_a_question_tells_its_kind(question: str, kind: str | None) -> None:
    found = kind_asked(question)
    assert (found.name if found else None) == kind


@pytest.mark.parametrize(
    ("question", "text", "lacks"),
    [
        ("How much is the fee?", "The fee is 12 francs.", False),
        ("How much is the fee?", "The fee is paid at the desk.", True),
        ("How much is the fee?", "Children enter free.", False),
        ("When does it open?", "It opens in May.", False),
        ("When does it open?", "It may open late.", True),
        ("When does it open?", "It opens at 9:30.", False),
        ("Who built it?", "It was built by Ada Lovelace.", False),
        ("Who built it?", "It was built long ago.", True),
        ("How long is the tour?", "The tour takes two hours.", False),
        ("What do bees eat?", "Nothing is said.", False),
    ],
)
def test_a_text_has_the_kind_or_lacks_it(question: str, text: str, lacks: bool) -> None:
    assert lacks_kind(question, text) is lacks
