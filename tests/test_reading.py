"""Files become text with sections, and nothing of a file is dropped in silence."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import SourceError
from rag.parsed import Parsed, clean
from rag.readers import markdown, plain
from rag.sources import read_documents, register_sources

Write = Callable[[str, str], Path]


def sections(parsed: Parsed) -> list[tuple[tuple[str, ...], str]]:
    return [(section.path, parsed.text[section.start : section.end]) for section in parsed.sections]


def read_markdown(source: str) -> Parsed:
    return markdown.read(source.encode())


def read_text(source: str) -> Parsed:
    return plain.read(source.encode())


def test_markdown_loses_its_markup_and_keeps_its_words() -> None:
    parsed = read_markdown("# Cats\n\n**Cats** purr, see [the vet](http://vet.example) and `purr()`.\nThey sleep.\n")
    assert parsed.text == "Cats\n\nCats purr, see the vet and purr(). They sleep.\n"
    assert sections(parsed) == [(("Cats",), "Cats purr, see the vet and purr(). They sleep.")]


def test_headings_make_a_trail_and_stand_outside_of_sections() -> None:
    parsed = read_markdown("Before.\n\n## Pay\n\nGood.\n\n### In Bern\n\nBetter.\n\n## Work\n\nHard.\n")
    assert sections(parsed) == [
        ((), "Before."),
        (("Pay",), "Good."),
        (("Pay", "In Bern"), "Better."),
        (("Work",), "Hard."),
    ]


def test_the_title_is_no_part_of_the_trail() -> None:
    parsed = read_markdown("---\ntitle: Baker\nrole: Baker\n---\n# Baker\n\nBakes.\n\n## Pay\n\nLow.\n")
    assert parsed.about == {"title": "Baker", "role": "Baker"}
    assert sections(parsed) == [((), "Bakes."), (("Pay",), "Low.")]


def test_lists_and_tables_keep_one_entry_or_row_a_line() -> None:
    parsed = read_markdown(
        "Tools:\n\n- saw\n- hammer\n  - small\n  - big\n\n3. three\n4. four\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    assert parsed.text == "Tools:\n\n- saw\n- hammer\n  - small\n  - big\n\n3. three\n4. four\n\na | b\n1 | 2\n"


def test_hidden_text_of_html_stays_hidden() -> None:
    parsed = read_markdown(
        "Seen.\n\n<!-- pay is $900,000 -->\n\n<script>alert(1)</script>\n\n<p>Also <b>seen</b></p>\n"
    )
    assert parsed.text == "Seen.\n\nAlso seen\n"


@given(st.text(max_size=300))
def test_any_text_can_be_read(source: str) -> None:
    for reader in (read_text, read_markdown):
        source = "x" + source  # no front matter
        parsed = reader(clean(source))
        last = 0
        for section in parsed.sections:
            assert last <= section.start < section.end <= len(parsed.text)
            assert parsed.text[section.start : section.end].strip()
            last = section.end


def test_what_cannot_be_read_is_listed_with_its_reason(write: Write, tmp_path: Path) -> None:
    write("docs/good.txt", "Bread is baked.")
    write("docs/empty.md", "   \n")
    write("docs/picture.png", "no")
    write("docs/copy.md", "Bread is baked.")
    write("docs/.hidden.md", "Not looked at.")
    write("docs/front.md", "---\ntitle: [\n---\nText.\n")
    (tmp_path / "docs" / "sound.txt").write_bytes(b"\0\x81\x9d\0" * 100)
    documents = read_documents([tmp_path / "docs"])
    skipped = documents.skipped
    assert [(one.source, one.text) for one in documents] == [
        ("copy.md", "Bread is baked.\n"),
        ("good.txt", "Bread is baked.\n"),
    ]
    reasons = {one.source: one.reason for one in skipped}
    assert reasons["empty.md"] == "holds no text"
    assert reasons["picture.png"].startswith("no reader for .png (read: .md,")
    assert reasons["sound.txt"] == "its bytes are no text in any encoding known here"
    assert reasons["front.md"].startswith("its front matter is not valid YAML")
    assert set(reasons) == {"empty.md", "picture.png", "sound.txt", "front.md"}


def test_files_of_one_name_get_different_ids(write: Write, tmp_path: Path) -> None:
    write("docs/a.md", "One.")
    write("docs/a.txt", "Two.")
    write("docs/b/a.md", "Three.")
    documents = read_documents([tmp_path / "docs"])
    assert len({one.id for one in documents}) == 3
    assert {"a", "b-a"} < {one.id for one in documents}


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(SourceError, match=r"^nowhere does not exist\. Name a file or a folder of documents\.$"):
        read_documents([Path("nowhere")])


def test_a_register_pins_the_bytes(shelf: Path) -> None:
    register = register_sources(shelf)
    rows = tomllib.loads(register.read_text(encoding="utf-8"))["source"]
    assert [(row["id"], row["role"]) for row in rows] == [("baker", "Baker"), ("miller", "Miller")]
    assert len(read_documents([shelf])) == 2
    (shelf / "baker.md").write_text("Changed.", encoding="utf-8")
    with pytest.raises(SourceError, match=r"baker\.md is not the file that sources\.toml registers .* index register"):
        read_documents([shelf])
    (shelf / "baker.md").unlink()
    with pytest.raises(SourceError, match=r"names baker\.md, which is missing"):
        read_documents([shelf])


def test_text_is_made_uniform() -> None:
    assert clean("a\r\nb\rc\u200b\x07e\u0301") == "a\nb\nc\u00e9"
    assert clean("sa\u00adlt\U000e0041\u2062 \u0645\u06cc\u200c\u0634") == "salt \u0645\u06cc\u200c\u0634"


def roles(folder: Path) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    return {one.source: (one.role, one.aliases) for one in read_documents([folder])}


def test_titles_of_one_kind_are_the_roles_of_their_documents(write: Write, tmp_path: Path) -> None:
    write("docs/a.md", "---\ntitle: Machine Learning (ML) Engineer\n---\nBuilds.\n")
    write("docs/b.md", "---\ntitle: Bridge Engineer\n---\nBuilds too.\n")
    write("docs/c.md", "---\ntitle: Canteen\n---\nCooks.\n")
    assert roles(tmp_path / "docs") == {
        "a.md": ("Machine Learning Engineer", ("ML Engineer",)),
        "b.md": ("Bridge Engineer", ()),
        "c.md": (None, ()),
    }


def test_titles_of_many_kinds_are_no_roles(write: Write, tmp_path: Path) -> None:
    for number, title in enumerate(["Bridge Engineer", "Road Engineer", "Canteen", "Museum"]):
        write(f"docs/{number}.md", f"---\ntitle: {title}\n---\nText.\n")
    assert {role for role, _ in roles(tmp_path / "docs").values()} == {None}


def test_a_role_that_a_file_states_stays(write: Write, tmp_path: Path) -> None:
    write("docs/a.md", "---\ntitle: Bridge Engineer\nrole: Builder\n---\nBuilds.\n")
    write("docs/b.md", "---\ntitle: Road Engineer\n---\nBuilds too.\n")
    assert [role for role, _ in roles(tmp_path / "docs").values()] == ["Builder", None]
