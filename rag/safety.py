"""Who may send what to the server, and what a browser may do with what comes back.

`Guard` wraps the whole ASGI application, the page included. It lets through or refuses by the request's head, counts
the body while the application reads it, and adds headers to every response; it never holds a response back.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import itertools
import math
import re
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag.errors import SettingsError

SHORTEST_TOKEN = 16
"""Characters; at 600 guesses a minute shorter ones are not safe."""
COOKIE = "rolewise"
PERSON = "rolewise-person"
"""Cookie that tells one browser from another where a token lets several people in."""
PERSON_SECONDS = 365 * 24 * 3600
UPLOADS = "/v1/uploads"
SAFE_METHODS = frozenset({"GET", "HEAD"})
"""They change nothing, so another site may cause them. It may not ask by OPTIONS whether it may do more."""
OPEN = frozenset({"/healthz"})
"""Paths that need no token."""
COUNTED = "/v1/"
"""Below it all requests count; elsewhere only those that may change something, since a page loads dozens of files."""

PAGE = "/gradio_api/"
NEEDED = ("call/", "cancel", "heartbeat/", "info", "queue/", "reset", "run/", "startup-events")
"""What the page asks for below PAGE. Gradio 6.31 also fetches any address there, keeps what is uploaded, and more."""
CLOSED = ("/login", "/logout", "/monitoring")
IGNORED = frozenset({b"x-forwarded-host", b"x-gradio-server"})
"""Headers that Gradio would take the page's own address from. A proxy passes Host on."""

