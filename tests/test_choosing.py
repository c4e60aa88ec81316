"""What is said beside the best evidence, by hand."""

import numpy as np

from rag.choosing import complements, other_voices, rivals


def test_a_word_that_the_chosen_leave_out_brings_its_best_candidate() -> None:
    nearness = np.array([[0.9, 0.2], [0.4, 0.9], [0.3, 0.88], [0.5, 0.5]])
    rarity, flat = np.array([1.0, 1.0]), np.ones(4)
    assert complements(nearness, rarity, flat, [0, 2, 1, 3], [0]) == [
        2
    ]  # better ranked than 1, and as near to the word
    assert complements(nearness, rarity, flat, [0, 2, 1, 3], [0, 1]) == []
    assert complements(nearness, np.array([2.0, 1.0]), flat, [0, 2, 1, 3], [0]) == []  # a common word is not missed
    assert complements(nearness * 0.6, rarity, flat, [0, 2, 1, 3], [0]) == []  # nor one that nothing is near to
    assert complements(nearness, rarity, np.array([1.5, 1.0, 1.0, 1.0]), [0, 2, 1, 3], [0]) == []  # far behind


TEXTS = [
    "Own car: £0.38 per kilometre",
    "Own car: £0.42 per kilometre",
    "Own car: £0.38 for each kilometre",
    "Own car: 12% per kilometre",
    "Hotel: £90 a night",
    "Own car: a parking space",
]
SCORES = np.array([1.5, 1.1, 1.0, 1.0, 1.4, 1.4])
NONE = np.zeros((6, 0))


def test_another_figure_for_the_same_thing_is_a_rival() -> None:
    order = [0, 4, 5, 1, 2, 3]
    assert rivals(TEXTS, NONE, SCORES, order, [0]) == [1]
    assert rivals(TEXTS, NONE, SCORES, order, [0, 1]) == [2]  # the figure of 0 once more, against that of 1
    assert rivals(TEXTS, NONE, SCORES * 2, order, [0]) == []  # too far behind


def test_sentences_that_name_different_things_do_not_contradict() -> None:
    texts = [
        "A baker in Bern earns 61,000 francs.",
        "A baker in Basel earns 64,500 francs.",
        "A baker earns 60,000 francs.",
    ]
    assert rivals(texts, np.zeros((3, 0)), np.ones(3), [0, 1, 2], [0]) == [2]


def test_figures_for_another_name_are_no_rivals() -> None:
    naming = np.array([[0.9], [0.6], [0.9], [0.9], [0.9], [0.9]])
    assert rivals(TEXTS, naming, SCORES, [0, 1, 2, 3, 4, 5], [0]) == []


def test_each_other_document_that_speaks_to_the_question_is_heard_once() -> None:
    asked = "Who built the Kestrel?"
    texts = ["Ada Moss built it.", "Bo Lund built it.", "Cy Dahl did.", "the Kestrel was built.", "Di Ek built it."]
    documents, scores = ["a", "b", "b", "c", "d"], np.array([1.5, 1.4, 1.45, 1.4, 1.1])
    order = [0, 2, 1, 3, 4]
    assert other_voices(asked, texts, documents, scores, order, [0]) == [2]  # c names nothing new, d lies too far below
    assert other_voices(asked, texts, documents, scores + np.array([0, 0, 0, 0, 0.2]), order, [0]) == [2, 4]
    assert other_voices(asked, texts, documents, scores, order, [0, 1]) == []
    assert other_voices(asked, ["Ada"] * 5, documents, scores, order, [0]) == []
