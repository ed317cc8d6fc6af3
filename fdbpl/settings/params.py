"""Typed parameters: what `params.yaml` may say, and a clear answer when it says something else."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from fdbpl.cache.params import CacheParams, WorkerParams
from fdbpl.clip.params import StudentParams, TeacherParams
from fdbpl.data.params import DataParams
from fdbpl.methods.method import Method
from fdbpl.methods.params import TrainParams
from fdbpl.methods.registry import IMPORTED, METHODS, find_method
from fdbpl.regions.params import RegionParams
from fdbpl.system.errors import UserError
from fdbpl.system.section import Section, explain

DEFAULT_PATH = Path("params.yaml")

SEEDS = [1, 2, 3]
SHOTS = 16
"""The field's protocol: images of each class, and seeds of the draws."""


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


def load_yaml(text: str) -> Any:
    """Return what a text says in YAML 1.2, as DVC reads it: there `1e-3` is a number, `no` a word.

    Raises:
        YAMLError: it is no YAML, or a key stands twice in one mapping.
    """
    return YAML(typ="safe", pure=True).load(text)


def read_params(path: Path = DEFAULT_PATH) -> Params:
    """Read and check `params.yaml`.

    Raises:
        UserError: the file is missing or not YAML, a key stands twice, or a key or value is not
            allowed; the message names the key, the value found and what is allowed.
    """
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. Run fdbpl in the project's folder, or give --params."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    except DuplicateKeyError as error:
        where = f"{path}, line {error.problem_mark.line + 1}"
        why = " ".join(
            error.problem.partition(" with value ")[0].split()
        )  # values are not read yet
        raise UserError(f"{where}: {why}, wanted once. Take one out.") from None
    except (YAMLError, UnicodeDecodeError) as error:
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
