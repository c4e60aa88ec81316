"""The page about a run: all of it is there, none of it is taken for markup, and it asks for nothing."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from eval.plots import MOST_BARS
from eval.report import report

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split()
VOID = {"meta", "br", "input", "path", "use", "image"}
HOSTILE = (
    "<script>alert(1)</script>",
    '" onload="alert(1)',
    "' autofocus onfocus='alert(1)",
    "{{ 7 * 191 }}",
    "-->",
    "]]>",
    "</style>",
    "javascript:alert(1)",
)
RUN = {
    "created": "2026-01-02T03:04:05+00:00",
    "generator": {"name": "local", "model": "tiny-1b", "sha256": "ab" * 32},
    "prompts": "ef" * 32,
    "settings": {"passages": 10, "weights": [1, 0.5]},
    "commit": "4f2c9d1e77a0",
    "sets": ["bread"],
}


UNMEASURED: dict[str, Any] = {"timings_ms": {}, "unanswerable": None, "measures": {}}
"""Fields of rows that only their outcomes are drawn of."""


class Page(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, its text, its script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.script = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.script += data
        elif not self.open or self.open[-1] != "style":
            self.said.append(data)

    @property
    def text(self) -> str:
        """All that is said, each run of blanks as one."""
        return " ".join("".join(self.said).split())

    def values(self, *names: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements for name in names if name in attributes]

    def tags(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def cited(marker: int, quote: str, **more: Any) -> dict[str, Any]:
    return {
        "marker": marker,
        "document": "baker",
        "title": "Baker",
        "role": "Baker",
        "section": ["Pay", "By place"],
        "passage": "baker:0-90",
        "quote": quote,
        "start": 12,
        "end": 40,
    } | more


def row(number: int, outcome: str = "right", **more: Any) -> dict[str, Any]:
    refused = outcome == "wrongly refused"
    quote = f"Bern pays {number},000 francs & more"
    return {
        "id": f"pay-{number}",
        "question": f"What does bakery {number} pay?",
        "status": "not_found" if refused else "answered",
        "answer": "The documents do not tell." if refused else f"It pays {number},000 francs. [1]",
        "citations": [] if refused else [cited(1, quote)],
        "struck": [],
        "passages": [],
        "generator": {"name": "local", "model": "tiny-1b", "sha256": "ab" * 32},
        "index": {"version": "35f8bc133515", "embedder": "hashing"},
        "prompt_sha256": "cd" * 32,
        "notice": "",
        "read_as": "",
        "unanswerable": number % 10 / 10,
        "timings_ms": {"retrieve": 5.0, "first_token": 100.0, "total": 1000.0 + number},
        "set": "bread",
        "kind": "fact",
        "split": "dev",
        "role": "Baker",
        "answerable": outcome != "wrongly answered",
        "reference": f"{number},000 francs",
        "outcome": outcome,
        "missing": [] if outcome == "right" else ["francs"],
        "measures": {"right": float(outcome == "right"), "hit@1": 0.5, "nDCG@10": 0.25},
        "tokens": {"prompt": 900, "answer": 12},
        "settings": {},
        "commit": "4f2c9d1e77a0",
    } | more


def error(number: int) -> dict[str, Any]:
    kept = ("id", "question", "set", "kind", "split", "role", "answerable", "reference")
    failed = {
        "status": "error",
        "answer": "",
        "error": "It ran out of memory.",
        "citations": [],
        "struck": [],
        "passages": [],
    }
    return (
        {name: row(number)[name] for name in kept}
        | failed
        | {"outcome": "wrong", "missing": [], "measures": {"right": 0.0}}
    )


def lines_of(page: str) -> list[tuple[str, ...]]:
    """The cells of each row of each table."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    cells = [re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [tuple(re.sub("<.*?>", "", cell).strip() for cell in row) for row in cells]


STRUCK = [{"sentence": "Bakers fly.", "reason": "no source says so"}]
ROWS = [
    row(
        1,
        answer="One [1], two [2], three [7].",
        citations=[cited(1, "One, see https://evil.example/x"), cited(2, "Two.")],
    ),
    row(2, "wrong", missing=["12 francs"], struck=STRUCK, notice="The model was replaced.", read_as="Pay of bakery 2?"),
    row(3, "wrongly refused", kind="list", role=None),
    row(4, "wrongly answered", kind="absent", role="Miller", asker="an apprentice"),
    error(5),
]


