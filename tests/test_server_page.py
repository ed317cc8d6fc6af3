"""The page of `fdbpl serve` in a real browser."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from served import colour_predictor, png

from bench.screens import Page, browser, chromium
from fdbpl.serving.server import Settings, create_app

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium to open the page with"),
]
ANSWERS = "[...document.querySelectorAll('.answer')].map(one => one.innerText)"


@pytest.fixture
def page() -> Iterator[Page]:
    """The page of a server that wants a token."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = create_app(colour_predictor(), Settings(name="colours", token="secret"))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with browser() as opened:
                address = f"http://127.0.0.1:{listening.getsockname()[1]}"
                opened.open(address, ["This server wants a token."])
                yield opened
        finally:
            server.should_exit = True
            thread.join()


def wait_for(page: Page, script: str) -> None:
    deadline = time.monotonic() + 30
    while not page.evaluate(script):
        assert time.monotonic() < deadline, page.text()
        time.sleep(0.1)


def test_a_token_opens_it_and_pictures_are_answered(page: Page, tmp_path: Path) -> None:
    page.evaluate(
        "document.querySelector('#token input').value = 'secret';"
        "document.querySelector('#token').requestSubmit()"
    )
    wait_for(page, "document.body.textContent.includes('Tells 3 classes apart')")
    (tmp_path / "one.png").write_bytes(png("lime"))
    (tmp_path / "two.png").write_bytes(b"no picture")
    page.choose("#files", [tmp_path / "one.png", tmp_path / "two.png"])
    wait_for(page, f"{ANSWERS}.length === 2")
    second, first = page.evaluate(ANSWERS)
    assert "one.png\ngreen" in first.replace("\n\n", "\n")
    assert "no picture that can be read" in second