HEADERS = {
    # Gradio 6.31 puts scripts and styles into its page and compiles the templates of gr.HTML.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; worker-src 'self' blob:; "
        "connect-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
KINDS = {
    400: ("invalid_request_error", "invalid_request"),
    401: ("authentication_error", "invalid_token"),
    403: ("permission_error", "cross_site"),
    404: ("not_found_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("invalid_request_error", "too_slow"),
    413: ("invalid_request_error", "too_large"),
    421: ("invalid_request_error", "unknown_host"),
    431: ("invalid_request_error", "too_large"),
    429: ("rate_limit_error", "too_many_requests"),
    500: ("server_error", "internal_error"),
    503: ("server_error", "unavailable"),
}
"""The type and code of an error by its HTTP status."""
_PATH = re.compile(r"(?<![\w/:\\.])(?:[A-Za-z]:)?[/\\](?:[^/\\:;()\n]*[/\\])+")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of the server. A client is an IPv4 address, or a /64 of IPv6."""

    head_bytes: int = 32_000
    """A browser's is a few hundred and its cookies."""
    body_bytes: int = 1_000_000
    """A hundred messages of usual length are a tenth of it."""
    body_seconds: float = 30.0
    """From when the application begins to read a body until it has the whole."""
    upload_bytes: int = 200_000_000
    upload_seconds: float = 600.0
    """The same for documents that are uploaded."""
    per_minute: int = 600
    """So many at once, too, if there were none in the minute before."""
    concurrent: int = 64
    """A browser holds up to six, and two for each open page."""
    clients: int = 10_000
    """Remembered at most; the one that was away longest is forgotten first."""


def token_for(host: str, given: str = "") -> str:
    """The token that a server on this address needs: the given one, a new one, or "" on loopback.

    Raises SettingsError if the given one is short or cannot stand in a header.
    """
    if given and (len(given) < SHORTEST_TOKEN or not re.fullmatch(r"[!-~]+", given)):
        raise SettingsError(
            f"the token must have {SHORTEST_TOKEN} or more ASCII characters and no spaces. Leave it out."
        )
    return given if given or is_loopback(host) else secrets.token_urlsafe(24)


def hosts_for(host: str, names: Iterable[str] = ()) -> frozenset[str]:
    """The names under which a server on this address may be called: those given, else what the address tells.

    "*" for an address that stands for all of the machine: its names cannot be known, the token has to protect it.
    """
    if is_loopback(host):
        return frozenset({"127.0.0.1", "localhost", "[::1]", *names})
    if own := {name.lower() for name in names}:
        return frozenset({*own, "127.0.0.1", "localhost", "[::1]"})
    return frozenset({"*"}) if host in ("", "0.0.0.0", "::") else frozenset({_bracketed(host).lower()})  # noqa: S104


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def person_of(scope: Scope) -> str:
    """Whose conversations and documents a request is about: 32 hex digits, or "" where no token tells people apart."""
    return str(scope.get("person", ""))


def without_paths(text: str) -> str:
    """The text with absolute paths of the machine cut to their last part."""
    return _PATH.sub("", text)


def error_response(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error in OpenAI's shape. The message is for a person; paths are cut."""
    kind, usual = KINDS.get(status, KINDS[400 if status < 500 else 500])
    error = {"message": without_paths(message), "type": kind, "param": param, "code": code or usual}
    return JSONResponse({"error": error}, status, headers)


@dataclass
class Buckets:
    """A token bucket for each client: `per_minute` at once, filled again evenly."""

    limits: Limits
    clock: Callable[[], float] = time.monotonic
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, client: str) -> float:
        """0 if the client may go on, else the seconds until it may."""
        now, full = self.clock(), float(self.limits.per_minute)
        left, since = self._left.pop(client, (full, now))
        left = min(full, left + (now - since) * full / 60)
        allowed = left >= 1
        self._left[client] = (left - allowed, now)
        if len(self._left) > self.limits.clients:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) * 60 / full


class Guard:
    """ASGI middleware over every path. `hosts` are names without ports, "*" for any; no `token` asks for none."""

    def __init__(self, app: ASGIApp, *, token: str = "", hosts: frozenset[str], limits: Limits | None = None) -> None:
        self._app = app
        self._token = token.encode()
        self._cookie = hmac.new(self._token, b"cookie of the page", hashlib.sha256).hexdigest()
        self._hosts = hosts
        self._limits = limits or Limits()
        self._buckets = Buckets(self._limits)
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in IGNORED]
        headers, client = Headers(scope=scope), client_of(scope)
        known = cookie_parser(headers.get("cookie", "")).get(PERSON, "") if self._token else ""
        is_new = bool(self._token) and not re.fullmatch("[0-9a-f]{32}", known)
        scope["person"] = secrets.token_hex(16) if is_new else known
        visit = _taken_from_query(scope, "token").encode() if self._token else b""
        refusal = self._misdirected(scope, headers) or self._unwelcome(scope, headers, client, visit)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
        elif self._token and hmac.compare_digest(visit, self._token):
            await self._remember(scope)(scope, receive, _hardened(send))
        else:
            self._open[client] += 1
            try:
                await self._pass(scope, receive, _introduced(send, scope) if is_new and scope["path"] == "/" else send)
            finally:
                self._open[client] -= 1
                if not self._open[client]:
                    del self._open[client]

    def _misdirected(self, scope: Scope, headers: Headers) -> Response | None:
        """The refusal of a request that is meant for another server, or that another site has caused."""
        head = len(scope["path"]) + len(scope["query_string"]) + sum(map(len, itertools.chain(*headers.raw)))
        if head > self._limits.head_bytes:
            return error_response(431, f"the head has more than {self._limits.head_bytes:,} bytes.")
        host = headers.getlist("host")
        if len(host) != 1:
            return error_response(400, "the request must name one host.", code="unknown_host")
        if not self._hosts & {"*", _name_of(host[0])}:
            return error_response(421, "this server is not known by that name. Give the name when starting it.")
        if _changes(scope) and _is_cross_site(headers, host[0]):
            return error_response(403, "requests from the pages of other sites are refused.")
        return None

    def _unwelcome(self, scope: Scope, headers: Headers, client: str, visit: bytes) -> Response | None:
        """The refusal of a client that is not known, or asks too much."""
        if self._open[client] >= self._limits.concurrent:
            return _busy(1.0, f"at most {self._limits.concurrent} requests are answered at a time.")
        is_known = not self._token or scope["path"] in OPEN or self._knows(headers, visit)
        counts = _changes(scope) or scope["path"].startswith(COUNTED) or not is_known  # a wrong token is a guess
        if counts and (seconds := self._buckets.take(client)):
            return _busy(seconds, f"at most {self._limits.per_minute} requests a minute are answered.")
        if not is_known:
            return _who_are_you()
        if _is_closed(scope["path"]):
            return error_response(404, "there is nothing here.")
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 15 or int(length) > self._most(scope)[0]):
            return self._too_large(scope)
        return None

    def _knows(self, headers: Headers, visit: bytes) -> bool:
        """Whether the request brings the token, as Bearer, password, ?token= or the cookie made from it."""
        given = (*_credentials(headers.get("authorization", "")), visit)
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        is_remembered = hmac.compare_digest(cookie.encode(), self._cookie.encode())
        return is_remembered or any(hmac.compare_digest(one, self._token) for one in given)

    def _remember(self, scope: Scope) -> Response:
        """Sends the browser to the same page without the token in its address, which it would keep and show."""
        query = scope["query_string"].decode("latin-1")
        path = "/" + quote(scope["path"].lstrip("/\\"), safe="/")  # "//name" would be another site
        response = RedirectResponse(f"{path}?{query}" if query else path, 303, {"cache-control": "no-store"})
        response.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict", secure=scope["scheme"] == "https")
        return response

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the application, unless what it reads is too large or comes too slowly."""
        refusal: Response | None = None
        has_begun, has_read, size = False, scope["type"] == "websocket", 0
        deadline: float | None = None
        most_bytes, most_seconds = self._most(scope)

        async def receiving() -> Message:
            nonlocal refusal, has_read, size, deadline
            if has_read:
                return await receive()
            deadline = deadline or anyio.current_time() + most_seconds
            message: Message = {"type": "http.disconnect"}
            with anyio.CancelScope(deadline=deadline) as waiting:
                message = await receive()
            size += len(message.get("body", b""))
            has_read = not message.get("more_body", False)
            if waiting.cancelled_caught:
                refusal = error_response(408, f"the body took longer than {most_seconds:g} s.")
            elif size > most_bytes:
                refusal = self._too_large(scope)
            has_read = has_read or refusal is not None
            return message if refusal is None else {"type": "http.disconnect"}

        async def sending(message: Message) -> None:
            nonlocal has_begun
            if refusal is None or has_begun:
                has_begun = True
                await send(message)

        try:
            await self._app(scope, receiving, _hardened(sending))
        except Exception:
            if refusal is None:
                raise
        if refusal is not None and not has_begun:
            await _refuse(refusal, scope, receive, send)

    def _most(self, scope: Scope) -> tuple[int, float]:
        """Bytes and seconds of a body."""
        limits = self._limits
        is_upload = scope["path"].rstrip("/") == UPLOADS
        return (limits.upload_bytes, limits.upload_seconds) if is_upload else (limits.body_bytes, limits.body_seconds)

    def _too_large(self, scope: Scope) -> Response:
        return error_response(413, f"the body has more than {self._most(scope)[0]:,} bytes.")


def client_of(scope: Scope) -> str:
    """Whom to count a request to."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    return str(address if address.version == 4 else ipaddress.ip_network(f"{address}/64", strict=False))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    return re.sub(r":\d*$", "", host).lower()


