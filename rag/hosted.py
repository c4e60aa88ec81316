"""Writes drafts with a model behind an OpenAI-compatible endpoint.

In go messages, out come pieces of text as the endpoint sends them. Whatever goes wrong there becomes one line that
names the endpoint's host and what to do; the key is sent to the endpoint and shown nowhere. It reads no evidence,
judges nothing and takes nothing from the environment but the proxy.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, urlsplit

from rag.errors import GeneratorError, SettingsError
from rag.protocols import Draft, Tokenizer
from rag.types import Evidence, GeneratorInfo, Message

if TYPE_CHECKING:
    from openai import OpenAIError
    from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam


LONGEST = 300.0
"""Seconds: 320 tokens, the default of the setting `answer_tokens`, at about one a second."""
MOST_BYTES = 4_000_000
"""Of one response. A token comes with a few hundred bytes around it."""
LONGEST_TOKEN = 16
"""Characters. What an endpoint writes beyond so many for each token it was asked for is not read."""
LONGEST_WAIT = 10.0
"""Seconds. Who asks to be left alone for longer is not asked again."""


class _Overlong(Exception):
    """A response that is given up. The text says what is wrong with it."""


class HostedGenerator:
    """Speaks to `base_url` (which ends in /v1 at most hosts) as `model`. Safe to use from several threads.

    `timeout` is the longest silence to bear and `longest` the longest answer, in seconds from its first byte. 429,
    5xx, silence and a connection that fails are tried `retries` times more, at growing intervals, unless the answer has
    begun or the endpoint asks for more than LONGEST_WAIT. Redirects are not followed. Tokens are counted by
    `tokenizer`, since endpoints do not tell theirs. An empty key will do where none is asked for. Raises SettingsError.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        model: str,
        tokenizer: Tokenizer,
        timeout: float = 60.0,
        longest: float = LONGEST,
        retries: int = 3,
        context_tokens: int = 8192,
    ) -> None:
        endpoint = _endpoint(base_url)
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
            raise SettingsError("hosted_key holds a space, a line break or a letter outside ASCII. Copy the key again.")

        from openai import DefaultHttpxClient, OpenAI

        self._host = endpoint.netloc
        self._info = GeneratorInfo("hosted", model)
        self._context_tokens = context_tokens
        self._tokenizer = tokenizer
        self._timeout, self._longest = timeout, longest
        self._client = OpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            timeout=timeout,
            max_retries=retries,
            http_client=DefaultHttpxClient(
                headers={"accept-encoding": "identity"},  # what is packed may be of any size
                trust_env=not _is_loopback(endpoint.hostname),  # no proxy to this machine
                follow_redirects=False,  # nobody has said that the other address may read the documents
                event_hooks={"response": [self._bound]},
            ),
        )
        # What the client has taken from OPENAI_* variables that are meant for another endpoint.
        self._client.organization = self._client.project = None
        self._client._custom_headers = {}

    @property
    def info(self) -> GeneratorInfo:
        return self._info

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count(self, text: str) -> int:
        return self._tokenizer.count(text)

    def close(self) -> None:
        """Close the connections that were kept for the next question."""
        self._client.close()

    def stream(self, messages: Sequence[Message], evidence: Sequence[Evidence], *, max_tokens: int) -> Draft:  # noqa: ARG002
        """Pieces of the draft; see `Generator`. Raises GeneratorError, also after some pieces if the rest fails."""
        from openai import OpenAIError

        prompt = cast(
            "list[ChatCompletionMessageParam]",
            [{"role": message.role, "content": message.content} for message in messages],
        )
        has_begun = has_ended = False
        room = max_tokens * LONGEST_TOKEN
        try:
            with self._client.chat.completions.create(
                messages=prompt, model=self._info.model, max_tokens=max_tokens, temperature=0, stream=True
            ) as chunks:
                for chunk in chunks:
                    piece, has_ended = _read(chunk, has_ended)
                    if piece:
                        has_begun = True
                        yield piece[:room]
                    room -= len(piece)
                    if room < 0:
                        return
        except OpenAIError as error:
            raise GeneratorError(self._explain(error, has_begun)) from None  # its request and body may hold the key
        except _Overlong as error:
            raise GeneratorError(f"{self._host} {error}") from None
        except (ValueError, TypeError, AttributeError, RecursionError):  # not JSON, or JSON of another shape
            has_ended = has_begun = False
        if not has_ended and has_begun:
            raise GeneratorError(f"{self._host} broke off in the middle of the answer. Ask again.")
        if not has_ended:
            raise GeneratorError(
                f"{self._host} sent something that is not an answer of an OpenAI-compatible endpoint. "
                "Check hosted_url; it often ends in /v1."
            )

    def _bound(self, response: Any) -> None:
        """Makes reading a response end; silence alone is what the client's timeout is for."""
        headers, read = response.headers, response.iter_bytes
        headers.pop("content-encoding", None)
        if _seconds(headers.get("retry-after", "")) > LONGEST_WAIT:
            headers["x-should-retry"] = "false"
        deadline = time.monotonic() + self._longest

        def bounded(chunk_size: int | None = None) -> Iterator[bytes]:
            size = 0
            for chunk in read(chunk_size):
                size += len(chunk)
                if size > MOST_BYTES:
                    raise _Overlong(f"sent more than {MOST_BYTES:,} bytes for one answer. Check hosted_url.")
                if time.monotonic() > deadline:
                    raise _Overlong(f"was not done after {self._longest:g} s. Ask again, or take another generator.")
                yield chunk

        response.iter_bytes = bounded

    def _explain(self, error: OpenAIError, has_begun: bool) -> str:
        """One line for a person, from the kind of failure alone: what endpoints write about it may repeat the key."""
        import openai

        match error:
            case openai.APITimeoutError():
                failure = f"was silent for {self._timeout:g} s. Ask again, or raise hosted_timeout."
            case openai.APIConnectionError() if has_begun:
                failure = "broke off in the middle of the answer. Ask again."
            case openai.APIConnectionError():
                failure = "cannot be reached. Check hosted_url and the network."
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                failure = f"refused the key (HTTP {error.status_code}). Set ROLEWISE_HOSTED_KEY to a valid one."
            case openai.NotFoundError():
                failure = f"knows no model {self._info.model!r} at this address. Check hosted_model and hosted_url."
            case openai.RateLimitError():
                failure = "takes no more requests now (HTTP 429). Wait, or check the quota of the key."
            case openai.APIStatusError() if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                failure = f"is failing (HTTP {error.status_code}). Ask again later, or take another generator."
            case openai.APIStatusError() if error.status_code < HTTPStatus.BAD_REQUEST:
                failure = f"points to another address (HTTP {error.status_code}). Check hosted_url."
            case openai.APIStatusError():
                failure = (
                    f"refused the request (HTTP {error.status_code}). Check hosted_model, and that "
                    f"hosted_context_tokens ({self._context_tokens}) is not more than the model takes."
                )
            case _:
                failure = "reported a failure while answering. Ask again, or take another generator."
        return f"{self._host} {failure}"


