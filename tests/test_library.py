"""The page of documents and its routes, over a real server: adding, asking, removing, mending."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from rag import library
from rag.api import create_api
from rag.library import add_library
from rag.safety import Guard
from rag.slots import Slots
from rag.uploads import Uploads
from rag.wiring import LiveEngine
from tests.test_api import served
from tests.test_uploads import COOK, collections_in, home, live, quick

__all__ = ["home", "live", "quick"]
ROUTE = "/v1/uploads"
EVIL = "<img src=x onerror=alert(1)>.md"


@pytest.fixture
def uploads(live: LiveEngine, home: Path) -> Uploads:
    return collections_in(live, home)


@pytest.fixture
def http(live: LiveEngine, uploads: Uploads) -> Iterator[httpx.Client]:
    api = create_api(live, Slots(), models=["rolewise-extractive"])
    add_library(api, uploads, live)
    with (
        served(Guard(api, hosts=frozenset({"127.0.0.1"}))) as url,
        httpx.Client(base_url=url, trust_env=False, verify=False, timeout=60) as client,
    ):
        yield client


def sent(http: httpx.Client, **files: str | bytes) -> httpx.Response:
    return http.post(ROUTE, files=[("files", (name.replace("_", "."), content)) for name, content in files.items()])


def test_files_are_added_asked_and_removed(http: httpx.Client, uploads: Uploads) -> None:
    added = sent(http, cook_md=COOK, broken_pdf="no PDF", tool_exe="MZ").json()
    assert added["added"] == ["cook.md", "broken.pdf"]
    assert [one["source"] for one in added["problems"]] == ["broken.pdf"]
    assert [one["source"] for one in added["refused"]] == ["tool.exe"]
    listed = http.get(ROUTE).json()
    assert [(one["name"], one["title"], one["passages"]) for one in listed["files"]] == [
        ("cook.md", "cook", 1),
        ("broken.pdf", "", 0),
    ]
    assert listed["work"] is None
    assert listed["totals"] == {"files": 2, "bytes": len(COOK) + 6, "passages": 1}
    assert uploads.of().engine().search("soup")[0].passage.text == "Cooks cook soup in Basel."
    assert http.delete(f"{ROUTE}/broken.pdf").json() == {"removed": ["broken.pdf"]}
    assert http.delete(f"{ROUTE}/broken.pdf").json() == {"removed": []}
    assert http.delete(ROUTE).status_code == 204
    assert http.get(ROUTE).json()["files"] == []


def test_the_page_shows_both_shelves_and_no_markup_of_theirs(http: httpx.Client) -> None:
    assert "There are none yet." in http.get("/documents").text
    http.post(ROUTE, files=[("files", (EVIL, "# <script>alert(2)</script>\n\nText.\n"))])
    page = http.get("/documents")
    assert "<img" not in page.text
    assert "<script>alert" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert 'href="/read/baker"' in page.text  # of the server
    assert 'href="/search?in=own"' in page.text


def test_a_request_without_a_file_is_told_what_is_wanted(http: httpx.Client) -> None:
    reply = http.post(ROUTE, data={"files": "no file"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "no file was sent. Send each under the name files."


def test_a_damaged_index_is_told_and_mended(http: httpx.Client, home: Path, uploads: Uploads) -> None:
    sent(http, cook_md=COOK)
    uploads.of().close()
    for vectors in (home / "var" / "collections" / "own" / "index" / "build").glob("*/vectors*"):
        vectors.write_bytes(b"\0" * vectors.stat().st_size)
    assert "damaged" in http.get("/documents").text
    assert http.post(f"{ROUTE}/rebuild").json() == {}
    assert "damaged" not in http.get("/documents").text
    assert uploads.of().engine().search("soup")[0].passage.text == "Cooks cook soup in Basel."


def test_attacks_on_the_upload_get_nowhere(http: httpx.Client, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    climbing = http.post(ROUTE, files=[("files", ("../../../evil.md", COOK))]).json()
    assert climbing["added"] == ["evil.md"]
    assert all(home in path.parents for path in home.parent.rglob("evil.md"))
    hidden = http.post(ROUTE, files=[("files", (".bashrc", "alias ls=rm"))]).json()
    assert hidden["added"] == []
    foreign = http.post(ROUTE, files=[("files", ("a.md", COOK))], headers={"origin": "http://evil.example"})
    assert foreign.status_code == 403
    huge = HTTPConnection(http.base_url.host, http.base_url.port)
    huge.putrequest("POST", ROUTE)
    huge.putheader("Content-Length", "200000001")
    huge.endheaders()
    assert huge.getresponse().status == 413  # by its head alone
    huge.close()
    monkeypatch.setattr(library, "MOST_FILES", 3)
    many = http.post(ROUTE, files=[("files", (f"{number}.md", COOK)) for number in range(4)])
    assert many.status_code == 400
    assert [one["name"] for one in http.get(ROUTE).json()["files"]] == ["evil.md"]
