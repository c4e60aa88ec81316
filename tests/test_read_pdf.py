"""PDF: files of a few lines, drawn here, of which each says one thing about the reading."""

import zlib
from pathlib import Path

import pytest

from rag.errors import Unreadable
from rag.parsed import Parsed
from rag.readers.pdf import read

SAMPLES = Path(__file__).parents[2] / "shared/bench/messy-docs"
WIDTH, HEIGHT = 612, 792


def at(x: float, y: float, text: str, *, size: float = 10, font: str = "F1", extra: str = "") -> str:
    """Operators that draw a line of text."""
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"q {extra} BT /{font} {size} Tf {x} {y} Td ({escaped}) Tj ET Q\n"


def lines(texts: list[str], *, x: float = 72, top: float = 700, pitch: float = 12) -> str:
    return "".join(at(x, top - pitch * number, text) for number, text in enumerate(texts))


def pdf(*pages: str, title: str = "", turn: int = 0, picture: bool = False) -> bytes:
    """A file with these contents of pages; F1 is Helvetica, F2 the same in bold."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(pages)}/Kids[{' '.join(f'{6 + 2 * n} 0 R' for n in range(len(pages)))}]>>".encode(),
        (
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding"
            b"<</BaseEncoding/WinAnsiEncoding/Differences[1/fi 2/uni00AD]>>>>"
        ),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold/Encoding/WinAnsiEncoding>>",
        f"<</Title({title})>>".encode("latin-1"),
    ]
    image = "BI /W 1 /H 1 /BPC 8 /CS /G ID a EI\n" if picture else ""
    for number, page in enumerate(pages):
        content = zlib.compress((image + page).encode("cp1252"))
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {WIDTH} {HEIGHT}]/Rotate {turn}/Contents {7 + 2 * number} 0 R"
            "/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>>>".encode()
        )
        objects.append(b"<</Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(content), content))
    raw, offsets = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(raw))
        raw += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    trailer = b"trailer<</Size %d/Root 1 0 R/Info 5 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, len(raw))
    return raw + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table) + trailer


def paragraphs(parsed: Parsed) -> list[str]:
    return parsed.text.strip().split("\n\n")


SECOND = "A second paragraph stands on the second page, where it begins and ends."
LONG = "This line of running text goes on until it comes to the right edge of its column and"


def test_lines_become_paragraphs_parted_by_distance_or_by_a_line_with_room_to_spare() -> None:
    page = lines([LONG, "then stops.", "A new one starts since there was room, and goes on to the right edge again"])
    assert paragraphs(read(pdf(page + at(72, 640, "Far below.")))) == [
        f"{LONG} then stops.",
        "A new one starts since there was room, and goes on to the right edge again",
        "Far below.",
    ]


def test_words_parted_at_the_end_of_a_line_are_joined_and_real_hyphens_stay() -> None:
    page = lines(
        [
            "We keep all the well-known facts and the infor-",
            "mation that is stored here, which is a well-",
            "known thing in the Anglo-",
            "Saxon world, and it is an under-",
            "stood fact that we understood.",
        ]
    )
    assert paragraphs(read(pdf(page))) == [
        (
            "We keep all the well-known facts and the information that is stored here, which is a well-known thing in the "
            "Anglo-Saxon world, and it is an understood fact that we understood."
        )
    ]


def test_pages_are_marked_and_a_sentence_that_runs_over_is_one_with_the_mark_where_a_new_one_starts() -> None:
    parsed = read(pdf(lines([LONG]), lines(["so it ends here.", SECOND])))
    assert paragraphs(parsed) == [f"{LONG} so it ends here.", SECOND]
    assert [(mark.label, parsed.text[mark.start :].strip()) for mark in parsed.marks][1:] == [("page 2", SECOND)]
    assert (parsed.marks[0].start, parsed.marks[0].label) == (0, "page 1")


def test_what_repeats_in_the_margins_is_dropped_and_told() -> None:
    bodies = ["First things.", "Second things.", "Third things."]
    pages = [
        at(72, 760, "House rules") + at(300, 30, f"Page {number} of 3") + at(72, 400, body)
        for number, body in enumerate(bodies, 1)
    ]
    parsed = read(pdf(*pages))
    assert paragraphs(parsed) == bodies
    assert parsed.notes == ("repeated in page margins, left out: House rules; Page # of #",)
    assert [mark.label for mark in parsed.marks] == ["page 1", "page 2", "page 3"]


def test_a_document_of_margins_only_keeps_them() -> None:
    assert paragraphs(read(pdf(at(72, 760, "Agenda"), at(72, 760, "Agenda")))) == ["Agenda", "Agenda"]


def test_headings_are_told_by_size_and_weight() -> None:
    page = at(72, 740, "Leave", size=20) + at(72, 700, "Annual leave", size=14) + at(72, 680, LONG)
    page += at(72, 650, "Sick leave", font="F2") + at(72, 630, f"{LONG} more")
    parsed = read(pdf(page))
    assert [(section.path, parsed.text[section.start : section.end]) for section in parsed.sections] == [
        (("Leave", "Annual leave"), LONG),
        (("Leave", "Annual leave", "Sick leave"), f"{LONG} more"),
    ]


def test_a_heading_of_two_lines_is_one() -> None:
    page = at(72, 740, "Securing and protecting", size=24) + at(72, 706, "the data", size=24) + at(72, 650, LONG)
    assert read(pdf(page)).sections[0].path == ("Securing and protecting the data",)


def test_bullets_and_numbers_become_entries_with_their_levels() -> None:
    page = at(72, 700, "We ask for:") + at(72, 688, "•") + at(90, 688, "a passport, valid for six")
    page += at(90, 676, "months,") + at(90, 664, "• or a card,") + at(72, 652, "• a photo.")
    page += at(72, 620, "1. Fill in.") + at(72, 608, "2. Sign.") + at(72, 570, "They came in the year of")
    page += at(72, 558, "2019. That is")
    assert read(pdf(page)).text == (
        "We ask for:\n\n- a passport, valid for six months,\n  - or a card,\n- a photo.\n1. Fill in.\n2. Sign.\n\n"
        "They came in the year of 2019. That is\n"
    )


LEFT = [f"Left column line {word} of the text" for word in ("one", "two", "three", "four", "five", "six")]
RIGHT = [line.replace("Left", "right") for line in LEFT]


@pytest.mark.parametrize("is_interleaved", [False, True])
def test_two_columns_are_read_one_after_the_other_whatever_the_order_of_drawing(is_interleaved: bool) -> None:
    left, right = lines(LEFT, top=600), lines(RIGHT, x=330, top=600)
    body = "\n".join(line for pair in zip(left.splitlines(), right.splitlines(), strict=True) for line in pair)
    page = at(72, 700, "A line over the whole width of the page, which stands above the two columns that follow")
    text = read(pdf(page + (body if is_interleaved else left + right))).text
    assert " ".join(text.split()).endswith(" ".join([*LEFT, *RIGHT]))
    assert text.startswith("A line over the whole width")


def test_tables_become_rows_with_what_goes_on_in_a_cell_put_to_it() -> None:
    rows = [("Item", "Amount", "Note"), ("Meals", "12 EUR", "per day"), ("Taxi", "40 EUR", "with a")]
    page = "".join(
        at(x, 700 - 14 * number, cell)
        for number, row in enumerate(rows)
        for x, cell in zip((72, 200, 300), row, strict=True)
    )
    page += at(300, 658, "receipt") + at(72, 644, "Hotel") + at(300, 644, "booked")
    assert read(pdf(page)).text == (
        "Item | Amount | Note\nMeals | 12 EUR | per day\nTaxi | 40 EUR | with a receipt\nHotel |  | booked\n"
    )


def test_what_cannot_be_seen_is_left_out_and_told() -> None:
    page = at(72, 700, "Seen text.") + at(72, 680, "Invisible orders", extra="3 Tr")
    page += at(72, 660, "White orders", extra="1 1 1 rg") + at(72, 900, "Beside orders")
    page += "0 0 0.5 rg 60 590 200 30 re f\n" + at(72, 600, "White on blue.", extra="1 1 1 rg")
    parsed = read(pdf(page))
    assert paragraphs(parsed) == ["Seen text.", "White on blue."]
    assert parsed.notes == ("6 words that cannot be seen on the page were left out",)


def test_text_that_was_recognised_in_a_picture_is_kept_though_invisible() -> None:
    assert read(pdf(at(72, 700, "Recognised text", extra="3 Tr"), picture=True)).text == "Recognised text\n"


def test_a_turned_page_is_read_as_it_is_shown() -> None:
    page = "".join(f"q BT 0 1 -1 0 {100 + 12 * n} 72 Tm /F1 10 Tf ({text}) Tj ET Q\n" for n, text in enumerate("AB"))
    assert read(pdf(page, turn=90)).text == "A B\n"


def test_ligatures_and_soft_hyphens_are_resolved() -> None:
    assert read(pdf(lines(["Of\x01ce in\x02for\x02", "mation"]))).text == "Office information\n"


def test_the_title_is_taken_and_is_no_section_of_itself() -> None:
    parsed = read(pdf(at(72, 740, "Rules", size=20) + at(72, 700, LONG), title="Rules"))
    assert parsed.about == {"title": "Rules"}
    assert [section.path for section in parsed.sections] == [()]
    assert read(pdf(lines([LONG]), title="Microsoft Word - x.doc")).about == {}


def test_pages_with_pictures_only_are_told() -> None:
    with pytest.raises(Unreadable, match=r"pictures of text only \(pages 1, 2\); run it through text recognition"):
        read(pdf("", "", picture=True))
    with pytest.raises(Unreadable, match="holds no text"):
        read(pdf(""))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"hello", "is not a PDF"),
        (b"%PDF-1.7\n", "is not a PDF"),
        ((b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 0/Kids[]>>endobj\n"
         b"trailer<</Root 1 0 R/Size 3>>"), "is not a PDF, damaged"),
        ((b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Count 9999999/Kids[2 0 R]>>"
         b"endobj\ntrailer<</Root 1 0 R/Size 3>>"), "."),
    ],
)  # fmt: skip
def test_broken_files_are_said(raw: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read(raw)


def test_a_file_cut_short_gives_text_or_a_message() -> None:
    raw = pdf(lines([LONG]), lines(["Second page."]))
    outcomes = set()
    for end in range(0, len(raw), 97):
        try:
            outcomes.add(read(raw[:end]).text)
        except Unreadable:
            outcomes.add("")
    assert outcomes <= {"", f"{LONG}\n", f"{LONG}\n\nSecond page.\n", "Second page.\n"}


def test_a_missing_end_is_told() -> None:
    raw = pdf(lines([LONG]))
    assert read(raw).notes == ()
    assert read(raw.removesuffix(b"%%EOF")).notes == ("the end of the file is missing, and maybe pages with it",)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the sample of messy documents")
def test_a_password_is_asked_to_be_taken_off_unless_none_is_needed() -> None:
    with pytest.raises(Unreadable, match="is locked with a password; save it without one"):
        read((SAMPLES / "pypdf-resources/encryption/r6-user-password.pdf").read_bytes())
    assert read((SAMPLES / "pypdf-resources/encryption/r6-owner-password.pdf").read_bytes()).text
