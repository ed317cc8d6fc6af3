"""Typed parameters: what `params.yaml` may say, and a clear answer when it says something else."""

import re
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    Field,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fdbpl.methods.method import Method
from fdbpl.methods.registry import IMPORTED, METHODS, find_method
from fdbpl.settings.section import Section, explain
from fdbpl.system.errors import UserError
from fdbpl.unique_keys import load_yaml

DEFAULT_PATH = Path("params.yaml")

SEEDS = [1, 2, 3]
SHOTS = 16
"""The field's protocol: images of each class, and seeds of the draws."""


TEMPLATE = "a template with one {} for the class name, and no other braces"


def has_one_gap(text: str) -> bool:
    """Tell whether a text is what TEMPLATE says."""
    around = text.split("{}")
    return len(around) == 2 and not any(brace in "".join(around) for brace in "{}")


class OwnDataset(Section):
    """A dataset of the user's own, in exactly one of three forms.

    `folder` of class folders, with or without train/ and test/; `table` of images and classes; or
    `images`, a folder of images without classes, with `names`, a file of class names, or under
    `data.vocabulary` without. Beside `images`, `test` is a folder of class folders to test on.
    """

    folder: str | None = None
    table: str | None = None
    images: str | None = None
    names: str | None = None
    test: str | None = None
    template: str = "a photo of a {}."

    @field_validator("template")
    @classmethod
    def _one_gap(cls, template: str) -> str:
        if not has_one_gap(template):
            raise ValueError(TEMPLATE)
        return template

    @model_validator(mode="after")
    def _one_form(self) -> "OwnDataset":
        forms = [form is not None for form in (self.folder, self.table, self.images)]
        beside = self.names is not None or self.test is not None
        if sum(forms) != 1 or (beside and self.images is None):
            raise ValueError("one of three: folder; table; images and names, perhaps with test")
        return self


class DataParams(Section):
    """Where datasets lie.

    `root` holds CoOp's dataset folders; the playground draws itself below it. `world` is the
    playground's: 1 is the one all packaged results are of, any other draws every image anew.
    `picks` names, for a dataset, a table of the images that each seed learns from.
    `vocabulary`, "imagenet" or a file of names, makes training class-agnostic.
    """

    root: str = "data"
    world: int = Field(1, ge=1)
    own: dict[str, OwnDataset] = Field(default_factory=dict)
    picks: dict[str, str] = Field(default_factory=dict)
    vocabulary: str | None = None
    allow_unreadable_test_images: bool = False

    @model_validator(mode="after")
    def _named(self) -> Self:
        for name, own in self.own.items():
            if own.images is not None and own.names is None and self.vocabulary is None:
                raise ValueError(f"names beside the images of own.{name}, or a vocabulary")
        return self

    @field_validator("own")
    @classmethod
    def _plain_names(cls, own: dict[str, OwnDataset]) -> dict[str, OwnDataset]:
        for name in own:  # names files and DVC's stages
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(f"names of letters, digits and _ . -; not {name!r}")
        return own


