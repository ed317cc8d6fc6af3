"""fdbpl data fetch, from a hub on 127.0.0.1."""

import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest
from click.testing import CliRunner, Result
from hub import COMMIT, REPO, Hub, serve
from layouts import draw_layout

from fdbpl.cli import main
from fdbpl.data import hub as client
from fdbpl.data.registry import LAYOUTS
from fdbpl.data.terms import PAGES


def run(*words: str, mirror: str = REPO, answer: str | None = None) -> Result:
    command = ["data", "fetch", *words, "--mirror", mirror, "--root", "data"]
    return CliRunner().invoke(main, command, input=answer)


def fails(*words: str, mirror: str = REPO, answer: str | None = None) -> str:
    result = run(*words, mirror=mirror, answer=answer)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def archive_of(folder: Path, below: str) -> bytes:
    """A zip of all files of a folder, below a folder of that name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, Path(below) / path.relative_to(folder))
    return data.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All fifteen datasets in small."""
    root = tmp_path_factory.mktemp("drawn")
    for name in LAYOUTS:
        draw_layout(name, root)
    return root


@pytest.fixture
def hub(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    files = {"README.md": b"pictures", "dtd.zip": archive_of(drawn / "dtd", "dtd")}
    files["food101.zip"] = archive_of(drawn / "food-101", "food-101")
    with serve(Hub(files)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_a_dataset_arrives_in_its_layout(hub: Hub, drawn: Path) -> None:
    result = run("dtd", "--yes")
    assert result.exit_code == 0, result.output
    assert contents(Path("data/dtd")) == contents(drawn / "dtd")
    assert "Then: fdbpl data check dtd" in result.stdout
    assert not Path("data/.fetch/dtd").exists()
    check = CliRunner().invoke(main, ["data", "check", "dtd", "--root", "data"])
    assert check.exit_code != 2, check.output


def test_the_licence_is_shown_before_anything_is_downloaded(hub: Hub) -> None:
    result = run("dtd", answer="n\n")
    assert result.exit_code == 0
    size = len(hub.files["dtd.zip"])
    for line in (
        f"dtd: dtd.zip, {size:,} bytes",
        f"  from {hub.url}/{REPO}, commit {COMMIT[:12]}",
        "  licence on the mirror's card: mit",
        PAGES["dtd"],
        "Nothing fetched.",
    ):
        assert line in result.stdout
    assert hub.downloads() == []
    assert "Give --yes to agree" in fails("dtd", answer="")
    assert hub.downloads() == []
    assert not Path("data").exists()
    assert run("dtd", answer="y\n").exit_code == 0
    assert Path("data/dtd").is_dir()


@pytest.mark.parametrize(("licence", "said"), [(None, "none stated"), (["a", "b"], "a, b")])
def test_a_card_may_state_no_licence_or_several(hub: Hub, licence: object, said: str) -> None:
    hub.licence = licence
    assert f"licence on the mirror's card: {said}\n" in run("dtd", answer="n\n").stdout


def test_what_is_there_is_left_as_it_is(hub: Hub) -> None:
    run("dtd", "--yes")
    asked = len(hub.asked)
    before = contents(Path("data"))
    result = run("dtd", "--yes")
    assert result.exit_code == 0
    assert "data/dtd is there, nothing to fetch" in result.stdout
    assert len(hub.asked) == asked
    assert contents(Path("data")) == before


def test_an_interrupted_download_goes_on_where_it_was(
    hub: Hub, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = len(hub.files["dtd.zip"]) // 2

    def cut(url: str, file: BinaryIO, **_: object) -> None:
        file.write(hub.files["dtd.zip"][:half])
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(client, "http_get", cut)
        said = fails("dtd", "--yes")
        assert "OSError: connection lost. Try again: what is there is kept." in said
    assert not Path("data/dtd").exists()
    assert run("dtd", "--yes").exit_code == 0
    assert hub.downloads() == [("dtd.zip", f"bytes={half}-")]
    assert contents(Path("data/dtd")) == contents(drawn / "dtd")


def test_room_is_asked_for_what_is_left_to_fetch_alone(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(hub.files["dtd.zip"])
    half = size // 2

    def cut(url: str, file: BinaryIO, **_: object) -> None:
        Path("data/.fetch/dtd/unpacked").mkdir()  # as a killed unpacking leaves it
        file.write(hub.files["dtd.zip"][:half])
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(client, "http_get", cut)
        fails("dtd", "--yes")
    room, seen = {"dtd": size - half - 1, "unpacked": 9 * size}, []

    def usage(folder: Path) -> SimpleNamespace:
        seen.append((folder.name, (folder / "unpacked").exists()))
        return SimpleNamespace(free=room[folder.name])

    monkeypatch.setattr("fdbpl.data.fetch.shutil.disk_usage", usage)
    said = fails("dtd", "--yes")
    assert f"{size - half:,} bytes to fetch, {size - half - 1:,} are free" in said
    room["dtd"] += 1
    assert run("dtd", "--yes").exit_code == 0
    assert seen[:2] == [("dtd", False)] * 2  # what is made anew is deleted before


def test_a_killed_fetch_leaves_no_half_dataset(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        Path("data/.fetch/dtd/unpacked/dtd").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fdbpl.data.fetch.unpack", killed)
        assert run("dtd", "--yes").exit_code != 0
    assert not Path("data/dtd").exists()
    assert run("dtd", "--yes").exit_code == 0
    assert hub.downloads() == [("dtd.zip", None)]  # verified once more, not fetched again


@pytest.mark.parametrize("large", [True, False])
def test_content_other_than_announced_is_refused_and_deleted(hub: Hub, large: bool) -> None:
    if large:
        hub.announced["dtd.zip"] = 64 * "0"
        wanted = 64 * "0"
    else:
        hub.files = {"dtd/split_zhou_DescribableTextures.json": b"{}"}
        wanted = hub.tree()[0]["oid"]
        true, hub.tree = hub.tree(), lambda: true
        hub.files = {"dtd/split_zhou_DescribableTextures.json": b"[]"}
    said = fails("dtd", "--yes")
    assert f"wanted {wanted}. What was downloaded is deleted" in said
    assert not list(Path("data").rglob("*.part"))
    assert not Path("data/dtd").exists()


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_dataset_is_found_by_its_name(hub: Hub, drawn: Path, name: str) -> None:
    called = "".join(c for c in name if c.isalnum()).upper()
    hub.files = {f"archives/{called}.zip": archive_of(drawn / name, name), "imagenet-c.zip": b"x"}
    result = run(name, "--yes")
    assert result.exit_code == 0, result.output
    assert contents(Path("data") / name) == contents(drawn / name)


def test_a_repository_of_datasets_and_a_folder_of_files(hub: Hub, drawn: Path) -> None:
    hub.kind = "datasets"
    split = "split_zhou_DescribableTextures.json"
    hub.files = {
        "dtd/images.zip": archive_of(drawn / "dtd" / "images", "images"),
        f"dtd/{split}": (drawn / "dtd" / split).read_bytes(),
    }
    result = run("dtd", "--yes")
    assert result.exit_code == 0, result.output
    assert contents(Path("data/dtd")) == contents(drawn / "dtd")


def test_what_a_mirror_lacks_is_said_with_what_it_has(hub: Hub) -> None:
    said = fails("imagenet", "--yes")
    assert "nothing in it is called imagenet; found README.md, dtd.zip, food101.zip" in said
    assert PAGES["imagenet"] in said
    assert "dataset 'textures' is none to fetch. Wanted one of caltech-101, " in fails("textures")


def test_no_mirror_and_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no/such: no such repository" in fails("dtd", mirror="no/such")
    assert "Wanted OWNER/NAME" in fails("dtd", mirror="../..")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "127.0.0.1:9/someone/datasets: " in fails("dtd")


def test_an_archive_of_something_else_is_named(hub: Hub, drawn: Path) -> None:
    hub.files["dtd.zip"] = archive_of(drawn / "food-101", "textures")
    said = fails("dtd", "--yes")
    assert "no split_zhou_DescribableTextures.json was unpacked; found textures/images" in said
    assert not Path("data/dtd").exists()


def test_a_list_that_leads_outside_is_refused(hub: Hub, drawn: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(drawn / "dtd", broken)
    split = broken / "split_zhou_DescribableTextures.json"
    split.write_text('{"train": [["../../x.jpg", 0, "a"]], "val": [], "test": []}')
    hub.files["dtd.zip"] = archive_of(broken, "dtd")
    assert "leads outside the dataset's folder" in fails("dtd", "--yes")
    assert not Path("data/dtd").exists()


def test_every_dataset_has_a_page_with_its_terms() -> None:
    assert set(PAGES) == set(LAYOUTS)
    assert all(page.startswith("https://") for page in PAGES.values())
