"""The bundled guides say all that their raw texts say, in words of their own."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rag.figures import figures
from rag.sources import read_documents, register_sources
from rag.types import Document
from rag.words import stems, words

SOURCES = Path(__file__).parents[1] / "index" / "sources"
SEEDS = Path(__file__).parents[2] / "shared" / "seeds"
GUIDES = [
    "distinguished-ml-engineer",
    "machine-learning-engineer",
    "ml-infrastructure-engineer",
    "ml-platform-engineer",
    "ml-systems-engineer",
]
CHAPTERS = [
    "Overview",
    "Responsibilities",
    "Requirements",
    "Career",
    "Market demand",
    "Salaries",
    "Trends",
    "Soft skills",
    "Best practices",
    "Challenges",
]
COPIED_RUN = 8
"""Words in a row that no guide may share with its raw text, unless half are names or figures, or two are figures."""

needs_seeds = pytest.mark.skipif(not SEEDS.is_dir(), reason="the raw texts are not on this machine")


def guide(name: str) -> Document:
    [document] = read_documents([SOURCES / f"{name}.md"])
    assert isinstance(document, Document)
    return document


def seed_of(name: str) -> str:
    front = (SOURCES / f"{name}.md").read_text(encoding="utf-8").split("---")[1]
    match = re.search(r"^source: (.+)$", front, re.MULTILINE)
    assert match
    text = (SEEDS / match[1].strip()).read_text(encoding="utf-8")
    return re.split(r"^More Careers$", text, flags=re.MULTILINE)[0]


def proper_names(text: str) -> set[str]:
    """Words that the raw texts never write in small letters, other than the first word of a sentence or an entry."""
    everything = "\n".join(path.read_text(encoding="utf-8") for path in SEEDS.glob("*.txt"))
    small = set(re.findall(r"\b[a-z][a-z'-]*\b", everything))
    names = set()
    for line in text.splitlines():
        for match in re.finditer(r"[A-Za-z][\w+#.-]*[\w+#]|[A-Z]", line):
            is_first = not re.sub(r"[\s•\d.-]", "", line[: match.start()]) or line[: match.start()].rstrip()[-1] in ".:"
            names_entry = line[match.end() : match.end() + 1] == ":"
            if match[0] != match[0].lower() and match[0].lower() not in small and (not is_first or names_entry):
                names.add(match[0])
    return names


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_the_chapters_of_all_guides(name: str) -> None:
    chapters = list(dict.fromkeys(section.path[0] for section in guide(name).sections))
    assert chapters == CHAPTERS


@needs_seeds
@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_every_figure_of_its_raw_text(name: str) -> None:
    numbered = re.sub(r"^\s*\d+\.\s", "", seed_of(name), flags=re.MULTILINE)  # "3." before an entry is no fact
    missing = figures(numbered) - figures(guide(name).text)
    assert {f"{value:f}" for value in missing} == set()


@needs_seeds
@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_every_percentage_and_span_of_years_of_its_raw_text(name: str) -> None:
    text = guide(name).text
    for percentage in set(re.findall(r"\d+(?:\.\d+)?%", seed_of(name))):
        assert percentage in text
    for first, last in set(re.findall(r"((?:19|20)\d\d)\s*(?:to|-|–)\s*((?:19|20)\d\d)", seed_of(name))):
        assert re.search(rf"{first}\s*(?:to|-|and)\s*{last}", text), (first, last)


@needs_seeds
@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_has_every_proper_name_of_its_raw_text(name: str) -> None:
    about = (SOURCES / f"{name}.md").read_text(encoding="utf-8")
    known = set(stems(about)) | set(words(about))
    missing = {
        word for word in proper_names(seed_of(name)) if not (set(stems(word)) <= known or set(words(word)) <= known)
    }
    assert missing == set()


@needs_seeds
@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_copies_no_run_of_words_from_its_raw_text(name: str) -> None:
    names = {part for word in proper_names(seed_of(name)) for part in words(word)}

    def runs(text: str) -> set[tuple[str, ...]]:
        lines = [words(line) for line in text.splitlines()]
        return {tuple(line[at : at + COPIED_RUN]) for line in lines for at in range(len(line) - COPIED_RUN + 1)}

    copied = runs(seed_of(name)) & runs(guide(name).text)
    of_words = {
        run
        for run in copied
        if sum(word in names or word[0].isdigit() for word in run) < COPIED_RUN / 2
        and sum(word[0].isdigit() for word in run) < 2
    }
    assert of_words == set()


def test_the_register_is_current(tmp_path: Path) -> None:
    registered = (SOURCES / "sources.toml").read_text(encoding="utf-8")
    assert [row["id"] for row in tomllib.loads(registered)["source"]] == GUIDES
    for path in SOURCES.glob("*.md"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert register_sources(tmp_path).read_text(encoding="utf-8") == registered


def test_the_guides_are_read_with_their_roles() -> None:
    documents = read_documents([SOURCES])
    skipped = documents.skipped
    assert not skipped
    assert {document.id: document.role for document in documents} == {
        "distinguished-ml-engineer": "Distinguished ML Engineer",
        "machine-learning-engineer": "Machine Learning Engineer",
        "ml-infrastructure-engineer": "ML Infrastructure Engineer",
        "ml-platform-engineer": "ML Platform Engineer",
        "ml-systems-engineer": "ML Systems Engineer",
    }
