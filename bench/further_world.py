"""Everything once more in a further world: `python -m bench.further_world second` (or `third`).

Another pair of tiny models is pre-trained from other seeds (about twenty minutes on two cores,
skipped where they lie there already), all pictures are drawn from another seed, and every stage
runs in runs/second-world by the settings of params.yaml. `fdbpl results --also second-world` then
shows it as further evidence.

It is not evidence that nobody had seen. The presets are younger than the second world: memory and
bridge joined them later, chosen on development kinds of the first world. A bridge of other datasets
was given up for what it did on the other kinds of all three worlds.
"""

import subprocess
import sys
from pathlib import Path

from fdbpl.settings.params import DEFAULT_PATH, Params, read_params
from fdbpl.stages import OVER_ALL, PER_DATASET, run_stage
from fdbpl.system.workspace import Workspace

WORLDS = {"second": 2, "third": 3}
ROLES = ("student", "teacher")


def main(name: str) -> None:
    """Pre-train what is missing, then run all stages."""
    work = Workspace(home(name))
    params = in_world(read_params(DEFAULT_PATH), WORLDS[name], models_of(name))
    for dataset in params.datasets:
        for stage in PER_DATASET:
            print("\n".join(run_stage(stage, params, work, dataset)), flush=True)
    for stage in OVER_ALL:
        print("\n".join(run_stage(stage, params, work, None)), flush=True)


def home(name: str) -> Path:
    """Return the folder of a further world."""
    return Path(f"runs/{name}-world")


def models_of(name: str) -> dict[str, Path]:
    """Return the folders of a further world's models, pre-trained where they are missing."""
    models = {role: home(name) / "models" / role for role in ROLES}
    missing = {role: path for role, path in models.items() if not weights(role, path).exists()}
    pretrain(missing, WORLDS[name])
    return models


def pretrain(missing: dict[str, Path], world: int) -> None:
    """Pre-train models side by side, each in a process of its own."""
    options = {
        role: ("--out", str(folder), "--model", role, "--world", str(world))
        for role, folder in missing.items()
    }
    running = [
        subprocess.Popen([sys.executable, "-m", "fdbpl.playground.pretraining", *words])
        for words in options.values()
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("pre-training failed")


def weights(role: str, folder: Path) -> Path:
    """Return the weights file of a tiny model in its folder."""
    return folder / f"fdbpl-tiny-{role}.safetensors"


def in_world(params: Params, world: int, models: dict[str, Path]) -> Params:
    """Return the parameters with a further world's pictures and models."""
    changes = {
        role: getattr(params, role).model_copy(
            update={"weights": str(weights(role, folder)), "activation": "gelu"}
        )
        for role, folder in models.items()
    }
    data = params.data.model_copy(update={"world": world})
    return params.model_copy(update={"data": data, **changes})


if __name__ == "__main__":
    if sys.argv[1:] not in [[name] for name in WORLDS]:
        sys.exit(f"usage: python -m bench.further_world {'|'.join(WORLDS)}")
    main(sys.argv[1])
