import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fdbpl.data import images
from fdbpl.data.images import ChangedImage, UnreadableImage, decode, read_image

RED = (255, 0, 0)
BLUE = (0, 0, 255)


def save(folder: Path, name: str, image: Image.Image, **options) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def red_left_blue_right(width: int = 32, height: int = 16) -> Image.Image:
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def near(found: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 6 for a, b in zip(found, wanted, strict=True))


def test_the_hash_is_blake2b_of_the_bytes(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", red_left_blue_right())
    digest, image = read_image(path)
    assert digest == hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    assert image.tobytes() == decode(path, digest).tobytes()


def test_plain_rgb_is_kept(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", red_left_blue_right())
    image = decode(path)
    assert image.mode == "RGB"
    assert image.size == (32, 16)
    assert image.getpixel((0, 0)) == RED
    assert image.getpixel((31, 15)) == BLUE


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_becomes_equal_channels(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path, "a.png", Image.new(mode, (4, 4), 255))
    assert decode(path).getpixel((1, 1)) == (255, 255, 255)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    path = save(tmp_path, "a.jpg", red_left_blue_right().convert("CMYK"), quality=100)
    image = decode(path)
    assert image.mode == "RGB"
    assert near(image.getpixel((2, 8)), RED)
    assert near(image.getpixel((29, 8)), BLUE)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((1, 0), 1)
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (*RED, 255))
    grey = Image.new("LA", (2, 1), (0, 0))
    for path in (
        save(tmp_path, "p.png", palette, transparency=0),
        save(tmp_path, "p.gif", palette, transparency=0),
        save(tmp_path, "rgba.png", clear),
        save(tmp_path, "la.png", grey),
        save(tmp_path, "key.png", Image.new("RGB", (2, 1), (9, 9, 9)), transparency=(9, 9, 9)),
    ):
        assert decode(path).getpixel((0, 0)) == (255, 255, 255), path.name
    assert decode(tmp_path / "p.png").getpixel((1, 0)) == RED
    assert decode(tmp_path / "rgba.png").getpixel((1, 0)) == RED


def test_half_transparent_pixels_blend_with_white(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert decode(path).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bit_grey_keeps_the_high_byte(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 0x00FF, 0x0100, 0x8000, 0xFFFF]], np.uint16)
    path = save(tmp_path, name, Image.fromarray(values))
    assert [decode(path).getpixel((x, 0))[0] for x in range(5)] == [0, 0, 1, 128, 255]


def test_sixteen_bit_grey_that_is_transparent_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 0x1200, 0x34FF]], np.uint16))
    image.save(tmp_path / "a.png", transparency=0x1200)
    found = decode(tmp_path / "a.png")
    assert [found.getpixel((x, 0))[0] for x in range(3)] == [0, 255, 0x34]


