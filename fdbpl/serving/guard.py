"""Who may ask a server, and how much: hosts, origins, a token, and the bytes of a request."""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ALL_ADDRESSES = ("0.0.0.0", "::")  # of this machine

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
class Access:
    """Who may ask a server.

    Attributes:
        hosts: names under which it is asked, without port; "*" for any.
        token: that must be shown, as a bearer's or as a password under any name; None where none
            is wanted.
        open: paths that are answered without the token.
        scheme: of authentication that a browser is told to use.
    """

    hosts: Collection[str]
    token: str | None = None
    open: Collection[str] = ()
    scheme: str = "Bearer"


class Guard:
    """Lets only requests and websockets pass that may be answered; others get 401 or 403.

    No other page may make a browser ask: a request that comes from another origin is refused. Only
    a link may lead here from one. A token is asked of requests, not of websockets, which browsers
    open without one.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before an application."""
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on."""
        refused = None if scope["type"] == "lifespan" else self._refused(scope)
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # a server answers 403
        else:
            await refused(scope, receive, send)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        access, headers = self._access, Headers(scope=scope)
        host = _name(headers.get("host", ""))
        if "*" not in access.hosts and host not in access.hosts:
            return _problem(403, f"Host is {host!r}, wanted one of {', '.join(access.hosts)}.")
        if _is_of_another_origin(headers):
            return _problem(403, "a page of another origin may not ask.")
        if scope["type"] == "websocket" or access.token is None or scope["path"] in access.open:
            return None
        if not hmac.compare_digest(_shown(headers), access.token.encode()):
            wanted = {"www-authenticate": f'{access.scheme} realm="fdbpl"'}
            return _problem(401, "wanted Authorization: Bearer TOKEN.", wanted)
        return None


def _is_of_another_origin(headers: Headers) -> bool:
    """Tell whether a browser asks for a page of another origin; following a link it does not."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return True
    link = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == (
        "navigate",
        "document",
    )
    return headers.get("sec-fetch-site") in ("cross-site", "same-site") and not link


def _shown(headers: Headers) -> bytes:
    """Return the token that a request shows; empty where it shows none."""
    kind, _, shown = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return shown.strip().encode()
    try:
        pair = base64.b64decode(shown, validate=True) if kind.lower() == "basic" else b""
    except binascii.Error:
        return b""
    return pair.split(b":", 1)[-1]


def hosts_of(host: str) -> tuple[str, ...]:
    """Return the names under which a server is asked that listens at `host`."""
    own = () if host in (*ALL_ADDRESSES, *LOOPBACK) else (host.lower(),)
    return (*LOOPBACK, *own)


class TooLarge(Exception):  # noqa: N818 - a state of the request
    """A request of more bytes than are accepted."""


class Bounded:
    """Passes on requests of so many bytes at most; others get 413, and slow ones 408."""

    def __init__(self, app: ASGIApp, body: int) -> None:
        """Stand before an application; `body` is the bytes of a request at most."""
        self._app, self._body = app, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on, counting its bytes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._body:
            await self._too_large()(scope, receive, send)
            return
        seen, end = 0, asyncio.get_running_loop().time() + SLOWEST

        async def counted() -> Message:
            nonlocal seen
            async with asyncio.timeout_at(end):
                message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._body:
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
            await self._too_large()(scope, receive, send)
        except TimeoutError:
            await _problem(408, f"not all came within {SLOWEST} seconds.")(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody waits for an answer

    def _too_large(self) -> JSONResponse:
        return _problem(413, f"more than {self._body:,} bytes. Send fewer or smaller pictures.")


def _name(host: str) -> str:
    """Return a host without its port; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, {**HEADERS, **(headers or {})})
