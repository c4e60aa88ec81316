import hashlib
from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.prompts import load_prompt
from rag.wiring import PROMPTS


def test_a_prompt_is_filled_and_known_by_the_hash_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "hello.md").write_text("Hello $name!\n")
    prompt = load_prompt(tmp_path, "hello")
    assert prompt.fill(name="$notes {x}") == "Hello $notes {x}!"
    assert prompt.sha256 == hashlib.sha256(b"Hello $name!\n").hexdigest()


def test_a_placeholder_without_a_value_is_named(tmp_path: Path) -> None:
    (tmp_path / "hello.md").write_text("Hello $name!")
    with pytest.raises(SettingsError, match=r"prompts/hello\.md and the program disagree on: first, name"):
        load_prompt(tmp_path, "hello").fill(first="x")


def test_a_missing_prompt_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nothing\.md cannot be read"):
        load_prompt(tmp_path, "nothing")


def test_the_list_of_prompts_is_complete() -> None:
    listed = (PROMPTS / "README.md").read_text(encoding="utf-8")
    for path in PROMPTS.glob("*.md"):
        if path.name == "README.md":
            continue
        prompt = load_prompt(PROMPTS, path.stem)
        assert f"`{path.name}`" in listed
        for name in prompt.template.get_identifiers():
            assert f"`${name}`" in listed
