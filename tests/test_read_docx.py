"""DOCX: documents made by python-docx, and the parts that it cannot write put in as XML."""

import io
import zipfile

import docx
import pytest
from docx.document import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from rag.errors import Unreadable
from rag.parsed import Parsed
from rag.readers.docx import read

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def new() -> Document:
    """A document whose properties hold no title."""
    document = docx.Document()
    document.core_properties.title = ""
    return document


def saved(document: Document) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def parsed(document: Document) -> Parsed:
    return read(saved(document))


def of_xml(*paragraphs: str) -> Parsed:
    """The reading of a document with this XML for its body."""
    document = new()
    for paragraph in paragraphs:
        xml = paragraph.replace(">", f" {nsdecls('w', 'wp', 'a', 'm')}>", 1)
        document.element.body.insert_element_before(parse_xml(xml), "w:sectPr")
    return parsed(document)


def test_headings_make_sections_and_the_title_is_told() -> None:
    document = new()
    document.core_properties.title = "House rules"
    document.add_heading("House rules", 0)
    document.add_paragraph("Before.")
    document.add_heading("Leave", 1)
    document.add_heading("Sick leave", 2)
    document.add_paragraph("Call in.")
    result = parsed(document)
    assert result.about == {"title": "House rules"}
    assert result.marks == ()
    assert [(section.path, result.text[section.start : section.end]) for section in result.sections] == [
        ((), "Before."),
        (("Leave", "Sick leave"), "Call in."),
    ]


@pytest.mark.parametrize("name", ["Überschrift 2", "Titre 2", "見出し 2", "My own"])
def test_headings_are_known_by_localised_names_and_by_what_they_build_on(name: str) -> None:
    document = new()
    style = document.styles.add_style(name, WD_STYLE_TYPE.PARAGRAPH)
    if name == "My own":
        style.base_style = document.styles["Heading 2"]
    document.add_heading("Leave", 1)
    document.add_paragraph("Sick leave", style=name)
    document.add_paragraph("Call in.")
    assert [section.path for section in parsed(document).sections] == [("Leave", "Sick leave")]


def test_an_outline_level_of_a_paragraph_makes_a_heading() -> None:
    result = of_xml(
        '<w:p><w:pPr><w:outlineLvl w:val="0"/></w:pPr><w:r><w:t>Leave</w:t></w:r></w:p>',
        "<w:p><w:r><w:t>Call in.</w:t></w:r></w:p>",
    )
    assert [section.path for section in result.sections] == [("Leave",)]


NUMBERING = f"""<w:numbering {W}><w:abstractNum w:abstractNumId="7">
<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>
<w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="(%2)"/></w:lvl>
<w:lvl w:ilvl="2"><w:start w:val="4"/><w:numFmt w:val="upperRoman"/><w:lvlText w:val="%1.%3"/></w:lvl>
<w:lvl w:ilvl="3"><w:numFmt w:val="bullet"/><w:lvlText w:val="o"/></w:lvl></w:abstractNum>
<w:num w:numId="41"><w:abstractNumId w:val="7"/></w:num>
<w:num w:numId="42"><w:abstractNumId w:val="7"/>
<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride></w:num></w:numbering>"""


