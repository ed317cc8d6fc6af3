"""fdbpl data fetch, from a hub on 127.0.0.1."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest
from click.testing import CliRunner, Result
from hub import COMMIT, REPO, Hub, serve
from layouts import NAMES, draw_layout

from fdbpl.cli import main
from fdbpl.data import fetch as client
from fdbpl.data.registry import LAYOUTS
from fdbpl.system import hub as hub_client

SPLIT = "split_zhou_DescribableTextures.json"


def run(*words: str, mirror: str = REPO, answer: str | None = None) -> Result:
    command = ["data", "fetch", *words, "--mirror", mirror, "--root", "data"]
    return CliRunner().invoke(main, command, input=answer)


def arrives(name: str = "dtd") -> str:
    result = run(name, "--yes")
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*words: str, mirror: str = REPO, answer: str | None = None) -> str:
    result = run(*words, mirror=mirror, answer=answer)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert not Path("data/dtd").exists()
    return result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def archive_of(files: dict[str, bytes], below: str) -> bytes:
    """A zip of files, below a folder of that name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, content in sorted(files.items()):
            archive.writestr(f"{below}/{path}", content)
    return data.getvalue()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All fifteen datasets in small."""
    root = tmp_path_factory.mktemp("drawn")
    for name in NAMES:
        draw_layout(name, root)
    return root


@pytest.fixture
def dtd(drawn: Path) -> dict[str, bytes]:
    return contents(drawn / "dtd")


@pytest.fixture
def hub(dtd: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    files = {"README.md": b"pictures", "dtd.zip": archive_of(dtd, "dtd"), "food101.zip": b"x"}
    with serve(Hub(files)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@contextmanager
def cut_after(size: int, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Break the connection after so many bytes of dtd.zip."""

    def cut(url: str, file: BinaryIO, **_: object) -> None:
        file.write(hub.files["dtd.zip"][:size])
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(hub_client, "http_get", cut)
        yield


def test_a_dataset_arrives_in_its_layout_and_is_left_as_it_is(hub: Hub, dtd) -> None:
    assert "Then: fdbpl data check dtd" in arrives()
    assert contents(Path("data")) == {f"dtd/{path}": content for path, content in dtd.items()}
    check = CliRunner().invoke(main, ["data", "check", "dtd", "--root", "data"])
    assert check.exit_code != 2, check.output
    before, asked = contents(Path("data")), len(hub.asked)
    assert "data/dtd is there, nothing to fetch" in arrives()
    assert (contents(Path("data")), len(hub.asked)) == (before, asked)


def test_the_licence_is_shown_before_anything_is_downloaded(hub: Hub) -> None:
    result = run("dtd", answer="n\n")
    assert result.exit_code == 0
    for line in (
        f"dtd: dtd.zip, {len(hub.files['dtd.zip']):,} bytes",
        f"  from {hub.url}/{REPO}, commit {COMMIT[:12]}",
        "  licence on the mirror's card: mit",
        LAYOUTS["dtd"].page,
        "Nothing fetched.",
    ):
        assert line in result.stdout
    assert "Give --yes to agree" in fails("dtd", answer="")
    assert hub.downloads() == []
    assert not Path("data").exists()
    assert run("dtd", answer="y\n").exit_code == 0
    assert Path("data/dtd").is_dir()


@pytest.mark.parametrize(("licence", "said"), [(None, "none stated"), (["a", "b"], "a, b")])
def test_a_card_may_state_no_licence_or_several(hub: Hub, licence: object, said: str) -> None:
    hub.licence = licence
    assert f"licence on the mirror's card: {said}\n" in run("dtd", answer="n\n").stdout


def test_an_interrupted_download_goes_on_where_it_was(hub: Hub, dtd, monkeypatch) -> None:
    half = len(hub.files["dtd.zip"]) // 2
    with cut_after(half, hub, monkeypatch):
        said = fails("dtd", "--yes")
    assert "OSError: connection lost. Try again: what is there is kept." in said
    arrives()
    assert hub.downloads() == [("dtd.zip", f"bytes={half}-")]
    assert contents(Path("data/dtd")) == dtd