@pytest.fixture(scope="module")
def page() -> str:
    return report(ROWS, RUN)


@pytest.fixture(scope="module")
def found(page: str) -> Page:
    return Page(page)


def test_the_page_tells_what_was_run(found: Page) -> None:
    for said in (
        "Evaluation of bread",
        "5 questions, generator local: tiny-1b, 2026-01-02T03:04:05+00:00",
        "2026-01-02T03:04:05+00:00",
        "4f2c9d1e77a0",
        f"local: tiny-1b, sha256 {'ab' * 32} (4 answers)",
        "hashing",
        "35f8bc133515 (bread)",
        "cd" * 32,
        "ef" * 32,
        "passages = 10",
        "weights = [1, 0.5]",
        "prompt: 900",
    ):
        assert said in found.text


def test_headline_figures_have_intervals(found: Page) -> None:
    assert "Right 20.0% 1 of 595% interval 3.6%–62.4%" in found.text  # a line break stands between 5 and 95
    assert "Refusal precision 0.0% 0 of 195% interval 0.0%–79.3%" in found.text
    assert "Errors 20.0% 1 of 595%" in found.text
    assert "Time to the whole answer 1.0 s median" in found.text


def test_every_question_is_there_with_all_that_is_known_of_it(found: Page) -> None:
    for said in (
        "What does bakery 2 pay?",
        "It pays 2,000 francs. [1]",
        "Bern pays 2,000 francs & more",
        "Baker › Pay › By place",
        "12 francs",
        "Bakers fly.",
        "no source says so",
        "The model was replaced.",
        "Pay of bakery 2?",
        "an apprentice",
        "It ran out of memory.",
        "Time: retrieve after 5.0 ms, first token after 100 ms, total after 1.0 s",
    ):
        assert said in found.text
    assert found.text.count("What does bakery") == len(ROWS)


def test_what_went_wrong_comes_first(found: Page) -> None:
    outcomes = [attributes["data-outcome"] for attributes in found.tags("details") if "data-outcome" in attributes]
    assert outcomes == ["wrong", "wrong", "wrongly refused", "wrongly answered", "right"]


def test_markers_lead_to_their_quotations(found: Page) -> None:
    assert [attributes["href"] for attributes in found.tags("a")][-2:] == ["#q1-1", "#q1-2"]
    assert {"q1-1", "q1-2"} <= set(found.values("id"))
    assert "One [1], two [2], three [7]." in found.text


def test_the_page_is_well_formed(found: Page) -> None:
    ids = found.values("id")
    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in found.values("href")} <= set(ids)
    assert set(found.values("aria-labelledby")) <= set(ids)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h[1-6]", tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_each_plot_is_an_image_with_its_figures_in_words_and_in_a_table(found: Page) -> None:
    drawings = found.tags("svg")
    assert len(drawings) == len(found.tags("figcaption")) == 6
    assert all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    for said in (
        "1 of 5 questions are right (20%)",
        "The highest share is that of fact (33% of 3), the lowest that of list (0% of 1).",
        # Brier: (0.1² + 0.2² + 0.3² + 0.6²) / 4; calibration: (0.1 + 0.2 + 0.3 + 0.6) / 4, each in a bin of its own
        "Brier score 0.125, expected calibration error 0.300 over 4 questions",
        # answers at 0.1, 0.2 and 0.4 are right, wrong and wrong: (0 + 1/2 + 2/3) / 3
        "Of all answers that were given 66.7% are not right (the point). The area under the curve is 0.389;",
        # the times 1001 to 1004 ms of four answers
        "Total: median 1.0 s, 95th percentile 1.0 s, over 4 answers.",
    ):
        assert said in found.text


def test_plots_hold_text_in_colours_of_the_page(page: str) -> None:
    assert re.search(r"<text [^>]*fill: currentColor[^>]*>fact \(3\)</text>", page)
    assert "fill: var(--wrongly-refused)" in page
    assert "#00ab0" not in page