def _changes(scope: Scope) -> bool:
    return scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS


def _is_closed(path: str) -> bool:
    return path.startswith(CLOSED) or (path.startswith(PAGE) and not path.removeprefix(PAGE).startswith(NEEDED))


def _is_cross_site(headers: Headers, host: str) -> bool:
    origin = headers.get("origin", f"http://{host}").lower()
    is_own = origin in (f"http://{host.lower()}", f"https://{host.lower()}")  # a proxy may add the s
    return not is_own or headers.get("sec-fetch-site") == "cross-site"


def _credentials(authorization: str) -> Iterator[bytes]:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        yield value.strip().encode("latin-1")
    elif scheme.lower() == "basic":
        try:
            yield base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except ValueError:
            return


def _taken_from_query(scope: Scope, name: str) -> str:
    """The parameter of a page's address, "" if none. It leaves the scope, which servers write to their logs."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    values = [value for key, value in pairs if key == name]
    if values:
        scope["query_string"] = urlencode([pair for pair in pairs if pair[0] != name]).encode()
    return values[0] if values and not _changes(scope) else ""


def _who_are_you() -> Response:
    response = error_response(401, "this server asks for its token, as Bearer or as the password of any name.")
    response.headers.append("www-authenticate", 'Bearer realm="Rolewise"')
    response.headers.append("www-authenticate", 'Basic realm="Rolewise", charset="UTF-8"')
    return response


def _busy(seconds: float, message: str) -> Response:
    return error_response(429, message, headers={"retry-after": str(math.ceil(seconds))})


async def _refuse(refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    refusal.headers["connection"] = "close"  # what it still sends is not read
    await refusal(scope, receive, _hardened(send))


def _introduced(send: Send, scope: Scope) -> Send:
    """`send` that gives a browser the name by which its person is known again."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            bearer = Response()
            bearer.set_cookie(
                PERSON,
                scope["person"],
                max_age=PERSON_SECONDS,
                httponly=True,
                samesite="strict",
                secure=scope["scheme"] == "https",
            )
            MutableHeaders(scope=message).append("set-cookie", bearer.headers["set-cookie"])
        await send(message)

    return sending


def _hardened(send: Send) -> Send:
    """`send` that adds the headers which a response does not set itself."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            for name in {name for name in headers if name.startswith("access-control-")}:
                del headers[name]  # Gradio lets other sites read, where the server's name is not of this machine
        await send(message)

    return sending
