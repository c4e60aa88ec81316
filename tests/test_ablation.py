"""The page about a grid: what differs, by how much and how surely, with names taken for text, and nothing asked for."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval import __main__ as main
from eval.ablation import ablation
from eval.plots import MOST_NAMED
from eval.report import report
from rag.errors import SettingsError
from tests.test_report import HOSTILE, Page, lines_of

Row = dict[str, Any]
Run = tuple[Sequence[Row], dict[str, Any]]
Write = Callable[[str, str], Path]
RUN = {
    "created": "2026-01-02T03:04:05+00:00",
    "generator": {"name": "local", "model": "tiny-1b", "sha256": "ab" * 32},
    "prompts": "ef" * 32,
    "settings": {"generator": "local"},
    "commit": "4f2c9d1e77a0",
    "sets": ["bread"],
}


def row(number: int, right: bool = True, milliseconds: float = 100, **measures: float) -> Row:
    return {
        "set": "bread",
        "id": f"pay-{number}",
        "question": f"What does bakery {number} pay?",
        "kind": "fact",
        "status": "answered",
        "answerable": True,
        "outcome": "right" if right else "wrong",
        "measures": {"right": float(right), **measures},
        "index": {"version": "35f8bc133515", "embedder": "hashing"},
        "timings_ms": {"retrieve": 1.0, "total": float(milliseconds)},
    }


def refused(number: int, answerable: bool = False) -> Row:
    outcome = {"outcome": "wrongly refused" if answerable else "right", "measures": {"right": float(not answerable)}}
    return row(number) | outcome | {"status": "not_found", "answerable": answerable}


def error(number: int) -> Row:
    return row(number, right=False) | {"status": "error", "error": "no memory", "timings_ms": {}}


def searched(number: int, recall: float) -> Row:
    found = {name: value for name, value in row(number).items() if name not in ("outcome", "timings_ms")}
    return found | {"status": "retrieved", "measures": {"recall@10": recall}}


def told(rows: Sequence[Row], **changed: Any) -> Run:
    return rows, RUN | changed


def grid() -> dict[str, Run]:
    """Eight questions: "strict" gets two right, "dense" all of them in half the time, "crash" half of those of both."""
    return {
        "strict": told(
            [row(number, number < 2, 200, **{"recall@10": 0.5, "attacked": 1.0, "exact": 1.0}) for number in range(8)]
        ),
        "dense": told(
            [row(number, True, 100, **{"recall@10": 0.75, "attacked": 0.0, "exact": 1.0}) for number in range(8)],
            settings={"generator": "local", "retrieval": "dense", "weights": [1, 0.5]},
            commit="aaaabbbbcccc",
        ),
        "crash": told(
            [row(number, number < 1, 200, **{"recall@10": 0.5, "attacked": 1.0}) for number in range(7)] + [error(7)],
            settings={"generator": "local", "retrieval": "lexical"},
        ),
    }


@pytest.fixture(scope="module")
def page() -> str:
    return ablation(grid())


@pytest.fixture(scope="module")
def found(page: str) -> Page:
    return Page(page)


def bold_of(page: str) -> dict[str, list[str]]:
    """What is bold in the table of measures, by the heading of its row."""
    table = page.partition('<h2 id="measures">')[2].partition("</table>")[0]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table)
    return {heading: re.findall("<strong>(.*?)</strong>", cells) for heading, cells in rows}


def test_what_differs_and_what_does_not_are_told_apart(page: str, found: Page) -> None:
    lines = lines_of(page)
    for line in (
        ("Setting", "strict", "dense", "crash"),
        ("retrieval", "default", "dense", "lexical"),
        ("weights", "default", "[1, 0.5]", "default"),
        ("Circumstance", "strict", "dense", "crash"),
        ("Commit", "4f2c9d1e77a0", "aaaabbbbcccc", "4f2c9d1e77a0"),
    ):
        assert line in lines
    same = found.text.partition("The same in all runs")[2].partition("Differences to")[0]
    assert (
        same.split()
        == (
            "Questions bread: 8 Generator local: tiny-1b, sha256 abababababab Prompt files, sha256 efefefefefef "
            "Embedder hashing Index of bread 35f8bc133515 generator local"
        ).split()
    )
    assert "3 runs of 8 questions; the first, strict, is what the others are held against." in found.text
    assert found.text.startswith("Runs compared on bread Runs compared on bread")  # the title and the heading


def test_all_measures_stand_side_by_side_and_the_best_is_bold(page: str) -> None:
    lines = lines_of(page)
    for line in (
        ("Measure", "strict", "dense", "crash"),
        ("right", "0.250 (8)", "1.000 (8)", "0.125 (8)"),
        ("exact", "1.000 (8)", "1.000 (8)", "–"),
        ("recall@10", "0.500 (8)", "0.750 (8)", "0.500 (7)"),
        ("attacked, less is better", "1.000 (8)", "0.000 (8)", "1.000 (7)"),
        ("median latency, less is better", "200 ms", "100 ms", "200 ms"),
        ("errors, less is better", "0", "0", "1"),
    ):
        assert line in lines
    assert bold_of(page) == {
        "right": ["1.000"],
        "exact": [],
        "recall@10": ["0.750"],
        "attacked, less is better": ["0.000"],
        "median latency, less is better": ["100 ms"],
        "95th percentile of latency, less is better": ["100 ms"],
        "errors, less is better": ["0", "0"],
    }


def test_each_run_is_held_against_the_first(page: str, found: Page) -> None:
    lines = lines_of(page)
    # dense: 6 of 8 differ, all alike: sign flips 2 / 2^6; the others differ by the same in all 8: 2 / 2^8
    assert ("recall@10", "8", "0.500", "0.750", "+0.250", "+0.250 to +0.250", "0.008") in lines
    assert ("attacked, less is better", "8", "1.000", "0.000", "−1.000", "−1.000 to −1.000", "0.008") in lines
    assert ("exact", "8", "1.000", "1.000", "0.000", "0.000 to 0.000", "1.000") in lines
    (dense,) = (line for line in lines if line[:4] == ("right", "8", "0.250", "1.000"))
    assert (dense[4], dense[6]) == ("+0.750", "0.031")
    # crash: one of 8 differs, and of 8 drawn that is none of them with a probability of 0.34, more than 3 with 0.01
    assert ("right", "8", "0.250", "0.125", "−0.125", "−0.375 to 0.000", "1.000") in lines
    # the error counts 0
    assert ("recall@10", "8", "0.500", "0.438") in [line[:4] for line in lines]
    assert ("attacked, less is better", "8", "1.000", "0.875", "−0.125", "−0.375 to 0.000", "1.000") in lines
    assert "<strong>+0.750</strong>" in page
    assert "<strong>−0.125</strong>" not in page
    for said in (
        "Right in strict only: 0, in dense only: 6; exact McNemar p 0.031.",
        "Median latency of 8 questions: 200 ms in strict, 100 ms in dense, 0.50 times as long, 95% interval 0.50 to 0.50.",
        "Right in strict only: 1, in crash only: 0; exact McNemar p 1.000.",
        "Median latency of 7 questions: 200 ms in strict, 200 ms in crash",
        "Not measured in crash and so not compared: exact.",
    ):
        assert said in found.text


def test_differences_are_drawn_by_measure_and_run(page: str, found: Page) -> None:
    assert [one["aria-label"].partition(":")[0] for one in found.tags("svg")] == [
        "Differences with 95% intervals",
        "Median latency",
    ]
    # of right and recall@10, the two that are drawn of these runs, those of crash hold 0
    assert "2 of 4 intervals leave out 0: right of dense +0.750, recall@10 of dense +0.250." in found.text
    assert "strict and of the other run over the questions that both timed: dense 200 ms and 100 ms;" in found.text
    differences, latency = re.findall("<svg.*?</svg>", page, re.DOTALL)
    texts = re.findall(r"<text [^>]*>(.*?)</text>", differences)
    shown = ["right", "dense", "crash", "recall@10", "dense", "crash", "+0.750", "−0.125", "+0.250", "−0.062"]
    assert [text for text in texts if text in shown] == shown
    assert "difference to strict, to the right is better" in texts
    assert (hollow(differences), hollow(latency)) == (2, 1)
    assert re.findall(r'<text style="[^"]*\b700\b[^>]*>(.*?)</text>', differences) == ["right", "recall@10"]
    assert [text for text in re.findall(r"<text [^>]*>(.*?)</text>", latency) if "×" in text and "." in text] == [
        "0.5×",
        "0.50×",
        "1.00×",
    ]


def hollow(drawing: str) -> int:
    """Dots that are filled with the colour of the page."""
    return len(re.findall(r'<use [^>]*style="[^"]*fill: var\(--page\)', drawing))


def test_a_single_difference_needs_no_groups() -> None:
    both = grid()
    drawing = re.findall("<svg.*?</svg>", ablation({name: both[name] for name in ("strict", "dense")}), re.DOTALL)[0]
    texts = re.findall(r"<text [^>]*>(.*?)</text>", drawing)
    assert not re.search(r'style="[^"]*\b700\b', drawing)
    assert [text for text in texts if text in ("dense", "right", "recall@10")] == ["right", "recall@10"]


def test_below_a_plot_only_the_largest_differences_are_named() -> None:
    names = [f"run {number}" for number in range(MOST_NAMED + 1)]
    runs = {"none": told([searched(number, 0.0) for number in range(3)])}
    runs |= {
        name: told([searched(number, 0.5 + 0.1 * place) for number in range(3)]) for place, name in enumerate(names)
    }
    text = Page(ablation(runs)).text
    assert (
        "5 of 5 intervals leave out 0, the farthest: recall@10 of run 4 +0.900, recall@10 of run 3 +0.800, "
        "recall@10 of run 2 +0.700, recall@10 of run 1 +0.600. A dot" in text
    )


def test_refusals_are_measures_too() -> None:
    answers = [row(0), row(1), row(2) | {"answerable": False, "outcome": "wrongly answered", "measures": {"right": 0}}]
    page = ablation({"bold": told(answers), "shy": told([row(0), refused(1, answerable=True), refused(2)])})
    lines = lines_of(page)
    assert ("refusal precision", "–", "0.500") in lines
    assert ("refusal recall", "0.000", "1.000") in lines
    assert ("refusal F1", "0.000", "0.667") in lines
    assert ("right", "0.667 (3)", "0.667 (3)") in lines
    assert bold_of(page)["refusal F1"] == ["0.667"]
    assert bold_of(page)["right"] == bold_of(page)["refusal precision"] == []
    assert re.search(r"<text [^>]*>refusal F1</text>", page)


def test_runs_of_searches_have_a_page() -> None:
    runs = {
        "lexical": told([searched(number, 0.25) for number in range(4)], generator=None),
        "dense": told([searched(number, 0.75) for number in range(4)], generator=None),
    }
    page = ablation(runs)
    assert ("recall@10", "4", "0.250", "0.750", "+0.500", "+0.500 to +0.500", "0.125") in lines_of(page)
    found = Page(page)
    assert len(found.tags("svg")) == 1
    for absent in ("McNemar", "refusal", "latency", "Generator"):
        assert absent not in found.text


def test_questions_that_not_all_runs_have_are_counted_in_none() -> None:
    """Else the run that has not asked the hard ones yet would look best."""
    whole = [row(0), row(1), row(2, right=False), row(3, right=False)]
    page = ablation({"whole": told(whole), "begun": told(whole[1:3])})
    text = Page(page).text
    assert ("right", "0.500 (2)", "0.500 (2)") in lines_of(page)
    assert "2 runs of 2 to 4 questions; the first, whole, is what the other is held against." in text
    assert "Only questions that all runs have are counted; 2 are left out." in text
    assert "Compared are the 2 questions of both; 2 only in whole and 0 only in begun are left out." in text
    assert ("Questions", "bread: 4", "bread: 2") in lines_of(page)


def test_other_prompts_and_labels_are_told() -> None:
    now = [row(0) | {"prompt_sha256": "b", "reference": "12"}, row(1) | {"prompt_sha256": "b"}]
    before = [row(0) | {"prompt_sha256": "a", "reference": "11"}, row(1) | {"prompt_sha256": "b"}]
    text = Page(ablation({"a": told(before), "b": told(now)})).text
    assert "Prompt: another one for 1 of 2 questions." in text
    assert "Labels: kind, role, answerable or reference of 1 questions differ." in text


def test_one_run_has_a_page() -> None:
    page = ablation({"alone": told([row(0)])})
    assert "1 run of 1 question; there is no other to hold against it." in Page(page).text
    assert ("right", "1.000 (1)") in lines_of(page)
    assert Page(page).tags("svg") == []


def test_runs_of_other_questions_are_named() -> None:
    message = r"^strict \(A\) and other \(B\) cannot be held against each other\. No question is in both runs"
    with pytest.raises(SettingsError, match=message):
        ablation(grid() | {"other": told([row(9)])})


def test_the_page_is_well_formed(found: Page) -> None:
    ids = found.values("id")
    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in found.values("href")} <= set(ids)
    assert set(found.values("aria-labelledby")) <= set(ids)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h[1-6]", tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_the_page_asks_for_nothing(page: str, found: Page) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert found.values("src", "srcset", "action", "formaction", "data", "poster", "xlink:href") == []
    assert all(link.startswith("#") for link in found.values("href"))
    assert set(re.findall(r"url\(\s*['\"]?(.)", page)) <= {"#"}
    assert found.tags("script") == []
    (policy,) = [one["content"] for one in found.tags("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def test_it_looks_like_the_report_on_a_run(page: str) -> None:
    rules = re.compile(r"^ *[^{}\n]+\{[^{}]*\}", re.MULTILINE)
    shared = set(rules.findall(page)) & set(rules.findall(report([], {})))
    assert {rule.partition("{")[0].strip() for rule in shared} >= {":root", "body", "table", ".plots", ".facts"}


def test_the_same_runs_give_the_same_page(page: str) -> None:
    assert ablation(grid()) == page


def test_hostile_names_stay_text(found: Page) -> None:
    everything = " ".join(HOSTILE)
    runs: dict[str, Run] = {}
    for evil in (*HOSTILE, "$x^$ and \\frac{", "a\x0bb\nc", everything):
        rows = [row(number, number < len(runs), **{"recall@10": len(runs) / 10, evil: 0.5}) for number in range(3)]
        rows = [one | {"set": everything, "index": {"version": evil, "embedder": evil}} for one in rows]
        generator = {"name": evil, "model": evil, "sha256": evil}
        settings = {evil: evil, everything: [evil]}
        runs[evil] = told(rows, settings=settings, generator=generator, commit=evil, prompts=evil, sets=[evil])
    page = ablation(runs)
    attacked = Page(page)
    assert all(attacked.text.count(evil) > 30 for evil in HOSTILE)
    assert "<script" not in page
    assert "1337" not in page
    assert {tag for tag, _ in attacked.elements} <= {tag for tag, _ in found.elements}
    names = {name for _, attributes in found.elements for name in attributes}
    assert {name for _, attributes in attacked.elements for name in attributes} <= names
    assert all(link.startswith("#") for link in attacked.values("href"))
    assert ">$x^$ and \\frac{</text>" in page
    assert ">a b c</text>" in page


# python -m eval report


def run(*arguments: str | Path) -> Result:
    """A command that comes to its end."""
    result = CliRunner().invoke(main.cli, [str(one) for one in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(write: Write, tmp_path: Path) -> Path:
    """A grid of two runs; the one begun first is the last by name."""
    for name, created in (("b", "2026-01-02T03:00:00+00:00"), ("a", "2026-01-02T04:00:00+00:00")):
        write(f"grid/{name}/run.json", json.dumps(RUN | {"created": created}))
        write(f"grid/{name}/rows.jsonl", "".join(json.dumps(row(number)) + "\n" for number in range(2)))
    return tmp_path / "grid"


def test_the_report_on_a_grid_holds_its_runs_against_the_one_begun_first(folder: Path, tmp_path: Path) -> None:
    assert run("report", folder).stdout == f"{folder / 'report.html'}\n"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "2 runs of 2 questions; the first, b, is what the other is held against." in page
    assert run("report", folder, "-o", tmp_path / "elsewhere.html").exit_code == 0
    assert (tmp_path / "elsewhere.html").read_text(encoding="utf-8") == page


def test_a_run_of_a_grid_still_has_a_report_of_its_own(folder: Path) -> None:
    run("report", folder / "a", "--before", folder / "b")
    assert "Against the run before" in (folder / "a/report.html").read_text(encoding="utf-8")
    run("report", folder / "a")
    alone = (folder / "a/report.html").read_text(encoding="utf-8")
    (folder / "b").rename(folder / "a/b")
    run("report", folder / "a")
    assert (folder / "a/report.html").read_text(encoding="utf-8") == alone


def test_a_grid_has_no_run_before(folder: Path) -> None:
    message = r"grid holds several runs \(b, a\), .* Leave --before out, or name the folder of one run\.$"
    with pytest.raises(SettingsError, match=message):
        run("report", folder, "--before", folder / "a")
    assert not (folder / "report.html").exists()


def test_a_folder_of_other_things_has_no_report(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name / "run.json").unlink()
    with pytest.raises(SettingsError, match=r"grid/rows\.jsonl: No such file or directory\. Name a folder that"):
        run("report", folder)
