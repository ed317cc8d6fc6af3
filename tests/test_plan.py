import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_folder

from fdbpl.data.readers.folder import read_folder
from fdbpl.regions import region_file
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, sha256

FILES = ["images.npy", "plan.json", "regions.npy"]
CODE = """
import sys
from pathlib import Path
from fdbpl.data.readers.folder import read_folder
from fdbpl.regions.params import RegionParams
from fdbpl.regions.planning import make_plan
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
    assert (loaded.regions[:] == plan.regions).all()
    for field in ("name", "class_names", "template", "labels", "paths", "shots", "ranks", "notes"):
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


@pytest.mark.parametrize("at_once", [1, 3, 1 << 18])
def test_the_digest_of_parts_is_that_of_the_whole(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(region_file, "AT_ONCE", at_once)
    arrays = plan.images.tobytes() + plan.regions[:].tobytes()
    text = json.loads(canonical_json(plan._text()))
    assert plan.digest == sha256(sha256(arrays).encode() + canonical_json(text))
    plan.save(tmp_path / "plan")
    assert Plan.load(tmp_path / "plan").digest == plan.digest


def test_areas_are_the_shares_that_regions_show(plan: Plan, tmp_path: Path) -> None:
    shares = []
    for region in plan.regions[:]:
        image = plan.images[region["image"]]
        left, top, right, bottom = region["box"].tolist()
        size = int(image["width"]) * int(image["height"])
        shares.append((right - left) * (bottom - top) / size)
    plan.save(tmp_path / "plan")
    rows = np.arange(len(plan.regions))[::-1].reshape(2, -1)
    for one in (plan, Plan.load(tmp_path / "plan")):
        assert one.areas(rows).tolist() == np.float32(shares)[rows].tolist()


def test_a_loaded_plan_stays_what_it_was(plan: Plan, tmp_path: Path) -> None:
    """A build goes on with the plan that it began with, whatever is planned meanwhile."""
    plan.save(tmp_path / "plan")
    for file in (tmp_path / "plan").iterdir():
        file.chmod(0o444)  # as DVC leaves it
    loaded = Plan.load(tmp_path / "plan")
    other = replace(plan, regions=plan.regions[:4].copy())
    other.save(tmp_path / "plan")
    assert loaded.regions[:].tobytes() == plan.regions[:].tobytes()
    assert Plan.load(tmp_path / "plan").digest == other.digest
    shutil.rmtree(tmp_path / "plan")
    assert loaded.regions[np.array([5, 0])].tobytes() == plan.regions[[5, 0]].tobytes()


def test_the_digest_sees_every_part(plan: Plan) -> None:
    images, regions = plan.images.copy(), plan.regions.copy()
    images["hash"][0, 0] ^= 1
    regions["flip"][3] ^= 1
    changes = {
        "name": "dogs",
        "class_names": ("ant", "wasp"),
        "template": "a {}",
        "labels": (1,),
        "ranks": {**plan.ranks, 1: plan.ranks[1][::-1]},
        "paths": plan.paths[::-1],
        "images": images,
        "shots": {1: plan.shots[1]},
        "regions": regions,
        "policy": {**plan.policy, "flip": 0.1},
        "made_with": {"shots": 3},
    }
    digests = {replace(plan, **{key: value}).digest for key, value in changes.items()}
    assert len(digests | {plan.digest}) == len(changes) + 1


def test_no_plan_yet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pets/plan\.json: no such file.*prepare-crops pets first"):
        Plan.load(tmp_path / "pets")


def test_a_plan_that_may_not_be_read_is_not_called_damaged(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan.save(tmp_path / "plan")

    def locked(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("fdbpl.regions.plan._images", locked)
    with pytest.raises(PermissionError) as caught:
        Plan.load(tmp_path / "plan")
    assert caught.value.filename == str(tmp_path / "plan" / "images.npy")


def test_another_version(plan: Plan, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan")
    file = tmp_path / "plan" / "plan.json"
    text = json.loads(file.read_text())
    file.write_text(json.dumps({"version": 99, "other": text["paths"]}))
    with pytest.raises(UserError, match="a plan of version 99, wanted 3"):
        Plan.load(tmp_path / "plan")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["empty", "cut", "short", "flipped", "head", "pickle", "other"])
def test_damage_is_found_and_named(plan: Plan, tmp_path: Path, name: str, damage: str) -> None:
    plan.save(tmp_path / "plan")
    file = tmp_path / "plan" / name
    data = bytearray(file.read_bytes())
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "short":
        file.write_bytes(data[:-2])
    elif damage == "head":
        file.write_bytes(data[:10] + b"\0" + data[11:])
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
    with pytest.raises(
        UserError, match=r"plan: a damaged plan\. Run fdbpl prepare-crops plan again"
    ):
        Plan.load(tmp_path / "plan")


@pytest.mark.parametrize("text", ["[]", "null", '{"version": 3}', '{"version": 3, "name": 2}'])
def test_json_of_another_kind_is_damage(plan: Plan, tmp_path: Path, text: str) -> None:
    plan.save(tmp_path / "plan")
    (tmp_path / "plan" / "plan.json").write_text(text)
    with pytest.raises(UserError, match="damaged"):
        Plan.load(tmp_path / "plan")
