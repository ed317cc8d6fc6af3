"""The plan of a dataset: its images, splits, shots and regions, before any model is run.

A plan is a folder of plain files: `plan.json` (names, paths, shots, what was left out) and two
arrays of fixed-width records, `images.npy` and `regions.npy`. It holds no path of the machine:
image paths are relative to the dataset's folder.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.data.dataset import UNKNOWN
from fdbpl.protocols.protocol import Labels, Shots
from fdbpl.regions.file_rows import Rows
from fdbpl.regions.region_file import (
    NO_NPY,
    Regions,
    in_parts,
    npy_header,
    open_regions,
    write_regions,
)
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, readable_json, sha256, whole_folder
from fdbpl.system.workspace import Workspace

VERSION = 3
TRAIN, TEST = 0, 1

IMAGE = np.dtype(
    [
        ("hash", "u1", (16,)),
        ("label", "<i4"),
        ("split", "u1"),
        ("width", "<i4"),
        ("height", "<i4"),
    ]
)
"""One image: content hash, label (-1 where nobody told it), split (0 train, 1 test), size in
pixels when upright."""


@dataclass(frozen=True)
class Plan:
    """What to encode and what to learn from.

    Attributes:
        name: the dataset's.
        class_names: by label.
        template: the dataset's own, with one {}.
        labels: those of the classes that have training images; none where nothing is learned.
        paths: of every image, relative to the dataset's folder.
        images: IMAGE records in the order of `paths`: training images, then test images.
        shots: for each seed the rows of `images` that are drawn, ascending: the most shots that
            any protocol learns from, of the classes that any of them learns.
        ranks: for each seed, in the order of its shots, the place of each in the draw from its
            class, from 0: so k shots are those of ranks below k.
        regions: REGION records of the training images, in the order of images and crops; of a
            loaded plan they stay in its file, and are read from it by parts.
        policy: the crop law, its seed and count; empty where nothing is learned.
        notes: what a person should know: unreadable images, classes short of images.
        vocabulary: names to learn from in place of class names; mostly none.
        made_with: the parameters that decided the plan, as `fdbpl.stages.made_with` says them.
    """

    name: str
    class_names: tuple[str, ...]
    template: str
    labels: Labels
    paths: tuple[str, ...]
    images: NDArray[np.void]
    shots: Mapping[int, tuple[int, ...]]
    ranks: Mapping[int, tuple[int, ...]]
    regions: Regions
    policy: Mapping[str, Any]
    notes: Mapping[str, list[str]]
    vocabulary: tuple[str, ...] = ()
    made_with: Mapping[str, Any] = field(default_factory=dict)

    @property
    def test(self) -> NDArray[np.intp]:
        """Rows of the test images."""
        return np.flatnonzero(self._is_test)

    def picks(self, labels: Labels, shots: Shots) -> dict[int, tuple[int, ...]]:
        """Return for each seed the rows of `images` that some classes are learned from, ascending.

        Args:
            labels: of these classes. Images without a class count for all of them: of those there
                are `shots` for each name to learn from.
            shots: at most as many as were drawn.
        """
        names = 1 if self.is_labelled else len(self.vocabulary or self.class_names)
        most = len(self.images) if shots == "all" else shots * names
        found = {}
        for seed, drawn in self.shots.items():
            rows = np.asarray(drawn, np.intp)
            taken = np.isin(self.images["label"][rows], [UNKNOWN, *labels])
            taken &= np.asarray(self.ranks[seed], np.intp) < most
            found[seed] = tuple(rows[taken].tolist())
        return found

    @property
    def is_labelled(self) -> bool:
        """Whether every training image has a class."""
        return not self._unknown(~self._is_test)

    @property
    def teaches_labels(self) -> bool:
        """Whether methods that need labels can learn: every image has one, among these names."""
        return not self.vocabulary and self.is_labelled

    @property
    def tests_labels(self) -> bool:
        """Whether there are test images, each with its class; else they are held out at most."""
        return bool(self._is_test.any()) and not self._unknown(self._is_test)

    @property
    def _is_test(self) -> NDArray[np.bool_]:
        return self.images["split"] == TEST

    def _unknown(self, among: NDArray[np.bool_]) -> bool:
        return bool((self.images["label"][among] == UNKNOWN).any())

    @property
    def crops(self) -> int:
        """Regions of each training image."""
        return int(self.policy["per_image"])

    def areas(self, rows: Rows) -> NDArray[np.float32]:
        """Return the share of its image that each of the regions `rows` (...) shows, (...)."""
        regions = self.regions[rows]
        images = self.images[regions["image"]]
        box = regions["box"].astype(np.float64)
        shown = (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
        shares = shown / (images["width"].astype(np.float64) * images["height"])
        return np.asarray(shares, np.float32)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that decides which features are needed, and in which order."""
        arrays = hashlib.sha256(self.images.tobytes())
        for part in in_parts(self.regions):
            arrays.update(part.tobytes())
        return sha256(arrays.hexdigest().encode() + canonical_json(self._text()))

    def _text(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "name": self.name,
            "made_with": dict(self.made_with),
            "class_names": list(self.class_names),
            "template": self.template,
            "labels": list(self.labels),
            "policy": dict(self.policy),
            "notes": {key: list(lines) for key, lines in self.notes.items()},
            "vocabulary": list(self.vocabulary),
            "shots": {str(seed): list(rows) for seed, rows in self.shots.items()},
            "ranks": {str(seed): list(ranks) for seed, ranks in self.ranks.items()},
            "paths": list(self.paths),
        }

    def _spelled(self) -> bytes:
        return readable_json({**self._text(), "digest": self.digest})

    def save(self, folder: Path) -> None:
        """Write the plan as a folder, whole or not at all; equal plans give equal bytes."""
        with whole_folder(folder) as aside:
            (aside / "plan.json").write_bytes(self._spelled())
            np.save(aside / "images.npy", self.images, allow_pickle=False)
            write_regions(aside / "regions.npy", self.regions)

    @classmethod
    def load(cls, folder: Path) -> "Plan":
        """Read a saved plan. Its regions are those of today whatever is saved over it later.

        Raises:
            UserError: there is none, or it is damaged, or of another version.
        """
        command = Workspace(folder.parent.parent).command("prepare-crops", folder.name)
        try:
            spelled = (folder / "plan.json").read_bytes()
            text = json.loads(spelled)
            if text["version"] != VERSION:
                raise UserError(
                    f"{folder}: a plan of version {text['version']!r}, wanted {VERSION}. "
                    f"Run {command} again."
                )
            plan = cls(
                name=text["name"],
                class_names=tuple(text["class_names"]),
                template=text["template"],
                labels=tuple(text["labels"]),
                paths=tuple(text["paths"]),
                images=_images(folder / "images.npy"),
                shots={int(seed): tuple(rows) for seed, rows in text["shots"].items()},
                ranks={int(seed): tuple(ranks) for seed, ranks in text["ranks"].items()},
                regions=open_regions(folder / "regions.npy"),
                policy=text["policy"],
                notes=text["notes"],
                vocabulary=tuple(text["vocabulary"]),
                made_with=text["made_with"],
            )
            sound = spelled == plan._spelled()
        except FileNotFoundError as error:
            raise UserError(f"{error.filename}: no such file. Run {command} first.") from None
        except PermissionError:
            raise  # says nothing of the plan, which may be whole
        except (*NO_NPY, KeyError, TypeError, AttributeError, OSError, EOFError):
            sound = False
        if not sound:
            raise UserError(f"{folder}: a damaged plan. Run {command} again.")
        return plan


def _images(path: Path) -> NDArray[np.void]:
    """Read IMAGE records.

    Raises:
        ValueError: the file is no .npy of such, or another of NO_NPY.
    """
    data = path.read_bytes()
    images = np.load(io.BytesIO(data), allow_pickle=False)
    if data != npy_header(IMAGE, len(images)) + images.tobytes():
        raise ValueError(f"{path}: {images.dtype}, wanted {IMAGE}")
    return images
