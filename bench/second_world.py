"""Everything once more in a second world: `python -m bench.second_world`.

Another pair of tiny models is pre-trained from other seeds (about half an hour on two cores,
skipped where they lie there already), all pictures are drawn from another seed, and every stage
runs in runs/second-world with the settings of params.yaml. `fdbpl results --also second-world`
then shows it as further evidence: nothing was ever chosen there.
"""

import subprocess
import sys
from pathlib import Path

from fdbpl.params import DEFAULT_PATH, Params, read_params
from fdbpl.stages import OVER_ALL, PER_DATASET, run_stage
from fdbpl.workspace import Workspace

WORLD = 2
ROLES = ("student", "teacher")
WORK = Workspace(Path("runs/second-world"))


def main() -> None:
    """Pre-train what is missing, then run all stages."""
    models = {role: WORK.root / "models" / role for role in ROLES}
    pretrain(
        {role: folder for role, folder in models.items() if not weights(role, folder).exists()}
    )
    params = in_second_world(read_params(DEFAULT_PATH), models)
    for dataset in params.datasets:
        for stage in PER_DATASET:
            print("\n".join(run_stage(stage, params, WORK, dataset)), flush=True)
    for stage in OVER_ALL:
        print("\n".join(run_stage(stage, params, WORK, None)), flush=True)


def pretrain(missing: dict[str, Path]) -> None:
    """Pre-train models side by side, each in a process of its own."""
    options = {
        role: ("--out", str(folder), "--model", role, "--world", str(WORLD))
        for role, folder in missing.items()
    }
    running = [
        subprocess.Popen([sys.executable, "-m", "fdbpl.clip.pretraining", *words])
        for words in options.values()
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("pre-training failed")


def weights(role: str, folder: Path) -> Path:
    """Return the weights file of a tiny model in its folder."""
    return folder / f"fdbpl-tiny-{role}.safetensors"


def in_second_world(params: Params, models: dict[str, Path]) -> Params:
    """Return the parameters with the second world's pictures and models."""
    changes = {
        role: getattr(params, role).model_copy(
            update={"weights": str(weights(role, folder)), "activation": "gelu"}
        )
        for role, folder in models.items()
    }
    return params.model_copy(
        update={"data": params.data.model_copy(update={"world": WORLD}), **changes}
    )


if __name__ == "__main__":
    main()
