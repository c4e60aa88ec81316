"""Writes drafts with a GGUF model that llama.cpp runs inside this process.

In go messages, out come pieces of text as the model writes them, greedily. The same messages give the same text
whatever was asked before, alone or among others; the price is that streams wait for one another, first come first
served (on the processor two at once take longer than one after the other). It reads no evidence and judges nothing.
"""

from __future__ import annotations

import http.client
import json
import logging
import math
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from rag.errors import GaveWay, GeneratorError, ModelError
from rag.protocols import Draft, Generator
from rag.types import Evidence, GeneratorInfo, Message

logger = logging.getLogger(__name__)

_Receive = Callable[[dict[str, Any]], None]

# Tokens read at a stretch. A stream can be stopped only between stretches: 2 s apart for 1.5 B parameters on 2 cores.
_STRETCH = 128
# Enough first tokens that the rest cannot hold a "yes" or "no" that counts (5 % of the mass for SmolLM2-135M).
_FIRST_TOKENS = 200


@dataclass(frozen=True, slots=True)
class _Prompt:
    """Messages as the model reads them: `tokens`, and the `ends` of the parts that other prompts may begin with too.

    The first ends behind the system's message, the second one token before the draft that the opening asks for.
    """

    messages: list[dict[str, str]]
    tokens: list[int]
    ends: tuple[int, ...]


