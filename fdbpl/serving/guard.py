"""Who may ask a server, and how much: hosts, origins, a token, and the bytes of a request."""

import asyncio
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/", "/app.js", "/answers.js", "/style.css", "/healthz")
"""What is answered without a token: the page, which asks for it, and whether the server lives."""

SLOWEST = 60
"""Seconds in which all of a request must have come."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Limits:
    """What a server accepts.

    Attributes:
        hosts: names under which it is asked, without port; "*" for any.
        token: that must be shown; None where none is wanted.
        body: bytes of a request at most.
    """

    hosts: Collection[str]
    token: str | None
    body: int


class TooLarge(Exception):  # noqa: N818 - a state of the request
    """A request of more bytes than are accepted."""


class Guard:
    """Lets only requests pass that may be answered; others get 400, 401, 403 or 413.

    No other page may read an answer (no CORS header is ever sent), nor make a browser ask at all:
    a request that comes from another origin is refused.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        """Stand before an application."""
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on, counting its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refused(scope["path"], Headers(scope=scope))
        if refused is not None:
            await refused(scope, receive, send)
            return
        seen, end = 0, asyncio.get_running_loop().time() + SLOWEST

        async def counted() -> Message:
            nonlocal seen
            async with asyncio.timeout_at(end):
                message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limits.body:
                raise TooLarge
            return message

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        try:
            await self._app(scope, counted, dressed)
        except TooLarge:
            await _problem(413, self._too_large())(scope, receive, send)
        except TimeoutError:
            await _problem(408, f"not all came within {SLOWEST} seconds.")(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody waits for an answer

    def _refused(self, path: str, headers: Headers) -> JSONResponse | None:
        limits, host = self._limits, _name(headers.get("host", ""))
        if "*" not in limits.hosts and host not in limits.hosts:
            return _problem(400, f"Host is {host!r}, wanted one of {', '.join(limits.hosts)}.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return _problem(403, "a page of another origin may not ask.")
        if limits.token is not None and path not in OPEN and not self._shows_token(headers):
            return _problem(
                401, "wanted Authorization: Bearer TOKEN.", {"www-authenticate": "Bearer"}
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > limits.body:
            return _problem(413, self._too_large())
        return None

    def _shows_token(self, headers: Headers) -> bool:
        kind, _, shown = headers.get("authorization", "").partition(" ")
        wanted = str(self._limits.token).encode()
        return kind.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), wanted)

    def _too_large(self) -> str:
        return f"more than {self._limits.body:,} bytes. Send fewer or smaller pictures."


def _name(host: str) -> str:
    """Return a host without its port; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, {**HEADERS, **(headers or {})})
