"""The eleven datasets of photographs: what they are about, and the tar files that they lie in.

A folder holds `NAME.PART.tar` for each dataset and part, with members `NAME/PART/CLASS/0000.jpg`,
and `NAME.names.json` from the folder of a class to its name.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

from PIL import Image

from fdbpl.data.dataset import GENERIC_TEMPLATE
from fdbpl.data.disk import inside, read_text
from fdbpl.data.names import spoken
from fdbpl.system.errors import UserError
from fdbpl.system.files import whole_folder

PARTS = ("pretrain", "train", "test")
"""Pre-training sees the first alone; methods learn from the second and are tested on the third."""

WANTED_NAMES = "an object from the folder of each class to its name, such as {'car_side': ...}"


@dataclass(frozen=True)
class Photographs:
    """One dataset.

    Attributes:
        template: its prompt, with one {} for the class name.
        kinds: nouns for what its pictures show, from the plainest on.
        is_development: whether choices may be made on it; else it is evidence.
    """

    template: str
    kinds: tuple[str, ...]
    is_development: bool = False


DATASETS: Mapping[str, Photographs] = MappingProxyType(
    {
        "cifar10": Photographs(GENERIC_TEMPLATE, ("object",), True),
        "dtd": Photographs("{} texture.", ("texture", "pattern", "surface"), True),
        "clothing": Photographs(
            "a photo of a {}, a type of clothing.",
            ("piece of clothing", "garment", "clothing"),
            True,
        ),
        "scenes15": Photographs(GENERIC_TEMPLATE, ("scene", "place"), True),
        "grocery": Photographs(
            "a photo of {}, a type of food.", ("food", "grocery item", "product"), True
        ),
        "tiny_imagenet": Photographs(GENERIC_TEMPLATE, ("object", "thing")),
        "caltech101": Photographs(GENERIC_TEMPLATE, ("object", "thing")),
        "oxford_flowers": Photographs(
            "a photo of a {}, a type of flower.", ("flower", "plant", "blossom")
        ),
        "stanford_cars": Photographs(
            "a photo of a {}, a type of car.", ("car", "vehicle", "automobile")
        ),
        "rsscn7": Photographs(
            "a centered satellite photo of {}.",
            ("satellite photo", "aerial view", "place from above"),
        ),
        "intel_scenes": Photographs(GENERIC_TEMPLATE, ("landscape", "scene", "place")),
    }
)
"""By name, those of development first."""

DEVELOPMENT = tuple(name for name, about in DATASETS.items() if about.is_development)
EVIDENCE = tuple(name for name, about in DATASETS.items() if not about.is_development)


class Picture(NamedTuple):
    """One picture: its path in the tar, its class folder's place among the sorted ones, its file.

    The path reads DATASET/PART/CLASS/FILE.
    """

    path: str
    label: int
    data: bytes

    @property
    def below_part(self) -> str:
        """The path from the part's folder on: CLASS/FILE."""
        return str(PurePosixPath(*PurePosixPath(self.path).parts[2:]))


