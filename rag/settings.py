"""What a user can set, read once from `rolewise.toml` in the home folder and from the environment.

A value is taken from the command line, else from `ROLEWISE_<NAME>` in the environment, else from what was promoted (see
rag/live.py), else from the file, else from the default below. An unknown name in the file is an error, so that a typing
error cannot pass for a setting.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from rag.errors import SettingsError

SETTINGS_FILE = "rolewise.toml"
GeneratorName = Literal["extractive", "local", "hosted"]
RetrievalName = Literal["hybrid", "dense", "lexical"]
WIDEST_WALK = 1000
"""Rows that pgvector keeps in view at the most."""


class Settings(BaseSettings):
    """All settings, validated and frozen. Sizes are in tokens, times in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="ROLEWISE_", env_ignore_empty=True, extra="forbid", frozen=True)

    home: Path = Path()

    embedder: str = "all-MiniLM-L6-v2"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where a build embeds its passages: on a graphics card if there is one ("auto"), never, or always."""
    passage_tokens: int = Field(default=200, ge=32)
    """Word pieces of a passage's own text. The embedder's limit, less the heading trail, applies as well."""

    engine: Literal["files", "postgres"] = "files"
    """What searches: files on this machine, or PostgreSQL with pgvector ("postgres", docs/cluster.md)."""
    postgres_dsn: SecretStr = SecretStr("")
    """How to reach it: host=… dbname=… user=…, or an address that begins with postgresql://."""
    postgres_shards: tuple[SecretStr, ...] = ()
    """The servers that hold the rows, each as `postgres_dsn`, if not that one itself."""
    postgres_ef_search: int | None = Field(default=None, ge=60, le=WIDEST_WALK)
    """How many rows a walk through the graph keeps in view: more find more of the nearest and take longer. Without it
    each build settles its own, as few as find 95 of 100 nearest."""

    retrieval: RetrievalName = "hybrid"
    """Search by meaning ("dense"), by words ("lexical", BM25), or both, fused."""
    passages: int = Field(default=10, ge=1, le=100)
    candidates: int = Field(default=50, ge=1)
    """How many passages each of the two searches hands to the fusion."""
    meaning: float = Field(default=0.5, gt=0, lt=1)
    """Weight of the search by meaning in the fusion; the rest is that of the words."""
    feedback: float = Field(default=0.3, ge=0, le=1)
    """How far a question is moved towards the passages nearest to it before it is searched for by meaning."""
    evidence: int = Field(default=8, ge=1, le=50)
    """How many sentences are taken for an answer at the most."""
    notes: int = Field(default=4, ge=1, le=50)
    """How many of them a model reads, the best first."""
    refusal: float = Field(default=0.5, ge=0, le=1)
    """Probability that the documents do not tell, from which on a question is refused. 1 never refuses where there is
    any evidence."""

    generator: GeneratorName = "local"
    model: str = "qwen2.5-coder-1.5b"
    """Name of a model that `models list` shows, or path of a .gguf file."""
    threads: int = Field(default=0, ge=0)
    """Threads of the local model; 0 takes one for each core."""
    context_tokens: int = Field(default=4096, ge=512)
    answer_tokens: int = Field(default=320, ge=16)
    repeats: int = Field(default=256, ge=0)
    """Answers that are kept in memory for when the same is asked again; 0 writes each anew."""
    ahead: bool = True
    """Whether the local model answers what the page offers to ask, while nobody waits for an answer."""

    token: SecretStr = SecretStr("")
    """What page and API ask for where they can be reached from beyond this machine; one is made up if none is set."""
    host_names: tuple[str, ...] = ()
    """Further names under which they may be reached."""

    receipts: bool = True
    """Whether each answer is kept in the log, `var/receipts.sqlite`, with personal data in the question replaced."""
    receipts_days: int = Field(default=90, ge=0)
    """After so many days a receipt is deleted; 0 keeps all."""
    freshness_days: int = Field(default=0, ge=0)
    """After so many days a document should be reviewed, which `monitor` then says; 0 asks for none."""
    traces: str = ""
    """Address of an OpenTelemetry collector (OTLP over HTTP), such as http://127.0.0.1:4318. OTEL_* variables, the
    standard's own, count as well."""

    shadow_share: float = Field(default=0.2, ge=0, le=1)
    """Of the questions that are asked, which a candidate in the shadow answers too."""
    shadow_seconds: float = Field(default=600, ge=0)
    """What it may take of a day."""
    gate_questions: Path | None = None
    """Questions with known answers (JSONL) that `promote` asks; without it the bundled ones, where they fit."""
    watch_answers: int = Field(default=200, ge=0)
    """For so many answers after a promotion what goes wrong is held against before; 0 watches nothing."""
    watch_hours: float = Field(default=72, gt=0)
    """Or for so long."""
    watch_least: int = Field(default=20, ge=1)
    """Answers after which is looked first; then at twice as many, and so on."""
    watch_tolerance: float = Field(default=0.1, ge=0, le=1)
    """By so much the share of refusals, of struck sentences and so on may rise; beyond it, where chance cannot explain
    it, the promotion is rolled back."""

    hosted_url: str = ""
    hosted_model: str = ""
    hosted_key: SecretStr = SecretStr("")
    hosted_timeout: float = Field(default=60.0, gt=0)
    hosted_retries: int = Field(default=3, ge=0, le=10)
    hosted_context_tokens: int = Field(default=8192, ge=512)

    _explicit: frozenset[str] = PrivateAttr(default=frozenset())
    """Names of those that the command line or the environment gave; nothing that is promoted goes before them."""

    @property
    def explicit(self) -> frozenset[str]:
        return self._explicit

    def overlaid(self, values: Mapping[str, Any]) -> Settings:
        """With what was promoted, except where the command line or the environment says otherwise.

        Raises SettingsError for a value that is none.
        """
        ours = {name: value for name, value in values.items() if name not in self._explicit}
        if not ours:
            return self
        try:
            return _with_explicit(Settings(**{**dict(self), **ours}), self._explicit)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from error

    @property
    def build(self) -> Path:
        return self.home / "index" / "build"

    @property
    def conversations(self) -> Path:
        return self.home / "var" / "conversations.sqlite"

    @property
    def log(self) -> Path:
        return self.home / "var" / "receipts.sqlite"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = init_settings().get("home") or env_settings().get("home") or Path()
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(home) / SETTINGS_FILE)


