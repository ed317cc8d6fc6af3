"""More classes, shots, seeds, crops or datasets: only regions that nobody has seen are encoded."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import draw_folder
from workspaces import FakeEncoder

from fdbpl.cache import Counts, RegionStore, build_cache
from fdbpl.data.readers.folder import read_folder
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import make_plan

CLASSES = {f"class {letter}": (6, 2) for letter in "abcdef"}


@dataclass
class Lab:
    """A folder of images, a store, and what its regions were encoded for."""

    root: Path

    def plan(self, *, classes="abcd", shots=2, seeds=(1,), crops=3, name="one") -> Plan:
        """Plan a dataset of some of the classes, whose images are copies."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("train", "test"):
            for letter in classes:
                inner = Path(part, f"class {letter}")
                shutil.copytree(self.root / "images" / inner, folder / inner)
        dataset = read_folder(name, folder, "a photo of a {}.")
        regions = RegionParams(per_image=crops)
        return make_plan(dataset, regions=regions, shots=shots, seeds=list(seeds))

    def build(self, plan: Plan, role: str = "teacher", **options) -> Counts:
        return build_cache(
            plan,
            self.root / plan.name,
            FakeEncoder(options.pop("encoder", role)),
            RegionStore(self.root / "store"),
            self.root / "caches" / plan.name / role,
            kind=role,
            model={"source": "tiny", "logit_scale": 10.0},
            **options,
        )


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    draw_folder(tmp_path / "images", CLASSES)
    return Lab(tmp_path)


def views(plan: Plan) -> set[tuple]:
    """All that is encoded of a plan, by content."""
    hashes = [record["hash"].tobytes() for record in plan.images]
    regions = {(hashes[r["image"]], tuple(r["box"].tolist()), int(r["flip"])) for r in plan.regions}
    return regions | {(hashes[row], None, 0) for row in plan.test}


@pytest.mark.parametrize(
    "more",
    [
        {"classes": "abcdef"},
        {"shots": 4},
        {"shots": "all"},
        {"seeds": (1, 2, 3)},
        {"crops": 7},
        {"name": "two", "classes": "bcdef", "seeds": (2,)},
    ],
)
def test_only_new_regions_are_encoded(lab: Lab, more: dict) -> None:
    first = lab.plan()
    assert lab.build(first) == Counts(len(views(first)), 0, ())
    second = lab.plan(**more)
    new = views(second) - views(first)
    assert 0 < len(new) < len(views(second))
    assert lab.build(second) == Counts(len(new), len(views(second)) - len(new), ())
    assert lab.build(first if second.name != "one" else lab.plan()).encoded == 0


def test_a_plan_that_shrinks_encodes_nothing(lab: Lab) -> None:
    lab.build(lab.plan(shots=4, crops=5, seeds=(1, 2)))
    assert lab.build(lab.plan(shots=4, crops=2, seeds=(2,))).encoded == 0


def test_another_payload_encodes_nothing_but_for_exactness(lab: Lab) -> None:
    plan = lab.plan()
    lab.build(plan)
    assert lab.build(plan, payload="int8").encoded == 0
    assert lab.build(plan, payload="float32").reused == 0
    assert lab.build(plan, payload="float32").encoded == 0


def test_a_changed_student_leaves_the_teachers_columns_alone(lab: Lab) -> None:
    plan = lab.plan()
    lab.build(plan)
    teacher = lab.root / "caches" / "one" / "teacher"
    before = {path: path.read_bytes() for path in teacher.iterdir()}
    stored = {path: path.read_bytes() for path in (lab.root / "store").rglob("*.segment")}
    for encoder in ("small", "smaller"):
        assert lab.build(plan, "student", encoder=encoder).reused == 0
    assert lab.build(plan).encoded == 0
    assert {path: path.read_bytes() for path in teacher.iterdir()} == before
    assert {path: path.read_bytes() for path in stored} == stored
