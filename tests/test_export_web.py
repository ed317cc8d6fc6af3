"""The exported page: Pillow's resizing in JavaScript, the runtime's archive, a real browser."""

import base64
import functools
import hashlib
import http.server
import io
import json
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
import pytest
from click.testing import CliRunner
from exported import decisions, draw_pictures, write_decided
from models import write_colours
from PIL import Image

from bench.screens import Page, browser, chromium
from fdbpl.cli import main
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.serving.export import ort_web
from fdbpl.serving.export.check import pixels_of
from fdbpl.serving.export.web_folder import SCRIPTS, export_web
from fdbpl.serving.model_folder import open_model
from fdbpl.serving.predictor import load_predictor
from fdbpl.system.errors import UserError

NODE, NPM = shutil.which("node"), shutil.which("npm")
PREPARE = """
import { readFileSync, writeFileSync } from "node:fs";
import { prepared } from "./pixels.js";
const [about, width, height] = JSON.parse(readFileSync("about.json"));
const data = new Uint8ClampedArray(readFileSync("data.bin"));
writeFileSync("found.bin", prepared({ data, width, height }, about));
"""


@pytest.mark.skipif(NODE is None, reason="no Node.js to run JavaScript with")
@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 13 changed the order")
@pytest.mark.parametrize(
    ("width", "height", "size", "interpolation", "mode"),
    [
        (97, 61, 32, "bicubic", "shortest"),
        (61, 97, 32, "bilinear", "shortest"),
        (31, 500, 16, "bicubic", "shortest"),
        (31, 46, 16, "bicubic", "squash"),  # by rows first
        (31, 47, 16, "bicubic", "squash"),  # by columns first
        (20, 33, 48, "bicubic", "shortest"),  # enlarged
        (20, 60, 48, "bicubic", "squash"),
        (20, 33, 48, "bilinear", "squash"),
        (48, 48, 48, "bicubic", "squash"),  # as it is
        (640, 427, 160, "bicubic", "shortest"),
        (641, 359, 45, "bicubic", "squash"),
        (1, 1, 8, "bicubic", "shortest"),
    ],
)
def test_a_picture_is_prepared_to_the_last_bit_as_in_python(
    width: int, height: int, size: int, interpolation: str, mode: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(width)
    colours = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    colours[: height // 3] = 255 * (colours[: height // 3] > 127)  # edges overshoot
    how = Preprocessing(size, (0.48, 0.5, 0.4), (0.27, 0.5, 0.26), interpolation, mode)  # type: ignore[arg-type]
    wanted = how.pixels(Image.fromarray(colours))
    for script in SCRIPTS.glob("*.js"):
        shutil.copy(script, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "prepare.js").write_text(PREPARE)
    (tmp_path / "about.json").write_text(json.dumps([how.spec(), width, height]))
    opaque = np.full((height, width, 1), 255, np.uint8)
    (tmp_path / "data.bin").write_bytes(np.concatenate([colours, opaque], axis=2).tobytes())
    subprocess.run([str(NODE), "prepare.js"], cwd=tmp_path, check=True, timeout=60)
    found = np.frombuffer((tmp_path / "found.bin").read_bytes(), np.float32)
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path


def package(folder: Path, name: str = ort_web.PACKAGE) -> Path:
    """A folder such as npm leaves, without a runtime in it."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": "9.9"}))
    for place, path in enumerate(ort_web.FILES):
        (folder / path).write_bytes(bytes([place]))
    return folder


def test_only_the_archive_of_the_pinned_version_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = archive(tmp_path / "one.tgz", {**dict.fromkeys(ort_web.FILES, b"x"), "more": b"y"})
    with pytest.raises(UserError, match="wanted q0y"):
        ort_web.of_archive(packed)
    own = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    monkeypatch.setattr(ort_web, "SHA512", own)
    assert ort_web.of_archive(packed).files == dict.fromkeys(ort_web.FILES.values(), b"x")


def test_a_page_has_all_that_it_names(tmp_path: Path) -> None:
    model, out = open_model(write_colours(tmp_path / "model")), tmp_path / "out"
    lines = export_web(model, out, runtime=package(tmp_path / "package"))
    assert "ONNX Runtime Web 9.9" in lines[1]
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        *("index.html", "style.css", "app.js", "answers.js", "model.js", "pixels.js", "resize.js"),
        *("model.onnx", "labels.json", "preprocessing.json", "README.md"),
        *("ort/ort.js", "ort/ort-wasm.js", "ort/ort.wasm"),
    }
    assert "default-src 'self'" in (out / "index.html").read_text()


@pytest.mark.parametrize("what", ["nothing", "another"])
def test_what_is_no_runtime_is_refused(what: str, tmp_path: Path) -> None:
    write_colours(tmp_path / "model")
    package(tmp_path / "another", "left-pad")
    words = ["export", str(tmp_path / "model"), "--to", "web", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*words, "--ort-web", str(tmp_path / what)])
    assert done.exit_code == 2
    assert f"--ort-web is {tmp_path / what}, and that is no folder" in done.output
    assert not (tmp_path / "out").exists()


def test_without_npm_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UserError, match=r"Install Node\.js, or run npm pack"):
        ort_web.ort_web(None)


def test_npm_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "npm"
    failing.write_text("#!/bin/sh\necho 'network is down' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(failing))
    with pytest.raises(UserError, match="failed: network is down"):
        ort_web.ort_web(None)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A static server that knows no types of scripts but .js, and says nothing."""

    extensions_map = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An exported page on a static server, pictures beside it; its address and its folder."""
    if chromium() is None:
        pytest.skip("no Chromium to open the page with")
    if NPM is None:
        pytest.skip("no npm to fetch ONNX Runtime Web by")
    folder = tmp_path_factory.mktemp("site")
    model = write_decided(folder / "model", decisions()["all"])
    export_web(model, folder / "out")
    draw_pictures(folder / "out/pictures", 12)
    draw_pictures(folder / "out/photos", 12, "jpg")
    handler = functools.partial(Quiet, directory=folder / "out")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page(site: tuple[str, Path]) -> Iterator[Page]:
    with browser() as opened:
        for domain in ("Network", "Log", "Runtime"):
            opened.ask(f"{domain}.enable")
        opened.open(site[0], ["Tells 3 classes apart"])
        yield opened


def logits(page: Page, names: list[str]) -> np.ndarray:
    """The logits that the page's own modules find of pictures beside it."""
    script = f"""(async () => {{
      const {{ load, logitsOf }} = await import("/model.js");
      const model = await load();
      const found = [];
      for (const name of {json.dumps(names)}) {{
        const file = await (await fetch(name)).blob();
        found.push((await logitsOf(model, file)).logits);
      }}
      return found;
    }})()"""
    return np.array(page.evaluate(script))


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize(("folder", "close"), [("pictures", 1e-3), ("photos", 0.5)])
def test_a_browser_finds_the_logits_of_predict(
    folder: str, close: float, site: tuple[str, Path], page: Page
) -> None:
    paths = sorted((site[1] / "out" / folder).iterdir())
    predictor = load_predictor(site[1] / "model")
    wanted = predictor.logits(pixels_of(predictor, paths))
    found = logits(page, [f"{folder}/{path.name}" for path in paths])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=close)
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).all()


