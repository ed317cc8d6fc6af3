"""Weights of a tag that do not come: the reason is said, whatever wraps it."""

from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from open_clip import pretrained

from fdbpl.clip.download import download
from fdbpl.clip.model import load_model
from fdbpl.clip.params import ModelParams
from fdbpl.system.errors import UserError

TAG = pretrained.get_pretrained_cfg("ViT-B-16", "laion2b_s34b_b88k")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub that nobody answers for, and an empty home."""
    for variable in ("NO_PROXY", "no_proxy", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", NOBODY)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("{repo_id}")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{NOBODY}/{''.join(template[1:])}"
    )
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the hub's retries
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    close_session()  # which remembers the proxies
    yield
    close_session()


def refusal() -> str:
    with pytest.raises(UserError) as error:
        download(TAG, "student.weights: it")
    said = str(error.value)
    assert said.startswith("student.weights: it could not be fetched: ")
    assert "\n" not in said
    return said


def test_a_host_that_does_not_answer() -> None:
    assert "127.0.0.1: ConnectError: [Errno 111] Connection refused. Check the net" in refusal()


def test_the_variable_for_working_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    assert "HF_HUB_OFFLINE is set" in refusal()


def test_a_proxy_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    said = refusal()
    assert "127.0.0.1, through the proxy of HTTP_PROXY: " in said
    assert "secret" not in said
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()
    assert "proxy of" not in refusal()


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert f"{tmp_path}/file/hub cannot be written (Not a directory). Set HF_HOME" in refusal()


def test_a_reason_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    def fail(_: object) -> None:
        raise ValueError("header Bearer hf_secret of https://me:word@host/x")

    monkeypatch.setattr(pretrained, "download_pretrained", fail)
    assert "ValueError: header Bearer *** of https://***@host/x. " in refusal()


def test_no_model_starts_from_random_weights() -> None:
    tag = ModelParams(architecture="ViT-B-16", weights="laion2b_s34b_b88k")
    with pytest.raises(UserError, match=r"teacher\.weights: ViT-B-16 .*ConnectError"):
        load_model(tag, "teacher")
