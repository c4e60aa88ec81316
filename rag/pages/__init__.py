"""What browsers are sent: markup in a file for each page, and the style sheets and scripts beside them."""

from pathlib import Path


def asset(name: str) -> str:
    """The text of a style sheet or script of this folder."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
