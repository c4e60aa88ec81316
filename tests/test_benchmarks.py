"""Tables of the benchmarks, their page, and that it is current."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import NAMES, main
from benchmarks.page import PAGE, page
from benchmarks.ranking import by_rank, by_spread, of_own_candidates, table
from benchmarks.tables import Plot, Table, load, machine, show

TABLE = Table(
    title="Cost",
    columns=("passages", "ms"),
    rows=(("1,000", "0.5"), ("2,000", "1.1")),
    note="Read it.",
    command="python -m benchmarks.cost",
    plot=Plot("passages", ("ms",)),
    machine="A mill, 2 stones",
)


def test_a_table_is_markdown() -> None:
    assert TABLE.as_markdown() == (
        "**Cost**\n\n| passages | ms |\n|---|--:|\n| 1,000 | 0.5 |\n| 2,000 | 1.1 |\n\nRead it."
    )
    assert TABLE.column("passages") == [1000.0, 2000.0]


def test_tables_come_back_as_they_were_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = Table("Plain", ("", "s"), (("a", "1"),))
    show([TABLE, plain], tmp_path / "kept" / "cost.json")
    again = load(tmp_path / "kept" / "cost.json")
    assert again[0] == TABLE
    assert again[1].machine == machine()
    assert "| 2,000 | 1.1 |" in capsys.readouterr().out


def test_the_page_holds_each_kept_table_under_its_chapter_and_the_notes(tmp_path: Path) -> None:
    show([TABLE], tmp_path / "scale.json")
    (tmp_path / "notes.md").write_text("## Tried\n\nNothing.\n", encoding="utf-8")
    text = page(tmp_path, tmp_path / "notes.md")
    assert "## Size\n" in text
    assert "## Starting" not in text
    assert "![Cost](scale-0.svg)" in text
    assert "`python -m benchmarks.cost` (A mill, 2 stones)" in text
    assert text.endswith("## Tried\n\nNothing.\n")


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "Write it anew: python -m benchmarks page"


def test_each_benchmark_says_what_it_measures() -> None:
    told = CliRunner().invoke(main, ["--list"])
    assert told.exit_code == 0, told.output
    assert [line.split()[0] for line in told.output.splitlines()] == NAMES


def test_an_unknown_benchmark_is_an_error_that_lists_those_there_are() -> None:
    told = CliRunner().invoke(main, ["nonsense"])
    assert told.exit_code == 2
    assert "there is no benchmark nonsense. Benchmarks: asking" in told.output


def test_passages_of_peers_become_files_and_builds_rates() -> None:
    from benchmarks.peers import building, ranked

    assert ranked(["000/001-a.md", "000/002-b.md", "000/001-a.md"]) == ["000-001-a", "000-002-b"]
    turns = {"txtai_faiss": [{"passages": 100, "build": build, "whole": 20.0} for build in (9.0, 10.0, 50.0)]}
    # the median build is 10 s: 100 passages and 5 MB of it are 10 and 0.5 a second
    assert building(turns, 5.0, "").rows == (("txtai", "100", "10.0", "0.500", "10.0", "20.0", "0.250"),)


def test_ways_to_fuse_differ_where_one_search_is_far_ahead() -> None:
    found = {"dense": {1: 0.9, 2: 0.4, 3: 0.3}, "lexical": {3: 9.0, 4: 8.0, 2: 6.0}}
    assert by_rank(found)[:2] == [3, 2]  # 1/63 + 1/61, 1/62 + 1/63
    assert by_spread(found) == [1, 3, 4, 2]  # 1, 1, 2/3, 1/6
    assert of_own_candidates(found) == [3, 2, 1, 4]  # 2/3, 5/9, 1/2, 4/9


def test_a_set_that_is_not_there_is_a_dash_and_a_split_counts_its_own_questions() -> None:
    rows = table({"hotpotqa": {"Rolewise": [("dev", 1.0), ("test", 0.0)]}}).rows
    assert rows[-1] == ("Rolewise", "–", "0.000", "0.500", "–")
