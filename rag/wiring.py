"""Parts become builds and engines; everything above gets what it needs from here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rag.ahead import Ahead
from rag.answerability import STORED, Fit, read_fit
from rag.answering import Engine
from rag.cache import Cache
from rag.chunking import split
from rag.errors import IndexMissing, RolewiseError
from rag.evidence import EvidenceFinder
from rag.freshness import write_dates
from rag.guarding import look_after
from rag.indexing import Builder, BuildReport
from rag.inspection import Inspection, inspect
from rag.isolation import AT_ONCE, Isolated
from rag.languages import language_of
from rag.live import Candidate, Live, LiveError, LiveRecord, Record, Shadow
from rag.parts import follow, generators, make_embedder, make_retriever, make_store
from rag.prompts import Prompts, load_prompts
from rag.protocols import Embedder, Generator
from rag.receipts import Door, Outcome, Receipts
from rag.repeats import Repeats
from rag.settings import Settings
from rag.shadowing import ShadowLog, ShadowWorker
from rag.sources import Documents, Progress, read_documents
from rag.tracing import Tracer, set_up
from rag.versions import CURRENT, IndexVersion, current, latest_sound, open_version, read_manifest
from rag.watching import WatchedEngine, Watcher
from rag.yielding import Activity

logger = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parent.parent
PROMPTS = PROJECT / "prompts"
CACHE = ".cache.sqlite"
"""Beside the versions: what builds have read and embedded before."""
NOT_BEARING = set(
    "home token host_names hosted_key hosted_url hosted_timeout hosted_retries "
    "threads repeats ahead receipts receipts_days traces freshness_days "
    "shadow_share shadow_seconds gate_questions watch_answers watch_hours watch_least watch_tolerance".split()
)
"""Settings that no answer depends on, or that are secret."""
BUILT_WITH = ("embedder", "passage_tokens")
"""Settings that an index version cannot be opened without."""
LOADED_BY = (
    "model threads context_tokens "
    "hosted_url hosted_model hosted_key hosted_timeout hosted_retries hosted_context_tokens".split()
)
"""Settings that the generators are made by."""
SAMPLING = {"temperature": 0, "seed": 0}
"""How every model is asked to write: what is likeliest (see rag/llama.py and rag/hosted.py)."""


def sources_of(settings: Settings) -> Path:
    """The folder that `index build` reads when none is named: the home's own sources, else the bundled guides."""
    own = settings.home / "index" / "sources"
    return own if own.is_dir() else PROJECT / "index" / "sources"


@contextlib.contextmanager
def reading(settings: Settings, paths: Sequence[Path], progress: Progress) -> Iterator[tuple[Documents, Cache]]:
    """The documents under `paths`, or in the default sources, and the cache that they are loaded from."""
    settings.build.mkdir(parents=True, exist_ok=True)
    with Cache(settings.build / CACHE) as cache, Isolated() as children:
        documents = read_documents(
            paths or [sources_of(settings)],
            read=children.read_file,
            at_once=AT_ONCE,
            cache=cache,
            progress=progress,
        )
        try:
            yield documents, cache
        except OSError as error:
            error.filename = error.filename or str(settings.build)  # a write that fails does not tell where
            raise


def build_index(
    settings: Settings, paths: Sequence[Path] = (), *, progress: Progress = lambda *_: None
) -> tuple[BuildReport, Documents]:
    """Builds a version from the documents under `paths`, or the default sources, and makes it the current one.

    The texts of the documents cannot be loaded any more.
    """
    settings = as_live(settings)
    with reading(settings, paths, progress) as (documents, cache):
        builder = _builder(settings, make_embedder(settings, for_many=True), cache)
        report = builder.build(documents, settings.build, progress)
        write_dates({one.id: one.dated for one in documents.identities}, settings.build / report.version)
        follow(settings)
        return report, documents


def build_collection(
    settings: Settings, paths: Sequence[Path], embedder: Embedder, progress: Progress = lambda *_: None
) -> tuple[str, Documents]:
    """As `build_index`, for which nothing of other documents stays in the cache. Returns the id of the version.

    That is "", and none is built, where no document can be read.
    """
    with reading(settings, paths, progress) as (documents, cache):
        builder = _builder(settings, embedder, cache)
        version = builder.build(documents, settings.build, progress).version if documents else ""
        cache.forget_unused()
        return version, documents


def forget_others(settings: Settings, paths: Sequence[Path]) -> None:
    """Nothing that was read of other documents than those under `paths` stays in the cache."""
    with reading(settings, paths, lambda *_: None) as (_, cache):
        cache.forget_unused()


def _builder(settings: Settings, embedder: Embedder, cache: Cache) -> Builder:
    return Builder(embedder, make_store(settings), settings.passage_tokens, cache)


