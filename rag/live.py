"""What is live beside the index: the settings and prompts that were promoted, in one record with its history.

A candidate comes in and becomes live, or what was live comes back, each by one rename of `var/live.json`; settings,
prompts and index version are switched together. Whether a candidate is good is not judged here.

    var/live.json        the record
    var/prompts/<sha>/   the prompts of candidates, kept as they were, for a folder of prompts may change
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from rag.errors import RolewiseError, SettingsError
from rag.prompts import Prompts, load_prompts
from rag.settings import Settings, read_settings
from rag.versions import current, read_manifest, switch

RECORD = "live.json"
PROMPTS = "prompts"
FIELDS = ("settings", "prompts", "index")
"""Of a candidate's file."""
DIGITS = 12
"""Of a hash that names a candidate or a folder of prompts."""


class LiveError(RolewiseError):
    """A candidate is not known or was refused, or the record cannot be read."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is to differ from what is live. `prompts` is the hash of a folder of prompts, `index` a version; "" for
    those that are live."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompts: str = ""
    index: str = ""

    @property
    def sha256(self) -> str:
        """Of what it is, whatever it is called."""
        content = json.dumps([self.settings, self.prompts, self.index], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:DIGITS]


@dataclass(frozen=True, slots=True)
class Live:
    """Settings and prompts that go before those of `rolewise.toml` and of the program; the index is the current one."""

    name: str = ""
    """Of the candidate that was promoted last."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompts: str = ""

    def under(self, candidate: Candidate) -> Live:
        """As it is when the candidate is promoted."""
        settings = {**self.settings, **candidate.settings}
        return Live(candidate.name, settings, candidate.prompts or self.prompts)


@dataclass(frozen=True, slots=True)
class Counts:
    """Of `n` answers, how many went wrong in which way. `slow` is the time in milliseconds beyond which one counts as
    slow, None if no time was taken."""

    n: int = 0
    bad: Mapping[str, int] = field(default_factory=dict)
    slow: float | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """A promotion that is watched: the receipts behind number `after` are held against the `before` counted then."""

    sha256: str
    since: str
    after: int
    before: Counts


@dataclass(frozen=True, slots=True)
class Shadow:
    """The candidate that answers in the shadow: this share of the questions, so many seconds a day."""

    candidate: str
    share: float
    seconds: float
    since: str


@dataclass(frozen=True, slots=True)
class Step:
    """A promotion that can be undone: what was live, the index version then, and that it switched to, "" for none."""

    sha256: str
    before: Live
    index_before: str
    index: str