def class_names(photos: Path, dataset: str) -> dict[str, str]:
    """Return the name of each class by its folder, folders ascending, as a prompt says it.

    Raises:
        UserError: there is no such dataset, or its file of names is missing or damaged.
    """
    if dataset not in DATASETS:
        raise UserError(
            f"{photos}: dataset {dataset!r} is unknown, wanted one of {', '.join(DATASETS)}. "
            "Correct its name."
        )
    path = photos / f"{dataset}.names.json"
    try:
        names = json.loads(read_text(path, f"{WANTED_NAMES}; or name the folder that holds it"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: no JSON ({error}). Wanted {WANTED_NAMES}.") from None
    if not isinstance(names, dict) or not names:
        raise UserError(f"{path}: found {type(names).__name__}. Wanted {WANTED_NAMES}.")
    for folder, name in names.items():
        if PurePosixPath(folder).parts != (folder,) or folder in ("..", "/"):
            raise UserError(f"{path}: class folder {folder!r}, wanted the name of one folder.")
        if not isinstance(name, str) or not spoken(name):
            raise UserError(f"{path}: class {folder!r} is called {name!r}, wanted letters.")
    return {folder: spoken(names[folder]) for folder in sorted(names)}


def read_part(photos: Path, dataset: str, part: str) -> Iterator[Picture]:
    """Yield the pictures of a part, classes ascending by folder, pictures by file name.

    Nothing is written anywhere. An empty part yields nothing.

    Raises:
        UserError: see `class_names`; or the tar is missing or damaged, or a member leads outside,
            is neither file nor folder, stands twice, or is of a class without name.
    """
    labels = {folder: label for label, folder in enumerate(class_names(photos, dataset))}
    tar = photos / f"{dataset}.{part}.tar"
    try:
        with tarfile.open(tar) as packed:
            members = _members(tar, packed, (dataset, part), labels)
            for path in sorted(members, key=lambda path: path.parts):
                file = packed.extractfile(members[path])
                assert file is not None  # of a regular file there is one
                yield Picture(str(path), labels[path.parts[2]], file.read())
    except FileNotFoundError:
        raise UserError(
            f"{tar}: no such file. Wanted the part {part} of {dataset}, of {', '.join(PARTS)}: "
            "put it there, or name the folder that holds it."
        ) from None
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{tar}: cannot be read as a tar file ({error}). Wanted {dataset}/{part}/CLASS/FILE: "
            "restore the file."
        ) from None


def _members(
    tar: Path, packed: tarfile.TarFile, top: tuple[str, str], labels: Mapping[str, int]
) -> dict[PurePosixPath, tarfile.TarInfo]:
    """Return the members that are files, by their checked paths."""
    members: dict[PurePosixPath, tarfile.TarInfo] = {}
    for member in packed.getmembers():
        wanted = f"wanted {'/'.join(top)}/CLASS/FILE. Restore the file"
        try:
            path = PurePosixPath(inside(member.name))
        except ValueError as error:
            raise UserError(f"{tar}: {error}, {wanted}.") from None
        if member.isdir():
            continue
        if not member.isreg():
            raise UserError(f"{tar}: {member.name!r} is a link or device, {wanted}.")
        if len(path.parts) != 4 or path.parts[:2] != top:
            raise UserError(f"{tar}: found {member.name!r}, {wanted}.")
        if path.parts[2] not in labels:
            raise UserError(
                f"{tar}: {member.name!r} is of the unknown class {path.parts[2]!r}, wanted one of "
                f"{top[0]}.names.json: {', '.join(list(labels)[:5])}, ... Add its name there."
            )
        if path in members:
            raise UserError(f"{tar}: {member.name!r} stands twice, wanted once. Restore the file.")
        members[path] = member
    return members


def decode(picture: Picture) -> Image.Image:
    """Return the pixels of a picture as 8-bit RGB.

    Raises:
        UserError: it is no whole picture.
    """
    try:
        with Image.open(io.BytesIO(picture.data)) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow's readers raise a dozen types on damaged data
        raise UserError(
            f"{picture.path}: cannot be decoded ({error}), wanted a whole picture. Restore the tar."
        ) from None


def unpack(photos: Path, dataset: str, out: Path) -> Path:
    """Write the parts train and test to `out`/DATASET/PART/CLASS, and return `out`/DATASET.

    `read_folder` opens it, with all classes, be there pictures of them or not. A folder that
    stands there already is whole, since it is filled beside and renamed, and is left as it is.

    Raises:
        UserError: see `read_part`; then nothing is left of what was written.
    """
    folder = out / dataset
    if folder.is_dir():
        return folder
    with whole_folder(folder) as aside:
        for part in ("train", "test"):
            for name in class_names(photos, dataset):
                (aside / part / name).mkdir(parents=True)
            for picture in read_part(photos, dataset, part):
                (aside / part / picture.below_part).write_bytes(picture.data)
    return folder
