"""Image files: their content's hash, and their pixels as every later step sees them."""

import errno
import hashlib
import io
import os
import threading
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from fdbpl.system.errors import UserError

# What decides a decoded pixel beside the file: these rules, and the library that decodes.
# It enters the key of every feature. Raise the first number when a rule below changes.
DECODER = f"fdbpl-1/pillow-{PIL.__version__.split('.', maxsplit=1)[0]}"

# Named, because Pillow's full list holds formats that start other programs (EPS: Ghostscript).
# JPEG covers the multi-picture files of cameras too.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

# The size from which Pillow suspects a decompression bomb: 0.27 GB of RGB pixels.
MAX_PIXELS = 89_478_485

# Decoding takes 8 to 24 bytes a pixel: larger pictures than a camera's are decoded one at a time,
# and turned into RGB band after band.
LARGE_PIXELS = 1 << 25
BAND_PIXELS = 1 << 22
_large = threading.Lock()

# Texts and colour profiles beside the pixels of a PNG, in bytes: programs that draw pictures write
# many megabytes of them, and Pillow would refuse one of more than 1 MiB.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = 64 << 20

MAX_RATIO = 500
"""Of an image's longer side to its shorter, which is enlarged to the size that a model sees."""

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


Picture = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""A picture as a program has it: a file's path or its bytes, an image of Pillow's, or pixels."""

Pictures = Picture | Iterable[Picture]
"""One picture, or several in order; an array (n, H, W, 3) is n of them."""


class UnreadableImage(UserError):  # noqa: N818 - a state of the file
    """An image file that is missing, damaged, too large or of an unknown format."""


class ChangedImage(UserError):  # noqa: N818 - a state of the file
    """An image file whose content is no longer what the plan recorded."""


def read_image(path: Path) -> tuple[bytes, Image.Image]:
    """Return the file's identity, the 16-byte BLAKE2b digest of its bytes, and its pixels.

    Raises UnreadableImage as `decode` does.
    """
    data = _read(path)
    return _hash(data), decode_bytes(data, path)


def decode(path: Path, expected_hash: bytes | None = None) -> Image.Image:
    """Return the image as 8-bit RGB, upright as its EXIF says, transparency laid on white.

    Grey, CMYK, palette and 16-bit images are converted; of an animation the first frame counts.
    The format is told from the content, never from the file's name.
    Raises UnreadableImage naming the file, and ChangedImage when `expected_hash` is given and
    the content's hash is another.
    """
    data = _read(path)
    if expected_hash is not None and _hash(data) != expected_hash:
        raise ChangedImage(
            f"{path}: content hash {_hash(data).hex()}, the plan has {expected_hash.hex()}: "
            "the file changed after the plan was made; run prepare-crops again"
        )
    return decode_bytes(data, path)


def opened(picture: Picture) -> Image.Image:
    """Return a picture of any kind as `decode` returns those of files.

    Args:
        picture: the path of a file; the bytes of one; an image of Pillow's; or an array of bytes
            (H, W) or (H, W, 3).

    Raises:
        UnreadableImage: see `decode`; or an image that this turns into no RGB.
        UserError: something else.
    """
    if isinstance(picture, str | Path):
        return decode(Path(picture))
    if isinstance(picture, bytes):
        return decode_bytes(picture, "a picture in memory")
    try:
        if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
            return _upright_rgb(Image.fromarray(picture))
        if isinstance(picture, Image.Image):
            return _upright_rgb(picture)
    except Exception as error:  # Pillow's own types, for modes and shapes
        raise UnreadableImage(f"a picture in memory: {error}; wanted RGB or grey") from error
    what = getattr(picture, "dtype", type(picture).__name__)
    raise UserError(
        f"a picture is {what}, wanted the path of a file or its bytes, an image of Pillow's, or an "
        "array of bytes (uint8) of shape (H, W) or (H, W, 3)."
    )


def listed(pictures: Pictures) -> list[Picture]:
    """Return one picture or several as a list.

    Raises:
        UserError: they are neither.
    """
    if isinstance(pictures, np.ndarray):
        is_one = pictures.ndim == 2 or (pictures.ndim == 3 and pictures.shape[2] in (3, 4))
        return [pictures] if is_one else list(np.atleast_1d(pictures))
    if isinstance(pictures, str | Path | bytes | Image.Image):
        return [pictures]
    if isinstance(pictures, Iterable):
        return list(pictures)
    raise UserError(f"images is {type(pictures).__name__}, wanted a list of pictures.")


def decode_bytes(data: bytes, name: object, pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the image in a file's bytes; see `decode`.

    Args:
        data: the bytes.
        name: of the file, for errors.
        pixels: at most so many.

    Raises:
        UnreadableImage: see `decode`.
    """
    try:
        return _pixels(data, pixels)
    except Exception as error:  # Pillow's readers raise a dozen types on damaged data
        reason = _reason(data, error)
        raise UnreadableImage(
            f"{name}: cannot be decoded ({len(data):,} bytes, {reason}); wanted a whole "
            f"{', '.join(FORMATS)} file of at most {pixels:,} pixels, its longer side at most "
            f"{MAX_RATIO} times its shorter: replace or remove it"
        ) from error


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise OSError(errno.EINVAL, "a directory or device, no file")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a path of a zero byte is a wrong value
        is_broken = os.path.islink(path) and not os.path.exists(path)  # noqa: PTH110, PTH114
        reason = "a link to nothing" if is_broken else getattr(error, "strerror", None) or error
        raise UnreadableImage(
            f"{path}: cannot be read ({reason}): restore the file, or plan without it"
        ) from error


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _reason(data: bytes, error: Exception) -> str:
    if not data:
        return "an empty file"
    if isinstance(error, PIL.UnidentifiedImageError):
        return "no image of a known format"
    return str(error)


def _pixels(data: bytes, most: int) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width * height > most:  # known from the header, before any memory is taken
            raise ValueError(f"{width:,} x {height:,} pixels")
        if max(width, height) > MAX_RATIO * min(width, height):  # resized by its shorter side
            raise ValueError(f"{width:,} x {height:,} pixels, over {MAX_RATIO:,} to 1")
        with _large if width * height > LARGE_PIXELS else nullcontext():
            image.load()
            return _upright_rgb(image)


def _upright_rgb(image: Image.Image) -> Image.Image:
    turn = UPRIGHT.get(_orientation(image))
    rgb = _rgb_by_bands(image)
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (as stored) when the EXIF block is absent or broken."""
    try:
        value = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # a broken EXIF block says nothing about the pixels, which are whole
        return 1
    return value if isinstance(value, int) else 1


def _rgb_by_bands(image: Image.Image) -> Image.Image:
    """Return what _rgb does, without the memory that it takes for a whole large image."""
    rows = max(1, BAND_PIXELS // max(1, image.width))
    if image.height <= rows or (image.mode == "RGB" and not image.has_transparency_data):
        return _rgb(image)
    rgb = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        rgb.paste(_rgb(band), (0, top))
    return rgb


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keep the high byte of 16-bit grey, as Pillow does for 16-bit colour; it would clip grey.

    A PNG may name one value that is transparent: white, as all that is laid on white.
    """
    values = np.asarray(image).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 0xFFFF:
        raise ValueError(f"grey values {values.min()} to {values.max()}, outside 16 bits")
    shown = values != image.info.get("transparency")
    return Image.fromarray(np.where(shown, values >> 8, 0xFF).astype(np.uint8))
