"""A model as a folder: all that somebody else needs to classify pictures by it.

    model.json              what it is, and the SHA-256 of every other file
    tower.onnx              the student's image tower
    classifier.safetensors  what decides between the classes
    prompts.safetensors     what was learned, for other class names; of some methods
    README.md, card.png     the model card
    learned.txt             of each picture learned from, the BLAKE2b digest (16 bytes) of its file

`model.json` holds a digest of itself, too. Files that it does not name are no part of the model.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fdbpl.data.names import has_control_character
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, readable_json, sha256, whole_folder

FORMAT: Literal[1] = 1
ABOUT = "model.json"
TOWER, CLASSIFIER, PROMPTS = "tower.onnx", "classifier.safetensors", "prompts.safetensors"
CARD = "README.md"
LEARNED = "learned.txt"

NO_MODEL = "judges what the teacher sees, and a model has the student's image tower"
"""Why a method cannot become a model whose `sees` is "teacher"."""
_PLAIN = re.compile(r"\w[\w.-]*", re.ASCII)


class About(BaseModel):
    """What a model is, as `model.json` says it.

    Attributes:
        name: of the model.
        method: by which it was learned, as of the registry; `title` as tables call it.
        class_names: by label.
        template: the sentence around a class name.
        student: identity of the student: architecture, and the digests of its configuration and
            weights, activation.
        weights: where the student's weights come from, as `fdbpl.clip.weights` says it.
        teacher: the same of the teacher, as records say it: architecture and weights.
        precision: of the student's image tower.
        preprocessing: see `fdbpl.clip.preprocessing`.
        temperature: of probabilities.
        thresholds: by the per cent of known images kept.
        made: how it was learned.
        measured: what was measured on held-out images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("class_names")
    @classmethod
    def _without_control_characters(cls, names: list[str]) -> list[str]:
        if any(map(has_control_character, names)):
            raise ValueError("a control character, which a terminal would obey")
        return names

    format: Literal[1] = FORMAT
    fdbpl: str
    name: str
    method: str
    title: str
    class_names: list[str] = Field(min_length=2)
    template: str
    student: dict[str, str]
    weights: str
    teacher: dict[str, str]
    precision: Literal["fp32"] = "fp32"
    preprocessing: dict[str, Any]
    temperature: float = Field(gt=0, allow_inf_nan=False)
    thresholds: dict[int, float]
    made: dict[str, Any]
    measured: dict[str, Any]


@dataclass(frozen=True)
class ModelFolder:
    """A model that was opened: every file is the one that was written.

    Attributes:
        path: of the folder.
        about: what it is.
        files: SHA-256 by name.
    """

    path: Path
    about: About
    files: Mapping[str, str]

    def read(self, name: str) -> bytes:
        """Return the bytes of one of its files.

        Raises:
            UserError: the file is missing, or another than the one that was written.
        """
        path = self.path / name
        _require_file(path)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{path}: no such file, and the model needs it. {AGAIN}") from None
        found = sha256(data)
        if found != self.files.get(name):
            raise UserError(
                f"{path}: damaged or exchanged: SHA-256 {found[:12]}, wanted "
                f"{self.files.get(name, 'none')[:12]}. {AGAIN}"
            )
        return data

    @property
    def learned(self) -> frozenset[str] | None:
        """Digests of the pictures that it was learned from; None where it does not say."""
        if LEARNED not in self.files:
            return None
        return frozenset(self.read(LEARNED).decode().split())


AGAIN = "Get a sound copy of the model, or learn it again."


def write_model(path: Path, about: About, files: Mapping[str, bytes]) -> None:
    """Write a model whole, in the place of one that may be there; equal models, equal bytes.

    Raises:
        UserError: there is something else at `path`.
    """
    require_place(path)
    told = about.model_dump(mode="json")
    told["files"] = {name: sha256(data) for name, data in sorted(files.items())}
    with whole_folder(path) as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
        text = readable_json({**told, "digest": sha256(canonical_json(told))})
        (folder / ABOUT).write_bytes(text)


def require_place(path: Path) -> None:
    """Raise UserError when something is at `path` that a model must not take the place of.

    It may take the place of another model, of which nothing but the model's own files is there.
    """
    if path.name in ("", ".."):
        raise UserError(f"{path}: no name for a model. Name a folder to write, such as model.")
    if not path.exists():
        return
    found = set(os.listdir(path)) if path.is_dir() else None  # noqa: PTH208 - names alone
    own = None if found is None else _files_of(path / ABOUT)
    if found is None or (found and own is None):
        raise UserError(
            f"{path}: is there, and is no model of fdbpl. Name another folder, or remove this one."
        )
    others = sorted(found - set(own or ()))
    if others:
        raise UserError(
            f"{path}: {others[0]} is there beside the model, and would be lost with it. Move it "
            "away, or name another folder."
        )


def _files_of(file: Path) -> set[str] | None:
    """Return the names of a model's files, as its `model.json` says; None where it is none."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return {ABOUT, *told["files"]} if "fdbpl" in told else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def open_model(path: Path) -> ModelFolder:
    """Open a model; every file is checked.

    Raises:
        UserError: there is none, a file is missing or damaged, another version wrote it, or it
            names a file that is no plain file of the folder.
    """
    model = open_unread(path)
    for name in model.files:
        model.read(name)
    return model


def open_unread(path: Path) -> ModelFolder:
    """Open a model by its `model.json` alone; its files are checked as they are read.

    Raises:
        UserError: see `open_model`.
    """
    file = path / ABOUT
    _require_file(file)
    try:
        data = file.read_bytes()
        told = json.loads(data.decode())
        form = told["format"]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path}: no model of fdbpl: no {ABOUT} in it. Wanted a folder that fdbpl learn wrote."
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{file}: damaged. {AGAIN}") from None
    if form != FORMAT:
        raise UserError(
            f"{file}: format {form!r}, wanted {FORMAT}. Another version of fdbpl "
            "wrote it: install that one, or learn the model again."
        )
    if not _is_as_written(data, told):
        raise UserError(f"{file}: damaged or edited: its digest is another. {AGAIN}")
    del told["digest"]
    files = told.pop("files", None)
    try:
        about = About.model_validate(told)
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"{file}: {key} is not as this fdbpl wants it. {AGAIN}") from None
    _require_plain(file, files)
    return ModelFolder(path, about, files)


def _require_file(path: Path) -> None:
    """Refuse a pipe or device in a model, of which no end would come."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: a folder or device, wanted a file. Do not trust this model.")


def _require_plain(file: Path, files: object) -> None:
    """Refuse names that lead out of the folder, or hide in it: a model may come from anybody."""
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
        raise UserError(f"{file}: files is not as this fdbpl wants it. {AGAIN}")
    for name in files:
        if name == ABOUT or not _PLAIN.fullmatch(name):
            raise UserError(
                f"{file}: names the file {name!r}, wanted a plain file name of letters, digits, "
                f"'.', '-' and '_', other than {ABOUT}. Do not trust this model."
            )


def _is_as_written(data: bytes, told: Mapping[str, Any]) -> bool:
    """Tell whether `model.json` holds what its digest is of, to the last space."""
    rest = {key: value for key, value in told.items() if key != "digest"}
    try:
        digest = sha256(canonical_json(rest))
        return data == readable_json({**rest, "digest": digest})
    except ValueError:  # a number so large that no JSON has it
        return False
