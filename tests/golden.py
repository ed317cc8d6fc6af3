"""Two small drawn datasets, two seeds, every method, through all stages: what comes out.

`python tests/golden.py` writes tests/golden.json anew, which tests/test_golden.py compares with. A
change of it is a change of results, to be explained by whoever makes it.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from fdbpl.cache.cache import open_cache
from fdbpl.classify.artifact import decision_of
from fdbpl.evaluation.record import runs_of
from fdbpl.methods.registry import IMPORTED, METHODS
from fdbpl.playground import datasets as playground
from fdbpl.playground import drawing
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.protocols.transfer import TRANSFER
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, read_params
from fdbpl.stages import PER_DATASET, run_stage
from fdbpl.stages.evaluated import read_record
from fdbpl.stages.learned import open_learned
from fdbpl.stages.tasks import task_of
from fdbpl.system.workspace import Workspace

FILE = Path(__file__).with_suffix(".json")
KINDS = {"garden": "flowers", "crockery": "dishes"}  # by the drawn dataset they are cut from
# Both have the same class names, and are two domains all the same.
CLASSES, TRAIN, TEST = 6, 4, 3
LISTED = [name for name, one in METHODS.items() if name != IMPORTED and one.image_layer is None]
FROM_REGIONS = [name for name in LISTED if METHODS[name].learns and METHODS[name].transfers]


def measure(root: Path) -> dict[str, Any]:
    """Run everything in an empty folder; return what was learned and how it decides."""
    params = _params(root)
    work = Workspace(root / "work")
    found: dict[str, Any] = {}
    for dataset in params.datasets:
        for stage in PER_DATASET:
            run_stage(stage, params, work, dataset)
        found[dataset] = _of_dataset(params, dataset, work)
    records = {name: read_record(params, name, work) for name in params.datasets}
    runs = runs_of(records, TRANSFER.name, params.shots)
    found["transfer"] = {
        method: {
            str(seed): {
                name: run.methods[method][str(seed)].measures["accuracy"]
                for name, run in runs.items()
            }
            for seed in params.seeds
        }
        for method in runs[params.source].methods
    }
    return found


def _params(root: Path) -> Params:
    for name, drawn in KINDS.items():
        _draw(root / name, drawn)
    own = {
        name: {
            "folder": str(root / name),
            "template": playground.definition(drawn).template,
        }
        for name, drawn in KINDS.items()
    }
    raw = {
        "datasets": list(KINDS),
        "methods": LISTED,
        "seeds": [1, 2],
        "shots": 3,
        "data": {"own": own},
        "regions": {"per_image": 3},
        "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
        "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
        "cache": {"payload": "float32", "store": str(root / "store"), "batch": 16},
        "train": {"lr": 0.02, "epochs": 3, "batch": 8},
        "protocols": ["base-to-new", "transfer"],
        "device": "cpu",
    }
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return read_params(path)


def _draw(folder: Path, name: str) -> None:
    """Save images of a few classes of a drawn dataset, as folders of classes."""
    drawn = playground.definition(name)
    count = len(drawn.classes)
    for label, chosen in list(enumerate(drawn.sorted_classes))[:: count // CLASSES][:CLASSES]:
        for split, images in (("train", TRAIN), ("test", TEST)):
            scenes = [playground.scene(drawn, split, label + count * n) for n in range(images)]
            pixels = drawing.draw(np.concatenate(scenes), playground.SIZE)[0]
            for number, image in enumerate(pixels.transpose(0, 2, 3, 1)):
                path = folder / split / chosen.name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)


def _of_dataset(params: Params, dataset: str, work: Workspace) -> dict[str, Any]:
    run = read_record(params, dataset, work).run(BASE_TO_NEW.name, params.shots)
    assert run is not None
    found: dict[str, Any] = {}
    for method in LISTED:
        for seed, cell in run.methods[method].items():
            accuracies = {name: cell.measures[name] for name in ("base", "new", "joint")}
            learned = {}
            if method in FROM_REGIONS:
                learned = dict(_learned(params, dataset, work, method, int(seed)))
            found[f"{method} {seed}"] = {**accuracies, **learned}
    return found


def _learned(
    params: Params, dataset: str, work: Workspace, method: str, seed: int
) -> Iterator[tuple[str, Any]]:
    """Yield what training wrote, and the logits of the first test image: base, all classes."""
    plan = Plan.load(work.plan(dataset))
    task = task_of(params, plan, BASE_TO_NEW, params.shots)
    path = work.learned(dataset, task.folder, method, seed, "history")
    history = json.loads(path.read_text(encoding="utf-8"))
    yield "terms", {name: values[-1] for name, values in history["terms"].items()}
    yield "bridge", history.get("bridge", {})
    decision = decision_of(open_learned("classifier", params, task, work, method, seed))
    features = open_cache(work.cache(dataset, decision.sees)).features("test")[:1]
    yield "among base", decision.logits(features, task.labels)[0].tolist()
    yield "among all", decision.logits(features, range(len(plan.class_names)))[0].tolist()


def rounded(value: Any) -> Any:
    """Return nested results with numbers of six significant digits, to be written."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        FILE.write_text(json.dumps(rounded(measure(Path(folder))), indent=0) + "\n")
