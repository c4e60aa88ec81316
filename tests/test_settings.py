"""Settings come from the command line, the environment and a file, in this order; a mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.errors import SettingsError
from rag.settings import load_settings


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rolewise.toml").write_text('passages = 3\nevidence = 4\ngenerator = "extractive"\n')
    monkeypatch.setenv("ROLEWISE_EVIDENCE", "6")
    monkeypatch.setenv("ROLEWISE_GENERATOR", "hosted")
    settings = load_settings(home=tmp_path, generator="local")
    assert (settings.passages, settings.evidence, settings.generator) == (3, 6, "local")
    assert settings.build == tmp_path / "index" / "build"


def test_the_home_of_the_environment_is_where_the_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rolewise.toml").write_text("passages = 7\n")
    monkeypatch.setenv("ROLEWISE_HOME", str(tmp_path))
    assert load_settings().passages == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pasages = 3", r"unknown setting 'pasages' \(known: ahead, answer_tokens, "),
        ("passages = 0", r"setting 'passages': Input should be greater than or equal to 1"),
        ('generator = "magic"', r"setting 'generator': Input should be 'extractive', 'local' or 'hosted'"),
        ("passages = ", r"rolewise\.toml is not valid TOML: Invalid value"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_setting(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rolewise.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings(home=tmp_path)


def test_the_key_is_not_shown(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, hosted_key="sk-secret")
    assert "sk-secret" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path, hosted_key="sk-secret", passages=0)
    assert "sk-secret" not in str(caught.value)
