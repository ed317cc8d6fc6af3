"""The page of a served model, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import png, serving, wait_until

from bench.screens import Page, browser, chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium to look at the page with"),
]

VERDICTS = "[...document.querySelectorAll('.verdict')].map(one => one.textContent).join()"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a served model; its parameter is the environment's token."""
    with serving(tmp_path / "colours", getattr(request, "param", "")) as address:
        yield address


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name in ("red", "blue"):
        (tmp_path / f"{name}.png").write_bytes(png(name))
    (tmp_path / "notes.png").write_text("no picture")
    return [tmp_path / "red.png", tmp_path / "notes.png", tmp_path / "blue.png"]


@pytest.mark.parametrize("width", [1280, 380])
def test_pictures_are_told_the_newest_first(page: Page, served: str, files, width: int) -> None:
    page.resize(width, 1200)
    page.open(served, ["colours", "red, green, blue"])
    page.choose("#files", files)
    wait_until(lambda: page.evaluate(VERDICTS).count(",") == 2)
    assert page.evaluate(VERDICTS) == "blue,no picture that can be read,red"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.getElementById('clear').click()")
    assert page.evaluate(VERDICTS) == ""


@pytest.mark.parametrize("served", ["a secret"], indirect=True)
def test_a_token_is_asked_for_and_used(page: Page, served: str, files) -> None:
    page.open(served, ["This server wants a token."])
    for token, said in (("wrong", "That was not the token."), ("a secret", "red, green, blue")):
        page.evaluate(
            f"document.querySelector('[name=token]').value = {token!r};"
            "document.querySelector('#token button').click()"
        )
        wait_until(lambda said=said: said in page.text())
    page.choose("#files", files[:1])
    wait_until(lambda: page.evaluate(VERDICTS) == "red")
