"""General pictures: of every kind and reading there is, and of no dataset."""

from pathlib import Path

import numpy as np
from PIL import Image

from fdbpl.benchmarks.playground import drawing, world
from fdbpl.benchmarks.playground.datasets import SIZE
from fdbpl.files import whole_folder

PICTURES = 1000
PICTURES_FOLDER, NAMES_FILE = "pictures", "names.txt"
_SEED = 7000


def draw_general(folder: Path, of_world: int = 1, pictures: int = PICTURES) -> None:
    """Draw so many pictures or a few more, equally many of each kind, and list the nouns there are.

    Args:
        folder: to be written, or replaced: `pictures/` and `names.txt`, as a dataset of one's own
            without classes has them.
        of_world: another number, other pictures.
        pictures: at least.
    """
    rng = np.random.Generator(np.random.Philox(_SEED + of_world))
    each = -(-pictures // len(world.KINDS))
    with whole_folder(folder) as whole:
        (whole / PICTURES_FOLDER).mkdir(parents=True, exist_ok=True)
        for kind in world.KINDS:
            scenes = world.sample(rng, kind, world.LAWS[kind], each)
            readings = world.READINGS[kind]
            for start, reading in enumerate(readings):
                world.settle(scenes[start :: len(readings)], reading)
            pixels, _, _ = drawing.draw(scenes, SIZE)
            for number, one in enumerate(pixels):
                path = whole / PICTURES_FOLDER / f"{kind}-{number:04}.png"
                Image.fromarray(np.ascontiguousarray(one.transpose(1, 2, 0))).save(path)
        nouns = sorted({noun for kind in world.KINDS for noun in world.NOUNS[kind]})
        (whole / NAMES_FILE).write_text("".join(f"{noun}\n" for noun in nouns), encoding="utf-8")