class RegionParams(Section):
    """The random crops of training images; `seed` is independent of shots and training."""

    seed: int = Field(0, ge=0, lt=2**32)
    per_image: int = Field(10, ge=1, le=65535)
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = Field(0.5, ge=0, le=1)

    @field_validator("scale", "ratio")
    @classmethod
    def _ordered(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if not 0 < pair[0] <= pair[1]:
            raise ValueError("two numbers, 0 < smallest <= largest")
        return pair

    @field_validator("scale")
    @classmethod
    def _within_image(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if pair[1] > 1:
            raise ValueError("shares of the image's area, at most 1")
        return pair


class ModelParams(Section):
    """One CLIP model: an open_clip architecture, and weights that are never random.

    `weights` is "tiny" for the packaged models, a pretrained tag of open_clip, or a file.
    `activation` is needed for files that no registry knows.
    """

    architecture: str
    weights: str
    activation: Literal["gelu", "quickgelu"] | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


class StudentParams(ModelParams):
    """The student; `features` says whether training looks a region up or encodes it anew."""

    features: Literal["cached", "online"] = "cached"


class TeacherParams(ModelParams):
    """The teacher; `logit_scale` is the temperature its probabilities are taken at.

    `mode` says whether training looks a region up, or runs the teacher at every step.
    """

    logit_scale: Literal["own", "student"] = "own"
    mode: Literal["cached", "online"] = "cached"


class CacheParams(Section):
    """The teacher-knowledge cache.

    `payload` is the precision at which a dataset's cache keeps every region's features;
    `store` (any fsspec URL) keeps every region ever encoded, outside DVC's control; `memory_mb`,
    in MiB, is for the features that training holds, half for each model: larger caches are
    streamed, to the same results.
    """

    payload: Literal["float32", "float16", "int8"] = "float16"
    store: str = Field(".fdbpl/store", min_length=1)
    batch: int = Field(64, ge=1, le=4096)
    memory_mb: int = Field(4096, ge=0)


class WorkerParams(Section):
    """Who encodes: this process alone (one thread), or so many workers. No result depends on it.

    `address` is of a running Dask or Ray cluster, whose machines see the same folders; without it
    one is started on this machine.
    """

    kind: Literal["threads", "processes", "dask", "ray"] = "threads"
    count: int = Field(1, ge=1, le=4096)
    address: str | None = None

    @model_validator(mode="after")
    def _address_of_a_cluster(self) -> Self:
        if self.address and self.kind not in ("dask", "ray"):
            raise ValueError(f"an address only of dask and ray, not of {self.kind}")
        return self


class TrainParams(Section):
    """The optimiser of the CoOp family: SGD, cosine per epoch after one warm-up epoch.

    `precision` is of the text tower's products; `memory_mb`, in MiB, is for what its backward
    pass needs: beyond it, part is computed twice. `likeliest` is the number of names that a batch
    takes of a vocabulary.
    """

    lr: float = Field(0.002, gt=0)
    warmup_lr: float = Field(1e-5, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    epochs: int = Field(50, ge=1)
    batch: int = Field(32, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    memory_mb: int = Field(4096, ge=1)
    likeliest: int = Field(1000, ge=2)


class TransferParams(Section):
    """Where prompts are learned on all classes, and the datasets they are then tested on.

    `shifted` names the targets that are the source in pictures of another kind: what was learned
    of its domain speaks there too. Those of the field and of the playground are known.
    """

    source: str
    targets: list[str] = Field(min_length=1)
    shifted: list[str] = Field(default_factory=list)

    @field_validator("targets", "shifted")
    @classmethod
    def _no_repeats(cls, targets: list[str]) -> list[str]:
        return _each_once(targets)

    @model_validator(mode="after")
    def _elsewhere(self) -> Self:
        if self.source in self.targets:
            raise ValueError(f"targets other than the source, {self.source!r}")
        for name in self.shifted:
            if name not in self.targets:
                raise ValueError(f"shifted among the targets, and {name!r} is none")
        return self


class ImportedParams(Section):
    """Where contexts lie that another program learned: checkpoints of the CoOp family.

    A path holds {} where the seed stands, or is the same for all seeds. `base_to_new` names the
    one of each dataset, `transfer` the one learned on all classes of the transfer's source.
    """

    base_to_new: dict[str, str] = Field(default_factory=dict)
    transfer: str | None = None


class Params(Section):
    """Everything `params.yaml` may say.

    `methods` are names of the registry, or FILE.py:NAME of the user's own, whose names stand in
    `methods` then, and whose files in `method_files`.
    """

    datasets: list[str] = Field(min_length=1)
    method_files: dict[str, str] = Field(default_factory=dict)
    methods: list[str] = Field(min_length=1)
    seeds: list[StrictInt] = Field(default=SEEDS, min_length=1)
    shots: StrictInt | Literal["all"] = SHOTS
    data: DataParams = DataParams()
    regions: RegionParams = RegionParams()
    student: StudentParams
    teacher: TeacherParams
    cache: CacheParams = CacheParams()
    workers: WorkerParams = WorkerParams()
    train: TrainParams = TrainParams()
    transfer: TransferParams | None = None
    imported: ImportedParams = ImportedParams()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    objectives: dict[str, dict[str, Any]] = Field(default_factory=dict)
    development: list[str] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _own_files(cls, raw: Any) -> Any:
        """Note the files of methods that are written FILE.py:NAME, and call these by name."""
        listed = raw.get("methods") if isinstance(raw, dict) else None
        if not isinstance(listed, list):
            return raw
        files = dict(raw.get("method_files") or {})
        names = []
        for one in listed:
            file, colon, name = one.rpartition(":") if isinstance(one, str) else ("", "", one)
            if colon and file.endswith(".py") and name.isidentifier():
                files[name] = file
            names.append(name if name in files else one)
        return {**raw, "methods": names, "method_files": files}

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: list[str], info: ValidationInfo) -> list[str]:
        files = info.data.get("method_files", {})
        for name in methods:
            if (name in METHODS) == (name in files):
                raise ValueError(
                    f"a list of methods among {', '.join(METHODS)}, or FILE.py:NAME of another "
                    f"name; not {name!r}"
                )
        return methods

    @model_validator(mode="after")
    def _valid_options(self) -> Self:
        for name, changes in self.objectives.items():
            find_method(name, changes, self.method_files.get(name))
        return self

    @field_validator("datasets", "development", "methods", "seeds")
    @classmethod
    def _no_repeats(cls, names: list[Any]) -> list[Any]:
        return _each_once(names)

    @field_validator("shots")
    @classmethod
    def _some_shots(cls, shots: int | str) -> int | str:
        if isinstance(shots, int) and shots < 1:
            raise ValueError("at least 1 image a class, or 'all'")
        return shots

    @field_validator("seeds")
    @classmethod
    def _natural(cls, seeds: list[int]) -> list[int]:
        if not all(0 <= seed < 2**32 for seed in seeds):
            raise ValueError("seeds of 0 to 2**32 - 1")
        return seeds

    @model_validator(mode="after")
    def _every_file_used(self) -> Self:
        sources = [self.transfer.source] if self.transfer else []
        known = [*self.datasets, *self.development, *sources]
        for key, files in (
            ("data.picks", self.data.picks),
            ("imported.base_to_new", self.imported.base_to_new),
        ):
            for name in files:
                if name not in known:
                    raise UserError(
                        f"{key} names {name!r}, wanted one of datasets: {', '.join(self.datasets)}."
                    )
        return self

    @model_validator(mode="after")
    def _every_checkpoint_named(self) -> Self:
        if IMPORTED in self.methods:
            lacking = [name for name in self.datasets if name not in self.imported.base_to_new]
            if lacking:
                raise UserError(
                    f"methods has {IMPORTED!r}, and imported.base_to_new no checkpoint of "
                    f"{', '.join(lacking)}. Name one for each of datasets."
                )
            if self.transfer and self.imported.transfer is None:
                raise UserError(
                    f"methods has {IMPORTED!r}, and imported.transfer is missing. Name the "
                    "checkpoint learned on all classes of transfer.source, or set transfer: null."
                )
        return self

    def method(self, name: str) -> Method:
        """Return one of its methods by name, with its options.

        Raises:
            UserError: a file of the user's own that cannot be read, or holds no such method.
        """
        return find_method(name, self.objectives.get(name), self.method_files.get(name))

    @property
    def chosen_methods(self) -> list[Method]:
        """Its methods, each with its options."""
        return [self.method(name) for name in self.methods]


def _each_once(names: list[Any]) -> list[Any]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"every entry once; {repeated[0]!r} stands more than once")
    return names


def read_params(path: Path = DEFAULT_PATH) -> Params:
    """Read and check `params.yaml`.

    Raises:
        UserError: the file is missing or not YAML, a key stands twice, or a key or value is not
            allowed; the message names the key, the value found and what is allowed.
    """
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. Run fdbpl in the project's folder, or give --params."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: found {type(raw).__name__}, wanted keys with values.")
    return check_params(raw, source=str(path))


def check_params(raw: dict[str, Any], source: str = "params") -> Params:
    """Turn plain values into `Params`; raise `UserError` naming the first wrong key."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error, Params)}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