def load_settings(**given: Any) -> Settings:
    """Settings with the values of the command line (`given`, None meaning not given) put over all others.

    Raises SettingsError that names each wrong value and where it is set.
    """
    values = {name: value for name, value in given.items() if value is not None}
    try:
        in_environment = {name for name in Settings.model_fields if os.environ.get(f"ROLEWISE_{name.upper()}")}
        return _with_explicit(Settings(**values), in_environment | values.keys())
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{SETTINGS_FILE} is not valid TOML: {error}. Mend that line or remove the file."
        ) from error
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


def _with_explicit(settings: Settings, names: Set[str]) -> Settings:
    settings._explicit = frozenset(names)
    return settings


def read_settings(path: Path) -> dict[str, Any]:
    """The values in a TOML file. Raises SettingsError if it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}. Mend it.") from error


def _explain(error: ValidationError) -> str:
    faults = []
    for fault in error.errors(include_input=False, include_url=False):
        name = str(fault["loc"][0]) if fault["loc"] else "?"
        if fault["type"] == "extra_forbidden":
            known = ", ".join(sorted(Settings.model_fields))
            faults.append(f"unknown setting {name!r} (known: {known})")
        else:
            faults.append(f"setting {name!r}: {fault['msg']}")
    return f"{'; '.join(faults)}. Set it in {SETTINGS_FILE}, as ROLEWISE_<NAME>, or on the command line."
