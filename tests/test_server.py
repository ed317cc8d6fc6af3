"""The service: what it answers, what it refuses, and what it tells of itself."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from models import COLOURS, SIZE, write_colours
from served import colour_predictor, png
from starlette.testclient import TestClient

from fdbpl.cli import main
from fdbpl.serving import server
from fdbpl.serving.server import Settings, create_app
from fdbpl.serving.stream import answers

IMAGE = {"content-type": "image/png"}
HOST = "http://localhost"


def client(limit: float = -1e9, **changes: object) -> TestClient:
    settings = Settings(name="colours", **changes)  # type: ignore[arg-type]
    return TestClient(create_app(colour_predictor(limit), settings), base_url=HOST)


@pytest.fixture(scope="module")
def asking() -> Iterator[TestClient]:
    with client() as opened:
        yield opened


def test_bytes_of_a_picture_are_answered_by_the_object_of_predict(asking, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png("lime"))
    wanted = next(iter(answers(colour_predictor(), [str(tmp_path / "one.png")], threads=1)))
    found = asking.post("/predict", content=png("lime"), headers=IMAGE).json()
    assert set(found) == {"path", "top", "score", "known"}
    assert [name for name, _ in found["top"]] == [name for name, _ in wanted.prediction.top]
    assert found["score"] == pytest.approx(wanted.prediction.score, abs=1e-6)
    assert found["known"] is True


def test_a_form_of_several_is_answered_as_a_list_in_order(asking) -> None:
    files = [("pictures", (f"{one}.png", png(one))) for one in ("red", "lime", "blue")]
    files.insert(1, ("pictures", ("notes.txt", b"no picture")))
    found = asking.post("/predict", files=files).json()
    assert [one["path"] for one in found] == ["red.png", "notes.txt", "lime.png", "blue.png"]
    assert "cannot be decoded" in found[1]["error"]
    assert set(found[1]) == {"path", "error"}
    assert [one["top"][0][0] for one in (found[0], *found[2:])] == list(COLOURS)


def test_many_at_once_get_their_own_answers(asking) -> None:
    colours = ["red", "lime", "blue"] * 20

    def top(colour: str) -> str:
        answer = asking.post("/predict?top=1", content=png(colour), headers=IMAGE)
        return answer.json()["top"][0][0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(top, colours)) == list(COLOURS) * 20


def test_a_picture_of_nothing_known_is_called_so() -> None:
    with client(limit=1e9) as asking:
        found = asking.post("/predict", content=png("red"), headers=IMAGE).json()
        assert found["known"] is False


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"hello", IMAGE, 422, "cannot be decoded"),
        (b"", IMAGE, 422, "an empty file"),
        (png("red", (300, 300)), IMAGE, 422, "pixels"),
        (b"{}", {"content-type": "application/json"}, 415, "application/json"),
        (b"x" * 4000, IMAGE, 413, "over 3,000 bytes"),
        (b"x" * 7000, IMAGE, 413, "6,000 bytes"),
        (png("red"), {**IMAGE, "origin": "http://elsewhere"}, 403, "another origin"),
        (png("red"), {**IMAGE, "origin": "null"}, 403, "another origin"),
        (png("red"), {**IMAGE, "host": "elsewhere"}, 403, "elsewhere"),
    ],
)
def test_what_is_no_request_for_it_is_refused(body, headers, status: int, said: str) -> None:
    with client(picture_bytes=3000, picture_pixels=80_000, pictures=2) as asking:
        answer = asking.post("/predict", content=body, headers=headers)
        assert answer.status_code == status
        assert said in answer.json()["detail"]
        assert "access-control-allow-origin" not in answer.headers


def test_a_body_without_a_length_is_counted_while_it_comes() -> None:
    with client(picture_bytes=3000, pictures=2) as asking:
        chunks = (b"x" * 1000 for _ in range(20))
        answer = asking.post("/predict", content=chunks, headers=IMAGE)
        assert answer.status_code == 413


def test_a_form_of_too_many_files_is_refused() -> None:
    with client(pictures=2) as asking:
        files = [("pictures", ("a.png", png("red")))] * 3
        assert asking.post("/predict", files=files).status_code == 400


def test_the_same_origin_may_ask(asking) -> None:
    headers = {**IMAGE, "origin": HOST}
    assert asking.post("/predict", content=png("red"), headers=headers).status_code == 200


def test_more_than_may_wait_are_asked_to_come_again(monkeypatch) -> None:
    class Full(server.Batcher):
        def submit(self, pixels):
            raise server.QueueFull

    monkeypatch.setattr(server, "Batcher", Full)
    with client() as asking:
        answer = asking.post("/predict", content=png("red"), headers=IMAGE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("keep", ["94", "x"])
def test_a_threshold_that_is_not_there_is_refused(asking, keep: str) -> None:
    answer = asking.post(f"/predict?keep={keep}", content=png("red"), headers=IMAGE)
    assert answer.status_code == 422


def test_a_token_is_wanted_of_all_but_the_page_and_health() -> None:
    with client(token="secret") as asking:
        for path in ("/", "/app.js", "/answers.js", "/style.css", "/healthz"):
            assert asking.get(path).status_code == 200
        for path in ("/model", "/metrics", "/openapi.json"):
            assert asking.get(path).status_code == 401
        assert asking.post("/predict", content=png("red"), headers=IMAGE).status_code == 401
        for shown in ("Bearer wrong", "Basic secret", "secret", "Bearer secret1"):
            headers = {**IMAGE, "authorization": shown}
            assert asking.post("/predict", content=b"", headers=headers).status_code == 401
        headers = {**IMAGE, "authorization": "Bearer secret"}
        assert asking.post("/predict", content=png("red"), headers=headers).status_code == 200


def test_metrics_count_answers_and_pictures() -> None:
    with client() as asking:
        asking.post("/predict", content=png("red"), headers=IMAGE)
        asking.post("/predict", content=b"", headers=IMAGE)
        told = asking.get("/metrics").text
    for line in (
        'fdbpl_requests_total{status="200"} 1.0',
        'fdbpl_requests_total{status="422"} 1.0',
        "fdbpl_pictures 1.0",
        "fdbpl_request_seconds_count 2.0",
    ):
        assert line in told


def test_the_page_asks_nothing_of_anybody_else(asking) -> None:
    for path in ("/", "/app.js", "/answers.js", "/style.css"):
        answer = asking.get(path)
        assert "http" not in re.sub("https? or|http-equiv", "", answer.text)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert asking.get("/docs").status_code == 404


def test_openapi_describes_what_is_asked_and_answered(asking) -> None:
    told = asking.get("/openapi.json").json()
    assert set(told["paths"]) == {"/predict", "/healthz", "/model", "/metrics"}
    kinds = told["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(kinds) == {"image/*", "multipart/form-data"}


@settings(max_examples=30, deadline=None)
@given(body=st.binary(max_size=300))
def test_any_bytes_are_answered(asking, body: bytes) -> None:
    answer = asking.post("/predict", content=body, headers=IMAGE)
    assert answer.status_code == 422
    form = asking.post("/predict", content=body, headers={"content-type": "multipart/form-data"})
    assert form.status_code in (400, 422)


def test_logits_in_a_batch_are_those_of_one_by_one() -> None:
    predictor = colour_predictor()
    pixels = np.random.default_rng(0).random((5, 3, SIZE, SIZE)).astype(np.float32)
    whole = predictor.logits(pixels)
    single = np.concatenate([predictor.logits(pixels[row : row + 1]) for row in range(5)])
    np.testing.assert_allclose(whole, single, atol=1e-4)


def test_where_nobody_can_listen_is_told_in_a_line(tmp_path: Path) -> None:
    model = str(write_colours(tmp_path / "colours"))
    done = CliRunner().invoke(main, ["serve", model, "--host", "192.0.2.1"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: 192.0.2.1, port 8000: ")
    assert done.stderr.count("\n") == 1
