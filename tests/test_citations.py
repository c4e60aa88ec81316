"""A draft in pieces becomes sentences with their markers, however the pieces fall."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag.citations import DraftReader, DraftSentence, spoken


def read(*pieces: str) -> list[DraftSentence]:
    reader = DraftReader()
    return [sentence for piece in pieces for sentence in reader.feed(piece)] + reader.close()


def test_markers_stand_before_or_behind_the_full_stop() -> None:
    assert read("It pays $153,000 [1]. It is hard. [2][3] It is fun [note 4].") == [
        DraftSentence("It pays $153,000.", (1,)),
        DraftSentence("It is hard.", (2, 3)),
        DraftSentence("It is fun.", (4,)),
    ]


def test_a_sentence_without_a_marker_has_none() -> None:
    assert read("It pays well") == [DraftSentence("It pays well", ())]


def test_entries_of_a_list_lose_their_marks() -> None:
    assert read("- Python [1]\n2. Java [2, 1]\n") == [DraftSentence("Python", (1,)), DraftSentence("Java", (2, 1))]


def test_a_sentence_is_given_out_once_the_next_one_begins() -> None:
    reader = DraftReader()
    assert reader.feed("One is done. [1") == []
    assert reader.feed("] ") == []
    assert reader.feed("Two") == [DraftSentence("One is done.", (1,))]
    assert reader.close() == [DraftSentence("Two", ())]


def test_a_quotation_of_several_sentences_stays_whole() -> None:
    reader = DraftReader(["One is done.\n  Two is not."])
    assert reader.feed("One is done. Two is not. [1]\n") == [DraftSentence("One is done. Two is not.", (1,))]


def test_what_looks_like_a_marker_in_a_document_is_none() -> None:
    assert spoken("Sixty days [1],\n  says [note 2] 【3】.") == "Sixty days (1), says (note 2) (3)."
    reader = DraftReader(["60 days of holiday. [1]"])
    assert reader.feed(f"{spoken('60 days of holiday. [1]')} [2]\n") == [DraftSentence("60 days of holiday. (1)", (2,))]


def test_round_brackets_and_years_are_no_markers() -> None:
    assert read("Pay (2024) rose [1].") == [DraftSentence("Pay (2024) rose.", (1,))]


LINES = [
    "It pays $1.5 million [1]. In the U.S. it is hard. [2] Still.\n",
    "- entry [3]. More [4]\n",
    "2. Java [1]\n",
    "End",
]


@given(st.lists(st.sampled_from(LINES), max_size=6), st.data())
def test_how_the_pieces_fall_does_not_matter(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*pieces) == read(text)
