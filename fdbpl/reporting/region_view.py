"""A picture of one image's regions: what each shows, and what teacher and student make of it."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import Image

from fdbpl.regions.boxes import Box
from fdbpl.system.errors import UserError

TOP = 3
LONGEST = 18  # letters of a class name that there is room for
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#e377c2", "#8c564b")
COLUMNS = 2  # of tiles


class Guess(NamedTuple):
    """A class and its probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class RegionView:
    """One region and what is known of it.

    Attributes:
        box: left, top, right, bottom in pixels.
        flip: whether the models saw it mirrored.
        w: informativeness, in [0, 1].
        teacher: its likeliest classes.
        student: likewise, under the positive context.
        score: of OOD detection, high for in-distribution.
        above: the share of the regions learned from that score lower, in per cent.
    """

    box: Box
    flip: bool
    w: float
    teacher: tuple[Guess, ...]
    student: tuple[Guess, ...]
    score: float
    above: float


def require_png(path: Path) -> None:
    """Raise UserError when a picture is to be written under the name of another kind."""
    if path.suffix.lower() != ".png":
        raise UserError(f"--out is {str(path)!r}, wanted a name that ends in .png.")


def draw(
    title: str, image: Image.Image, regions: Sequence[RegionView], score: str, file: BinaryIO
) -> None:
    """Write a PNG: the image with its regions' boxes, then one tile a region.

    Args:
        title: above it all.
        image: the whole image.
        regions: at least one.
        score: the OOD score's name.
        file: to write to.
    """
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    rows = -(-len(regions) // COLUMNS)
    height = max(3.9, 1.25 * rows + 0.9)
    figure: Any = Figure(figsize=(3.6 + 4.1 * COLUMNS, height), dpi=100)
    left, right = figure.subfigures(1, 2, width_ratios=(3.6, 4.1 * COLUMNS))
    figure.text(0.01, 1 - 0.1 / height, title, parse_math=False, va="top", fontsize=11)
    figure.text(0.01, 1 - 0.32 / height, _legend(score), va="top", fontsize=8, color="0.4")
    _draw_boxes(left, height, image, regions)
    tiles = _grid(right, height, rows, COLUMNS, (1.15, 2.95))
    for number, region in enumerate(regions):
        row, column = divmod(number, COLUMNS)
        _draw_region(tiles[row, 2 * column], image, region, number)
        _draw_words(tiles[row, 2 * column + 1], region)
    _save(figure, file)


def _grid(figure: Any, height: float, rows: int, columns: int, widths: tuple[float, float]) -> Any:
    """Return the axes of rows x columns tiles, each a picture and its words of these widths."""
    tiles = figure.subplots(
        rows,
        2 * columns,
        squeeze=False,
        width_ratios=widths * columns,
        gridspec_kw={
            "left": 0.01,
            "right": 0.99,
            "top": 1 - 0.65 / height,
            "bottom": 0.12 / height,
            "wspace": 0.04,
            "hspace": 0.28,
        },
    )
    for axes in tiles.flat:
        axes.axis("off")
    return tiles


def _save(figure: Any, file: BinaryIO) -> None:
    drawn = io.BytesIO()
    with warnings.catch_warnings():  # a class name beyond the font is drawn as boxes, seen as such
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(drawn, format="png")
    # 256 colours are enough to look at, and a third of the bytes
    Image.open(drawn).convert("RGB").quantize(256).save(file, "PNG", optimize=True)


class TileCaption(NamedTuple):
    """What one model makes of a region: the image's class, w, and the likeliest classes."""

    label: str
    w: float
    guesses: tuple[Guess, ...]


def draw_sheet(
    title: str, tiles: Sequence[tuple[Image.Image, TileCaption]], file: BinaryIO
) -> None:
    """Write a PNG of regions of any images, each beside what one model makes of it.

    Args:
        title: above it all.
        tiles: at least one: a region as the model sees it, and what is known of it.
        file: to write to.
    """
    from matplotlib.figure import Figure

    columns = COLUMNS + 1
    rows = -(-len(tiles) // columns)
    height = 1.25 * rows + 0.9
    figure: Any = Figure(figsize=(3.4 * columns, height), dpi=100)
    figure.text(0.01, 1 - 0.1 / height, title, parse_math=False, va="top", fontsize=11)
    legend = "w: how sure the model is, 0 to 1. Above each: the class of the image."
    figure.text(0.01, 1 - 0.32 / height, legend, va="top", fontsize=8, color="0.4")
    grid = _grid(figure, height, rows, columns, (1.15, 2.25))
    for number, (image, known) in enumerate(tiles):
        row, column = divmod(number, columns)
        pictures, words = grid[row, 2 * column], grid[row, 2 * column + 1]
        pictures.imshow(image, extent=(0, 1, 1, 0), interpolation="nearest")
        pictures.set_anchor("NW")
        words.set_xlim(0, 1)
        words.set_ylim(0, 1)
        head = f"{_short(known.label)}    w {known.w:.2f}"
        words.text(0, 1, head, parse_math=False, fontsize=8.5, va="top", fontweight="bold")
        _draw_guesses(words, 0, 0.9, known.guesses)
    _save(figure, file)


def seen(image: Image.Image, box: Box, flip: bool) -> Image.Image:
    """Cut a region out of its image, mirrored as the models saw it."""
    piece = image.crop(box)
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else piece


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _legend(score: str) -> str:
    return (
        "w: how sure the teacher is, 0 to 1.   "
        f"score: {score}, low for OOD; and how many of the regions learned from lie below"
    )


def _draw_boxes(
    figure: Any, height: float, image: Image.Image, regions: Sequence[RegionView]
) -> None:
    from matplotlib.patches import Rectangle

    axes = figure.add_axes((0.04, 0.0, 0.92, 1 - 0.65 / height), anchor="NW")
    axes.imshow(image, extent=(0, image.width, image.height, 0), interpolation="nearest")
    for number, region in enumerate(regions):
        x, y, x_end, y_end = region.box
        colour = COLOURS[number % len(COLOURS)]
        axes.add_patch(
            Rectangle((x, y), x_end - x, y_end - y, fill=False, edgecolor=colour, linewidth=1.6)
        )
        _label(axes, x, y, number)
    axes.axis("off")


def _draw_region(axes: Any, image: Image.Image, region: RegionView, number: int) -> None:
    """Draw a region as the models see it: squeezed into a square, perhaps mirrored."""
    piece = seen(image, region.box, region.flip)
    axes.imshow(piece, extent=(0, 1, 1, 0), interpolation="nearest")
    axes.set_anchor("NW")
    _label(axes, 0, 0, number)


def _label(axes: Any, x: float, y: float, number: int) -> None:
    axes.text(
        x,
        y,
        str(number),
        color="white",
        fontsize=8,
        va="top",
        bbox={"facecolor": COLOURS[number % len(COLOURS)], "edgecolor": "none", "pad": 1.5},
    )


def _draw_words(axes: Any, region: RegionView) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.text(
        0,
        1,
        f"w {region.w:.2f}    score {region.score:+.2f}, above {region.above:.0f} %",
        fontsize=8.5,
        va="top",
        fontweight="bold",
    )
    for x, who, guesses in ((0, "teacher", region.teacher), (0.52, "student", region.student)):
        axes.text(x, 0.78, who, fontsize=8, va="top", color="0.4")
        _draw_guesses(axes, x, 0.46, guesses)


def _draw_guesses(axes: Any, x: float, width: float, guesses: Sequence[Guess]) -> None:
    for place, guess in enumerate(guesses):
        y = 0.57 - 0.22 * place
        axes.barh(
            y - 0.07, width * guess.probability, height=0.18, left=x, color="#c6dbef", zorder=0
        )
        axes.text(x, y, f" {_short(guess.name)}", parse_math=False, fontsize=8, va="top")
        axes.text(x + width, y, f"{guess.probability:.2f}", fontsize=8, va="top", ha="right")