@dataclass(frozen=True, slots=True)
class Happened:
    """A line of the history. `at` is UTC: "2026-01-31T23:59:59Z"."""

    at: str
    what: str
    name: str
    sha256: str
    why: str


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known. `switching` is (from, to) while an index version is being switched to."""

    live: Live = field(default_factory=Live)
    steps: tuple[Step, ...] = ()
    switching: tuple[str, str] | None = None
    watch: Watch | None = None
    shadow: Shadow | None = None
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    history: tuple[Happened, ...] = ()

    def with_event(self, what: str, candidate: Candidate | Live, sha256: str, why: str = "") -> Record:
        return replace(self, history=(*self.history, Happened(now(), what, candidate.name, sha256, why)))

    def named(self, name: str) -> Candidate:
        """Raises LiveError."""
        if name not in self.candidates:
            known = f" or one of: {', '.join(sorted(self.candidates))}" if self.candidates else ""
            raise LiveError(f"there is no candidate {name!r}. Name a TOML file{known}.")
        return self.candidates[name]

    def was_rolled_back(self, sha256: str) -> str:
        """Why a candidate with this content was rolled back last; "" if it never was."""
        return next((one.why for one in reversed(self.history) if (one.sha256, one.what) == (sha256, ROLLED_BACK)), "")


PROMOTED, FORCED, REFUSED, ROLLED_BACK, WENT_BACK, STANDS = (
    "promoted", "forced", "refused", "rolled back", "went back", "stands"
)  # fmt: skip
"""What can happen; `went back` is what a person undid, `stands` what was watched to the end."""
_RECORDS = TypeAdapter(Record)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class LiveRecord:
    """The record in the folder `var` of a home, over the index versions in `build`.

    Any number of threads and processes may read and change it. All methods raise LiveError if it cannot be read.
    """

    def __init__(self, var: Path, build: Path) -> None:
        self._path = var / RECORD
        self._prompts = var / PROMPTS
        self._build = build
        self._seen: tuple[tuple[int, int], Record] | None = None

    @classmethod
    def of(cls, settings: Settings) -> LiveRecord:
        return cls(settings.home / "var", settings.build)

    def read(self) -> Record:
        """From the disk only if it has changed."""
        try:
            facts = self._path.stat()
            stamp = (facts.st_mtime_ns, facts.st_ino)
            seen = self._seen
            if seen is None or seen[0] != stamp:
                seen = self._seen = (stamp, _RECORDS.validate_json(self._path.read_bytes()))
        except FileNotFoundError:
            return Record()
        except (OSError, ValidationError) as error:
            raise LiveError(f"{self._path} cannot be read. Mend it, or move it away to begin anew.") from error
        return seen[1]

    def change(self, changed: Callable[[Record], Record]) -> Record:
        """Puts what `changed` makes of the record in its place, by one rename; nobody else changes it meanwhile."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock")):
            record = changed(self.read())
            aside = self._path.with_name(f".{RECORD}.{os.getpid()}")
            with aside.open("wb") as file:
                file.write(_RECORDS.dump_json(record, indent=1) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self._path)
            self._seen = None
        return record

    def settle(self) -> Record:
        """The record, after a switch of the index version that it tells of has been done. Raises IndexMissing."""
        record = self.read()
        if record.switching is None:
            return record

        def done(record: Record) -> Record:
            if record.switching and current(self._build) == record.switching[0]:  # else somebody switched since
                switch(self._build, record.switching[1])
            return replace(record, switching=None)

        return self.change(done)

    def keep(self, candidate: Candidate) -> None:
        """Remembers it by its name."""
        self.change(lambda record: replace(record, candidates={**record.candidates, candidate.name: candidate}))

    def note(self, what: str, candidate: Candidate, why: str) -> None:
        self.change(lambda record: record.with_event(what, candidate, candidate.sha256, why))

    def promote(self, candidate: Candidate, what: str, why: str, watch: Watch | None) -> None:
        """Makes it live. A shadow of it ends."""
        read_manifest(self._build, candidate.index) if candidate.index else None

        def promoted(record: Record) -> Record:
            in_use = current(self._build)
            index = candidate.index if candidate.index != in_use else ""
            step = Step(candidate.sha256, record.live, in_use, index)
            shadow = record.shadow if record.shadow and record.shadow.candidate != candidate.name else None
            return replace(
                record,
                live=record.live.under(candidate),
                steps=(*record.steps, step),
                switching=(in_use, index) if index else None,
                watch=watch,
                shadow=shadow,
            ).with_event(what, candidate, candidate.sha256, why)

        self.change(promoted)
        self.settle()

    def go_back(self, what: str, why: str, *, only: str = "") -> str:
        """Undoes the last promotion, if it is `only` that of the candidate with this hash. Returns its name, or "".

        An index version that was built or chosen since stays. Raises LiveError if there is none to undo.
        """
        name = ""

        def back(record: Record) -> Record:
            nonlocal name
            if only and not (record.watch and record.watch.sha256 == only):
                return record  # another process was first
            if not record.steps:
                raise LiveError("nothing was promoted that could be undone. See: python -m rag promote --history")
            step, name = record.steps[-1], record.live.name
            away = bool(step.index) and current(self._build) == step.index
            read_manifest(self._build, step.index_before) if away else None
            undone = replace(
                record,
                live=step.before,
                steps=record.steps[:-1],
                switching=(step.index, step.index_before) if away else None,
                watch=None,
            )
            return undone.with_event(what, record.live, step.sha256, why)

        self.change(back)
        self.settle()
        return name

    def end_watch(self, watch: Watch, what: str, why: str) -> None:
        """The candidate stays."""

        def ended(record: Record) -> Record:
            if record.watch != watch:
                return record
            return replace(record, watch=None).with_event(what, record.live, watch.sha256, why)

        self.change(ended)

    def needed(self) -> set[str]:
        """The index versions that going back or a candidate needs."""
        record = self.read()
        return {step.index_before for step in record.steps if step.index} | {
            one.index for one in record.candidates.values() if one.index
        }

    def prompts_of(self, hash_: str) -> Path:
        return self._prompts / hash_

    def candidate_from(self, path: Path, allowed: Collection[str]) -> Candidate:
        """The candidate in a TOML file, which may name the settings `allowed`. Its prompts are kept as they are now.

        Raises SettingsError that names the fault, IndexMissing for an unknown version.
        """
        told = read_settings(path)
        if odd := sorted(told.keys() - set(FIELDS)):
            raise SettingsError(f"{path} has {', '.join(odd)}. A candidate has: {', '.join(FIELDS)}.")
        settings = told.get("settings", {})
        if odd := sorted(settings.keys() - set(allowed)):
            raise SettingsError(f"{path} sets {', '.join(odd)}. A candidate may set: {', '.join(sorted(allowed))}.")
        if not (settings or told.get("prompts") or told.get("index")):
            raise SettingsError(f"{path} changes nothing. A candidate has some of: {', '.join(FIELDS)}.")
        index = str(told.get("index", ""))
        if index:
            read_manifest(self._build, index)
        prompts = self._kept(path.parent / told["prompts"]) if told.get("prompts") else ""
        return Candidate(re.sub(r"\s+", "-", path.stem), settings, prompts, index)

    def _kept(self, folder: Path) -> str:
        """The name under which a folder of prompts is kept. Raises SettingsError if they cannot be used."""
        prompts = load_prompts(folder)
        for fill in (prompts.to_judge, prompts.to_draft):
            fill("", "")
        shas = "".join(getattr(prompts, name).sha256 for name in Prompts.__slots__)
        hash_ = hashlib.sha256(shas.encode()).hexdigest()[:DIGITS]
        target = self.prompts_of(hash_)
        if not target.is_dir():
            aside = target.with_name(f".{hash_}.{os.getpid()}")
            aside.mkdir(parents=True, exist_ok=True)
            for name in Prompts.__slots__:
                shutil.copyfile(folder / f"{name}.md", aside / f"{name}.md")
            aside.replace(target)
        return hash_