def test_room_is_asked_for_what_is_left_to_fetch_alone(hub: Hub, monkeypatch) -> None:
    size = len(hub.files["dtd.zip"])
    half = size // 2
    with cut_after(half, hub, monkeypatch):
        fails("dtd", "--yes")
    room = {"downloads": size - half - 1, "unpacked": 9 * size}
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=room[place.name]))
    said = fails("dtd", "--yes")
    assert f"{size - half:,} bytes to fetch, {size - half - 1:,} are free" in said
    assert hub.downloads() == []
    room["downloads"] += 1
    arrives()


def test_a_killed_fetch_leaves_no_half_dataset(hub: Hub, monkeypatch) -> None:
    def killed(*_: object) -> None:
        Path("data/.fetch/dtd/unpacked/dtd").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client, "unpack", killed)
        assert run("dtd", "--yes").exit_code != 0
    assert not Path("data/dtd").exists()
    arrives()
    assert hub.downloads() == [("dtd.zip", None)]  # verified once more, not fetched again


@pytest.mark.parametrize("large", [True, False])
def test_content_other_than_announced_is_refused_and_deleted(hub: Hub, large: bool) -> None:
    if large:
        hub.announced["dtd.zip"] = wanted = 64 * "0"
    else:
        hub.files = {f"dtd/{SPLIT}": b"{}"}
        announced = hub.tree()
        wanted = announced[0]["oid"]
        hub.tree = lambda _: announced
        hub.files = {f"dtd/{SPLIT}": b"[]"}
    assert f"wanted {wanted}. What was downloaded is deleted" in fails("dtd", "--yes")
    assert not list(Path("data").rglob("*.part"))


@pytest.mark.parametrize("name", NAMES)
def test_every_dataset_is_found_by_its_name(hub: Hub, drawn: Path, name: str) -> None:
    called, files = "".join(c for c in name if c.isalnum()).upper(), contents(drawn / name)
    hub.files = {f"archives/{called}.zip": archive_of(files, name), "imagenet-c.zip": b"x"}
    arrives(name)
    assert contents(Path("data") / name) == files


def test_a_repository_of_datasets_and_a_folder_of_files(hub: Hub, dtd, drawn: Path) -> None:
    hub.kind = "datasets"
    images = archive_of(contents(drawn / "dtd" / "images"), "images")
    hub.files = {"dtd/images.zip": images, f"dtd/{SPLIT}": dtd[SPLIT]}
    arrives()
    assert contents(Path("data/dtd")) == dtd


def test_what_a_mirror_lacks_is_said_with_what_it_has(hub: Hub) -> None:
    said = fails("imagenet", "--yes")
    assert "nothing in it is called imagenet; found README.md, dtd.zip, food101.zip" in said
    assert LAYOUTS["imagenet"].page in said
    assert "dataset 'textures' is none to fetch. Wanted one of caltech-101, " in fails("textures")


def test_no_mirror_and_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no/such: no such repository" in fails("dtd", mirror="no/such")
    assert "Wanted OWNER/NAME" in fails("dtd", mirror="../..")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "127.0.0.1:9/someone/datasets: " in fails("dtd")


def test_what_is_not_in_the_layout_is_refused(hub: Hub, dtd, drawn: Path) -> None:
    hub.files["dtd.zip"] = archive_of(contents(drawn / "food-101"), "textures")
    assert f"no {SPLIT} was unpacked; found textures/images" in fails("dtd", "--yes")
    outside = b'{"train": [["../../x.jpg", 0, "a"]], "val": [], "test": []}'
    hub.files["dtd.zip"] = archive_of({**dtd, SPLIT: outside}, "dtd")
    assert "leads outside the dataset's folder" in fails("dtd", "--yes")


def test_every_dataset_has_a_page_with_its_terms() -> None:
    assert all(layout.page.startswith("https://") for layout in LAYOUTS.values())