def cards(page: Page) -> list[dict[str, str]]:
    script = """[...document.querySelectorAll(".answer")].map((one) => ({
      name: one.querySelector(".name").textContent,
      verdict: one.querySelector(".verdict").textContent,
      first: one.querySelector(".label")?.textContent,
      share: one.querySelector(".share")?.textContent,
    }))"""
    return page.evaluate(script)


@pytest.mark.slow
@pytest.mark.release
def test_chosen_files_are_answered_as_predict_does(site: tuple[str, Path], page: Page) -> None:
    paths = sorted((site[1] / "out/pictures").iterdir())
    broken = site[1] / "broken.png"
    broken.write_bytes(b"no picture")
    page.choose("#files", [*paths, broken])
    deadline = time.monotonic() + 60
    while len(cards(page)) < len(paths) + 1:
        assert time.monotonic() < deadline, page.text()
        time.sleep(0.1)
    last, *found = cards(page)
    assert last["verdict"] == "no picture that can be read"
    predictor = load_predictor(site[1] / "model")
    wanted = predictor.predictions(pixels_of(predictor, paths))
    for card, path, one in zip(reversed(found), paths, wanted, strict=True):
        name, share = one.top[0]
        assert (card["name"], card["first"]) == (path.name, name)
        assert abs(float(card["share"].removesuffix(" %")) - 100 * share) <= 1
        assert card["verdict"] == (name if one.known else "none of these")


@pytest.mark.slow
@pytest.mark.release
def test_nothing_is_asked_of_anybody_else(site: tuple[str, Path], page: Page) -> None:
    asked = [
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert f"{site[0]}/ort/ort.wasm" in asked
    own = (f"{site[0]}/", "blob:", "data:", "about:")
    assert [url for url in asked if not url.startswith(own)] == []
    said = [
        event["params"]
        for event in page.events
        if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert said == []
