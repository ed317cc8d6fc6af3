"""Every file that cameras, scanners and downloads leave is read alike, or refused by name."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from fdbpl.data import images
from fdbpl.data.images import (
    ChangedImage,
    UnreadableImage,
    decode,
    listed,
    opened,
    read_image,
)
from fdbpl.system.errors import UserError

Colour = tuple[int, int, int]
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def save(folder: Path, name: str, image: Image.Image, **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def red_left_blue_right(width: int = 32, height: int = 16) -> Image.Image:
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def near(found: Any, wanted: Colour, by: int = 6) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, wanted, strict=True))


def palette(*colours: Colour) -> Image.Image:
    image = Image.new("P", (len(colours), 1))
    image.putpalette([value for colour in colours for value in colour])
    for index in range(len(colours)):
        image.putpixel((index, 0), index)
    return image


def row(*values: int, kind: Any = np.uint16) -> Image.Image:
    return Image.fromarray(np.array([values], kind))


def frames() -> dict[str, Any]:
    return {"save_all": True, "append_images": [Image.new("RGB", (4, 4), BLUE)]}


def grey(*values: int) -> list[Colour]:
    return [(value, value, value) for value in values]


BLACK_RED = ((0, 0, 0), RED)
CLEAR_RED = np.array([[[0, 0, 0, 0], [*RED, 255]]], np.uint8)
HIGH_BYTES = (row(0, 0x00FF, 0x0100, 0x8000, 0xFFFF), {}, grey(0, 0, 1, 128, 255))
FIRST_FRAME = (Image.new("RGB", (4, 4), RED), frames(), [RED])
READ: dict[str, tuple[Image.Image, dict[str, Any], list[Colour]]] = {
    "plain.png": (red_left_blue_right(2, 1), {}, [RED, BLUE]),
    "one bit.png": (Image.new("1", (1, 1), 255), {}, [WHITE]),
    "grey.png": (Image.new("L", (1, 1), 99), {}, grey(99)),
    "cmyk.jpg": (Image.new("CMYK", (4, 4), (255, 0, 0, 0)), {}, [(0, 255, 255)]),
    "cmyk.tif": (Image.new("CMYK", (4, 4), (255, 0, 0, 0)), {}, [(0, 255, 255)]),
    # transparency is laid on white
    "palette.png": (palette(*BLACK_RED), {"transparency": 0}, [WHITE, RED]),
    "palette.gif": (palette(*BLACK_RED), {"transparency": 0}, [WHITE, RED]),
    "half.png": (palette(*BLACK_RED), {"transparency": bytes([128, 255])}, [*grey(127), RED]),
    "rgba.png": (Image.fromarray(CLEAR_RED, "RGBA"), {}, [WHITE, RED]),
    "half rgba.png": (Image.new("RGBA", (1, 1), (0, 0, 0, 128)), {}, grey(127)),
    "la.png": (Image.new("LA", (1, 1), (0, 0)), {}, [WHITE]),
    "key.png": (Image.new("RGB", (1, 1), (9, 9, 9)), {"transparency": (9, 9, 9)}, [WHITE]),
    "key 16.png": (row(0, 0x1200, 0x34FF), {"transparency": 0x1200}, grey(0, 255, 0x34)),
    # of sixteen bits the high byte is kept
    "16 bit.png": HIGH_BYTES,
    "16 bit.tif": HIGH_BYTES,
    "16 bit.pgm": HIGH_BYTES,
    # of several frames or pages the first counts
    "frames.gif": FIRST_FRAME,
    "frames.png": FIRST_FRAME,
    "frames.webp": FIRST_FRAME,
    "pages.tif": FIRST_FRAME,
}


@pytest.mark.parametrize("name", READ)
def test_every_kind_of_pixel_becomes_eight_bit_rgb(tmp_path: Path, name: str) -> None:
    image, options, wanted = READ[name]
    found = decode(save(tmp_path, name, image, **options))
    assert (found.mode, found.size) == ("RGB", image.size)
    for x, colour in enumerate(wanted):
        assert near(found.getpixel((x, 0)), colour, by=6 if name[-3:] in ("jpg", "ebp") else 0)


def png(width: int, height: int, bits: int, colour: int, *rows: bytes) -> bytes:
    """A PNG by hand, without rows a header alone."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"") if rows else b""
    return b"\x89PNG\r\n\x1a\n" + head + body


