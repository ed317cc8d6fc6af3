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
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from fdbpl.cache.params import CacheParams, WorkerParams
from fdbpl.clip.params import StudentParams, TeacherParams
from fdbpl.data.params import DataParams, require_plain
from fdbpl.methods.method import Method
from fdbpl.methods.params import TrainParams
from fdbpl.methods.registry import IMPORTED, METHODS, find_method
from fdbpl.protocols.protocol import Shots
from fdbpl.protocols.registry import PROTOCOLS
from fdbpl.regions.params import RegionParams
from fdbpl.settings.yaml_text import load_yaml
from fdbpl.system.errors import UserError
from fdbpl.system.section import PathText, Section, explain

DEFAULT_PATH = Path("params.yaml")

SEEDS = [1, 2, 3]
SHOTS = 16
"""The field's protocol: images of each class, and seeds of the draws."""


class Params(Section):
    """Everything `params.yaml` may say.

    `protocols` are of `fdbpl.protocols`; by default base-to-new, of one's own datasets alone
    all-classes. `source`, by default the first dataset, is the one that transfer learns on, and
    `shifted` are the datasets that show it in other pictures: transfer alone tests on them, and
    nothing learns from them. `shots` may be several, ascending: then all-classes learns from each
    of them, and other protocols from the last. `methods` are names of the registry, or FILE.py:NAME
    of the user's own, whose names stand in `methods` then, and whose files in `method_files`.
    """

    datasets: list[str] = Field(min_length=1)
    protocols: list[str] = Field(min_length=1)
    source: str
    shifted: list[str] = Field(default_factory=list)
    method_files: dict[str, PathText] = Field(default_factory=dict)
    methods: list[str] = Field(min_length=1)
    seeds: list[StrictInt] = Field(default=SEEDS, min_length=1)
    shots: StrictInt | Literal["all"] | list[StrictInt | Literal["all"]] = SHOTS
    data: DataParams = DataParams()
    regions: RegionParams = RegionParams()
    student: StudentParams
    teacher: TeacherParams
    cache: CacheParams = CacheParams()
    workers: WorkerParams = WorkerParams()
    train: TrainParams = TrainParams()
    imported: dict[str, dict[str, PathText]] = Field(default_factory=dict)
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

    @property
    def counts(self) -> list[Shots]:
        """The numbers of shots, ascending."""
        return list(self.shots) if isinstance(self.shots, list) else [self.shots]

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, raw: Any) -> Any:
        """Fill in what the datasets decide: the source, and the protocols."""
        datasets = raw.get("datasets") if isinstance(raw, dict) else None
        if not (isinstance(datasets, list) and datasets):
            return raw  # which is refused
        data = raw.get("data")
        own = data.get("own") if isinstance(data, dict) else None
        is_own = isinstance(own, dict) and all(name in own for name in map(str, datasets))
        protocols = ["all-classes" if is_own else "base-to-new"]
        return {"source": datasets[0], "protocols": protocols, **raw}

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

    @field_validator("protocols")
    @classmethod
    def _known_protocols(cls, protocols: list[str]) -> list[str]:
        for name in protocols:
            if name not in PROTOCOLS:
                raise ValueError(f"a list of protocols among {', '.join(PROTOCOLS)}; not {name!r}")
        return protocols

    @model_validator(mode="after")
    def _valid_options(self) -> Self:
        for name, changes in self.objectives.items():
            find_method(name, changes, self.method_files.get(name))
        return self

    @field_validator("datasets", "protocols", "shifted", "development", "methods", "seeds")
    @classmethod
    def _no_repeats(cls, names: list[Any]) -> list[Any]:
        return _each_once(names)

    @field_validator("shots")
    @classmethod
    def _some_shots(cls, shots: Any) -> Any:
        counts = shots if isinstance(shots, list) else [shots]
        numbers = [count for count in counts if count != "all"]
        if not counts or any(number < 1 for number in numbers):
            raise ValueError("at least 1 image a class, or 'all'")
        if numbers != sorted(set(numbers)) or "all" in counts[:-1]:
            raise ValueError("ascending numbers, each once, 'all' at the end at most")
        return shots

    @field_validator("datasets")
    @classmethod
    def _plain_names(cls, names: list[str]) -> list[str]:
        require_plain(names)
        return names

    @field_validator("seeds")
    @classmethod
    def _natural(cls, seeds: list[int]) -> list[int]:
        if not all(0 <= seed < 2**32 for seed in seeds):
            raise ValueError("seeds of 0 to 2**32 - 1")
        return seeds

    @model_validator(mode="after")
    def _among_datasets(self) -> Self:
        listed = ", ".join(self.datasets)
        named = {"source": [self.source], "shifted": self.shifted, "data.picks": self.data.picks}
        named |= {f"imported.{protocol}": files for protocol, files in self.imported.items()}
        for key, names in named.items():
            known = [*self.datasets, *(self.development if "." in key else ())]
            for name in names:
                if name not in known:
                    raise UserError(f"{key} names {name!r}, wanted one of datasets: {listed}.")
        if self.source in self.shifted:
            raise UserError(f"shifted names {self.source!r}, wanted others than the source.")
        if set(self.datasets) == {self.source} and set(self.protocols) == {"transfer"}:
            raise UserError(f"protocols is transfer, and datasets no other than {self.source}.")
        return self

    @model_validator(mode="after")
    def _every_checkpoint_named(self) -> Self:
        for name in self.imported:
            if name not in PROTOCOLS:
                raise UserError(f"imported names {name!r}, wanted among {', '.join(PROTOCOLS)}.")
        for name in self.protocols if IMPORTED in self.methods else ():
            protocol, files = PROTOCOLS[name], self.imported.get(name, {})
            if protocol.trained_as in self.protocols:
                continue
            learned = [one for one in self.datasets if protocol.learns_on(self, one)]
            lacking = [one for one in learned if one not in files]
            if lacking:
                raise UserError(
                    f"methods has {IMPORTED!r}, and imported.{name} no checkpoint of "
                    f"{', '.join(lacking)}. Name one for each dataset that {name} learns on."
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
        why = " ".join(str(error).split())
        raise UserError(f"{path}: not readable as YAML: {why}. Mend it there.") from None
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