def _read(chunk: ChatCompletionChunk, has_ended: bool) -> tuple[str, bool]:
    """Text of a chunk and whether the answer has ended. The client checks no shapes, so any of this may raise."""
    piece = ""
    for choice in chunk.choices:  # none in a chunk that only counts tokens
        piece += choice.delta.content or ""
        has_ended = has_ended or choice.finish_reason is not None
    return piece, has_ended


def _endpoint(base_url: str) -> SplitResult:
    """Raises SettingsError, which does not repeat the address, for a password may stand in it."""
    try:
        parts = urlsplit(base_url)
        is_plain = "@" not in parts.netloc and not parts.query and not parts.fragment
        if parts.scheme in ("http", "https") and parts.hostname and is_plain and parts.port != 0:
            return parts
    except ValueError:  # a port that is no number, a bracket that does not close
        pass
    raise SettingsError(
        "hosted_url must be an address such as https://example.org/v1, without name, password or query."
    )


def _seconds(retry_after: str) -> float:
    """How long to wait by a Retry-After header; a date, or what is no number, is not waited for."""
    try:
        return float(retry_after or 0)
    except ValueError:
        return LONGEST_WAIT + 1


def _is_loopback(hostname: str | None) -> bool:
    try:
        return ipaddress.ip_address(hostname or "").is_loopback
    except ValueError:
        return hostname == "localhost"
