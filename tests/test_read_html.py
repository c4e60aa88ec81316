"""Web pages lose what is around their text and what is not shown, and keep the structure of the rest."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from rag.errors import Unreadable
from rag.parsed import Parsed
from rag.readers import html

PAGES = Path(__file__).parents[2] / "shared" / "bench" / "messy-docs" / "readability-test-pages"
PROSE = "The committee meets each month, and its members are elected for two years by the assembly. "


def read(page: str) -> Parsed:
    return html.read(page.encode())


def sections(parsed: Parsed) -> list[tuple[tuple[str, ...], str]]:
    return [(section.path, parsed.text[section.start : section.end]) for section in parsed.sections]


def test_headings_make_a_trail_and_the_title_stands_outside_of_it() -> None:
    parsed = read(
        "<title>Cats | ACME</title><h1>Cats</h1><p>Purr.<h2>Food</h2><p>Fish.</p><h3>Young</h3>Milk.<h2>Sleep</h2>Much."
    )
    assert parsed.about == {"title": "Cats"}
    assert sections(parsed) == [
        ((), "Purr."),
        (("Food",), "Fish."),
        (("Food", "Young"), "Milk."),
        (("Sleep",), "Much."),
    ]


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title>Fees - Club</title><p>x", "Fees - Club"),
        ("<title>Fees - Club</title><meta property='og:title' content='Fees'><p>x", "Fees"),
        ("<h1>Fees</h1><p>x", "Fees"),
        ("<h1>A</h1><h1>B</h1><p>x", None),
    ],
)
def test_the_sites_name_is_dropped_only_where_the_page_shows_which_part_it_is(page: str, title: str | None) -> None:
    assert read(page).about.get("title") == title


def test_lists_keep_one_entry_a_line() -> None:
    parsed = read(
        "<p>Steps:</p><ol start=3><li>Fill in<li>Sign<ul><li>in <b>blue</b></li><li><p>in black</p></li></ul><li>Send</ol>"
        "<dl><dt>Member<dd>A person.<dt>Guest<dd><p>Another.</p></dl>"
    )
    assert parsed.text == (
        "Steps:\n\n3. Fill in\n4. Sign\n  - in blue\n  - in black\n5. Send\n\n- Member: A person.\n- Guest: Another.\n"
    )


def test_rows_of_a_table_stand_on_a_line_each_and_say_cells_that_span_them() -> None:
    parsed = read(
        "<table><caption>Fees</caption><tr><th>Kind<th>Fee<th>Note<tr><td rowspan=2>Adult<td>20<td>early"
        "<tr><td>25<td>late<br>only<tr><td><td></table>"
    )
    assert parsed.text == "Fees\nKind | Fee | Note\nAdult | 20 | early\nAdult | 25 | late only\n"


def test_a_table_that_lays_out_the_page_is_no_table() -> None:
    parsed = read("<table><tr><td><h2>Menu</h2><ul><li>Soup</ul><td><table><tr><td>a<td>b</table></table>")
    assert parsed.text == "Menu\n\n- Soup\n\na | b\n"


def test_line_breaks_and_preformatted_text_keep_their_lines() -> None:
    parsed = read("<p>Hill Road 1<br>\n Bern<br><br>Tel. 2</p><pre>def f():\n    return 1</pre>a<b>b</b> \n c")
    assert parsed.text == "Hill Road 1\nBern\n\nTel. 2\n\ndef f():\n    return 1\n\nab c\n"


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>SECRET</script>",
        "<style>SECRET</style>",
        "<template><p>SECRET</p></template>",
        "<noscript>SECRET</noscript>",
        "<!-- SECRET -->",
        "<p hidden>SECRET</p>",
        "<p aria-hidden='true'>SECRET</p>",
        "<p style='color:red; DISPLAY : none'><b>SECRET</b></p>",
        "<span style='visibility:hidden'>SECRET</span>",
        "<span style='font-size:0px;'>SECRET</span>",
        "<input value=SECRET><textarea>SECRET</textarea><button>SECRET</button>",
        "<img alt=SECRET title=SECRET>",
        "<dialog>SECRET</dialog>",
        "<svg><title>SECRET</title></svg>",
    ],
)
def test_what_is_not_shown_is_not_read(hidden: str) -> None:
    for before in ("<p>Seen.</p>", f"<main><p>Seen.</p>{PROSE * 20}"):
        text = read(f"{before}{hidden}<p style='font-size:0.8em'>Small.</p>").text
        assert "SECRET" not in text
        assert "Seen." in text
        assert text.endswith("Small.\n")


def test_the_main_text_is_found_with_its_tables_and_without_what_is_around_it() -> None:
    links = "<ul>" + "".join(f"<li><a href=/{n}>Other page number {n}</a></li>" for n in range(20)) + "</ul>"
    parsed = read(
        f"<body><div class=menu>{links}</div><div id=page><h2>Rules</h2><p>{PROSE * 5}</p>"
        f"<table><tr><th>Kind<th>Fee<tr><td>Adult<td>20</table><p>{PROSE * 4}</p><ol><li>Sign<li>Send</ol>"
        f"<p>{PROSE * 4}</p><div class=more>{links}</div></div><footer>Imprint of the club</footer></body>"
    )
    several = {count: (PROSE * count).strip() for count in (4, 5)}
    assert sections(parsed) == [
        (
            ("Rules",),
            f"{several[5]}\n\nKind | Fee\nAdult | 20\n\n{several[4]}\n\n1. Sign\n2. Send\n\n{several[4]}",
        )
    ]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("Only text", "Only text\n"),
        ("<td>x</td>", "x\n"),
        ("<h1>Only</h1><h2>Headings</h2>", "Only\n\nHeadings\n"),
        ("<nav><a href=x>Home</a></nav>", "Home\n"),
        ("<body style='display:none'>Shown by a script", "Shown by a script\n"),
        ("<p>Hello <b", "Hello\n"),
        ("<nav>Home</nav><div class=cookie-bar>We use cookies.</div><p>Text", "Text\n"),
    ],
)
def test_little_or_broken_pages_are_read(page: str, text: str) -> None:
    assert read(page).text == text
    assert read(page).sections


def test_a_page_of_a_long_list_is_not_lost() -> None:
    rows = [f"Item {number} | {number * 7} francs" for number in range(200)]
    page = "<table>" + "".join(f"<tr><td>{row.replace(' | ', '<td>')}" for row in rows) + "</table>"
    assert read(page).text == "\n".join(rows) + "\n"


def test_the_page_names_its_encoding() -> None:
    parsed = html.read("<meta charset=iso-8859-2><p>Łódź, żółć".encode("iso-8859-2"))
    assert parsed.text == "Łódź, żółć\n"
    assert parsed.notes == ("read as iso8859-2",)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "no text"),
        (b"<!-- -->", "no text"),
        (bytes(range(256)) * 9, "no text"),
        (b"<div>" * 100_000, "nested too deep"),
    ],
)
def test_a_page_that_cannot_be_read_says_why(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        html.read(raw)


def test_deep_nesting_is_no_harm() -> None:
    assert read("<div>" * 1200 + PROSE * 20).text == (PROSE * 20).strip() + "\n"


def test_cells_that_span_many_rows_do_not_fill_the_memory() -> None:
    parsed = read("<table>" + "<tr><td rowspan=999999999>a<td colspan=999999999>b" * 150 + "</table>")
    assert len(parsed.text) < 150 * 102 * len("a | ")


@pytest.mark.skipif(not PAGES.is_dir(), reason="the sample of messy documents is not here")
@pytest.mark.parametrize("name", ["001", "wikipedia", "bbc-1", "ars-1", "hukumusume", "daringfireball-1"])
def test_main_text_agrees_with_that_of_another_reader(name: str) -> None:
    read_here = html.read((PAGES / name / "source.html").read_bytes()).text
    expected = re.sub(r"<[^>]+>", " ", (PAGES / name / "expected.html").read_text(encoding="utf-8"))
    ours, theirs = (Counter(re.findall(r"\w+", text.lower())) for text in (read_here, expected))
    both = (ours & theirs).total()
    assert 2 * both / (ours.total() + theirs.total()) > 0.9