def test_sixteen_bit_colour_is_read_alike(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    row = b"\0" + struct.pack(">3H", 0x00FF, 0x8000, 0xFFFF)
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    assert decode(path).getpixel((0, 0)) == (0, 128, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotated_photographs_stand_upright(tmp_path: Path, orientation: int) -> None:
    upright = red_left_blue_right()
    turn = images.UPRIGHT.get(orientation)
    undo = {
        Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
    }
    stored = upright if turn is None else upright.transpose(undo.get(turn, turn))
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = orientation
    path = save(tmp_path, "a.jpg", stored, exif=exif, quality=95)
    image = decode(path)
    assert image.size == upright.size
    assert near(image.getpixel((2, 8)), RED)
    assert near(image.getpixel((29, 8)), BLUE)
    from PIL import ImageOps

    with Image.open(path) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert image.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_other_formats_stand_upright_too(tmp_path: Path, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = orientation
    stored = Image.new("RGB", (32, 16), RED)
    stored.paste(BLUE, (0, 0, 8, 4))  # a mark in the first corner as stored
    path = save(tmp_path, name, stored, exif=exif, **({"lossless": True} if "w" in name else {}))
    image = decode(path)
    turn = images.UPRIGHT.get(orientation)
    assert image.tobytes() == (stored if turn is None else stored.transpose(turn)).tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_leaves_the_image_as_stored(tmp_path: Path) -> None:
    path = save(tmp_path, "a.jpg", red_left_blue_right(), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert decode(path).size == (32, 16)


def test_the_content_tells_the_format_not_the_name(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", red_left_blue_right())
    renamed = path.rename(tmp_path / "a.jpg")
    assert decode(renamed).getpixel((0, 0)) == RED


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    path = save(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert decode(path).getpixel((0, 0)) == RED


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_other_animations_and_pages_give_their_first(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    path = save(tmp_path, name, frames[0], save_all=True, append_images=frames[1:])
    assert near(decode(path).getpixel((0, 0)), RED)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_read_as_pillow_reads_it(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path, f"a.{suffix}", Image.new("CMYK", (4, 4), (255, 0, 0, 0)))
    assert near(decode(path).getpixel((1, 1)), (0, 255, 255))


def test_links_and_any_name_are_read(tmp_path: Path) -> None:
    path = save(tmp_path, "été à la mer 海 #1 %20.png", red_left_blue_right())
    (tmp_path / "a link.jpg").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    for place in (path, tmp_path / "a link.jpg", tmp_path / "folder" / path.name):
        assert decode(place).getpixel((0, 0)) == RED
        assert read_image(place)[0] == read_image(path)[0]


def test_links_to_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "gone")
    (tmp_path / "ring.jpg").symlink_to(tmp_path / "ring.jpg")
    for name in ("broken.jpg", "ring.jpg"):
        with pytest.raises(UnreadableImage, match=rf"{name}: cannot be read \(a link to nothing"):
            decode(tmp_path / name)


def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableImage, match=r"pipe\.jpg: cannot be read \(a directory or device"):
        read_image(tmp_path / "pipe.jpg")


def test_an_empty_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UnreadableImage, match=r"a\.jpg: .*0 bytes, an empty file"):
        decode(tmp_path / "a.jpg")


def test_a_page_that_a_download_left_in_place_of_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(UnreadableImage, match="no image of a known format"):
        decode(tmp_path / "a.jpg")


def test_a_palette_with_half_transparent_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.putpixel((1, 0), 1)
    path = save(tmp_path, "a.png", palette, transparency=bytes([128, 255]))
    assert decode(path).getpixel((0, 0)) == (127, 127, 127)
    assert decode(path).getpixel((1, 0)) == RED


def encoded(kind: str, size: tuple[int, int] = (64, 64)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_truncated_files_are_named(tmp_path: Path, kind: str) -> None:
    data = encoded(kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableImage, match=r"cut\.jpg"):
        decode(path)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"not an image at all", b"\0" * 100])
def test_files_that_are_no_images_are_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match=rf"bad\.jpg.*\({len(data)} bytes.*replace or remove"):
        decode(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for read in (decode, read_image):
        with pytest.raises(UnreadableImage, match=r"gone\.jpg"):
            read(tmp_path / "gone.jpg")
        with pytest.raises(UnreadableImage, match="directory"):
            read(tmp_path)


def test_formats_that_run_other_programs_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.eps", red_left_blue_right())
    with pytest.raises(UnreadableImage, match="known format"):
        decode(path)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.tif", Image.new("F", (2, 2), 0.5))
    with pytest.raises(UnreadableImage, match="range is unknown"):
        decode(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bombs_are_refused_before_memory_is_taken(tmp_path: Path, side: int) -> None:
    head = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    body = b"IHDR" + head
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    )
    with pytest.raises(UnreadableImage, match=r"bomb\.png.*pixels"):
        decode(path)


@pytest.mark.parametrize("size", [(2, 1001), (1001, 2)])
def test_a_thread_of_pixels_is_refused_since_its_test_view_would_be_huge(tmp_path, size) -> None:
    path = save(tmp_path, "thread.png", Image.new("RGB", size))
    with pytest.raises(UnreadableImage, match=r"thread\.png.* over 500 to 1"):
        decode(path)
    assert decode(save(tmp_path, "long.png", Image.new("RGB", (2, 1000)))).size == (2, 1000)


def test_a_file_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png", red_left_blue_right())
    before = read_image(path)[0]
    assert decode(path, before).size == (32, 16)
    save(tmp_path, "a.png", Image.new("RGB", (4, 4)))
    with pytest.raises(ChangedImage, match=before.hex()):
        decode(path, before)


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