def test_the_page_asks_for_nothing(page: str, found: Page) -> None:
    assert set(re.findall(r"https?:[^\s<]*", page)) == {"https://evil.example/x"}  # a quotation's
    assert all(link.startswith("#") for link in found.values("href"))
    assert found.values("src", "srcset", "action", "formaction", "data", "poster", "xlink:href") == []
    assert "@import" not in page
    assert set(re.findall(r"url\(\s*['\"]?(.)", page)) <= {"#"}
    (policy,) = [one["content"] for one in found.tags("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(found.script.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_the_same_rows_give_the_same_page(page: str) -> None:
    assert report(ROWS, RUN) == page


def test_hostile_text_stays_text(found: Page) -> None:
    rows: list[dict[str, Any]] = []
    for number, evil in enumerate(HOSTILE):
        one = row(
            number,
            "wrong",
            **dict.fromkeys(("id", "set", "question", "kind", "role", "split", "asker", "reference"), evil),
        )
        rows.append(
            one
            | dict.fromkeys(("notice", "read_as", "prompt_sha256"), evil)
            | {
                "answer": f"{evil} [1]",
                "missing": [evil],
                "citations": [cited(1, evil, document=evil, title=evil, section=[evil])],
                "struck": [{"sentence": evil, "reason": evil}],
                "generator": {"name": evil, "model": evil, "sha256": evil},
                "index": {"version": evil, "embedder": evil},
                **{field: {evil: 1.0} for field in ("timings_ms", "tokens", "measures")},
            }
        )
        rows.append(error(number) | {"error": evil, "id": evil, "kind": evil})
    everything = " ".join(HOSTILE)
    run = {
        "settings": {everything: everything},
        "sets": [everything],
        **dict.fromkeys(("created", "commit", "generator", "prompts"), everything),
    }
    page = report(rows, run, [one | {"outcome": "right"} for one in rows])
    attacked = Page(page)
    assert all(attacked.text.count(evil) > 30 for evil in HOSTILE)
    assert "1337" not in page
    assert attacked.script == found.script
    assert "<script>alert" not in page
    known = {tag for tag, _ in found.elements}
    assert {tag for tag, _ in attacked.elements} <= known
    names = {name for _, attributes in found.elements for name in attributes}
    assert {name for _, attributes in attacked.elements for name in attributes} <= names
    assert all(link.startswith("#") for link in attacked.values("href"))


def test_names_in_plots_are_drawn_as_they_are() -> None:
    names = {
        "$x^$ and $\\frac{$": "$x^$ and $\\frac{$",
        "烘焙师 🥖": "烘焙师 🥖",
        "a\x0bb\x00c\nd": "a b c d",
        "Senior Staff Bread Engineer of the North": "Senior Staff Bread Engine…",
        "#00ab00 and url(#x)": "#00ab00 and url(#x)",
    }
    page = report([row(number, role=name, **UNMEASURED) for number, name in enumerate(names)], RUN)
    for shown in names.values():
        assert f">{shown} (1)</text>" in page


def test_a_plot_shows_the_largest_groups_and_its_table_all() -> None:
    rows = [
        row(place, role=f"Role {place:02}", **UNMEASURED)
        for place in range(MOST_BARS + 1)
        for _ in range(1 + (place != 3))
    ]
    page = report(rows, RUN)
    assert page.count(" (2)</text>") == MOST_BARS
    assert "Role 03 (1)" not in page
    assert '<th scope="row">Role 03</th><td>1</td>' in page


def test_a_run_without_questions_has_a_page() -> None:
    empty = Page(report([], {}))
    assert "No question was asked." in empty.text
    assert empty.tags("svg") == empty.tags("form") == empty.tags("table") == []


def test_a_run_of_searches_has_a_page() -> None:
    missed = error(2) | {"measures": {"hit@1": 0.0}}
    found = {**error(1), "status": "retrieved", "error": "", "passages": [cited(1, "")], "measures": {"hit@1": 1.0}}
    rows = [
        {name: value for name, value in one.items() if name not in ("outcome", "missing")} for one in (found, missed)
    ]
    page = Page(report(rows, RUN, rows))
    for said in (
        "(hit@1) 50.0%",
        "Only searched: 2",
        "First passages found Baker › Pay › By place · baker",
        "Retrieval by kind",
    ):
        assert said in page.text
    assert "Outcomes by kind" not in page.text
    assert "Right" not in page.text


def test_a_run_of_errors_has_a_page() -> None:
    text = Page(report([error(1), error(2)], RUN)).text
    assert "0 of 2 questions are right (0%)" in text
    assert "Errors 100.0%" in text
    assert "Brier" not in text


def test_what_turned_is_listed_worse_first_and_measures_by_set(found: Page) -> None:
    past = [row(1, "wrong"), row(2), row(3, "wrong"), row(4), row(9)]
    now = [
        row(1),
        row(2, "wrong"),
        row(3, "wrongly refused"),
        row(4),
        row(8, "wrongly answered", set="rye", status="not_found", measures={"right": 1.0, "attacked": 0.0}),
    ]
    page = report(now, RUN, past)
    assert (
        "1 got worse, 1 got better and 1 went wrong in another way. 2 questions are in only one of the runs."
        in Page(page).text
    )
    assert "What turned" not in found.text
    lines = lines_of(page)
    assert [line for line in lines if line[0].startswith("What does bakery")] == [
        ("What does bakery 2 pay?", "bread", "right", "wrong"),
        ("What does bakery 3 pay?", "bread", "wrong", "wrongly refused"),
        ("What does bakery 1 pay?", "bread", "wrong", "right"),
    ]
    for line in (
        ("Measure", "All", "bread", "rye"),
        ("right", "0.600 (5)", "0.500 (4)", "1.000 (1)"),
        ("hit@1", "0.500 (4)", "0.500 (4)", "–"),
        ("attacked, less is better", "0.000 (1)", "–", "0.000 (1)"),
        ("refusal precision", "0.500", "0.000", "1.000"),  # of the refusals 3 and 8 the second was due
        ("refusal recall", "1.000", "–", "1.000"),
    ):
        assert line in lines


def test_five_hundred_questions_make_a_page_soon() -> None:
    answer = "word " * 100 + "[1]"
    rows = [
        row(number, "wrong", answer=answer, citations=[cited(mark, f"{number}-{mark} " * 40) for mark in range(1, 6)])
        for number in range(500)
    ]
    start = time.process_time()
    page = report(rows, RUN, rows)
    assert time.process_time() - start < 10
    assert len(page.encode()) < 5_000_000
    quotes = re.findall(r"<blockquote[^>]*>(.*?)</blockquote>", page)
    assert quotes == [citation["quote"] for one in rows for citation in one["citations"]]


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no Chromium at {CHROMIUM}")
def test_questions_are_filtered_and_reached_in_a_browser(tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    rows = [row(1), row(2, "wrong", kind="list"), row(3, "wrong"), row(4, "wrongly answered", kind="absent")]
    file = tmp_path / "report.html"
    file.write_text(report(rows, RUN, [row(1), row(2), row(3, "wrong"), row(4, "wrongly answered")]), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda fault: said.append(str(fault)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        shown = page.locator("details.question:visible")
        expect(shown).to_have_count(4)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.get_by_label("Words in").fill("BAKERY 3,000")
        expect(shown).to_have_count(1)
        expect(shown).to_contain_text("What does bakery 3 pay?")
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("combobox", name="Outcome").select_option("wrong")
        page.get_by_role("combobox", name="Kind").select_option("fact")
        expect(page.locator("output")).to_have_text("1 of 4 shown")
        page.locator(".turned a").first.click()  # question 2, which the filter hides
        expect(page.locator("#q2 blockquote")).to_be_in_viewport()
        browser.close()
    assert said == []
    assert asked == [file.as_uri()]


def test_every_measure_is_told_by_kind_and_by_role() -> None:
    rows = [
        row(1, kind="fact", role="Baker"),
        row(2, "wrong", kind="list", role="Baker"),
        row(3, kind="list", role=None),
    ]
    page = report(rows, RUN)
    lines = lines_of(page)
    assert ("Measure", "All", "fact", "list") in lines
    assert ("right", "0.667 (3)", "1.000 (1)", "0.500 (2)") in lines
    assert "The same by kind" in page
    assert "The same by role" not in page  # one role alone is no slice
