"""All stages on real photographs, where they are at hand, and on architectures of real size."""

from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import save_file

from fdbpl.cli import main
from fdbpl.stages import PER_DATASET

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
    said = ""
    for stage in (*PER_DATASET, "compare"):
        words = [stage.replace("_", "-"), *([dataset] if stage in PER_DATASET else [])]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        said = result.stdout
    return said


@pytest.mark.parametrize("dataset", ["caltech-101", "dtd", "scenes"])
def test_real_photographs_go_through_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path, dataset: str
) -> None:
    monkeypatch.chdir(tmp_path)
    own = {"scenes": {"folder": str(real / "folders" / "intel_scenes")}}
    data = {"root": str(real), "own": own}
    table = run_all(tmp_path, dataset, data=data, shots=4, regions={"per_image": 2}, **TINY)
    assert dataset in table
    assert "FDBPL, ours" in table


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
