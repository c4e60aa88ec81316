from dataclasses import replace

from rag.packing import pack
from tests.test_verification import BASEL, BERN


def count(text: str) -> int:
    return len(text.split())


def test_notes_are_numbered_and_say_where_they_stand() -> None:
    packed = pack([BERN, BASEL], count=count, budget=1000)
    assert packed.notes == (
        "Baker > Pay > A Baker earns, by place:\n[1] Bern: 61,000 francs a year\n[2] Basel: 64,500 francs a year"
    )
    assert packed.dropped == 0


def test_notes_from_one_place_stand_together_and_keep_their_numbers() -> None:
    elsewhere = replace(
        BERN, passage=replace(BERN.passage, section=("Work",)), sentence=replace(BERN.sentence, lead="")
    )
    packed = pack([BERN, elsewhere, BASEL], count=count, budget=1000)
    assert packed.evidence == (BERN, elsewhere, BASEL)
    assert packed.notes.split("\n") == [
        "Baker > Pay > A Baker earns, by place:",
        "[1] Bern: 61,000 francs a year",
        "[3] Basel: 64,500 francs a year",
        "Baker > Work:",
        "[2] Bern: 61,000 francs a year",
    ]


def test_whole_notes_are_dropped_from_the_lowest_rank_up() -> None:
    packed = pack([BERN, BASEL, BERN], count=count, budget=24)  # 9 words for the place and 6 for each note
    assert (packed.evidence, packed.dropped) == ((BERN, BASEL), 1)
    assert pack([BERN, BASEL], count=count, budget=1).evidence == (BERN,)
