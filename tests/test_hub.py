"""fdbpl push and fdbpl pull, with a hub on 127.0.0.1."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hub import COMMIT, LARGE, REPO, Hub, serve
from huggingface_hub import constants
from models import COLOURS, write_colours
from PIL import Image

from fdbpl.cli import main
from fdbpl.serving.hub import LARGEST_ABOUT, Address
from fdbpl.serving.model_folder import ABOUT, TOWER, open_model
from fdbpl.system import hub as client
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, readable_json, sha256

PLACE = f"hf://{REPO}"
TOKEN = "hf_secret"
MODEL, PULLED = Path("model"), Path("pulled")
PAGE = (200, b"<html>Sign in to the airport</html>", {"Content-Type": "text/html"})


def says(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: "), result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert TOKEN not in result.output
    return result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def naming(about: bytes, files: object) -> bytes:
    """A model.json that names other files, with a digest that is right."""
    told = {**json.loads(about), "files": files}
    del told["digest"]
    return readable_json({**told, "digest": sha256(canonical_json(told))})


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub without the repository, somebody who is logged in there, and a model in `MODEL`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    write_colours(MODEL)
    with serve(Hub({".gitattributes": b""})) as served:
        served.exists = False
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@pytest.fixture
def pushed(hub: Hub) -> Hub:
    """The same, with the model in it."""
    says("push", MODEL, PLACE)
    hub.asked.clear()
    return hub


def predictions(model: Path) -> str:
    for name in COLOURS:
        Image.new("RGB", (20, 30), name).save(f"{name}.png")
    return says("predict", model, "--json", *(f"{name}.png" for name in COLOURS))


def test_what_was_pushed_is_pulled_and_predicts_the_same(hub: Hub) -> None:
    (MODEL / "notes.txt").write_text("mine alone")
    said = says("push", MODEL, PLACE)
    sent = contents(MODEL)
    del sent["notes.txt"]
    assert hub.files == {".gitattributes": b"", **sent}
    assert len(hub.contents) == 2  # one commit
    assert set(hub.large) == {sha256(data) for data in sent.values() if len(data) >= LARGE}
    assert hub.large  # and files that are none were sent as well
    assert hub.private
    for name, data in sent.items():
        assert f"  {name}: {len(data):,} bytes\n" in said
    assert f"  to {hub.url}/{REPO}, a new private repository\n" in said
    assert f"uploaded: {hub.url}/{REPO}, commit {hub.branches['main'][:12]}" in said

    said = says("pull", PLACE, "--out", PULLED)
    assert f"from {PLACE}, commit {hub.branches['main'][:12]}. Then: fdbpl predict pulled" in said
    assert contents(PULLED) == sent
    assert predictions(PULLED) == predictions(MODEL)
    assert '"top": [["red", 0.9' in predictions(PULLED)


def test_what_is_uploaded_is_said_before_it_is(hub: Hub) -> None:
    hub.faults["/commit/main"] = (500, b"", {})
    result = CliRunner().invoke(main, ["push", "model", PLACE])
    assert result.exit_code == 2
    assert "model: 4 files, " in result.stdout
    assert f"{hub.url}/{REPO}: HfHubHTTPError: Server error '500" in result.stderr


def test_a_public_repository_is_made_and_used_where_it_is_asked_for_alone(hub: Hub) -> None:
    assert ", a new public repository\n" in says("push", MODEL, PLACE, "--public")
    assert not hub.private
    commits = len(hub.contents)
    write_colours(MODEL, seed=1)
    assert "is there, and public: everybody would see" in fails("push", MODEL, PLACE)
    assert len(hub.contents) == commits
    assert ", which is there, and public\n" in says("push", MODEL, PLACE, "--public")
    assert hub.files[ABOUT] == contents(MODEL)[ABOUT]


def test_a_model_that_is_there_already_is_no_new_commit(pushed: Hub) -> None:
    said = says("push", MODEL, PLACE)
    assert ", which is there, and private\n" in said
    assert f"commit {pushed.branches['main'][:12]}" in said
    assert len(pushed.contents) == 2


def test_a_branch_and_a_commit(pushed: Hub) -> None:
    first, old = pushed.branches["main"], contents(MODEL)
    write_colours(MODEL, seed=1)
    assert f"{REPO}/tree/bluer, " in says("push", MODEL, f"{PLACE}@bluer")
    says("pull", f"{PLACE}@bluer", "--out", PULLED)
    assert contents(PULLED) == contents(MODEL) != old
    says("pull", PLACE, "--out", PULLED)
    assert contents(PULLED) == old
    says("push", MODEL, PLACE)
    says("pull", f"{PLACE}@{first}", "--out", PULLED)
    assert contents(PULLED) == old
    said = fails("pull", f"{PLACE}@redder", "--out", PULLED)
    assert f"{REPO} at redder: RevisionNotFoundError" in said
    assert "Name a branch, tag or commit that it has." in said
    assert contents(PULLED) == old


def test_all_files_are_of_one_commit(pushed: Hub) -> None:
    old, tree = contents(MODEL), pushed.tree

    def overtaken(commit: str) -> list[dict[str, object]]:
        pushed.commit("main", {TOWER: b"of another model"})
        return tree(commit)

    pushed.tree = overtaken  # type: ignore[method-assign]
    says("pull", PLACE, "--out", PULLED)
    assert contents(PULLED) == old


def test_no_damaged_model_is_pushed(hub: Hub) -> None:
    (MODEL / TOWER).write_bytes(b"damaged")
    assert f"model/{TOWER}: damaged or exchanged" in fails("push", MODEL, PLACE)
    assert hub.asked == []


@pytest.mark.parametrize("name", [TOWER, "README.md"])
def test_a_damaged_file_on_the_hub_is_refused_by_name(pushed: Hub, name: str) -> None:
    write_colours(PULLED, seed=1)
    before = contents(PULLED)
    pushed.files[name] = b"damaged"
    said = fails("pull", PLACE, "--out", PULLED)
    assert f"error: {PLACE}: {name}: damaged or exchanged: SHA-256 " in said
    assert contents(PULLED) == before
    del pushed.files[name]
    assert f"{PLACE}: {name}: not in {pushed.url}/{REPO}" in fails("pull", PLACE, "--out", PULLED)
    assert contents(PULLED) == before
    assert sorted(path.name for path in Path().iterdir()) == ["model", "pulled"]


NAMES = ["../evil", "/tmp/evil", "a/b", "..", ".hidden", "", ABOUT, "a\0b", "a\nb", "a\\b", "é"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_folder(pushed: Hub, name: str) -> None:
    wicked = naming(contents(MODEL)[ABOUT], {name: sha256(contents(MODEL)[TOWER])})
    (MODEL / ABOUT).write_bytes(wicked)
    with pytest.raises(UserError, match="wanted a plain file name"):
        open_model(MODEL)
    pushed.commit("main", {name or "x": pushed.files[TOWER], ABOUT: wicked})
    said = fails("pull", PLACE, "--out", PULLED)
    assert f"{PLACE}: {ABOUT}: names the file {name!r}" in said
    assert [path for path, _ in pushed.downloads()] == [ABOUT]
    assert [path.name for path in Path().iterdir()] == ["model"]


@pytest.mark.parametrize(
    "about", [b"[]", b"<html>", b"\xff", 200_000 * b"[", b'{"digest": "", "a": NaN}', b"{}"]
)
def test_a_model_json_that_is_none_is_refused(pushed: Hub, about: bytes) -> None:
    pushed.commit("main", {ABOUT: about})
    assert f"{PLACE}: {ABOUT}: damaged." in fails("pull", PLACE, "--out", PULLED)


@pytest.mark.parametrize("files", [None, [TOWER], {TOWER: 1}])
def test_a_model_json_names_files_with_digests(hub: Hub, files: object) -> None:
    (MODEL / ABOUT).write_bytes(naming(contents(MODEL)[ABOUT], files))
    assert f"model/{ABOUT}: files is not as this fdbpl wants it" in fails("push", MODEL, PLACE)


def test_a_large_model_json_is_not_downloaded(pushed: Hub) -> None:
    pushed.commit("main", {ABOUT: bytes(LARGEST_ABOUT + 1)})
    said = fails("pull", PLACE, "--out", PULLED)
    assert f"{PLACE}: {ABOUT}: 16,000,001 bytes, wanted at most 16,000,000" in said
    assert pushed.downloads() == []


def test_nothing_is_downloaded_that_the_model_does_not_name(pushed: Hub) -> None:
    pushed.commit("main", {"weights.bin": b"x", "below/model.json": b"{}"})
    says("pull", PLACE, "--out", PULLED)
    assert {path for path, _ in pushed.downloads()} == set(contents(MODEL))
    del pushed.files[ABOUT]
    assert f"no model of fdbpl: no {ABOUT} in" in fails("pull", PLACE, "--out", "other")


def test_something_else_is_not_replaced(pushed: Hub) -> None:
    PULLED.mkdir()
    (PULLED / "thesis.txt").write_text("mine")
    assert "pulled: is there, and is no model of fdbpl" in fails("pull", PLACE, "--out", PULLED)
    assert pushed.asked == []
    assert contents(PULLED) == {"thesis.txt": b"mine"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError("connection lost")])
def test_an_interrupted_pull_leaves_the_former_model(
    pushed: Hub, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    write_colours(PULLED, seed=1)
    before, get = contents(PULLED), client.http_get

    def cut(url: str, file: io.BufferedWriter, **more: object) -> None:
        if url.endswith(TOWER):
            file.write(b"half")
            raise failure
        get(url, file, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(client, "http_get", cut)
        assert CliRunner().invoke(main, ["pull", PLACE, "--out", "pulled"]).exit_code != 0
    assert contents(PULLED) == before
    assert sorted(path.name for path in Path().iterdir()) == ["model", "pulled"]
    says("pull", PLACE, "--out", PULLED)
    assert contents(PULLED) == contents(MODEL)


def test_a_token_is_sent_and_stands_nowhere(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = says("push", MODEL, PLACE) + says("pull", PLACE, "--out", PULLED)
    asked = zip(hub.asked, hub.authorizations, strict=True)
    assert {given for (_, path, _), given in asked if "/large/" not in path} == {f"Bearer {TOKEN}"}
    hub.faults[f"/{REPO}"] = (403, b"{}", {"X-Error-Message": f"no Bearer {TOKEN}"})
    assert "no Bearer ***" in fails("pull", PLACE, "--out", PULLED)
    assert TOKEN not in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    monkeypatch.setenv("HF_TOKEN", "hf_se\x01cret")
    said = fails("push", MODEL, PLACE)
    assert "has a space or a character that no token has" in said
    assert "cret" not in said


def test_who_is_not_logged_in(pushed: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    hidden = f"{pushed.url}/{REPO}: no such repository, or none that you may see"
    assert hidden in fails("pull", PLACE, "--out", PULLED)
    said = fails("push", MODEL, PLACE)
    assert "401" in said
    assert "Log in by hf auth login, or set HF_TOKEN, as somebody who may do this." in said
    assert "hf_other" not in said
    monkeypatch.delenv("HF_TOKEN")
    assert hidden in fails("pull", PLACE, "--out", PULLED)
    assert pushed.authorizations[-1] is None
    assert f"{pushed.url}: nobody is logged in. Log in by hf auth" in fails("push", MODEL, PLACE)


def test_what_a_hub_refuses_says_what_to_do(pushed: Hub) -> None:
    write_colours(MODEL, seed=1)
    pushed.faults["/commit/main"] = (403, b"{}", {"X-Error-Message": "read only"})
    said = fails("push", MODEL, PLACE)
    assert "403 Forbidden: read only" in said
    assert "Log in by hf auth login" in said
    pushed.faults = {sha256(contents(MODEL)[TOWER]): (403, b"{}", {"X-Error-Message": "expired"})}
    assert "HfHubHTTPError: 403 Forbidden: expired" in fails("push", MODEL, PLACE)


@pytest.mark.parametrize("end", ["/preupload/main", "/objects/batch", "/commit/main"])
def test_a_page_in_place_of_an_answer_to_push(hub: Hub, end: str) -> None:
    hub.faults[end] = PAGE
    said = fails("push", MODEL, PLACE)
    assert f"{hub.url}/{REPO}: not what a hub answers (JSONDecodeError" in said
    assert "Check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT" in said


def test_a_page_in_place_of_an_answer_to_pull(pushed: Hub) -> None:
    commit = pushed.branches["main"]
    for end, answer, said in (
        (f"/{REPO}", PAGE, "not what a hub answers (JSONDecodeError"),
        (f"/{REPO}", (200, b"[]", {}), "not what a hub answers (TypeError"),
        (f"/{REPO}", (200, b'{"id": "a/b", "sha": "../x"}', {}), "its commit is '../x', wanted"),
        (f"/tree/{commit}", PAGE, "not what a hub answers (JSONDecodeError"),
        (f"/resolve/{commit}/{TOWER}", PAGE, f"{TOWER}: OSError: Consistency check failed"),
        (f"/resolve/{commit}/{TOWER}", (404, b"", {}), "HfHubHTTPError: Client error '404"),
    ):
        pushed.faults = {end: answer}
        assert said in fails("pull", PLACE, "--out", PULLED), end
        assert [path.name for path in Path().iterdir()] == ["model"]


def test_what_a_hub_announces_is_no_place_and_no_end(pushed: Hub) -> None:
    pushed.announced[TOWER] = "../../evil"
    assert "not what a hub answers (ValueError: tower.onnx" in fails("pull", PLACE, "--out", PULLED)
    pushed.announced.clear()
    more = (200, bytes(10**7), {})
    pushed.faults[f"/{TOWER}"] = more
    size = len(pushed.files[TOWER])
    said = fails("pull", PLACE, "--out", PULLED)
    assert f"more than the {size:,} bytes that were announced" in said


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HF_ENDPOINT", "http://127.0.0.1:9", "127.0.0.1:9/someone/datasets: ConnectError: "),
        ("HF_ENDPOINT", "hub.example.org", "'hub.example.org', wanted an address such as https:"),
        ("HF_ENDPOINT", "http://[", "wanted an address such as https://HOST."),
        ("HF_ENDPOINT", "http://me:hf_secret@hub.example.org", "http://me:***@hub.example.org"),
        ("HTTP_PROXY", "http://127.0.0.1:9", "ConnectError: "),
        ("HTTP_PROXY", "nonsense://x", "not what a hub answers (ValueError: "),
        ("ALL_PROXY", "socks5://127.0.0.1:9", "Install it, or unset ALL_PROXY and HTTPS_PROXY."),
    ],
)
def test_no_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    from huggingface_hub.utils import close_session

    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv(variable, value)
    close_session()  # which holds the proxies of its first request
    try:
        assert said in fails("pull", PLACE, "--out", PULLED)
        assert said in fails("push", MODEL, PLACE)
    finally:
        close_session()


def test_a_hub_without_xet_storage_is_no_traceback(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    said = fails("push", MODEL, PLACE)
    assert "404 Not Found" in said
    assert "without Xet storage, set HF_HUB_DISABLE_XET=1." in said


def test_addresses() -> None:
    assert Address.of("hf://a/b") == Address("a/b")
    assert Address.of(f"hf://a-1/b.c@{COMMIT}") == Address("a-1/b.c", COMMIT)
    assert str(Address.of("hf://a/b@refs/pr/1")) == "hf://a/b@refs/pr/1"
    for text in ("a/b", "hf://b", "hf://a/b/c", "hf://a/b@", "hf://a/b c", "https://hf.co/a/b"):
        with pytest.raises(UserError, match="Wanted hf://OWNER/NAME, or"):
            Address.of(text)
    assert "Wanted OWNER/NAME" in fails("pull", "hf://../x", "--out", PULLED)