def test_sixteen_bit_colour_is_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 0x00FF, 0x8000, 0xFFFF)))
    assert decode(path).getpixel((0, 0)) == (0, 128, 255)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright_as_exif_says(
    tmp_path: Path, name: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = orientation
    stored = Image.new("RGB", (32, 16), RED)
    stored.paste(BLUE, (0, 0, 8, 8))  # a mark in the first corner as stored
    lossless = {"lossless": True} if name == "a.webp" else {}
    path = save(tmp_path, name, stored, exif=exif, **lossless)
    found = decode(path)
    with Image.open(path) as opened:
        assert found.tobytes() == ImageOps.exif_transpose(opened).convert("RGB").tobytes()
    corners = [(2, 2), (-3, 2), (-3, -3), (2, -3), (2, 2), (-3, 2), (-3, -3), (2, -3)]
    x, y = corners[orientation - 1]
    assert near(found.getpixel((x % found.width, y % found.height)), BLUE, by=20)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_leaves_the_image_as_stored(tmp_path: Path) -> None:
    path = save(tmp_path, "a.jpg", red_left_blue_right(), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert decode(path).size == (32, 16)


def test_neither_name_nor_links_matter_and_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", red_left_blue_right())
    path = path.rename(tmp_path / "été à la mer 海 #1 %20.jpg")  # the content tells the format
    (tmp_path / "a link.jpg").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    digest = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    for place in (path, tmp_path / "a link.jpg", tmp_path / "folder" / path.name):
        found, image = read_image(place)
        assert found == digest
        assert image.tobytes() == decode(place, digest).tobytes() == red_left_blue_right().tobytes()


def test_a_file_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", red_left_blue_right())
    before = read_image(path)[0]
    save(tmp_path, "a.png", Image.new("RGB", (4, 4)))
    with pytest.raises(ChangedImage, match=before.hex()):
        decode(path, before)


def encoded(kind: str, size: tuple[int, int] = (64, 64)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


def half(kind: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(encoded(kind)[: len(encoded(kind)) // 2])


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, r"cannot be read \(No such file"),
    "folder": (lambda path: path.mkdir(), r"cannot be read \(a directory or device"),
    "pipe": (os.mkfifo, r"cannot be read \(a directory or device"),  # and not waited for
    "broken link": (lambda path: path.symlink_to("gone"), r"cannot be read \(a link to nothing"),
    "ring": (lambda path: path.symlink_to(path), r"cannot be read \(a link to nothing"),
    "empty": (lambda path: path.touch(), r"\(0 bytes, an empty file\).*replace or remove"),
    "page": (lambda path: path.write_text("<title>404"), "no image of a known format"),
    "head": (lambda path: path.write_bytes(b"\xff\xd8\xff"), r"\(3 bytes.*replace or remove"),
    "zeros": (lambda path: path.write_bytes(b"\0" * 100), r"\(100 bytes.*replace or remove"),
    **{f"half {kind}": (half(kind), "") for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")},
    "runs a program": (lambda path: Image.new("RGB", (2, 2)).save(path, "EPS"), "known format"),
    "floats": (lambda path: Image.new("F", (2, 2), 0.5).save(path, "TIFF"), "range is unknown"),
    "bomb": (lambda path: path.write_bytes(png(10_000, 10_000, 8, 2)), "pixels"),
    "huge bomb": (lambda path: path.write_bytes(png(60_000, 60_000, 8, 2)), "pixels"),
    # its test view would be huge
    "upright thread": (lambda path: Image.new("RGB", (2, 1001)).save(path, "PNG"), "over 500 to 1"),
    "thread": (lambda path: Image.new("RGB", (1001, 2)).save(path, "PNG"), "over 500 to 1"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("read", [decode, read_image])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, read: Callable[[Path], Any]):
    make, says = REFUSED[name]
    make(tmp_path / "bad.jpg")
    with pytest.raises(UnreadableImage, match=rf"bad\.jpg: .*{says}"):
        read(tmp_path / "bad.jpg")


def test_the_longest_image_is_read(tmp_path: Path) -> None:
    assert decode(save(tmp_path, "a.png", Image.new("RGB", (2, 1000)))).size == (2, 1000)


def test_a_picture_in_memory_is_that_of_its_file(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", red_left_blue_right())
    wanted = decode(path)
    for kind in (path, str(path), path.read_bytes(), wanted, np.asarray(wanted)):
        assert opened(kind).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("wrong", [3, None, ["a.png"], np.zeros((2, 2)), memoryview(b"x"), {}])
def test_what_is_no_picture_is_told(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"a picture is .*, wanted the path of a file or its bytes"):
        opened(wrong)
    for harmed in (b"", b"no picture", np.zeros((2, 2, 7), np.uint8), Image.new("F", (2, 2))):
        with pytest.raises(UnreadableImage, match="a picture in memory"):
            opened(harmed)


def test_one_picture_is_a_list_of_one() -> None:
    grey, colour = np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8)
    for one in ("a.png", Path("a.png"), b"bytes", Image.new("L", (2, 2)), grey, colour):
        (found,) = listed(one)
        assert found is one
    assert listed(np.array("a.png")) == ["a.png"]
    for several in (["a", "b"], ("a", "b"), np.array(["a", "b"]), iter("ab")):
        assert listed(several) == ["a", "b"]
    assert [found.shape for found in listed(np.stack([colour] * 2))] == [(4, 5, 3)] * 2
    for wrong in (None, 3):
        with pytest.raises(UserError, match="wanted a list of pictures"):
            listed(wrong)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "PPM", "BMP", "WEBP"]))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_never_escapes_as_another_error(tmp_path_factory, data, kind) -> None:
    damaged = bytearray(encoded(kind, (8, 8)))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    try:
        assert decode(path).mode == "RGB"
    except UnreadableImage as error:
        assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize("name", ["text", "international text", "profile"])
def test_long_notes_beside_the_pixels_change_nothing(tmp_path: Path, name: str) -> None:
    image, notes = red_left_blue_right(), PngImagePlugin.PngInfo()
    options: dict[str, Any] = {"pnginfo": notes}
    if name == "text":
        notes.add_text("workflow", "x" * 3_000_000, zip=True)
    elif name == "international text":
        notes.add_itxt("XML:com.adobe.xmp", "y" * 2_000_000, zip=True)
    else:
        options = {"icc_profile": bytes(2_000_000)}
    path = save(tmp_path, "a.png", image, **options)
    assert decode(path).tobytes() == image.tobytes()


def test_notes_without_bound_are_refused(tmp_path: Path) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("bomb", "x" * 68_000_000, zip=True)
    path = save(tmp_path, "a.png", red_left_blue_right(), pnginfo=notes)
    with pytest.raises(UnreadableImage, match=r"a\.png: cannot be decoded"):
        decode(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda pixels: Image.fromarray(pixels, "RGBA"),
        lambda pixels: Image.fromarray(pixels[..., :2].copy(), "LA"),
        lambda pixels: Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
        lambda pixels: Image.fromarray(pixels[..., :3].copy()).quantize(64),
        lambda pixels: Image.fromarray(pixels, "CMYK"),
        lambda pixels: Image.fromarray(pixels[..., 0] > 127),
    ],
)
@pytest.mark.parametrize("rows", [1, 7, 40])
def test_bands_are_as_the_whole(monkeypatch, make: Callable[[Any], Any], rows: int) -> None:
    image = make(np.random.default_rng(0).integers(0, 256, (40, 30, 4), np.uint8))
    whole = images._rgb(image)
    monkeypatch.setattr(images, "BAND_PIXELS", 30 * rows)
    assert images._rgb_by_bands(image).tobytes() == whole.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "kind", "row"), [(8, 6, 4 * 9400), (16, 0, 2 * 9400)])
def test_the_largest_picture_takes_bounded_memory(tmp_path: Path, bits, kind, row: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(9400, 9500, bits, kind, bytes((1 + row) * 9500)))
    code = f"""
from pathlib import Path
from fdbpl.data.images import decode
decode(Path({str(path)!r}))
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert int(done.stdout) < 1 << 20  # KiB, where 1.7 and 2.3 GiB were taken
