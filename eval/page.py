"""What the pages about runs share: their templates, and how figures and values are written.

A page is one HTML file that needs nothing else. Every template escapes what it is given and extends page.html, whose
policy forbids the page to ask for anything over the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template


def template(name: str) -> Template:
    """The template in the file `name` of this folder; a value that it is not given is an error."""
    return _environment().get_template(name)


def percent(share: float) -> str:
    return f"{share:.1%}"


def duration(milliseconds: float) -> str:
    """With three significant digits or so: "0.4 ms", "277 ms", "18.9 s"."""
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:,.1f} s"


def signed(difference: float) -> str:
    """With three decimals and a sign, except for 0."""
    return f"{difference:+z.3f}".replace("-", "−").replace("+0.000", "0.000")


def interval(bounds: tuple[float, float]) -> str:
    return f"{signed(bounds[0])} to {signed(bounds[1])}"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def model(generator: Mapping[str, Any]) -> str:
    name, model = generator["name"], generator["model"]
    return f"{name}: {model}" if model != name else name


def plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def spaced(stage: str) -> str:
    return stage.replace("_", " ")


def distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "percent": percent, "sha256": _sha256}
    return environment


def _sha256(text: str) -> str:
    """As a Content-Security-Policy names a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
