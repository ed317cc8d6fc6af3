"""What DVC's stages read in place of params.yaml."""

import json
from pathlib import Path

import pytest
from test_made_with import CHANGES, with_change
from workspaces import workspace_params

from fdbpl.settings.params import Params, check_params, load_yaml
from fdbpl.settings.presets.preset import NAMES, shipped
from fdbpl.settings.resolved import RESOLVED, read_resolved, resolved
from fdbpl.system.errors import UserError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_back(params: Params) -> Params:
    RESOLVED.write_bytes(resolved(params))
    return read_resolved()


@pytest.mark.parametrize("preset", NAMES)
def test_parameters_read_back_as_they_were(preset: str) -> None:
    params = check_params(load_yaml(shipped(preset)))
    assert read_back(params) == params
    assert resolved(read_back(params)) == resolved(params)


@pytest.mark.parametrize("key", CHANGES)
def test_a_changed_key_reads_back_and_changes_what_dvc_sees(key: str) -> None:
    before = workspace_params(Path(), ["pets", "ships"], protocols=["base-to-new", "transfer"])
    after = with_change(before, key)
    assert read_back(after) == after
    kept = json.loads(resolved(after))
    differing = {
        name for name, value in json.loads(resolved(before)).items() if kept[name] != value
    }
    assert differing - {"protocols", "source"} == {key.partition(".")[0]} - {"protocols", "source"}


def test_every_key_stands_there_even_one_that_was_left_out() -> None:
    """DVC refuses a stage whose key is missing."""
    params = workspace_params(Path(), ["pets"])
    assert list(json.loads(resolved(params))) == list(Params.model_fields)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file. Run dvc repro parameters first."),
        (b"", "Run dvc repro --force parameters."),
        (b'{"datasets": ', "Run dvc repro --force parameters."),
        (b'{"datasets": ["x"], "nodes": 3}', "unknown key 'nodes'"),
        (b"[]", "Run dvc repro --force parameters."),
    ],
)
def test_a_damaged_file_is_one_line(content: bytes | None, says: str) -> None:
    if content is not None:
        RESOLVED.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_resolved()
    assert str(caught.value).startswith(f"{RESOLVED}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
