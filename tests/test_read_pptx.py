"""PPTX: presentations made by python-pptx."""

import io
from typing import Any

import pptx
import pytest
from pptx.util import Inches

from rag.errors import Unreadable
from rag.parsed import Parsed
from rag.readers.pptx import read

TITLE_SLIDE, TITLE_AND_CONTENT, TITLE_ONLY, BLANK = 0, 1, 5, 6
"""Layouts of python-pptx's template."""


class Deck:
    """A presentation in the making; `slide` adds one and returns it."""

    def __init__(self) -> None:
        self.made: Any = pptx.Presentation()
        self.made.core_properties.title = ""

    def slide(self, layout: int, title: str = "") -> Any:
        slide = self.made.slides.add_slide(self.made.slide_layouts[layout])
        if title:
            slide.shapes.title.text = title
        return slide

    def raw(self) -> bytes:
        buffer = io.BytesIO()
        self.made.save(buffer)
        return buffer.getvalue()

    def read(self) -> Parsed:
        return read(self.raw())


def box(shapes: Any, left: float, top: float, text: str) -> Any:
    """A text box at this place, in inches."""
    shape = shapes.add_textbox(Inches(left), Inches(top), Inches(2), Inches(0.5))
    shape.text_frame.text = text
    return shape


def test_a_slide_is_a_section_under_its_title_with_its_number_as_mark() -> None:
    deck = Deck()
    box(deck.slide(TITLE_ONLY, "Leave").shapes, 1, 3, "Thirty days.")
    box(deck.slide(TITLE_ONLY, "Travel").shapes, 1, 3, "By train.")
    parsed = deck.read()
    assert [(section.path, parsed.text[section.start : section.end]) for section in parsed.sections] == [
        (("Leave",), "Thirty days."),
        (("Travel",), "By train."),
    ]
    assert [(mark.start, mark.label) for mark in parsed.marks] == [(0, "slide 1"), (21, "slide 2")]


def test_boxes_are_read_from_the_top_and_from_the_left_and_groups_together() -> None:
    deck = Deck()
    shapes = deck.slide(TITLE_ONLY, "Order").shapes
    box(shapes, 1, 6, "fifth")
    box(shapes, 5, 2.05, "second")
    box(shapes, 1, 2.0, "first")
    group = shapes.add_group_shape()
    box(group.shapes, 1, 5, "fourth")
    box(group.shapes, 5, 3, "third")
    assert deck.read().text == "Order\n\nfirst\n\nsecond\n\nthird\n\nfourth\n\nfifth\n"


def test_placeholders_without_a_place_take_that_of_the_layout_and_hold_lists() -> None:
    deck = Deck()
    slide = deck.slide(TITLE_AND_CONTENT, "We ask for")
    box(slide.shapes, 1, 7, "At the bottom.")
    frame = slide.placeholders[1].text_frame
    frame.text = "a passport"
    for level, text in [(1, "or a card"), (0, "a photo")]:
        paragraph = frame.add_paragraph()
        paragraph.text, paragraph.level = text, level
    assert deck.read().text == ("We ask for\n\n- a passport\n  - or a card\n- a photo\n\nAt the bottom.\n")


def test_numbered_paragraphs_keep_their_numbers() -> None:
    deck = Deck()
    shape = box(deck.slide(TITLE_ONLY, "Steps").shapes, 1, 3, "Fill in.")
    shape.text_frame.add_paragraph().text = "Sign."
    for paragraph in shape.text_frame.paragraphs:
        numbering = paragraph._p.get_or_add_pPr().makeelement(
            "{http://schemas.openxmlformats.org/drawingml/2006/main}buAutoNum", {"type": "arabicPeriod", "startAt": "4"}
        )
        paragraph._p.pPr.append(numbering)
    shape.text_frame.add_paragraph().text = "Done."
    assert deck.read().text == "Steps\n\n4. Fill in.\n5. Sign.\n\nDone.\n"


def test_tables_become_rows_with_merged_cells_once() -> None:
    deck = Deck()
    table = deck.slide(TITLE_ONLY, "Costs").shapes.add_table(2, 3, 0, Inches(2), Inches(6), Inches(1)).table
    for at, text in {(0, 0): "Item", (0, 1): "Cost", (1, 0): "Meal", (1, 1): "12", (1, 2): "EUR"}.items():
        table.cell(*at).text = text
    table.cell(0, 1).merge(table.cell(0, 2))
    assert deck.read().text == "Costs\n\nItem | Cost |\nMeal | 12 | EUR\n"


def test_notes_stand_behind_the_slide() -> None:
    deck = Deck()
    slide = deck.slide(TITLE_ONLY, "Leave")
    slide.notes_slide.notes_text_frame.text = "Say it slowly.\nThen wait."
    assert deck.read().text == "Leave\n\nNotes: Say it slowly.\n\nThen wait.\n"


def test_hidden_slides_and_shapes_are_left_out_and_slides_keep_their_numbers() -> None:
    deck = Deck()
    deck.slide(TITLE_ONLY, "Hidden")._element.set("show", "0")
    slide = deck.slide(TITLE_ONLY, "Seen")
    box(slide.shapes, 1, 3, "Text.")
    box(slide.shapes, 1, 4, "Orders")._element.nvSpPr.cNvPr.set("hidden", "1")
    parsed = deck.read()
    assert parsed.text == "Seen\n\nText.\n"
    assert parsed.notes == ("hidden slides left out: 1",)
    assert parsed.marks[0].label == "slide 2"


def test_a_slide_without_a_title_or_with_nothing_else_is_headed_by_its_number() -> None:
    deck = Deck()
    deck.slide(TITLE_SLIDE, "House rules")
    box(deck.slide(BLANK).shapes, 1, 1, "Text.")
    parsed = deck.read()
    assert [(section.path, parsed.text[section.start : section.end]) for section in parsed.sections] == [
        (("Slide 1",), "House rules"),
        (("Slide 2",), "Text."),
    ]


def test_the_title_of_the_presentation_is_told_if_a_person_gave_it() -> None:
    deck = Deck()
    deck.slide(TITLE_SLIDE, "x")
    deck.made.core_properties.title = "House rules"
    assert deck.read().about == {"title": "House rules"}
    deck.made.core_properties.title = "PowerPoint Presentation"
    assert deck.read().about == {}


def test_broken_files_are_said() -> None:
    deck = Deck()
    deck.slide(TITLE_SLIDE, "x")
    raw = deck.raw()
    with pytest.raises(Unreadable, match="is empty"):
        read(b"")
    with pytest.raises(Unreadable, match="damaged or cut short"):
        read(raw[: len(raw) // 2])


def test_a_word_document_is_said_to_be_no_presentation() -> None:
    import docx

    buffer = io.BytesIO()
    docx.Document().save(buffer)
    with pytest.raises(Unreadable, match="is not a PowerPoint presentation"):
        read(buffer.getvalue())
