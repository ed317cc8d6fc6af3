"""A sheet of test pictures, a row a dataset: for the eyes of who has the pictures, never for docs.

The licences of the pictures do not allow them to be published.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fdbpl.data.disk import class_folders, images_below
from fdbpl.data.images import decode
from fdbpl.data.names import spoken
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole

ACROSS = 10  # pictures in a row
SIDE, GAP, LINE = 96, 8, 13  # pixels: of a picture, around it, of a line of text
LETTERS, LINES = 16, 2  # that fit below a picture
PART = "test"

Cell = tuple[Path, str]
"""A picture's file, and what stands below it."""


def write_sheet(
    data: Path, datasets: Sequence[str], out: Path, shifted: Mapping[str, Sequence[str]] = {}
) -> None:
    """Write a sheet as PNG: ten test pictures of each dataset, of ten classes where it has them.

    Args:
        data: holds DATASET/test/CLASS/ of each dataset.
        datasets: a row each.
        out: the PNG.
        shifted: by dataset the names of its shifted versions, whose folders in `data` hold the
            same pictures below folders of the same classes: a row of two pictures and all theirs.

    Raises:
        UserError: a folder has no class with a picture, or a shifted version not the same pictures.
    """
    rows = {name: first_of_classes(data / name, ACROSS) for name in datasets}
    for name, versions in shifted.items():
        kinds = {one.removeprefix(f"{name}-"): data / one for one in versions}
        rows[f"{name}: two pictures, and each as {', '.join(kinds)}"] = [
            cell
            for picture, _ in first_of_classes(data / name, 2)
            for cell in [
                (picture, "as it is"),
                *((same_picture(picture, folder), kind) for kind, folder in kinds.items()),
            ]
        ]
    picture = io.BytesIO()
    drawn(rows).save(picture, "PNG")
    write_whole(out, picture.getvalue())


def first_of_classes(folder: Path, count: int) -> list[Cell]:
    """Return the first test picture of so many classes, spread evenly over all, and their names.

    Raises:
        UserError: there is no class, or one of them has no picture.
    """
    classes = class_folders(folder / PART)
    places = np.linspace(0, len(classes) - 1, min(count, len(classes))).round().astype(int)
    found = []
    for name in (classes[place] for place in places):
        pictures = images_below(folder, f"{PART}/{name}")
        if not pictures:
            raise UserError(f"{folder / PART / name}: no picture in it. Wanted at least one.")
        found.append((folder / pictures[0], spoken(name)))
    return found


def same_picture(picture: Path, folder: Path) -> Path:
    """Return the file of the same class folder and name, whatever its suffix, below a folder.

    Raises:
        UserError: there is none.
    """
    wanted = (picture.parent.name, picture.stem)
    below = images_below(folder, PART) or images_below(folder)
    for path in map(Path, below):
        if (path.parent.name, path.stem) == wanted:
            return folder / path
    raise UserError(f"{folder}: no picture {'/'.join(wanted)} below it, as {picture} has.")


def drawn(rows: Mapping[str, Sequence[Cell]]) -> Image.Image:
    """Return the sheet: each row under its title, each picture above its name."""
    width = max(map(len, rows.values())) * (SIDE + GAP) + GAP
    height = GAP + LINE + GAP // 2 + SIDE + LINES * LINE
    sheet = Image.new("RGB", (width, len(rows) * height + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(LINE - 2)
    for row, (title, cells) in enumerate(rows.items()):
        top = row * height + GAP
        foot = top + LINE + GAP // 2 + SIDE
        draw.text((GAP, top), title, "black", font)
        for place, (path, name) in enumerate(cells):
            left, picture = GAP + place * (SIDE + GAP), decode(path)
            picture = picture.resize(_fitting(picture.size), Image.Resampling.BICUBIC)
            sheet.paste(picture, (left, foot - picture.height))
            below = "\n".join(textwrap.wrap(name, LETTERS)[:LINES])
            draw.multiline_text((left, foot), below, "dimgrey", font, spacing=1)
    return sheet


def _fitting(size: tuple[int, int]) -> tuple[int, int]:
    """Return a size of the same shape whose longer side is SIDE."""
    width, height = (max(1, round(SIDE * side / max(size))) for side in size)
    return width, height
