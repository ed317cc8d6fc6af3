import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder

from fdbpl.benchmarks.folder import read_folder
from fdbpl.errors import UserError
from fdbpl.params import RegionParams
from fdbpl.plan import Plan
from fdbpl.planning import make_plan

FILES = ["images.npy", "plan.json", "regions.npy"]
CODE = """
import sys
from pathlib import Path
from fdbpl.benchmarks.folder import read_folder
from fdbpl.params import RegionParams
from fdbpl.planning import make_plan
dataset = read_folder("pets", Path(sys.argv[1]), "{}")
make_plan(dataset, regions=RegionParams(), shots=2, seeds=[2, 1]).save(Path(sys.argv[2]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "pets", {"ant": (3, 2), "bée": (3, 2)})


@pytest.fixture
def plan(folder: Path) -> Plan:
    (folder / "train" / "ant" / "00.png").write_bytes(b"damaged, so that there is a note")
    dataset = read_folder("pets", folder, "{}")
    return make_plan(dataset, regions=RegionParams(), shots=2, seeds=[2, 1])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_plan_reads_back_as_it_was(plan: Plan, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan")
    loaded = Plan.load(tmp_path / "plan")
    assert loaded.digest == plan.digest
    assert (loaded.images == plan.images).all()
    assert (loaded.regions == plan.regions).all()
    for field in ("name", "class_names", "template", "base", "new", "paths", "shots", "notes"):
        assert getattr(loaded, field) == getattr(plan, field), field
    assert list(loaded.shots) == [2, 1]
    loaded.save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "plan")


def test_equal_plans_are_equal_bytes_in_any_process(folder: Path, tmp_path: Path) -> None:
    saved = []
    for index in range(2):
        target = tmp_path / f"plan{index}"
        environment = {"PYTHONHASHSEED": str(index)}
        subprocess.run(
            [sys.executable, "-c", CODE, str(folder), str(target)], check=True, env=environment
        )
        saved.append(contents(target))
    assert list(saved[0]) == FILES
    assert saved[0] == saved[1]


def test_no_path_of_the_machine_is_inside(plan: Plan, folder: Path, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan")
    assert plan.notes["unreadable training images"]
    for data in contents(tmp_path / "plan").values():
        assert str(tmp_path).encode() not in data
        assert str(folder).encode() not in data


def test_the_digest_sees_every_part(plan: Plan) -> None:
    images, regions = plan.images.copy(), plan.regions.copy()
    images["hash"][0, 0] ^= 1
    regions["flip"][3] ^= 1
    changes = {
        "name": "dogs",
        "class_names": ("ant", "wasp"),
        "template": "a {}",
        "base": (1,),
        "new": (0,),
        "paths": plan.paths[::-1],
        "images": images,
        "shots": {1: plan.shots[1]},
        "regions": regions,
        "policy": {**plan.policy, "flip": 0.1},
    }
    digests = {replace(plan, **{key: value}).digest for key, value in changes.items()}
    assert len(digests | {plan.digest}) == len(changes) + 1


def test_no_plan_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pets/plan\.json: no such file.*prepare-crops pets first"):
        Plan.load(tmp_path / "pets")


def test_another_version(plan: Plan, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan")
    file = tmp_path / "plan" / "plan.json"
    text = json.loads(file.read_text())
    file.write_text(json.dumps({"version": 99, "other": text["paths"]}))
    with pytest.raises(UserError, match="a plan of version 99, wanted 1"):
        Plan.load(tmp_path / "plan")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "pickle", "other"])
def test_damage_is_found_and_named(plan: Plan, tmp_path: Path, name: str, damage: str) -> None:
    plan.save(tmp_path / "plan")
    file = tmp_path / "plan" / name
    data = bytearray(file.read_bytes())
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        spot = data.rindex(b"ant") if name == "plan.json" else len(data) - 1
        data[spot] ^= 1
        file.write_bytes(data)
    elif damage == "pickle":
        with file.open("wb") as out:
            np.save(out, np.array([{}], object), allow_pickle=True)
    else:
        np.save(tmp_path / "other.npy", np.arange(3))
        file.write_bytes((tmp_path / "other.npy").read_bytes())
    with pytest.raises(UserError, match=r"plan: a damaged plan\. Run prepare-crops again"):
        Plan.load(tmp_path / "plan")


@pytest.mark.parametrize("text", ["[]", "null", '{"version": 1}', '{"version": 1, "name": 2}'])
def test_json_of_another_kind_is_damage(plan: Plan, tmp_path: Path, text: str) -> None:
    plan.save(tmp_path / "plan")
    (tmp_path / "plan" / "plan.json").write_text(text)
    with pytest.raises(UserError, match="damaged"):
        Plan.load(tmp_path / "plan")