def inspected(settings: Settings, paths: Sequence[Path] = (), *, progress: Progress = lambda *_: None) -> Inspection:
    """What a person should look at in the documents under `paths`, before trusting answers from them."""
    settings = as_live(settings)
    embedder = make_embedder(settings)
    with reading(settings, paths, progress) as (documents, _):
        loaded = list(documents)
        passages = [
            passage
            for document in loaded
            for passage in split(
                document, count=embedder.count, limit=embedder.max_tokens, budget=settings.passage_tokens
            ).passages
        ]
        notes = {one.source: one.notes for one in documents.identities if one.notes}
        return inspect(loaded, passages, skipped=documents.skipped, notes=notes)


def open_index(settings: Settings, embedder: Embedder, version: str | None = None) -> IndexVersion:
    return open_version(
        settings.build,
        embedder=embedder.name,
        embedder_sha256=embedder.sha256,
        passage_tokens=settings.passage_tokens,
        store=make_store(settings),
        version=version,
    )


def open_engine(settings: Settings, version: str | None = None, *, door: Door | None = None) -> Engine:
    """The engine over the current index version, or over `version`. Loads no generator yet.

    What is asked through a `door` leaves a receipt; without one nothing does.
    """
    if door:
        look_after(settings)
    live = LiveRecord.of(settings).settle().live
    settings = as_live(settings, live) if version is None else settings
    return _engine(_Loaded.of(settings), version, prompts=_prompts(settings, live), door=door)


def as_built(settings: Settings, version: str) -> Settings:
    """The settings with the embedder and the passages of an index version, which cannot be opened with others."""
    inputs = read_manifest(settings.build, version)["inputs"]
    made_with = {"embedder": inputs["embedder"]["name"], "passage_tokens": inputs["splitter"]["budget"]}
    return settings.model_copy(update=made_with)


def receipts_in(settings: Settings) -> Receipts:
    """The log of answers in the home."""
    return Receipts(settings.log, days=settings.receipts_days)


@dataclass(frozen=True)
class _Loaded:
    """What takes time and memory to load, and the settings that it was loaded by."""

    settings: Settings
    embedder: Embedder
    named: Callable[[str], Generator]

    @classmethod
    def of(cls, settings: Settings, embedder: Embedder | None = None) -> _Loaded:
        return cls(settings, embedder or make_embedder(settings), generators(settings))

    def under(self, settings: Settings) -> _Loaded:
        """For other settings; what they do not concern is loaded once."""

        def differs(names: Iterable[str]) -> bool:
            return any(getattr(settings, name) != getattr(self.settings, name) for name in names)

        embedder = make_embedder(settings) if differs(["embedder"]) else self.embedder
        named = generators(settings) if differs(LOADED_BY) else self.named
        return _Loaded(settings, embedder, named)


