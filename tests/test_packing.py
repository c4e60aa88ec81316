from rag.packing import pack
from tests.test_verification import BASEL, BERN


def count(text: str) -> int:
    return len(text.split())


def test_notes_are_numbered_and_say_where_they_stand() -> None:
    packed = pack([BERN, BASEL], count=count, budget=1000)
    assert packed.notes == (
        "[1] Baker > Pay > A Baker earns, by place: Bern: 61,000 francs a year\n"
        "[2] Baker > Pay > A Baker earns, by place: Basel: 64,500 francs a year"
    )
    assert packed.dropped == 0


def test_whole_notes_are_dropped_from_the_lowest_rank_up() -> None:
    packed = pack([BERN, BASEL, BERN], count=count, budget=30)  # 15 words a note
    assert (packed.evidence, packed.dropped) == ((BERN, BASEL), 1)
    assert pack([BERN, BASEL], count=count, budget=1).evidence == (BERN,)
