from rag.words import content_words, stems, words


def test_languages_keep_their_marks_and_figures_lose_their_separators() -> None:
    assert words("C++, C# and .NET for $153,000–267,000 (v1.5)") == [
        "c++", "c#", "and", ".net", "for", "153000", "267000", "v1", "5",
    ]  # fmt: skip


def test_words_fold_case_and_width() -> None:
    assert words("ＭＬ Straße") == ["ml", "strasse"]


def test_content_words_leave_out_what_says_nothing() -> None:
    assert content_words("What does a baker earn in Bern?") == ["baker", "earn", "bern"]


def test_stems_join_the_forms_of_a_word() -> None:
    assert stems("monitoring monitors") == ["monitor", "monitor"]
