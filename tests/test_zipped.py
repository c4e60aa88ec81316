"""Zip packages: bounded, and a clear word for what is none."""

import io
import random
import zipfile

import pytest

from rag.errors import Unreadable
from rag.readers.titles import sensible
from rag.readers.zipped import open_zip, part, related, xml


def package(parts: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # at no time: the same each time
    return buffer.getvalue()


def declaring(size: int) -> bytes:
    """An archive of one small part that claims to unpack to `size` bytes."""
    raw = bytearray(package({"a": "x"}))
    at = raw.index(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    raw[at : at + 4] = size.to_bytes(4, "little")
    return bytes(raw)


def test_parts_are_read_by_name() -> None:
    archive = open_zip(package({"word/a.xml": "<a><b>1</b></a>"}))
    assert part(archive, "word/a.xml") == b"<a><b>1</b></a>"
    assert part(archive, "word/b.xml") is None
    assert xml(archive, "word/b.xml") is None
    root = xml(archive, "word/a.xml")
    assert root is not None
    assert root.findtext("b") == "1"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"hello", "is not what its name says"),
        (package({"a": "b" * 1000})[:60], "damaged or cut short"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 600, "an old or an encrypted Office file"),
        (declaring(201 * 10**6), "unpacks to 201 MB; more than 200 MB are not read"),
        (declaring(11 * 10**6), "unpacks to 11 MB; one part is packed over 200 times"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(raw: bytes, said: str) -> None:
    with pytest.raises(Unreadable) as caught:
        open_zip(raw)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_large_part_that_is_packed_by_ten_is_opened() -> None:
    random_tenth = random.Random(7).randbytes(1_100_000)
    archive = open_zip(package({"a": random_tenth + b"0" * 9_900_000}))
    assert archive.infolist()[0].file_size == 11_000_000


def test_a_locked_part_is_said() -> None:
    raw = bytearray(package({"a": "x"}))
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(Unreadable, match="locked with a password"):
        open_zip(bytes(raw))


def test_a_damaged_part_is_named() -> None:
    raw = bytearray(package({"word/a.xml": "<a>some text</a>"}))
    raw[raw.index(b"word/a.xml") + 12] ^= 0xFF
    with pytest.raises(Unreadable, match=r"damaged inside \(word/a.xml\)"):
        part(open_zip(bytes(raw)), "word/a.xml")


def test_entities_are_refused_and_a_plain_doctype_is_not() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><a>&y;</a>'
    archive = open_zip(package({"bomb": bomb, "page": "<!DOCTYPE a><a>1</a>", "broken": "<a>"}))
    with pytest.raises(Unreadable, match="defines entities"):
        xml(archive, "bomb")
    root = xml(archive, "page")
    assert root is not None
    assert root.text == "1"
    with pytest.raises(Unreadable, match="damaged inside"):
        xml(archive, "broken")


def test_related_parts_are_found_from_the_folder_of_the_one_that_names_them() -> None:
    kind = "http://example.org/relationships/"
    rows = (
        f'<Relationship Id="a" Type="{kind}styles" Target="styles.xml"/>'
        f'<Relationship Id="b" Type="{kind}image" Target="../media/%C3%A9.png"/>'
        f'<Relationship Id="c" Type="{kind}theme" Target="/theme.xml"/>'
        f'<Relationship Id="d" Type="{kind}link" Target="http://example.org" TargetMode="External"/>'
    )
    archive = open_zip(package({"word/_rels/document.xml.rels": f"<Relationships>{rows}</Relationships>"}))
    assert related(archive, "word/document.xml") == {
        "a": ("styles", "word/styles.xml"),
        "b": ("image", "media/é.png"),
        "c": ("theme", "theme.xml"),
    }


@pytest.mark.parametrize("title", ["Annual report 2024", "How to document a process", "Version 2.0 of the rules"])
def test_a_title_that_a_person_gave_is_taken(title: str) -> None:
    assert sensible(f" {title}\n\x00") == title


@pytest.mark.parametrize(
    "title", [None, "", "untitled", "Untitled 1", "Document2", "Microsoft Word - a b.doc", "report.docx", "12/3"]
)
def test_a_title_that_a_program_gave_is_not(title: str | None) -> None:
    assert sensible(title) == ""
