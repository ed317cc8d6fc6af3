"""The packaged pair's general bridge: `python -m bench.general_bridge`, if the pair is made anew.

General pictures are drawn, planned and encoded as anybody's own pictures are, and `fdbpl bridge`
learns from their caches. All lies in runs/general-bridge; the bridge goes beside the weights.
"""

from pathlib import Path

from fdbpl.benchmarks.playground.general import NAMES_FILE, PICTURES_FOLDER, draw_general
from fdbpl.params import DEFAULT_PATH, DataParams, OwnDataset, Params, read_params
from fdbpl.stages import run_stage
from fdbpl.stages.general_bridge import TINY, make_general_bridge
from fdbpl.workspace import Workspace

NAME = "general"


def build(params: Params, work: Workspace, out: Path, pictures: int | None = None) -> list[str]:
    """Draw the general pictures of the parameters' world, encode them, and write the bridge.

    Args:
        params: their world, models, regions and workers are taken.
        work: where pictures, plan, caches and the store lie.
        out: the file to write.
        pictures: as many as the playground has, by default.
    """
    folder = work.root / NAME
    counts = {} if pictures is None else {"pictures": pictures}
    draw_general(folder, params.data.world, **counts)
    own = OwnDataset(images=str(folder / PICTURES_FOLDER), names=str(folder / NAMES_FILE))
    changes = {
        "datasets": [NAME],
        "data": DataParams(own={NAME: own}),
        "seeds": [1],
        "shots": "all",
        "transfer": None,
        "cache": params.cache.model_copy(update={"store": str(work.root / "store")}),
    }
    general = params.model_copy(update=changes)
    lines = []
    for stage in ("prepare_crops", "cache_teacher"):
        lines += run_stage(stage, general, work, NAME)
    return lines + make_general_bridge(general, [NAME], work, out)


if __name__ == "__main__":
    found = build(read_params(DEFAULT_PATH), Workspace(Path("runs/general-bridge")), TINY)
    print("\n".join(found))
