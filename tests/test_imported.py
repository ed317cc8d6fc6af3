"""The method `imported` under the protocols: a checkpoint of CoOp's kind beside our own methods."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import coop_checkpoint
from conftest import draw_folder
from workspaces import run_of

from fdbpl.classify.artifact import Artifact
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.params import ModelParams
from fdbpl.clip.tokens import embed_words
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import run_stage
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.tracking.records import read_records

TINY = {"architecture": "fdbpl-tiny-student", "weights": "tiny"}
STAGES = ("prepare_crops", "cache_teacher", "train_student", "evaluate")


@pytest.fixture(scope="module")
def student() -> ClipModel:
    return load_model(ModelParams(**TINY), "student")


def params_of(root: Path, **changes: Any) -> Params:
    raw = {
        "datasets": ["mine", "more"],
        "protocols": ["base-to-new", "transfer"],
        "shifted": ["more"],
        "methods": ["zero_shot_generic", "coop", "imported"],
        "seeds": [1, 2],
        "shots": 2,
        "train": {"epochs": 2},
        "regions": {"per_image": 2},
        "data": {"own": {"mine": {"folder": str(root / "photos"), "template": "{} here."}}},
        "cache": {"store": str(root / "store"), "payload": "float32"},
        "student": TINY,
        "teacher": TINY,
        "imported": {
            "base-to-new": {"mine": str(root / "coop" / "seed{}" / "model.pth.tar-50")},
            "transfer": {"mine": str(root / "coop" / "all.tar")},
        },
    }
    return check_params({**raw, **changes})


def test_a_checkpoint_is_evaluated_beside_the_others(tmp_path: Path, student: ClipModel) -> None:
    classes = dict.fromkeys(("red square", "blue circle", "green star", "old cross"), (3, 9))
    draw_folder(tmp_path / "photos", classes)
    draw_folder(tmp_path / "more", {"a": (1, 3), "b": (1, 3)})
    own = {name: {"folder": str(tmp_path / at)} for name, at in (("mine", "photos"), ("more",) * 2)}
    words = embed_words(student, "a photo of a")
    for seed, context in ((1, words), (2, torch.randn(7, *words.shape[1:]))):
        path = tmp_path / "coop" / f"seed{seed}" / "model.pth.tar-50"
        coop_checkpoint(path, student, context, classes=2 * seed, dtype=torch.float32)
    coop_checkpoint(tmp_path / "coop" / "all.tar", student, words, dtype=torch.float32)
    params = params_of(tmp_path, data={"own": own})
    work = Workspace(tmp_path / "work")
    said = {
        (stage, name): run_stage(stage, params, work, name)
        for stage in STAGES
        for name in params.datasets
    }
    told = said["train_student", "mine"]
    assert "  imported: checkpoints of 2 seeds brought in" in told
    assert "  imported, seed 2: learned on 4 classes, the plan has 2" in told

    results = run_of(work, "mine")["methods"]
    for key in ("base", "new", "h"):  # seed 1's context is the words of the generic prompt
        both = (results[name]["1"]["measures"] for name in ("imported", "zero_shot_generic"))
        found = [measures[key] for measures in both]
        assert found[0] == found[1]
    for seed, tokens in ((1, len(words)), (2, 7)):
        path = work.learned("mine", "base-to-new", "imported", seed, "prompts")
        prompts = Artifact.load(path, "prompts")
        assert prompts.arrays["positive"].shape == (tokens, words.shape[1])
        assert prompts.digest == results["imported"][str(seed)]["prompts"]
        assert "train" not in prompts.about["made_with"]
        assert prompts.about["student"] == dict(student.identity)

    for name in params.datasets:
        moved = run_of(work, name, "transfer")["methods"]
        for seed in ("1", "2"):
            generic = moved["zero_shot_generic"][seed]["measures"]
            assert moved["imported"][seed]["measures"] == generic
    table = "\n".join(run_stage("compare", params, work, None)).splitlines()
    assert sum(line.startswith("| imported ") for line in table) == 5  # three of halves, two moved
    run_stage("ood", params, work, None)
    records = read_records(params, work)
    assert records.notes == ()
    assert {one.method for one in (*records.seeds, *records.transfers)} == set(params.methods)


def test_a_wrong_checkpoint_costs_no_training_and_no_earlier_prompts(
    tmp_path: Path, student: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_folder(tmp_path / "photos", {"a": (2, 2), "b": (2, 2)})
    alone = {"datasets": ["mine"], "shifted": []}
    params, work = params_of(tmp_path, **alone), Workspace(tmp_path / "work")
    for stage in STAGES[:2]:
        run_stage(stage, params, work, "mine")
    work.prompts_of("mine").mkdir(parents=True)
    (work.prompts_of("mine") / "earlier").touch()
    monkeypatch.setattr(
        "fdbpl.stages.train_student.learn_method", lambda *_, **__: pytest.fail("trained")
    )
    with pytest.raises(UserError, match=r"seed1/model\.pth\.tar-50: No such file"):
        run_stage("train_student", params, work, "mine")
    assert [path.name for path in work.prompts_of("mine").iterdir()] == ["earlier"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"imported": {}}, "imported.base-to-new no checkpoint of mine"),
        ({"imported": {"base-to-new": {"mine": "x"}}}, "imported.transfer no checkpoint of mine"),
        ({"imported": {"base-to-new": {"yours": "y"}}}, "base-to-new names 'yours'"),
        ({"imported": {"halves": {"mine": "x"}}}, "imported names 'halves', wanted among"),
        ({"data": {"picks": {"yours": "y"}}}, "data.picks names 'yours', wanted one of"),
    ],
)
def test_parameters_that_name_too_little_or_too_much(tmp_path: Path, changes, says) -> None:
    with pytest.raises(UserError) as error:
        params_of(tmp_path, **changes)
    assert says in str(error.value)


def test_checkpoints_may_stay_named_while_the_method_is_off(tmp_path: Path) -> None:
    params_of(tmp_path, methods=["coop"])