class _Stop(threading.Event):
    """Set by who waits no longer, or for good once `is_busy` has said that a real question waits."""

    def __init__(self, is_busy: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._is_busy = is_busy
        self._gave_way = False

    def is_set(self) -> bool:
        if not super().is_set() and self._is_busy():
            self._gave_way = True
            self.set()
        return super().is_set()

    def check(self) -> None:
        """Raises GaveWay if that was the reason."""
        if self._gave_way:
            raise GaveWay


class LlamaGenerator:
    """A model file and its memory, freed with the object. Safe to use from several threads.

    Raises ModelError if `path` is not a GGUF file that llama.cpp can run. `threads=0` takes one for each core.
    """

    def __init__(self, *, path: Path, model: str, sha256: str, threads: int = 0, context_tokens: int = 4096) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.verbosity = -1  # nothing, not even errors: they would go to the user's terminal
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or _physical_cores()
        params.n_parallel = 1
        params.n_ctx = context_tokens
        params.cache_ram_mib = 0  # no copies of old prompts, of up to 8 GiB by default
        params.n_batch = params.n_ubatch = _STRETCH
        params.warmup = False
        params.ui = False
        params.hostnames, params.port = ["127.0.0.1"], 0
        # The library always listens on a port. Tokens are counted there; others on this machine get no answer.
        self._key = secrets.token_urlsafe()
        params.api_keys = [self._key]
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError:
            raise ModelError(
                f"llama.cpp cannot load {path}: the file is missing or damaged, its architecture is not supported, or "
                f"memory does not suffice. Pull the model again or choose another (`python -m rag models list`)."
            ) from None
        self._address = urlsplit(self._server.listening_address).netloc
        self._info = GeneratorInfo("local", model, sha256)
        # Its loop answers this: who frees a model before the loop has begun would wait for the end of it for ever.
        self._call("GET", "/slots")
        # Beyond the length it was trained on, a model writes nonsense.
        trained = int(self._call("GET", "/v1/models")["data"][0]["meta"]["n_ctx_train"])
        self._context_tokens = min(context_tokens, trained)
        # What the model holds, and where it stopped on the way; no ends where that is not known.
        self._held: list[int] = []
        self._ends: tuple[int, ...] = ()
        # All work of the model is done on this one thread, hence in order and without locks.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llama")

    @property
    def info(self) -> GeneratorInfo:
        return self._info

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count(self, text: str) -> int:
        return len(self._call("POST", "/tokenize", content=_defuse(text))["tokens"])

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:  # noqa: ARG002
        """Pieces of the draft; see `Generator`. Raises GeneratorError before any work if the context is too short."""
        return self._stream(messages, max_tokens, _Stop())

    def _stream(self, messages: Sequence[Message], max_tokens: int, stopped: _Stop) -> Draft:
        prompt = self._fitting(messages, max_tokens)
        pieces: SimpleQueue[str | None] = SimpleQueue()

        def receive(choice: dict[str, Any]) -> None:
            if piece := choice["delta"].get("content"):
                pieces.put(piece)

        work = self._worker.submit(self._complete, prompt, receive, stopped, max_tokens=max_tokens)
        work.add_done_callback(lambda _: pieces.put(None))
        try:
            while (piece := pieces.get()) is not None:
                yield piece
            work.result()
            stopped.check()
        finally:
            stopped.set()
            if not work.cancel():
                wait([work])

    def yes_probability(self, messages: Sequence[Message]) -> float:
        """Share of "yes" in what the model would say first, among "yes" and "no" in any case; 0.5 if it says neither.

        Raises GeneratorError if the context is too short.
        """
        return self._yes_probability(messages, _Stop())

    def _yes_probability(self, messages: Sequence[Message], stopped: _Stop) -> float:
        prompt = self._fitting(messages, 1)
        mass = {"yes": 0.0, "no": 0.0}

        def receive(choice: dict[str, Any]) -> None:
            for first in (choice.get("logprobs") or {}).get("content", [])[:1]:
                for candidate in first["top_logprobs"]:
                    word = candidate["token"].strip().lower()
                    if word in mass:
                        mass[word] += math.exp(candidate["logprob"])

        options = {"max_tokens": 1, "logprobs": True, "top_logprobs": _FIRST_TOKENS}
        self._worker.submit(self._complete, prompt, receive, stopped, **options).result()
        stopped.check()
        total = sum(mass.values())
        return mass["yes"] / total if total else 0.5

    def giving_way(self, is_busy: Callable[[], bool]) -> Generator:
        """The same model; what it is asked through this ends with GaveWay at the end of a stretch, if `is_busy`."""
        return _GivingWay(self, is_busy)

    def read_ahead(self, beginning: Sequence[Message]) -> None:
        """Read what all prompts with this first message begin with, so that the next one need not wait for it."""
        prompt = self._fitting([beginning[0], Message("user", "-")], 1)
        self._worker.submit(self._read_parts, prompt, prompt.ends[:1], _Stop()).result()

    def _fitting(self, messages: Sequence[Message], max_tokens: int) -> _Prompt:
        defused = [{"role": message.role, "content": _defuse(message.content)} for message in messages]
        tokens = self._tokens(defused)
        if len(tokens) + max_tokens > self._context_tokens:
            raise GeneratorError(
                f"The prompt has {len(tokens)} tokens and the answer may have {max_tokens}, but {self._info.model} "
                f"takes {self._context_tokens} together. Raise context_tokens, or lower answer_tokens or notes."
            )
        system = [one for one in defused[:1] if one["role"] == "system"]
        opening = defused[: len(system) + 1]
        opened = tokens if opening == defused else self._tokens(opening)
        ends = {_common(tokens, self._before_users(system)), min(_common(tokens, opened), len(opened) - 1)}
        return _Prompt(defused, tokens, tuple(sorted(ends - {0})))

    def _before_users(self, system: list[dict[str, str]]) -> list[int]:
        """What stands before whatever a user says."""
        one, other = (self._tokens([*system, {"role": "user", "content": any_text}]) for any_text in "-+")
        return one[: _common(one, other)]

    def _tokens(self, messages: list[dict[str, str]]) -> list[int]:
        """What llama.cpp makes of messages in the form that the model was trained on."""
        text = self._call("POST", "/apply-template", messages=messages)["prompt"]
        tokens: list[int] = self._call("POST", "/tokenize", content=text, add_special=True, parse_special=True)[
            "tokens"
        ]
        return tokens

    def _complete(self, prompt: _Prompt, receive: _Receive, stopped: _Stop, **options: int) -> None:
        """Continue `prompt`, keeping what has been read of it.

        Numbers come out a little different when the same tokens are read in other stretches, and now and then another
        word wins. So a prompt is always read part by part, and kept is only what was read in the same parts.
        """
        self._read_parts(prompt, prompt.ends, stopped)
        if stopped.is_set():
            return
        ends, self._ends = self._ends, ()
        asked = {"messages": prompt.messages, "cache_prompt": bool(ends)}
        self._request(self._server.handle_chat_completions, asked, receive, stopped, **options)
        if not stopped.is_set():
            self._held, self._ends = prompt.tokens, ends

    def _read_parts(self, prompt: _Prompt, ends: Sequence[int], stopped: _Stop) -> None:
        """Have the model hold the parts of `prompt` that end at `ends`, and not by chance more of it."""
        tokens = prompt.tokens
        common = _common(tokens, self._held) if self._ends else 0
        alike = takewhile(lambda pair: pair[0] == pair[1] <= common, zip(ends, self._ends, strict=False))
        start = max((end for end, _ in alike), default=0)
        self._ends = ()
        parts = [tokens[:end] for end in ends if end > start]
        # It drops what it holds from the first token on that differs, or else the last token of the prompt.
        if start and common > start and (parts or start < len(tokens) - 1):
            parts.insert(0, [*tokens[:start], next(token for token in self._held if token != tokens[start])])
        for number, part in enumerate(parts):
            asked = {"prompt": part, "max_tokens": 1, "cache_prompt": bool(start or number)}
            self._request(self._server.handle_completions, asked, lambda _: None, stopped)
            if stopped.is_set():
                return
            self._held = part
        self._ends = tuple(ends)

    def _request(
        self,
        complete: Callable[[dict[str, Any], Callable[[dict[str, Any]], bool]], None],
        asked: dict[str, Any],
        receive: _Receive,
        stopped: _Stop,
        **options: Any,
    ) -> None:
        failures: list[str] = []

        def hear(chunk: dict[str, Any]) -> bool:
            """Whether to stop; called between stretches of reading and after each token."""
            if "error" in chunk:
                failures.append(" ".join(str(chunk["error"].get("message", chunk["error"])).split()))
            for choice in chunk.get("choices", ()):
                receive(choice)
            if timings := chunk.get("timings"):
                logger.debug("%d tokens kept, %d read", timings["cache_n"], timings["prompt_n"])
            return stopped.is_set()

        request = {**asked, "temperature": 0, "seed": 0, **options}
        streaming = {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
        complete(request | streaming, hear)
        if failures:
            raise GeneratorError(f"{self._info.model} failed: {failures[0]}. Ask again, or choose another generator.")

    def _call(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        with closing(http.client.HTTPConnection(self._address)) as connection:
            connection.request(method, path, json.dumps(body), headers)
            response = connection.getresponse()
            answer: dict[str, Any] = json.load(response)
        if response.status != http.HTTPStatus.OK:
            raise GeneratorError(f"{self._info.model} failed to count tokens: {answer}. Choose another generator.")
        return answer


class _GivingWay:
    """Implements protocols.Generator and Judge by a model that others ask too, and go before."""

    def __init__(self, model: LlamaGenerator, is_busy: Callable[[], bool]) -> None:
        self._model, self._is_busy = model, is_busy
        self.info, self.context_tokens, self.count = model.info, model.context_tokens, model.count

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:  # noqa: ARG002
        return self._model._stream(messages, max_tokens, _Stop(self._is_busy))

    def yes_probability(self, messages: Sequence[Message]) -> float:
        return self._model._yes_probability(messages, _Stop(self._is_busy))


def _defuse(text: str) -> str:
    """Keep a document from writing control tokens such as <|im_end|>, which would end its message."""
    return text.replace("<|", "< |")


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (mine, its) in pairs if mine != its), min(len(one), len(other)))


def _physical_cores() -> int:
    """Cores this process may use, each counted once however many threads its hardware runs (where Linux tells)."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    files = {cpu: Path(topology.format(cpu)) for cpu in os.sched_getaffinity(0)}
    return len({file.read_text() if file.is_file() else str(cpu) for cpu, file in files.items()})
