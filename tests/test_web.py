"""The plain pages over a real index and a real server on loopback."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html
from starlette.requests import Request

from rag import slots
from rag.answering import Engine
from rag.api import create_api
from rag.errors import IndexDamaged
from rag.pages import asset
from rag.pages.frame import MOST_LISTED, address, reader_address, shelf
from rag.pages.reader import headings_of, text_of
from rag.pages.search import Asked, Choices, search_page
from rag.parsed import Writer
from rag.safety import Guard
from rag.slots import SEARCH, Slots
from rag.types import Document
from rag.web import HEADERS, add_pages
from tests.test_api import served

EVIL = "---\ntitle: '<b onclick=\"x()\">Evil</b>'\n---\n## `</h2><script>`\n\nA Smith is evil.\n"
RAW = """\
<script>alert(1)</script> & </mark></p></main> A Smith earns ${alert(1)} or {{value}} "><img src=x onerror=alert(1)> a year.

[x](javascript:alert(1)) ![](http://evil.example/p.png) <a href="http://evil.example">x</a> http://evil.example/page
"""
NAMES = ("baker", "evil", "miller", "raw")


def client_of(engine: Engine) -> Iterator[httpx.Client]:
    def engine_in(request: Request) -> Engine:
        if request.query_params.get("in") == "gone":
            raise IndexDamaged("/srv/secret/build/manifest.json is damaged. Build the index again.")
        return engine

    places = Slots()
    api = create_api(lambda: engine, places, models=["rolewise-extractive"])
    add_pages(api, engine_in, places)
    with (
        served(Guard(api, hosts=frozenset({"127.0.0.1"}))) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        yield client


@pytest.fixture
def engine(shelf: Path, engine_over: Callable[..., Engine]) -> Engine:
    (shelf / "evil.md").write_text(EVIL, encoding="utf-8")
    (shelf / "raw.txt").write_text(RAW, encoding="utf-8")
    return engine_over(shelf)


@pytest.fixture
def client(engine: Engine) -> Iterator[httpx.Client]:
    yield from client_of(engine)


def parsed(reply: httpx.Response) -> Any:
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    return html.document_fromstring(reply.text)


def ids(tree: Any) -> list[str]:
    return [str(one) for one in tree.xpath("//li[@class='card']/@id")]


def text_in(element: Any) -> str:
    """The text of an element without the names of pages and rows."""
    return "".join(element.xpath(".//text()[not(ancestor::span[@class='where'])]"))


def marked_in(tree: Any) -> str:
    return "".join(text_in(one) for one in tree.xpath("//div[@class='document']//mark"))


def test_the_page_and_its_part_show_what_the_engine_finds_in_its_order(client: httpx.Client, engine: Engine) -> None:
    for asked in (
        {"q": "flour and yeast"},
        {"q": "flour and yeast", "k": "2"},
        {"q": "pay in Bern", "role": "Baker"},
        {"q": "pay in Bern", "document": "miller"},
        {"q": "What do Bakers and Millers earn?", "chapter": "Pay"},
        {"q": "pay", "role": "", "document": "", "chapter": "", "k": "", "in": ""},
    ):
        options = {name: asked[name] for name in ("role", "document", "chapter") if asked.get(name)}
        found = engine.search(asked["q"], k=int(asked.get("k") or 10), **options)
        expected = [one.passage.id for one in found]
        assert expected
        for path in ("/search", "/search/results"):
            reply = client.get(path, params=asked)
            assert reply.status_code == 200
            assert ids(parsed(reply)) == expected
            [count] = parsed(reply).xpath("//p[@data-address]")
            assert count.text == f"{len(expected)} passage{'s' * (len(expected) > 1)}"


def test_a_result_tells_its_place_ranks_and_words_and_links_to_reader_and_itself(client: httpx.Client) -> None:
    tree = parsed(client.get("/search", params={"q": "flour and yeast", "k": "1", "document": "baker", "in": "own"}))
    [card] = tree.xpath("//li[@class='card']")
    assert card.get("id") == "baker:106-203"
    assert [one.text for one in card.xpath(".//mark")] == ["flour", "yeast"]
    assert " ".join(card.xpath("./h2//a")[0].text_content().split()) == "BakerSkills"
    facts = {one[0].text: one[1].text_content() for one in card.xpath(".//dl/div")}
    assert facts["fused"] == "score 1.0000"  # the best of both searches
    assert facts["place"] == "baker characters 106–203"
    assert facts["dense"].startswith("rank 1, score 0.")
    opens, link = card.xpath(".//a/@href")
    assert opens == "/read/baker?start=106&end=203&in=own#quotation"
    assert link == "/search?q=flour+and+yeast&document=baker&k=1&in=own#baker%3A106-203"
    assert set(tree.xpath("//nav[@aria-label='Pages']//a/@href")) == {
        "/?in=own",
        "/search?in=own",
        "/documents",
        "/monitor",
    }
    assert tree.xpath("//form//input[@type='hidden' and @name='in']/@value") == ["own"]
    assert tree.xpath("//select[@name='document']/option[@selected]/@value") == ["baker"]
    assert tree.xpath("//select[@name='role']/option/@value") == ["", "Baker", "Miller"]
    assert tree.xpath("//select[@name='chapter']/option/@value")[:2] == ["", "Pay"]  # the one in most documents


def test_without_a_question_the_documents_are_listed(client: httpx.Client) -> None:
    tree = parsed(client.get("/search", params={"in": "own"}))
    assert tree.xpath("//ul[@class='shelf']//a/@href") == [f"/read/{one}?in=own" for one in NAMES]


def test_what_cannot_be_searched_is_said_on_the_page(client: httpx.Client) -> None:
    for asked, said in (
        ({"q": "Bern", "role": "pilot"}, "No single role is called 'pilot'. Roles: Baker, Miller."),
        ({"q": "Bern", "document": "<i>"}, "There is no document '<i>'."),
        ({"q": "Bern", "chapter": "Tools"}, "No document has a chapter 'Tools'."),
        ({"q": "Bern", "k": "0"}, "The number of passages is 0; give 1 to 100."),
        ({"q": "Bern", "k": "101"}, "The number of passages is 101; give 1 to 100."),
        ({"q": "Bern", "k": "²"}, "The number of passages is ²; give 1 to 100."),
        ({"q": "x" * 4001}, "The question has 4,001 characters; at most 4,000 are read."),
        ({"q": "Bern", "role": "x" * 201}, "A role, document or chapter has at most 200 characters."),
    ):
        for path in ("/search", "/search/results"):
            reply = client.get(path, params=asked)
            assert reply.status_code == 400
            assert [one.text for one in parsed(reply).xpath("//p[@role='alert']")] == [said]
        assert parsed(client.get("/search", params=asked)).xpath("//input[@name='q']/@value") == [asked["q"]]


def test_an_index_that_cannot_be_had_is_told_without_paths_of_the_machine(client: httpx.Client) -> None:
    for path in ("/search?q=Bern&in=gone", "/search/results?q=Bern&in=gone", "/read/baker?in=gone"):
        reply = client.get(path)
        assert reply.status_code == 503
        told = [one.text for one in parsed(reply).xpath("//p[@role='alert']")]
        assert told == ["Manifest.json is damaged. Build the index again."]
        assert "secret" not in reply.text


def test_too_many_at_once_are_told_when_to_come_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(slots.PLACES, SEARCH, 0)
    monkeypatch.setattr(slots, "WAITING", 0)
    for client in client_of(engine):
        reply = client.get("/search?q=Bern")
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "5")
        assert "Too many questions are waiting." in parsed(reply).xpath("//p[@role='alert']")[0].text


def test_the_reader_shows_the_stored_text_with_the_span_marked(client: httpx.Client, engine: Engine) -> None:
    document = engine.version.documents["baker"]
    start, end = document.text.index("A Baker earns"), document.text.index("They know")
    tree = parsed(client.get("/read/baker", params={"start": start, "end": end, "in": "own"}))
    [body] = tree.xpath("//div[@class='document']")
    assert text_in(body) == document.text
    assert marked_in(tree) == document.text[start:end]
    [quotation] = tree.xpath("//mark[@id='quotation']")
    assert (quotation.text, quotation.get("tabindex")) == ("A Baker earns, by place:", "-1")
    assert [(one.tag, one.text_content(), one.get("id")) for one in body.xpath("./h1 | ./h2 | ./h3")] == [
        ("h1", "Baker", "title"),
        ("h2", "Pay", "section-1"),
        ("h2", "Skills", "section-2"),
    ]
    assert tree.xpath("//nav[@aria-label='Outline']//a/@href") == ["#section-1", "#section-2"]
    assert tree.xpath("//h2[@id='section-2']/mark/text()") == ["Skills"]
    assert tree.xpath("//title/text()") == ["Baker – Rolewise"]
    assert not tree.xpath("//p[@role='note']")


def test_a_span_that_is_none_marks_nothing_and_says_so(client: httpx.Client, engine: Engine) -> None:
    for query in ("", "start=5", "start=9&end=9", "start=9&end=4", "start=-1&end=4", "start=0&end=999999"):
        reply = client.get(f"/read/baker?{query}")
        tree = parsed(reply)
        assert reply.status_code == 200
        assert not tree.xpath("//mark")
        assert "Nothing is marked" in tree.xpath("//p[@role='note']")[0].text
        assert text_in(tree.xpath("//div[@class='document']")[0]) == engine.version.documents["baker"].text


def test_a_document_that_is_not_there_leads_to_those_that_are(client: httpx.Client) -> None:
    for path in ("/read/cook?in=own", "/read/?in=own", "/read/a/b%00?in=own"):
        reply = client.get(path)
        assert reply.status_code == 404
        assert parsed(reply).xpath("//main//a/@href") == [f"/read/{one}?in=own" for one in NAMES]


def test_hostile_text_stays_text_and_leads_nowhere(client: httpx.Client, engine: Engine) -> None:
    for path in (
        "/search",
        "/search?q=%3Cscript%3E%22onfocus%3D1&in=%22%3E%3Cscript%3E",
        "/search?q=Smith+earns&document=raw",
        "/search?q=Smith&document=evil",
        "/read/evil?start=3&end=9&in=%22%3E",
        "/read/raw?start=3&end=120",
        "/read/%22%3E%3Cscript%3E",
    ):
        tree = parsed(client.get(path))
        assert tree.xpath("//img | //style | //iframe | //script[not(@src)] | //b") == []
        assert [one for one in tree.xpath("//@*") if re.match("on|style$", one.attrname)] == []
        for one in tree.xpath("//@href | //@src | //@action"):
            assert re.match(r"/$|/\?|/search|/read/|/documents$|/monitor$|/static/|#section-|data:,$", one)
    raw = engine.version.documents["raw"]
    assert raw.text.startswith("<script>alert(1)</script> & </mark></p></main> A Smith earns ${alert(1)} or {{value}}")
    tree = parsed(client.get("/read/raw?start=3&end=120"))
    assert text_in(tree.xpath("//div[@class='document']")[0]) == raw.text
    assert marked_in(tree) == raw.text[3:120]
    tree = parsed(client.get("/read/evil"))
    assert tree.xpath("//h1/text()") == ['<b onclick="x()">Evil</b>']
    assert tree.xpath("//h2/text()") == ["</h2><script>"]
    assert tree.xpath("//nav[@aria-label='Outline']//a/text()") == ["</h2><script>"]
    [shown] = parsed(client.get("/search?q=Smith+earns&document=raw&k=1")).xpath("//p[@class='text']")
    assert '"><img src=x onerror=alert(1)> a year' in shown.text_content()


def test_pages_run_nothing_that_is_in_them_and_assets_are_kept_by_their_content(client: httpx.Client) -> None:
    for path in ("/search", "/search/results?q=Bern", "/read/baker", "/read/cook", "/search?q=Bern&k=0"):
        reply = client.get(path)
        assert {name: reply.headers[name] for name in HEADERS} == HEADERS
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
    tree = parsed(client.get("/search"))
    for name, kind in (("pages.css", "text/css"), ("search.js", "text/javascript")):
        [where] = [one for one in tree.xpath("//link/@href | //script/@src") if name in one]
        reply = client.get(where)
        assert reply.text == asset(name)
        assert reply.headers["content-type"] == f"{kind}; charset=utf-8"
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert parse_qs(urlsplit(where).query)["v"] == [hashlib.sha256(reply.content).hexdigest()[:12]]
    assert not [path for path in client.get("/openapi.json").json()["paths"] if path.startswith(("/search", "/read/"))]


def test_a_document_of_a_megabyte_is_one_page(client: httpx.Client, engine: Engine) -> None:
    writer = Writer()
    for number in range(100):
        writer.heading(f"Part {number}", 2)
        writer.block("Stone on stone. " * 650)
    big = document_of(writer)
    assert len(big.text) > 1_000_000
    engine.version.documents = {big.id: big}  # type: ignore[assignment]
    tree = parsed(client.get(f"/read/{big.id}", params={"start": 900_000, "end": 900_100}))
    assert marked_in(tree) == big.text[900_000:900_100]
    assert len(tree.xpath("//nav[@aria-label='Outline']//li")) == 100


def document_of(writer: Writer) -> Document:
    done = writer.parsed()
    return Document("written", "Written", None, done.text, done.sections, "written.pdf", "0" * 64, marks=done.marks)


def paged() -> Document:
    """Four pages, a heading without text and lines that are indented."""
    writer = Writer()
    writer.mark("page 1")
    writer.title("Written")
    writer.heading("One", 1)
    writer.block("  Half a")
    writer.mark("page 2")
    writer.block("line.\n\n\n  More & more.", gap="\n")
    writer.heading("Empty", 2)
    writer.heading("Two", 1)
    writer.heading("Deep", 2)
    writer.mark("page 3")
    writer.block("- a & b\n- <c>\n\n\u200dé")
    writer.mark("page 4")
    writer.heading("Last", 1)
    return document_of(writer)


PAGED = paged()


@given(st.data())
def test_what_is_marked_is_the_text_between_the_offsets(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(PAGED.text) - 1))
    end = data.draw(st.integers(start + 1, len(PAGED.text)))
    tree = html.fragment_fromstring(text_of(PAGED, headings_of(PAGED), (start, end)), create_parent="div")
    tree.set("class", "document")
    assert text_in(tree) == PAGED.text
    assert "".join(text_in(one) for one in tree.xpath(".//mark")) == PAGED.text[start:end]
    [quotation] = tree.xpath(".//mark[@id='quotation']")
    assert quotation.text.strip() or not PAGED.text[start:end].strip()


def test_pages_of_the_file_are_named_where_they_begin() -> None:
    markup = text_of(PAGED, headings_of(PAGED), None)
    assert re.findall(r'<span class="where">(page \d)</span>([^<]*)', markup) == [
        ("page 1", "Written"),
        ("page 2", "line."),
        ("page 3", "- a &amp; b\n- &lt;c&gt;"),
        ("page 4", "Last"),
    ]


def test_headings_stand_as_deep_as_the_paths_of_their_sections() -> None:
    assert [(one.text, one.level) for one in headings_of(PAGED)] == [
        ("Written", 0),
        ("One", 1),
        ("Empty", 1),  # as deep as the one behind it: it has no section that could tell
        ("Two", 1),
        ("Deep", 2),
        ("Last", 1),
    ]
    assert all(PAGED.text[one.start : one.end] == one.text for one in headings_of(PAGED))


def test_addresses_are_encoded_and_say_nothing_empty() -> None:
    assert (
        address("/search", {"q": "a&b", "role": "", "in": "ü"}, "x y:1-2")
        == "/search?q=a%26b&amp;in=%C3%BC#x%20y%3A1-2"
    )
    assert reader_address("a/../b?#", "own") == "/read/a%2F..%2Fb%3F%23?in=own"


def test_long_lists_are_cut_and_keep_what_is_chosen() -> None:
    documents = {
        f"d{number}": Document(f"d{number}", "Same", None, "", (), "", "").head for number in range(MOST_LISTED + 20)
    }
    assert shelf(documents, "").count("<li>") == MOST_LISTED
    assert "and 20 more" in shelf(documents, "")
    page = search_page(Asked(document="d510"), Choices([], documents, [], 10, 100), "")
    tree = html.document_fromstring(page)
    assert tree.xpath("//select/@name") == ["document"]
    assert tree.xpath("//option[@selected]/text()") == ["Same (d510)"]
    assert tree.xpath("//option[@disabled]/text()") == ["and 19 more"]
