"""A real Chromium, and pages in it that may ask for nothing beyond loopback."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync""".split()
PATIENCE = 60_000
"""Milliseconds, on a machine that does much else."""
WITHIN = ("http://127.0.0.1:", "data:", "blob:")


@pytest.fixture(scope="module")  # its event loop must end before other tests begin theirs
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"there is no Chromium at {CHROMIUM}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), headless=True, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address; fails at the end if a page asked for anything beyond loopback or a script failed.

    Options are those of a browser context.
    """
    expect.set_options(timeout=PATIENCE)
    asked: list[Request] = []
    failures: list[str] = []

    def opened(address: str, **options: Any) -> Page:
        page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options}).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - it must be a Python function
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda said: failures.append(said.text) if _is_blocked(said.text) else None)
        page.goto(address)
        return page

    yield opened
    foreign = [one.url for one in asked if one.failure != "csp" and not one.url.startswith(WITHIN)]
    for context in browser.contexts:
        context.close()
    assert foreign == []
    assert failures == []


def _is_blocked(said: str) -> bool:
    """Whether the browser tells that the policy kept a part of the page itself away; images are only in documents."""
    return "Content Security" in said and "Loading the image" not in said


@pytest.fixture(scope="session")
def faults_of() -> Callable[[Page], list[str]]:
    """What axe-core finds in a page beyond what it calls minor. The page's context must bypass its policy."""
    spec = importlib.util.find_spec("axe_core_python")
    assert spec is not None
    axe = (Path(str(spec.origin)).parent / "axe.min.js").read_text(encoding="utf-8")

    def found(page: Page) -> list[str]:
        page.add_script_tag(content=axe)
        violations = page.evaluate("axe.run().then((all) => all.violations)")
        return [
            f"{one['impact']} {one['id']}: {[node['html'][:200] for node in one['nodes']]}"
            for one in violations
            if one["impact"] != "minor"
        ]

    return found
