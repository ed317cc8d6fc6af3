"""Presets: what they hold, how --only limits them, and that nobody's parameters are lost."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from kinds import KNOWN

from fdbpl.cli import main
from fdbpl.clip import small
from fdbpl.data.registry import LAYOUTS, SHIFTED
from fdbpl.methods.params import TrainParams
from fdbpl.methods.registry import IMPORTED
from fdbpl.settings.params import Params, check_params
from fdbpl.settings.presets.preset import NAMES, changes, preset, shipped
from fdbpl.system.errors import UserError

PROJECT = Path(__file__).resolve().parents[1]
ELEVEN = ("eleven", "eleven-b16")
ON_DEMAND = (
    *("linear_probe_text", "tip_adapter_f", "prolip", "tcp", "kgcoop_bridge", "tcp_bridge"),
    *("template_memory", "coop_memory", "kgcoop_memory", "tcp_memory", "kdpl_memory"),
    *("ivlp", "maple", "promptsrc", "promptkd", "fdbpl_vision", "fdbpl_vision_released"),
)
"""To be asked for."""
CURVES = ("few-shot", "few-shot-drawn")


def params_of(text: str) -> Params:
    return check_params(yaml.safe_load(text))


def test_the_playground_is_the_shipped_file_byte_for_byte() -> None:
    assert shipped("playground").encode() == (PROJECT / "params.yaml").read_bytes()
    assert preset("playground") == shipped("playground")


@pytest.mark.parametrize("name", ELEVEN)
def test_the_eleven_are_the_fields_protocol(name: str) -> None:
    params = params_of(preset(name))
    assert sorted(params.datasets) == sorted(LAYOUTS)
    assert (params.shots, params.seeds) == (16, [1, 2, 3])
    assert params.protocols == ["base-to-new", "transfer"]
    assert (params.source, tuple(params.shifted)) == ("imagenet", SHIFTED["imagenet"])
    assert set(params.methods) == set(KNOWN) - {IMPORTED, *ON_DEMAND}
    assert params.train == TrainParams(
        lr=2e-3, warmup_lr=1e-5, momentum=0.9, weight_decay=5e-4, epochs=50, batch=32
    )
    for model in (params.student, params.teacher):
        assert model.weights in open_clip.list_pretrained_tags_by_model(model.architecture)


def test_the_two_differ_in_their_models_alone() -> None:
    first, second = (params_of(preset(name)) for name in ELEVEN)
    models = (first.student, first.teacher, second.student, second.teacher)
    assert [(model.architecture, model.weights) for model in models] == [
        *(("ViT-B-32-quickgelu", "openai"), ("ViT-H-14-quickgelu", "dfn5b")),
        *(("ViT-B-16-quickgelu", "openai"), ("ViT-L-14-quickgelu", "openai")),
    ]
    assert second.model_copy(update={"student": models[0], "teacher": models[1]}) == first


def test_a_curve_is_of_all_classes_from_the_fields_shots() -> None:
    few, drawn = (params_of(preset(name)) for name in CURVES)
    for params, name in ((few, "eleven"), (drawn, "playground")):
        assert (params.protocols, params.shots) == (["all-classes"], [1, 2, 4, 8, 16])
        whole = params_of(preset(name))
        assert [*params.datasets, *whole.shifted] == whole.datasets
        same = {"datasets", "protocols", "shots", "shifted"}
        assert params.model_dump(exclude=same) == whole.model_dump(exclude=same)


def test_ones_own_folder_is_learned_whole() -> None:
    params = params_of(preset("folder", root="/pictures"))
    assert (params.datasets, params.protocols) == (["mine"], ["all-classes"])
    assert params.data.own["mine"].folder == "/pictures"


def test_ones_own_folder_needs_no_download_and_says_what_to_write_for_larger_models() -> None:
    params, larger = params_of(preset("folder")), params_of(preset("eleven"))
    assert (params.student.architecture, params.teacher.architecture) == small.PAIR
    assert params.student.weights == params.teacher.weights == "small"
    assert params.train == larger.train
    said = " ".join(comments_of(shipped("folder")))
    for model in (larger.student, larger.teacher):
        assert f"{model.architecture} with weights {model.weights}" in said


@given(st.data(), st.sampled_from(NAMES))
def test_only_drops_every_other_dataset_and_nothing_else(data, name: str) -> None:
    whole = yaml.safe_load(shipped(name))
    known, shifted = whole["datasets"], whole["shifted"]
    only = data.draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
    if not set(only) - set(shifted):
        with pytest.raises(UserError, match="wanted at least one of"):
            preset(name, only)
        return
    text = preset(name, only)
    transfers = whole["source"] in only and len(only) > 1
    kept = [one for one in known if one in only and (transfers or one not in shifted)]
    for key in ("datasets", "development", "shifted"):
        if key in whole:
            whole[key] = [dataset for dataset in whole[key] if dataset in kept]
    if not transfers:
        whole["protocols"] = [one for one in whole["protocols"] if one != "transfer"]
    if whole["source"] not in kept:
        whole["source"] = kept[0]
    assert yaml.safe_load(text) == whole
    assert comments_of(text) == comments_of(shipped(name))


def comments_of(text: str) -> list[str]:
    return [line.split("#")[1].strip() for line in text.splitlines() if "#" in line]


leaves = st.none() | st.integers(0, 3) | st.lists(st.sampled_from("ab"), max_size=2)
sections = st.recursive(
    leaves, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6
)


@given(
    st.dictionaries(st.sampled_from("abc"), sections),
    st.dictionaries(st.sampled_from("abc"), sections),
)
def test_no_line_of_changes_means_no_change(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert (changes(before, after) == []) == (before == after)
    swapped = {"-": "+", "+": "-"}
    flipped = [f"  {swapped[line[2]]}{line[3:]}" for line in changes(after, before)]
    assert sorted(flipped) == sorted(changes(before, after))


def test_what_changed_is_said_key_by_key() -> None:
    before = {"datasets": ["a"], "train": {"lr": 0.02, "epochs": 3}, "device": "cpu"}
    after = {"datasets": ["a"], "train": {"lr": 0.002}, "transfer": None}
    assert changes(before, after) == [
        *("  - train.lr: 0.02", "  + train.lr: 0.002", "  + transfer: null"),
        *("  - train.epochs: 3", "  - device: cpu"),
    ]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["preset", *words])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_preset_where_there_is_nothing(elsewhere: Path) -> None:
    said = run("eleven")
    assert files(elsewhere) == {"params.yaml": shipped("eleven")}
    assert said.startswith("params.yaml: preset eleven\n  + datasets: [imagenet, caltech-101, ")
    assert "  + student.architecture: ViT-B-32-quickgelu\n" in said
    assert run("eleven") == "params.yaml: is preset eleven already\n"


def test_a_users_file_is_kept_however_often_presets_follow(elsewhere: Path) -> None:
    mine = shipped("playground").replace("lr: 0.02", "lr: 0.5")
    (elsewhere / "params.yaml").write_text(mine)
    assert run("playground").splitlines() == [
        *("params.yaml: preset playground", "kept what was there: params.yaml.bak"),
        *("  - train.lr: 0.5", "  + train.lr: 0.02"),
    ]
    run("eleven")
    run("eleven-b16")
    assert files(elsewhere) == {"params.yaml": shipped("eleven-b16"), "params.yaml.bak": mine}
    other = mine.replace("lr: 0.5", "lr: 0.6")
    for text in (other, mine):
        (elsewhere / "params.yaml").write_text(text)
        run("eleven")
    kept = {"params.yaml.bak": mine, "params.yaml.bak2": other}
    assert files(elsewhere) == {"params.yaml": shipped("eleven"), **kept}


@pytest.mark.parametrize("data", [b"datasets: [", b"- a\n", b"\xff\xfe", b""])
def test_a_damaged_file_is_kept_as_it_was(elsewhere: Path, data: bytes) -> None:
    (elsewhere / "params.yaml").write_bytes(data)
    run("playground")
    assert (elsewhere / "params.yaml.bak").read_bytes() == data
    assert (elsewhere / "params.yaml").read_text() == shipped("playground")


def test_a_file_that_differs_in_comments_alone(elsewhere: Path) -> None:
    (elsewhere / "params.yaml").write_text(f"{shipped('playground')}# mine\n")
    assert run("playground").splitlines()[-1] == "  comments alone differ"
    assert (elsewhere / "params.yaml.bak").read_text().endswith("# mine\n")


def test_one_flag_limits_the_run(elsewhere: Path) -> None:
    said = run("eleven", "--only", "dtd,eurosat", "--root", "/sets", "--params", "few.yaml")
    assert said.splitlines()[0] == "few.yaml: preset eleven, only dtd, eurosat"
    assert said.splitlines()[-1].startswith("no transfer: its source")
    params = params_of((elsewhere / "few.yaml").read_text())
    assert params.datasets == ["dtd", "eurosat"]
    assert (params.protocols, params.source) == (["base-to-new"], "dtd")
    assert params.data.root == "/sets"
    run("eleven", "--only", "imagenet, dtd imagenetv2", "--params", "few.yaml")
    params = params_of((elsewhere / "few.yaml").read_text())
    assert params.protocols == ["base-to-new", "transfer"]
    assert (params.datasets, params.shifted) == (["imagenet", "dtd", "imagenetv2"], ["imagenetv2"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["twelve"], "preset 'twelve' is unknown, wanted one of playground"),
        (
            ["eleven", "--only", "dtd objects"],
            "--only names 'objects', which preset eleven has not",
        ),
        (["eleven", "--only", "imagenetv2"], "wanted at least one of imagenet, caltech-101"),
        (["eleven", "--only", " , "], "wanted names of datasets such as dtd,eurosat"),
    ],
)
def test_a_mistake_leaves_everything_as_it_was(elsewhere: Path, words: list[str], says) -> None:
    (elsewhere / "params.yaml").write_text("datasets: [mine]\n")
    assert says in run(*words, code=2)
    assert files(elsewhere) == {"params.yaml": "datasets: [mine]\n"}
