import asyncio
import base64
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from fdbpl.serving import guard
from fdbpl.serving.guard import Access, Bounded, Guard, hosts_of

ACCESS = Access(("localhost", "::1"))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await Request(scope, receive).body()
    await JSONResponse({"bytes": len(body)})(scope, receive, send)


def asked(
    receive: Any,
    headers: dict[str, str] | None = None,
    access: Access = ACCESS,
    kind: str = "http",
) -> list:
    """What is sent in answer to a request, or to one for a websocket."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = {"host": "localhost:8000", **(headers or {})}
    scope = {
        "type": kind, "method": "POST", "path": "/predict", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    asyncio.run(Guard(Bounded(echo, 100), access)(scope, receive, send))
    return sent


async def whole() -> dict[str, Any]:
    return {"type": "http.request", "body": b"1234", "more_body": False}


async def never() -> dict[str, Any]:
    await asyncio.sleep(30)
    raise AssertionError


async def gone() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def test_a_request_passes_and_its_answer_is_dressed() -> None:
    start, body = asked(whole)
    assert (start["status"], body["body"]) == (200, b'{"bytes":4}')
    assert {name.encode() for name in guard.HEADERS} <= {name for name, _ in start["headers"]}


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8000", 200), ("", 403), ("evil", 403),
     ("localhost.evil", 403), ("127.0.0.1", 403)],
)  # fmt: skip
def test_it_answers_under_its_own_names_alone(host: str, status: int) -> None:
    assert asked(whole, {"host": host})[0]["status"] == status


def test_any_name_will_do_where_it_is_told_so() -> None:
    assert asked(whole, {"host": "evil"}, Access(("*",)))[0]["status"] == 200


def test_who_listens_everywhere_has_no_name_of_its_own() -> None:
    assert hosts_of("0.0.0.0") == hosts_of("::") == hosts_of("127.0.0.1")
    assert set(hosts_of("Box.example")) - set(hosts_of("::1")) == {"box.example"}


FRAME, LINK = ("navigate", "iframe"), ("navigate", "document")


@pytest.mark.parametrize(
    ("site", "way", "status"),
    [("cross-site", ("no-cors", "image"), 403), ("same-site", ("cors", "empty"), 403),
     ("cross-site", FRAME, 403), ("cross-site", LINK, 200), ("same-site", LINK, 200),
     ("same-origin", ("cors", "empty"), 200), ("none", LINK, 200)],
)  # fmt: skip
def test_from_another_page_only_a_link_leads_here(
    site: str, way: tuple[str, str], status: int
) -> None:
    told = {"sec-fetch-site": site, "sec-fetch-mode": way[0], "sec-fetch-dest": way[1]}
    assert asked(whole, told)[0]["status"] == status


@pytest.mark.parametrize("origin", ["http://evil", "null", "http://localhost", "http://[::1]:8000"])
def test_another_origin_gets_neither_answer_nor_websocket(origin: str) -> None:
    assert asked(whole, {"origin": origin})[0]["status"] == 403
    assert asked(whole, {"origin": origin}, kind="websocket") == [
        {"type": "websocket.close", "code": 1008}
    ]


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


@pytest.mark.parametrize("shown", ["Bearer hush", "bearer hush", basic("me:hush"), basic("hush")])
def test_a_token_is_a_bearers_or_a_password_under_any_name(shown: str) -> None:
    access = Access(("*",), "hush", scheme="Basic")
    assert asked(whole, {"authorization": shown}, access)[0]["status"] == 200


@pytest.mark.parametrize(
    "shown",
    ["", "hush", "Bearer", "Bearer hus", "Basic hush", "Basic ?", basic("hush:"), basic("me:x")],
)
def test_without_the_token_only_what_is_open_is_answered(shown: str) -> None:
    closed = Access(("*",), "hush", scheme="Basic")
    start, body = asked(whole, {"authorization": shown}, closed)
    assert start["status"] == 401
    assert (b"www-authenticate", b'Basic realm="fdbpl"') in start["headers"]
    assert b"hush" not in body["body"]
    opened = Access(("*",), "hush", open=("/predict",))
    assert asked(whole, {"authorization": shown}, opened)[0]["status"] == 200


def test_who_sends_too_slowly_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SLOWEST", 0.05)
    assert asked(never)[0]["status"] == 408


def test_who_is_gone_gets_no_answer_and_leaves_no_error() -> None:
    assert asked(gone) == []
    assert issubclass(ClientDisconnect, Exception)