def replaced(raw: bytes, name: str, content: str) -> bytes:
    """The same package with another content of one part."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(buffer, "w") as archive:
        for entry in old.namelist():
            archive.writestr(entry, content if entry == name else old.read(entry))
    return buffer.getvalue()


def test_lists_keep_their_levels_and_numbers() -> None:
    document = new()
    for text, level, number in [
        ("one", 0, 41), ("two", 0, 41), ("deep", 1, 41), ("deeper", 2, 41), ("dot", 3, 41), ("again", 1, 41),
        ("three", 0, 41), ("fresh", 1, 41), ("five", 0, 42), ("six", 0, 42),
    ]:  # fmt: skip
        properties = document.add_paragraph(text)._p.get_or_add_pPr().get_or_add_numPr()
        properties.get_or_add_ilvl().val = level
        properties.get_or_add_numId().val = number
    document.add_paragraph("After.")
    assert read(replaced(saved(document), "word/numbering.xml", NUMBERING)).text == (
        "1. one\n2. two\n  - (a) deep\n    - 2.IV deeper\n      - dot\n  - (b) again\n3. three\n  - (a) fresh\n"
        "5. five\n6. six\n\nAfter.\n"
    )


def test_list_styles_make_entries() -> None:
    document = new()
    document.add_paragraph("We ask for:")
    document.add_paragraph("a passport", style="List Bullet")
    document.add_paragraph("a photo", style="List Bullet")
    assert parsed(document).text == "We ask for:\n\n- a passport\n- a photo\n"


def test_tables_stand_where_they_are_and_merged_cells_hold_their_text_once() -> None:
    document = new()
    document.add_paragraph("Before.")
    table = document.add_table(rows=3, cols=3)
    for row, texts in enumerate([("Item", "Cost", ""), ("Meal", "12", "EUR"), ("", "13", "CHF")]):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    table.cell(0, 1).merge(table.cell(0, 2))
    table.cell(1, 0).merge(table.cell(2, 0))
    document.add_paragraph("After.")
    assert parsed(document).text == "Before.\n\nItem | Cost |\nMeal | 12 | EUR\n | 13 | CHF\n\nAfter.\n"


def test_a_table_of_one_column_is_a_frame_around_its_paragraphs() -> None:
    document = new()
    cell = document.add_table(rows=1, cols=1).cell(0, 0)
    cell.paragraphs[0].text = "One."
    cell.add_paragraph("Two.")
    assert parsed(document).text == "One.\n\nTwo.\n"


def test_headers_and_footers_are_left_out() -> None:
    document = new()
    document.sections[0].header.paragraphs[0].text = "Secret"
    document.sections[0].footer.paragraphs[0].text = "Page 1"
    document.add_paragraph("Body.")
    assert parsed(document).text == "Body.\n"


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<w:del><w:r><w:delText>old </w:delText></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins>", "new"),
        ("<w:moveFrom><w:r><w:t>gone</w:t></w:r></w:moveFrom><w:moveTo><w:r><w:t>here</w:t></w:r></w:moveTo>", "here"),
        ("<w:r><w:t>seen</w:t></w:r><w:r><w:rPr><w:vanish/></w:rPr><w:t> orders</w:t></w:r>", "seen"),
        ('<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>seen</w:t></w:r>', "seen"),
        ("<w:hyperlink><w:r><w:t>a link</w:t></w:r></w:hyperlink>", "a link"),
        (
            ('<w:r><w:fldChar w:fldCharType="begin"/><w:instrText>REF x</w:instrText></w:r><w:r><w:t>code</w:t>'
            '<w:fldChar w:fldCharType="separate"/><w:t>7</w:t><w:fldChar w:fldCharType="end"/><w:t> km</w:t></w:r>'),
            "7 km",
        ),
        ('<w:fldSimple w:instr="PAGE"><w:r><w:t>12</w:t></w:r></w:fldSimple>', "12"),
        ("<w:sdt><w:sdtContent><w:r><w:t>chosen</w:t></w:r></w:sdtContent></w:sdt>", "chosen"),
        ("<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t></w:r>", "a b c-d"),
        (("<w:r><w:ruby><w:rt><w:r><w:t>kan</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>漢</w:t></w:r></w:rubyBase>"
         "</w:ruby></w:r>"), "漢"),
        (('<w:r><w:sym w:font="Arial" w:char="20AC"/><w:sym w:font="Wingdings" w:char="F0FC"/><w:sym w:char="zz"/>'
         "<w:t>5</w:t></w:r>"), "€5"),
        ("<m:oMath><m:r><m:t>a+b</m:t></m:r></m:oMath><w:r><w:t>holds</w:t></w:r>", "a+b holds"),
    ],
)  # fmt: skip
def test_what_a_paragraph_shows_is_its_text(xml: str, text: str) -> None:
    assert of_xml(f"<w:p>{xml}</w:p>").text == f"{text}\n"


def test_a_text_box_follows_the_paragraph_that_it_hangs_on_and_is_read_once() -> None:
    box = "<w:txbxContent><w:p><w:r><w:t>In the box.</w:t></w:r></w:p></w:txbxContent>"
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    both = (
        f'<mc:AlternateContent {mc}><mc:Choice Requires="wps"><w:drawing>{box}</w:drawing></mc:Choice>'
        f"<mc:Fallback><w:pict>{box}</w:pict></mc:Fallback></mc:AlternateContent>"
    )
    result = of_xml(f"<w:p><w:r>{both}<w:t>Before.</w:t></w:r></w:p>", "<w:p><w:r><w:t>After.</w:t></w:r></w:p>")
    assert result.text == "Before.\n\nIn the box.\n\nAfter.\n"


def test_notes_stand_at_the_end_in_the_order_in_which_they_are_cited() -> None:
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    notes = "".join(f'<w:footnote w:id="{n}"><w:p><w:r><w:t>Note {n}.</w:t></w:r></w:p></w:footnote>' for n in (1, 2))
    body = "".join(f'<w:p><w:r><w:t>Claim {n}.</w:t><w:footnoteReference w:id="{n}"/></w:r></w:p>' for n in (2, 1))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {W}><w:body>{body}</w:body></w:document>")
        archive.writestr("word/footnotes.xml", f"<w:footnotes {W}>{notes}</w:footnotes>")
        archive.writestr(
            "word/_rels/document.xml.rels",
            f'<Relationships><Relationship Id="a" Type="{kind}/footnotes" Target="footnotes.xml"/></Relationships>',
        )
    assert read(buffer.getvalue()).text == "Claim 2.\n\nClaim 1.\n\n1. Note 2.\n2. Note 1.\n"


def test_another_package_is_said_to_be_no_word_document() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "b")
    with pytest.raises(Unreadable, match="is not a Word document"):
        read(buffer.getvalue())


def test_a_file_cut_short_and_damaged_xml_are_said() -> None:
    raw = saved(new())
    with pytest.raises(Unreadable, match="damaged or cut short"):
        read(raw[: len(raw) // 2])
    with pytest.raises(Unreadable, match=r"damaged inside \(word/document.xml\)"):
        read(replaced(raw, "word/document.xml", "<w:document>"))


def test_deep_nesting_and_styles_in_a_circle_end() -> None:
    depth = 60
    xml = "<w:tbl><w:tr><w:tc>" * depth + "<w:p><w:r><w:t>deep</w:t></w:r></w:p>" + "</w:tc></w:tr></w:tbl>" * depth
    assert of_xml(xml).text == "deep\n"
    styles = f"""<w:styles {W}><w:style w:type="paragraph" w:styleId="a"><w:basedOn w:val="b"/></w:style>
    <w:style w:type="paragraph" w:styleId="b"><w:basedOn w:val="a"/></w:style></w:styles>"""
    document = new()
    document.add_paragraph("Body.")
    assert read(replaced(saved(document), "word/styles.xml", styles)).text == "Body.\n"
