"""A training key covers what decides: what it lacks would let old results pass for new."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import draw_folder
from projects import Project
from test_checkpoint import Data, bits, cut, flip, overwrite, store_of
from test_dvc_yaml import closure, lies_under
from test_planned import changed
from workspaces import workspace_params

import fdbpl
from fdbpl.clip.model import ClipModel
from fdbpl.data.readers.folder import read_folder
from fdbpl.methods.registry import METHODS
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan
from fdbpl.stages.tasks import task_of
from fdbpl.stages.train_student import content_of
from fdbpl.system.source import source
from fdbpl.training import store as module
from fdbpl.training.store import ROOMS, code_digest, syntax_digest


@pytest.fixture
def data() -> Data:
    return Data()


def trained(clip: ClipModel, data: Data, folder: Path, method: str = "coop", **more: Any):
    """Learn with a store of this folder; return what was learned, and the store."""
    store = store_of(folder, more.pop("content", "data"))
    return data.learn(clip, method, store=store, **more), store


@pytest.mark.parametrize("method", ["coop", "fdbpl", "linear_probe"])
def test_what_was_learned_is_found_again(clip, data, tmp_path, method: str) -> None:
    wanted, first = trained(clip, data, tmp_path, method)
    found, again = trained(clip, data, tmp_path, method, stop=0)  # features cannot be read
    assert bits(found) == bits(wanted) == bits(data.learn(clip, method))
    assert (first.looked_up, again.learned) == (0, 0)
    assert first.learned == again.looked_up == 2  # seeds


SCHEDULE = Data().rest["params"]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "kdpl"},
        {"content": "other labels, regions or names"},
        {"params": SCHEDULE.model_copy(update={"lr": 0.05})},
        {"params": SCHEDULE.model_copy(update={"epochs": 3})},
        {"options": {"mutual_weight": 0.5}},
        {"picks": {3: np.arange(9)}},
    ],
    ids=str,
)
def test_what_decides_changes_the_key(clip, data, tmp_path, changes) -> None:
    trained(clip, data, tmp_path, "paper")
    given = {"method": "paper", **changes}
    if "picks" in given:
        data.rest["picks"] = given.pop("picks")
        store = module.TrainingStore(tmp_path, {3: "data"})
        data.learn(clip, store=store, **given)
    else:
        _, store = trained(clip, data, tmp_path, **given)
    assert (store.learned, store.looked_up) == (len(data.rest["picks"]), 0)


@pytest.mark.parametrize(
    ("method", "changes", "more"),
    [
        ("fdbpl", {"options": {"inference": "positive"}}, 0),
        ("fdbpl", {"params": SCHEDULE.model_copy(update={"memory_mb": 99})}, 0),
        ("fdbpl_prompts", {}, 2),  # learned without what the bridge says
    ],
    ids=str,
)
def test_what_only_decides_between_classes_trains_nothing_anew(
    clip,
    data,
    tmp_path,
    method: str,
    changes,
    more: int,
) -> None:
    trained(clip, data, tmp_path, "fdbpl")
    found, store = trained(clip, data, tmp_path, method, **changes)
    assert store.learned == more
    assert bits(found) == bits(data.learn(clip, method, **changes))


def test_methods_that_train_alike_share_their_contexts(clip, data, tmp_path) -> None:
    trained(clip, data, tmp_path, "coop")
    _, store = trained(clip, data, tmp_path, "coop_bridge")
    assert (store.looked_up, store.learned) == (0, 2)  # contexts, on what a bridge leaves
    _, store = trained(clip, data, tmp_path, "coop_memory")
    assert (store.looked_up, store.learned) == (2, 2)  # these contexts; memories


@pytest.mark.parametrize("harm", [cut, flip, overwrite, Path.unlink])
def test_a_damaged_file_counts_as_absent(clip, data, tmp_path, harm) -> None:
    wanted, _ = trained(clip, data, tmp_path)
    harm(sorted(tmp_path.iterdir())[0])
    found, store = trained(clip, data, tmp_path)
    assert (store.learned, store.looked_up) == (1, 1)
    assert bits(found) == bits(wanted)  # though one seed alone would differ by rounding


PLAIN = 'def f(x):\n    """Say."""\n    return x + 1\n'


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (PLAIN.replace("Say.", "Say it otherwise."), True),
        (PLAIN.replace('    """Say."""\n', ""), True),
        ("# why\n" + PLAIN.replace("x + 1", "x  +  1  # so"), True),
        ('"""A module."""\n' + PLAIN, True),
        (PLAIN.replace("x + 1", "x + 2"), False),
        (PLAIN.replace("x + 1", '"x"'), False),
        (PLAIN.replace("f(x)", "f(x=0)"), False),
    ],
)
def test_words_about_code_are_no_part_of_its_digest(tmp_path: Path, text: str, same: bool) -> None:
    (tmp_path / "a.py").write_text(PLAIN)
    (tmp_path / "b.py").write_text(text)
    digests = {syntax_digest(tmp_path / name) for name in ("a.py", "b.py")}
    assert len(digests) == (1 if same else 2)


@pytest.fixture
def _forgetful() -> Iterator[None]:
    """What was told of another copy of the code is forgotten."""
    yield
    code_digest.cache_clear()


def coded(name: str) -> str:
    store = store_of(Path("nowhere"))
    return store.key("what", METHODS[name].learned_by, 1, "cpu")


@pytest.mark.usefixtures("_forgetful")
@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("methods/coop.py", {"coop", "kgcoop"}),  # which derives from it
        ("methods/kgcoop.py", {"kgcoop"}),
        ("methods/registry.py", set()),
        ("methods/method.py", {"coop", "kgcoop", "fdbpl"}),
        ("training/schedule.py", {"coop", "kgcoop", "fdbpl"}),
        ("training/learning.py", {"coop", "kgcoop", "fdbpl"}),
        ("clip/shared_prefix.py", {"coop", "kgcoop", "fdbpl"}),
        ("stages/train_student.py", set()),
    ],
)
def test_a_statement_changes_the_keys_of_what_stands_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, changes: set[str]
) -> None:
    names = ("coop", "kgcoop", "fdbpl")
    copy = tmp_path / "fdbpl"
    shutil.copytree(
        Path(fdbpl.__file__).parent, copy, ignore=shutil.ignore_patterns("*.safetensors", "*.pyc")
    )
    wanted = {name: coded(name) for name in names}
    monkeypatch.setattr(fdbpl, "__file__", str(copy / "__init__.py"))

    def changed(text: str) -> set[str]:
        with (copy / file).open("a") as opened:
            opened.write(text)
        code_digest.cache_clear()
        syntax_digest.cache_clear()
        source.cache_clear()
        return {name for name in names if coded(name) != wanted[name]}

    assert changed("# a comment\n") == set()
    assert changed("A = 1\n") == changes


ASIDE = {
    "fdbpl/system/ahead.py": "how features are read ahead; their content is in the key",
    "fdbpl/system/blas.py": "how many threads multiply matrices",
    "fdbpl/system/difference.py": "refuses what was made with other parameters",
    "fdbpl/system/device.py": "where training runs; its kind is in the key",
    "fdbpl/system/errors.py": "what is said of a mistake",
    "fdbpl/regions/file_rows.py": "how rows are read from files",
    "fdbpl/system/files.py": "how files are written",
    "fdbpl/system/hub.py": "says why weights did not come",
    "fdbpl/system/installed.py": "refuses damaged weights and words",
    "fdbpl/cache": "how features are read; their content is in the key",
    "fdbpl/system/locks.py": "who waits for whom",
    "fdbpl/system/progress.py": "bars on a terminal",
    "fdbpl/system/section.py": "refuses wrong parameters",
    "fdbpl/system/sealed.py": "refuses files that are not as they were written",
    "fdbpl/system/source.py": "reads the code whose digest is in the key",
    "fdbpl/system/workspace.py": "where files lie",
    "fdbpl/protocols": "imported with plans; what a protocol learns from is in the key",
    "fdbpl/evaluation": "imported with protocols",
    "fdbpl/playground/tiny": "weights; the models' digests are in the key",
    "fdbpl/system/address.py": "where a store lies",
    "fdbpl/system/processes.py": "a worker's number",
    "fdbpl/regions": "imported with caches; regions are in the key",
    "fdbpl/data": "imported with caches",
    "fdbpl/__init__.py": "the version",
}
"""What learning imports beside the rooms that a key covers, and why that needs no place in it."""


def test_what_learning_stands_on_is_in_the_key() -> None:
    covered = [room.replace(".", "/") for room in ROOMS]
    left = {path for path in closure("fdbpl.training.learning") if not lies_under(path, covered)}
    assert sorted(path for path in left if not lies_under(path, list(ASIDE))) == []
    assert [one for one in ASIDE if not any(lies_under(path, [one]) for path in left)] == []


def test_of_a_plan_what_a_seed_learns_from_is_in_its_key(tmp_path: Path) -> None:
    folder = draw_folder(tmp_path, dict.fromkeys(("ant", "bee", "cat", "dog"), (4, 2)))
    dataset = read_folder("small", folder, "a {}.")
    plan = make_plan(dataset, regions=RegionParams(per_image=2), shots=2, seeds=[1, 2])
    params = workspace_params(tmp_path, ["pets"])
    model, other = (SimpleNamespace(digest=one) for one in "ab")

    def content(
        plan: Plan, *, params=params, learned=BASE_TO_NEW, shots=2, student=model, teacher=model
    ):
        return content_of(params, task_of(params, plan, learned, shots), student, teacher)

    def changes(plan: Plan, **more: Any) -> set[int]:
        found = content(plan, **more)
        return {seed for seed in found if found[seed] != wanted[seed]}

    def with_(table: str, row: int, field: str, value: Any) -> Plan:
        records = getattr(plan, table).copy()
        records[field][row] = value
        return replace(plan, **{table: records})

    wanted, task = content(plan), task_of(params, plan, BASE_TO_NEW, 2)
    assert wanted[1] != wanted[2]
    only = next(row for row in task.picks[1] if row not in task.picks[2])
    another = next(one for one in task.labels if one != plan.images["label"][only])
    for field, value in (("label", another), ("hash", 0), ("width", 999)):
        assert changes(with_("images", only, field, value)) == {1}
        assert changes(with_("images", plan.test[0], field, value)) == set()
    assert changes(with_("regions", only * plan.crops, "flip", 2)) == {1}
    drawn = {key: {**getattr(plan, key), 2: getattr(plan, key)[1]} for key in ("shots", "ranks")}
    assert changes(replace(plan, **drawn)) == {2}
    assert changes(replace(plan, template="another {}.")) == {1, 2}
    scale = {"own": "student", "student": "own"}[params.teacher.logit_scale]
    scaled = changed(params, teacher={"logit_scale": scale})
    assert changes(plan, params=scaled) == {1, 2}
    for more in ({"student": other}, {"teacher": other}, {"shots": 1}, {"learned": ALL_CLASSES}):
        assert changes(plan, **more) == {1, 2}


def trainings(project: Project, **changes: Any) -> str:
    project.change(**changes)
    done = project("train-student", "mine")
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()[0].rpartition(": ")[2]


def test_a_stage_trains_only_what_was_not_learned_before(done: Project) -> None:
    before = {path: one for path, one in done.outputs().items() if "/prompts/" in path}
    assert "4 trainings, 0 looked up" in done.said[2]  # coop and fdbpl, of two seeds each
    assert trainings(done) == "0 trainings, 4 looked up"
    assert {path: one for path, one in done.outputs().items() if path in before} == before
    assert trainings(done, methods=["zero_shot", "fdbpl"]) == "0 trainings, 2 looked up"
    assert trainings(done, methods=["zero_shot", "coop", "fdbpl"]) == "0 trainings, 4 looked up"
    assert trainings(done, methods=["fdbpl", "kdpl"]) == "2 trainings, 2 looked up"
    decides = {"fdbpl": {"inference": "positive"}}
    assert trainings(done, objectives=decides) == "0 trainings, 4 looked up"
    done.change(seeds=[1, 3])
    for stage in ("prepare-crops", "cache-teacher"):
        assert done(stage, "mine").exit_code == 0
    assert trainings(done) == "2 trainings, 2 looked up"  # of another seed alone
