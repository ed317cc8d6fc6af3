import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from fdbpl.serving import guard
from fdbpl.serving.guard import Guard, Limits

LIMITS = Limits(("localhost", "::1"), None, 100)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await Request(scope, receive).body()
    await JSONResponse({"bytes": len(body)})(scope, receive, send)


def asked(receive: Any, headers: dict[str, str] | None = None, limits: Limits = LIMITS) -> list:
    """What is sent in answer to a request."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    given = {"host": "localhost:8000", **(headers or {})}
    scope = {
        "type": "http", "method": "POST", "path": "/predict", "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }  # fmt: skip
    asyncio.run(Guard(echo, limits)(scope, receive, send))
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
    [("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8000", 200), ("", 400), ("evil", 400),
     ("localhost.evil", 400), ("127.0.0.1", 400)],
)  # fmt: skip
def test_it_answers_under_its_own_names_alone(host: str, status: int) -> None:
    assert asked(whole, {"host": host})[0]["status"] == status


def test_any_name_will_do_where_it_is_told_so() -> None:
    any_name = Limits(("*",), None, 100)
    assert asked(whole, {"host": "evil"}, any_name)[0]["status"] == 200


def test_who_sends_too_slowly_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SLOWEST", 0.05)
    assert asked(never)[0]["status"] == 408


def test_who_is_gone_gets_no_answer_and_leaves_no_error() -> None:
    assert asked(gone) == []
    assert issubclass(ClientDisconnect, Exception)