def _engine(
    loaded: _Loaded,
    version: str | None = None,
    *,
    prompts: Path = PROMPTS,
    door: Door | None = None,
    receipts: Receipts | None = None,
    watchers: Sequence[Watcher] = (),
    shadow: ShadowWorker | None = None,
    running: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> WatchedEngine:
    """`receipts` are those to keep, by default those of the home; `watchers` are told of answers beside them."""
    settings, embedder = loaded.settings, loaded.embedder

    def opened(one: str) -> IndexVersion:
        return open_index(settings, embedder, one)

    index, notice = (opened(version), "") if version else latest_sound(settings.build, opened)
    if notice:
        from rag.safety import without_paths

        logger.warning("%s", notice)
        notice = without_paths(notice)  # it goes to whoever asks
    fit, words = read_fit(settings.build / index.info.version), load_prompts(prompts)
    keeps = settings.receipts and door is not None
    if door:
        set_up(settings.traces)
    receipts = receipts or receipts_in(settings)

    def keep(outcome: Outcome) -> str:
        kept = receipts.keep(outcome)
        if shadow:
            shadow.offer(outcome, kept)
        return kept

    def afterwards() -> None:
        receipts.expire()
        look_after(settings)

    return WatchedEngine(
        version=index,
        embedder=embedder,
        retriever=make_retriever(settings, index, embedder),
        evidence=EvidenceFinder(index, embedder),
        generator_named=loaded.named,
        fit=fit,
        prompts=words,
        language_of=language_of,
        passages=settings.passages,
        evidence_limit=settings.evidence,
        notes=settings.notes,
        notice=notice,
        refusal=settings.refusal,
        answer_tokens=settings.answer_tokens,
        generator=settings.generator,
        door=door,
        watchers=[*([keep] if keeps else ()), Tracer(), *watchers] if door else (),
        afterwards=afterwards if keeps else _nothing,
        settings=_bearing(settings, fit, words),
        running=running,
        repeats=Repeats(settings.repeats),
    )


def _nothing() -> None:
    """What is done after an answer of which no receipt is kept."""


def _bearing(settings: Settings, fit: Fit, prompts: Prompts) -> dict[str, Any]:
    """All that an answer depends on beside the index, the model and the program itself."""
    weights = json.dumps(asdict(fit), sort_keys=True)
    return settings.model_dump(mode="json", exclude=set(NOT_BEARING)) | {
        "fit": f"{fit.name} ({hashlib.sha256(weights.encode()).hexdigest()[:12]})",
        "prompts": {name: getattr(prompts, name).sha256[:12] for name in Prompts.__slots__},
        "sampling": SAMPLING,
    }


def as_live(settings: Settings, live: Live | None = None) -> Settings:
    """The settings with what was promoted over those of `rolewise.toml`."""
    return settings.overlaid((live or LiveRecord.of(settings).read().live).settings)


def _prompts(settings: Settings, live: Live) -> Path:
    return LiveRecord.of(settings).prompts_of(live.prompts) if live.prompts else PROMPTS


def opened_pair(settings: Settings, candidate: Candidate) -> tuple[WatchedEngine, WatchedEngine]:
    """The engine over what is live and that over a candidate. Neither leaves receipts."""
    live = LiveRecord.of(settings).settle().live
    loaded = _Loaded.of(as_live(settings, live))
    return _engine(loaded, prompts=_prompts(settings, live)), _over(settings, loaded, live.under(candidate), candidate)


def open_candidate(settings: Settings, candidate: Candidate) -> Engine:
    """The engine over a candidate. It leaves no receipts."""
    live = LiveRecord.of(settings).settle().live
    changed = live.under(candidate)
    return _over(settings, _Loaded.of(as_live(settings, changed)), changed, candidate)


def _over(settings: Settings, loaded: _Loaded, live: Live, candidate: Candidate) -> WatchedEngine:
    changed = loaded.under(as_live(settings, live))
    return _engine(changed, candidate.index or None, prompts=_prompts(settings, live))


class LiveEngine:
    """Gives the engine over the current index version and what was promoted; when that is another, opened anew.

    An answer goes on with the engine it began with. A version that cannot be opened changes nothing. What is asked
    through the `door` leaves a receipt, and is asked of the candidate in the shadow; without one nothing is.
    """

    def __init__(
        self,
        settings: Settings,
        embedder: Embedder | None = None,
        *,
        door: Door | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._settings = settings
        self._door = door
        self._watchers = watchers
        self._receipts = receipts_in(settings)
        self._record = LiveRecord.of(settings)
        look_after(settings)
        self._live = self._record.settle().live
        self._base = _Loaded.of(settings, embedder)
        self.embedder = self._base.embedder
        self._loaded = self._base
        self._running = Activity()
        log = ShadowLog(settings.log, days=settings.receipts_days)
        self.shadow = ShadowWorker(log, self._planned, self._candidate, self._running)
        self.ahead = Ahead(self._running)
        self._opening = threading.Lock()
        self._stamp = self._now()
        self._engine = self._opened()

    def __call__(self) -> Engine:
        if self._now() != self._stamp and self._opening.acquire(blocking=False):  # else another thread is at it
            try:
                self._stamp = self._now()
                self._engine = self._opened()
            except RolewiseError as error:
                logger.warning("%s The index that is open goes on answering.", error)
            finally:
                self._opening.release()
        return self._engine

    def over(self, settings: Settings, version: str) -> Engine:
        """An engine over a version in another home, with the same embedder and generators: they are loaded once.

        It leaves no receipts: what a person deletes of their own documents is to be gone.
        """
        base = replace(self._base, settings=settings.model_copy(update={"receipts": False}))
        return _engine(base, version, door=self._door, watchers=self._watchers, running=self._running)

    @property
    def settings(self) -> Settings:
        """With what was promoted."""
        return self._loaded.settings

    def _opened(self) -> Engine:
        self._live = self._record.settle().live
        loaded = self._loaded.under(as_live(self._settings, self._live))
        engine = _engine(
            loaded,
            prompts=_prompts(self._settings, self._live),
            door=self._door,
            receipts=self._receipts,
            watchers=self._watchers,
            shadow=self.shadow,
            running=self._running,
        )
        self._loaded = loaded
        return engine

    def _planned(self) -> tuple[Shadow, Candidate] | None:
        """Who is in the shadow."""
        record = self._read()
        plan = record.shadow
        return (plan, record.candidates[plan.candidate]) if plan and plan.candidate in record.candidates else None

    def _candidate(self, candidate: Candidate) -> Engine:
        return _over(self._settings, self._loaded, self._live.under(candidate), candidate)

    def _read(self) -> Record:
        """A record that cannot be read changes nothing."""
        try:
            return self._record.read()
        except LiveError as error:
            logger.warning("%s What is live stays.", error)
            return Record(live=self._live)

    def _now(self) -> tuple[object, ...]:
        """What changes with the version in use, with its fit or with a promotion."""
        record = self._read()
        try:
            paths = (self._settings.build / CURRENT, self._settings.build / current(self._settings.build) / STORED)
        except IndexMissing:
            return ()
        stamps = [(facts.st_mtime_ns, facts.st_ino) for facts in (path.stat() for path in paths if path.is_file())]
        return record.live, record.switching, *stamps
