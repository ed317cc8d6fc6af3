"""All stages on real photographs, where they are at hand, and on architectures of real size."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from safetensors.torch import save_file
from workspaces import run_of

from fdbpl.cli import main
from fdbpl.data.readers import imagenet
from fdbpl.stages import OVER_ALL, PER_DATASET
from fdbpl.system.workspace import Workspace

pytestmark = pytest.mark.slow

TINY = {
    "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
    "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
}


def run_all(folder: Path, dataset: str, **params: object) -> str:
    """Write parameters, run the five stages by hand, return what the last one printed."""
    methods = ["zero_shot", "zero_shot_generic", "teacher", "coop", "kdpl", "fdbpl"]
    common = {"datasets": [dataset], "methods": methods, "seeds": [1, 2], "train": {"epochs": 3}}
    (folder / "params.yaml").write_text(yaml.safe_dump({**common, **params}))
    for stage in PER_DATASET:
        run_stage(stage, dataset)
    return run_stage("compare")


def run_stage(stage: str, *dataset: str) -> str:
    result = CliRunner().invoke(main, [stage.replace("_", "-"), *dataset])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_real_photographs_of_ones_own_go_through_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    own = {"scenes": {"folder": str(real / "folders" / "intel_scenes")}}
    table = run_all(
        tmp_path, "scenes", data={"own": own}, shots=4, regions={"per_image": 2}, **TINY
    )
    assert "scenes" in table
    assert "FDBPL, ours" in table


BENCHMARKS = ["caltech-101", "dtd", "imagenet"]
SHIFTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "imagenetv2": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "imagenet-sketch": lambda image: ImageOps.invert(
        image.convert("L").filter(ImageFilter.FIND_EDGES)
    ),
    "imagenet-adversarial": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "imagenet-rendition": lambda image: ImageOps.posterize(image.convert("RGB"), 2),
}
FEW = 40
"""Classes of the versions that hold some of ImageNet's classes only."""


def shift_imagenet(root: Path, real: Path) -> None:
    """Lay the four shifted versions out as their authors do, an image of each class there is."""
    source = real / "imagenet"
    wnids = sorted(line.split()[0] for line in (source / "classnames.txt").read_text().splitlines())
    for name, change in SHIFTS.items():
        layout = imagenet.LAYOUTS[name]
        (root / name).mkdir()
        shutil.copy(source / "classnames.txt", root / name)
        is_whole = name in ("imagenetv2", "imagenet-sketch")
        for place, wnid in enumerate(wnids if is_whole else wnids[::5]):
            first = min((source / "images" / "val" / wnid).iterdir())
            folder = root / name / layout.test / (str(place) if layout.numbered else wnid)
            folder.mkdir(parents=True)
            with Image.open(first) as image:
                change(image).save(folder / f"{wnid}_0.JPEG")


def test_real_photographs_go_through_all_three_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    for name in BENCHMARKS:
        (tmp_path / "sets" / name).symlink_to(real / name)
    shift_imagenet(tmp_path / "sets", real)
    methods = ["zero_shot", "teacher", "coop", "kdpl", "fdbpl"]
    datasets = [*BENCHMARKS, *SHIFTS]
    raw = {
        "datasets": datasets,
        "protocols": ["base-to-new", "transfer"],
        "source": "imagenet",
        "shifted": [*SHIFTS],
        "methods": methods,
        "seeds": [1, 2],
        "shots": 2,
        "data": {"root": "sets"},
        "regions": {"per_image": 2},
        "train": {"epochs": 2},
        **TINY,
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    for stage in PER_DATASET:
        for dataset in datasets:
            run_stage(stage, dataset)
    for stage in OVER_ALL:
        run_stage(stage)
    work = Workspace(tmp_path / "runs" / "default")

    halves = {"caltech-101": (50, 50), "dtd": (5, 5), "imagenet": (100, 100)}
    images = {"caltech-101": 800, "dtd": 100, "imagenet": 1600}
    for dataset in BENCHMARKS:
        record = run_of(work, dataset)
        assert tuple(record["classes"].values()) == halves[dataset]
        assert sum(record["test_images"].values()) == images[dataset]
        for method in methods:
            for cell in record["methods"][method].values():
                assert all(0 <= cell["measures"][key] <= 100 for key in ("base", "new", "h"))
    moved = {name: run_of(work, name, "transfer") for name in datasets}
    assert {name: (run["kind"], run["classes"]["all"], run["test_images"]["all"]) for name, run in
            moved.items() if name != "imagenet"} == {
        "caltech-101": ("cross-dataset", 100, 800),
        "dtd": ("cross-dataset", 10, 100),
        "imagenetv2": ("shifted", 200, 200),
        "imagenet-sketch": ("shifted", 200, 200),
        "imagenet-adversarial": ("shifted", FEW, FEW),
        "imagenet-rendition": ("shifted", FEW, FEW),
    }  # fmt: skip
    for run in moved.values():
        for method in methods:
            for cell in run["methods"][method].values():
                assert 0 <= cell["measures"]["accuracy"] <= 100
    compared = json.loads(work.comparison("json").read_text())["methods"]
    assert list(compared["fdbpl"]["datasets"]) == BENCHMARKS
    for row in (*BENCHMARKS, *SHIFTS, "FDBPL, ours", "cross-dataset", "shifted"):
        assert re.search(rf"\| +{re.escape(row)} +\|", work.comparison("md").read_text())


def test_real_architectures_load_from_local_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    models = {}
    for role, architecture in (("student", "ViT-B-32"), ("teacher", "ViT-B-16")):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = open_clip.factory.create_model(architecture, load_weights=False)
        save_file(network.state_dict(), tmp_path / f"{role}.safetensors")
        models[role] = {
            "architecture": architecture,
            "weights": f"{role}.safetensors",
            "activation": "quickgelu",
        }
    photos = tmp_path / "photos"
    for part in ("train", "test"):
        for name in ("forests", "glacier", "sea", "street"):
            (photos / part / name).mkdir(parents=True)
            found = sorted((real / "folders" / "intel_scenes" / part / name).iterdir())
            for image in found[:2]:
                (photos / part / name / image.name).symlink_to(image)
    own = {"mine": {"folder": "photos"}}
    small = {"shots": 2, "regions": {"per_image": 2}, "cache": {"batch": 4}}
    assert "mine" in run_all(tmp_path, "mine", data={"own": own}, **small, **models)
