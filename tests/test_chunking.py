"""Sentences and passages are spans of the text, whole and short enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag.chunking import embedded_text, sentence_spans, sentences_of, split
from rag.readers import markdown
from rag.types import Document, Section


def document(text: str, *sections: Section, title: str = "T") -> Document:
    return Document("d", title, None, text, sections or (Section((), 0, len(text)),), "d.md", "0" * 64)


def count(text: str) -> int:
    return len(text.split()) + 2


def texts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text, 0, len(text))]


def test_sentences_end_where_a_reader_ends_them() -> None:
    assert texts(
        'Dr. Ada left the U.S. in 1852. She wrote "Notes." Was it 3.5 pages? Yes! (See vol. 2.) And e.g. Python.'
    ) == [
        "Dr. Ada left the U.S. in 1852.",
        'She wrote "Notes."',
        "Was it 3.5 pages?",
        "Yes!",
        "(See vol. 2.)",
        "And e.g. Python.",
    ]


def test_entries_know_the_line_that_introduces_them_and_the_entries_around_them() -> None:
    one = document("He needs:\n\n- tools:\n  - a saw\n- time\n\nThat is all.")
    found = sentences_of(one, one.sections[0])
    assert [(s.text, s.lead, s.is_entry) for s in found] == [
        ("He needs:", "", False),
        ("tools:", "He needs:", True),
        ("a saw", "He needs: tools:", True),
        ("time", "He needs:", True),
        ("That is all.", "", False),
    ]


def test_rows_of_a_table_know_its_columns() -> None:
    one = document("city | pay\nBern | 61,000\nBasel | 64,500")
    assert [(s.text, s.lead) for s in sentences_of(one, one.sections[0])][1:] == [
        ("Bern | 61,000", "city | pay"),
        ("Basel | 64,500", "city | pay"),
    ]


def test_an_entry_goes_on_over_indented_lines() -> None:
    one = document("- first line\n  and second\n- next")
    assert [s.text for s in sentences_of(one, one.sections[0])] == ["first line\n  and second", "next"]


def test_passages_are_split_evenly_and_keep_an_introduction_with_its_list() -> None:
    # Ten sentences of four words: at most 20 words a passage is two passages, and five each is the most even.
    text = " ".join(f"This is sentence {number}." for number in range(10))
    report = split(document(text), count=count, limit=100, budget=20)
    assert [passage.text.count("sentence") for passage in report.passages] == [5, 5]
    assert report.tokens == 40
    text = "A b c d e.\n\nThese are:\n\n- one two three\n- four five six"
    passages = split(document(text), count=count, limit=100, budget=8).passages
    assert [passage.text for passage in passages] == [
        "A b c d e.",
        "These are:\n\n- one two three",
        "- four five six",
    ]


def test_a_sentence_that_no_passage_can_hold_is_cut_at_a_space_and_counted() -> None:
    text = " ".join(["word"] * 50)
    report = split(document(text), count=count, limit=20, budget=200)
    assert report.cut == 1
    assert all(count(embedded_text(passage, count=count, limit=20)) <= 20 for passage in report.passages)
    assert " ".join(passage.text for passage in report.passages) == text


def test_a_stretch_without_an_end_is_cut_by_counting_each_part_a_few_times() -> None:
    counted = 0

    def noted(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return count(text)

    text = "word " * 4000
    report = split(document(text), count=noted, limit=20, budget=200)
    assert "".join(passage.text for passage in report.passages).replace(" ", "") == text.replace(" ", "")
    assert counted < 60 * len(text)


blocks = st.lists(
    st.one_of(
        st.text(alphabet="ab .!?-1", min_size=1, max_size=60),
        st.sampled_from(["# Head", "## Sub head", "- entry one", "- entry: two", "1. first", "x | y", "Ends so:", ""]),
    ),
    max_size=25,
).map("\n".join)


@given(blocks, st.integers(8, 40))
def test_passages_are_spans_within_one_section_and_within_the_limit(source: str, budget: int) -> None:
    parsed = markdown.read(("x\n\n" + source).encode())
    one = document(parsed.text, *parsed.sections)
    report = split(one, count=count, limit=60, budget=budget)
    for passage in report.passages:
        assert passage.text == one.text[passage.start : passage.end]
        assert sum(s.start <= passage.start and passage.end <= s.end for s in one.sections) == 1
        assert count(embedded_text(passage, count=count, limit=60)) <= 60
    starts = [passage.start for passage in report.passages]
    assert starts == sorted(set(starts))
    # Nothing is lost: every letter of every section stands in exactly one passage.
    covered = "".join(passage.text for passage in report.passages)
    whole = "".join(one.text[s.start : s.end] for s in one.sections)
    assert sorted(filter(str.isalnum, covered)) == sorted(filter(str.isalnum, whole))


@given(blocks)
def test_no_sentence_is_cut_by_a_passage(source: str) -> None:
    parsed = markdown.read(("x\n\n" + source).encode())
    one = document(parsed.text, *parsed.sections)
    passages = split(one, count=count, limit=60, budget=15).passages
    for section in one.sections:
        for sentence in sentences_of(one, section):
            assert one.text[sentence.start : sentence.end] == sentence.text
            if count(sentence.text) <= 15:
                assert any(p.start <= sentence.start and sentence.end <= p.end for p in passages)
