"""Every output is taken under the parameters that decide it, and whatever the others are."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from kinds import KNOWN
from pydantic import BaseModel
from test_planned import changed
from workspaces import empty_plan, evaluated_workspace, workspace_params

from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.learned import open_learned
from fdbpl.stages.made_with import (
    METHODS_SERVE,
    Record,
    differing,
    of_all,
    of_caches,
    of_evaluation,
    of_plan,
    of_training,
    require_made_with,
)
from fdbpl.stages.planned import load_planned
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json
from fdbpl.system.workspace import Workspace
from fdbpl.tracking.records import read_records
from studies.records import read_measures

OWN: dict[str, Any] = {"folder": None, "images": "pictures", "names": "names.txt"}
PLAN, PROMPTS, METRICS, ALL = "plan", "prompts", "metrics", "all"

CHANGES: dict[str, tuple[Any, str | None]] = {
    "datasets": (["pets", "ships", "boats"], ALL),
    "protocols": (["base-to-new", "transfer", "all-classes"], PLAN),
    "source": ("ships", PROMPTS),
    "shifted": (["ships"], METRICS),
    "methods": (["zero_shot", "coop", "fdbpl", "kdpl"], METRICS),
    "method_files": ({"Mine": "mine.py"}, None),  # of no method that is listed
    "seeds": ([1, 2, 3], PLAN),
    "shots": (4, PLAN),
    "data.root": ("elsewhere", None),
    "data.world": (2, None),  # of one's own dataset
    "data.own.pets.folder": ({"folder": "elsewhere"}, None),
    "data.own.pets.table": ({"folder": None, "table": "table.csv"}, PLAN),
    "data.own.pets.images": (OWN, PLAN),
    "data.own.pets.names": (OWN, PLAN),
    "data.own.pets.test": ({**OWN, "test": "labelled"}, PLAN),
    "data.own.pets.template": ({"template": "{} here."}, PLAN),
    "data.picks": ({"pets": "picks.csv"}, PLAN),
    "data.vocabulary": ("imagenet", PLAN),
    "data.allow_unreadable_test_images": (True, PLAN),
    "regions.seed": (5, PLAN),
    "regions.per_image": (3, PLAN),
    "regions.scale": ([0.1, 1.0], PLAN),
    "regions.ratio": ([0.5, 2.0], PLAN),
    "regions.flip": (0.25, PLAN),
    "student.architecture": ("other", PROMPTS),
    "student.weights": ("openai", PROMPTS),
    "student.activation": ("gelu", None),  # which those weights say, or refuse
    "student.precision": ("bf16", PROMPTS),
    "student.features": ("online", PROMPTS),
    "teacher.architecture": ("other", PROMPTS),
    "teacher.weights": ("openai", PROMPTS),
    "teacher.activation": ("gelu", None),
    "teacher.precision": ("fp16", PROMPTS),
    "teacher.logit_scale": ("student", PROMPTS),
    "teacher.mode": ("online", PROMPTS),
    "cache.payload": ("int8", PROMPTS),
    "cache.store": ("elsewhere", None),
    "cache.batch": (8, None),
    "cache.memory_mb": (1, None),
    "workers.kind": ("processes", None),
    "workers.count": (2, None),
    "workers.address": ({"kind": "dask", "address": "tcp://host:1"}, None),
    "train.lr": (0.5, PROMPTS),
    "train.warmup_lr": (1e-4, PROMPTS),
    "train.momentum": (0.5, PROMPTS),
    "train.weight_decay": (0.1, PROMPTS),
    "train.epochs": (9, PROMPTS),
    "train.batch": (7, PROMPTS),
    "train.precision": ("bf16", PROMPTS),
    "train.memory_mb": (1, None),
    "train.likeliest": (50, None),  # without a vocabulary
    "imported": ({"base-to-new": {"pets": "seed{}.tar"}}, None),  # without the method
    "device": ("cpu", None),
    "objectives": ({"fdbpl": {"mutual_weight": 0.25}, "paper": {"mutual_weight": 3}}, PROMPTS),
    "development": (["pets"], None),
}
"""Another value of every key, and the first output that it decides here."""


def leaves(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """All keys of the parameters; those of one's own dataset under the name "pets"."""
    for name, field in model.model_fields.items():
        inner = [
            kind
            for kind in (field.annotation, *get_args(field.annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        named = "pets." if inner and field.annotation not in (inner[0], inner[0] | None) else ""
        if inner:
            yield from leaves(inner[0], f"{above}{name}.{named}")
        else:
            yield f"{above}{name}"


def with_change(params: Params, key: str) -> Params:
    value, _ = CHANGES[key]
    section, _, rest = key.partition(".")
    if key.startswith("data.own."):
        own = params.model_dump()["data"]["own"]
        return changed(params, data={"own": {**own, "pets": {**own["pets"], **value}}})
    if rest and not (isinstance(value, dict) and section == "workers"):
        value = {rest: value}
    return changed(params, **{section: value})


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    root, protocols = tmp_path_factory.mktemp("made"), ["base-to-new", "transfer"]
    return workspace_params(root, ["pets", "ships"], protocols=protocols)


@pytest.fixture(scope="module")
def work(params: Params) -> Workspace:
    root = Path(params.data.own["pets"].folder or "").parents[1]
    made = evaluated_workspace(root / "runs" / "x", params)
    run_stage("ood", params, made, None)
    return made


def refusals(params: Params, work: Workspace) -> dict[str, str]:
    """What each reader says that refuses an output, by the output."""
    plan = Plan.load(work.plan("pets"))
    learned = [partial(open_learned, kind) for kind in ("prompts", "classifier")]
    readers: dict[str, Callable[[], Any]] = {
        PLAN: lambda: load_planned(params, "pets", work),
        PROMPTS: lambda: [
            read(params, task, work, "fdbpl", 1)
            for task in tasks_of(params, plan)
            for read in learned
        ],
        ALL: lambda: read_measures(work, params),
    }
    found = {}
    for output, read in readers.items():
        try:
            read()
        except UserError as error:
            found[output] = str(error)
    for note in read_records(params, work).notes:
        name, _, why = note.partition(": not recorded. ")
        found |= {output: why for about, output in ABOUT.items() if about == name}
    return found


ABOUT = {"pets": METRICS, "ships": METRICS}
AFTER = {
    PLAN: {PLAN, METRICS, ALL},
    PROMPTS: {PROMPTS, METRICS, ALL},
    METRICS: {METRICS, ALL},
    ALL: {ALL},
    None: set(),
}


def test_the_content_of_a_users_own_method_decides(tmp_path: Path) -> None:
    file, found = tmp_path / "mine.py", set()
    for text in ("A = 1", "A = 2"):
        file.write_text(f"from fdbpl.methods.coop import CoOp\n{text}\nclass Mine(CoOp): pass\n")
        mine = workspace_params(tmp_path, ["pets"], methods=["coop", f"{file}:Mine"])
        assert (mine.methods, mine.method_files) == (["coop", "Mine"], {"Mine": str(file)})
        (task,) = tasks_of(mine, empty_plan(of_plan(mine, "pets")))
        told = [of_training(mine, task, name, 1) for name in mine.methods]
        assert "method_files" not in told[0]
        assert str(tmp_path) not in canonical_json(told[1]).decode()
        found.add(canonical_json(told[1]))
    assert len(found) == 2


def test_every_key_is_known_to_decide_something_or_nothing() -> None:
    assert sorted(leaves(Params)) == sorted(CHANGES)


@pytest.mark.parametrize("key", CHANGES)
def test_outputs_are_refused_when_a_key_that_decides_them_changed_and_only_then(
    params: Params, work: Workspace, key: str
) -> None:
    other = with_change(params, key)
    assert other != params
    found = refusals(other, work)
    if CHANGES[key][1] == PLAN:
        found.pop(PROMPTS, None)  # whose reader has seen to the plan
    assert set(found) == AFTER[CHANGES[key][1]]
    for output, said in found.items():
        assert "\n" not in said
        if output == ALL or CHANGES[key][1] in (PLAN, PROMPTS, METRICS):
            assert "made with" in said
            assert said.endswith(" again.")
            assert key in said or key.startswith(("data.own", "objectives", "source")), said


def test_options_of_one_preset_leave_all_others_prompts_as_they_are(
    params: Params, work: Workspace
) -> None:
    other, plan = with_change(params, "objectives"), Plan.load(work.plan("pets"))
    for task in tasks_of(other, plan):
        open_learned("prompts", other, task, work, "coop", 1)
    fewer = changed(other, methods=["coop", "zero_shot"])
    assert read_records(fewer, work).notes == ()


def test_outputs_for_more_seeds_and_methods_serve(params: Params, work: Workspace) -> None:
    fewer = changed(params, seeds=[2], methods=["fdbpl"])
    assert refusals(fewer, work).keys() == {ALL}  # whose averages are over both seeds
    with_order = changed(params, seeds=[2, 1], methods=["fdbpl", "zero_shot", "coop"])
    assert refusals(with_order, work) == {}


def records(params: Params) -> dict[str, Record]:
    """All records that outputs of these parameters carry, whoever writes them."""
    plan = of_plan(params, "pets")
    tasks = tasks_of(params, empty_plan(plan))
    trained = [(task, method) for task in tasks for method in params.methods]
    return {
        "plan": plan,
        "caches": of_caches(params, "pets"),
        **{f"{t.folder} {m}": of_training(params, t, m, 1) for t, m in trained},
        "evaluation": of_evaluation(params, "pets"),
        "all": of_all(params),
    }


def everything(params: Params, tmp_path: Path) -> Params:
    """Parameters that name every file there may be."""
    for name in ("picks.csv", "words.txt", "names.txt", "w.bin", "seed1.tar", "seed2.tar"):
        (tmp_path / name).write_text(name)
    model = {"weights": str(tmp_path / "w.bin"), "activation": "gelu"}
    own = {"images": str(tmp_path), "names": str(tmp_path / "names.txt"), "test": str(tmp_path)}
    return changed(
        params,
        data={
            "root": str(tmp_path),
            "own": {"pets": own, "ships": {"folder": str(tmp_path)}},
            "picks": {"pets": str(tmp_path / "picks.csv")},
            "vocabulary": str(tmp_path / "words.txt"),
        },
        student=model,
        teacher=model,
        imported={
            "base-to-new": dict.fromkeys(["pets", "ships"], str(tmp_path / "seed{}.tar")),
            "transfer": {"pets": str(tmp_path / "seed1.tar")},
        },
        methods=list(KNOWN),
    )


def test_files_are_known_by_their_content_and_never_by_their_place(
    params: Params, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    here = everything(params, tmp_path / "here")
    before = records(here)
    assert str(tmp_path) not in canonical_json(before).decode()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert records(everything(params, tmp_path / "there")) == before
    for name in ("picks.csv", "words.txt", "names.txt", "w.bin", "seed2.tar"):
        file = tmp_path / "here" / name
        file.write_text("changed")
        differs = differing(before["all"], of_all(here))
        assert differs
        assert differs[2].startswith('"file ')
        file.unlink()
        assert differing(before["all"], of_all(here))
        file.write_text(name)
        assert records(here) == before


def test_tests_alone_are_decided_by_their_data_alone(params: Params) -> None:
    shifted = with_change(params, "shifted")
    alone = of_plan(shifted, "ships")
    assert set(alone) == {"protocols", "data"}
    for key in ("seeds", "shots", "regions.per_image", "data.vocabulary", "data.picks"):
        assert of_plan(with_change(shifted, key), "ships") == alone


@pytest.mark.parametrize(
    ("dataset", "is_drawn"), [("icons", True), ("dtd", False), ("pets", False)]
)
def test_the_world_decides_what_is_drawn_in_it(
    params: Params, dataset: str, is_drawn: bool
) -> None:
    first, second = (of_plan(one, dataset) for one in (params, with_change(params, "data.world")))
    assert (first != second) == is_drawn


def test_the_names_that_a_batch_takes_decide_with_a_vocabulary(params: Params) -> None:
    agnostic = with_change(params, "data.vocabulary")
    other = with_change(agnostic, "train.likeliest")
    assert differing(of_all(agnostic), of_all(other)) == ("train.likeliest", "1000", "50")


def test_of_contexts_learned_elsewhere_student_and_checkpoint_decide(
    params: Params, tmp_path: Path
) -> None:
    given = everything(params, tmp_path)
    plan = of_plan(given, "pets")
    task, _ = tasks_of(given, empty_plan(plan))
    found = of_training(given, task, "imported", 2)
    assert set(found) - set(plan) == {"student", "imported"}
    for key in ("teacher.weights", "train.lr", "cache.payload", "objectives"):
        assert of_training(with_change(given, key), task, "imported", 2) == found
    assert list(found["imported"]["base-to-new"]["pets"]) == ["2"]


@pytest.mark.parametrize("root", [Path(), Path("runs/mine")])
def test_dvc_is_told_to_run_what_it_does_not_know_to_have_changed(
    params: Params, tmp_path: Path, root: Path
) -> None:
    file = tmp_path / "words.txt"
    file.write_text("a")
    before = changed(params, data={"vocabulary": str(file)})
    found = of_plan(before, "pets")
    file.write_text("a, b")
    command = partial(Workspace(root).command, "prepare-crops", "pets")
    for other, wanted in (
        (before, "dvc repro --force --single-item prepare-crops@pets"),
        (changed(before, shots=9), "dvc repro prepare-crops@pets"),
    ):
        with pytest.raises(UserError) as error:
            require_made_with("plan", found, of_plan(other, "pets"), command)
        by_hand = "fdbpl prepare-crops pets --run mine"
        assert str(error.value).endswith(f"Run {wanted if root == Path() else by_hand} again.")


def test_an_output_without_a_record_is_refused(params: Params) -> None:
    with pytest.raises(UserError, match=r"^old: made with .* absent, wanted .* Run it again\.$"):
        require_made_with("old", {}, of_all(params), lambda **_: "it", METHODS_SERVE)
