"""dvc.yaml holds what decides a stage's results: code that it does not name leaves them stale."""

import ast
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kinds import KNOWN, LEARNED
from test_made_with import CHANGES, with_change
from workspaces import empty_plan, workspace_params

import flows.stage
from fdbpl.methods.registry import IMPORTED
from fdbpl.settings.params import Params
from fdbpl.settings.resolved import RESOLVED
from fdbpl.stages import OVER_ALL, PER_DATASET
from fdbpl.stages.made_with import (
    Record,
    of_all,
    of_caches,
    of_evaluation,
    of_plan,
    of_training,
)
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.errors import UserError

PROJECT = Path(__file__).resolve().parents[1]
STAGES: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]

MAKING = set(STAGES) - {"parameters"}
"""The stages that make results."""

ALWAYS_ASIDE = {
    "fdbpl/__init__.py": "the version",
    "fdbpl/system/address.py": "refuses passwords in URLs",
    "fdbpl/system/ahead.py": "threads that work ahead, in order",
    "fdbpl/system/difference.py": "refuses what was made with other parameters",
    "fdbpl/system/errors.py": "what is said of a mistake",
    "fdbpl/system/files.py": "how files are written; JSON spelled otherwise is another format",
    "fdbpl/system/locks.py": "who waits for whom",
    "fdbpl/system/processes.py": "a worker's number, which says on which GPU it works",
    "fdbpl/system/hub.py": "says why weights did not come",
    "fdbpl/system/installed.py": "refuses damaged weights and words",
    "fdbpl/system/kept.py": "what is made once; all that decides it is in its name",
    "fdbpl/system/progress.py": "bars on a terminal",
    "fdbpl/settings/yaml_text.py": "reads the parameters, whose values DVC compares itself",
    "fdbpl/system/sealed.py": "digests of files in the files; spelled otherwise is another format",
    "fdbpl/system/section.py": "refuses wrong parameters and says why",
    "fdbpl/system/source.py": "the user's own methods as they were read",
    "fdbpl/stages/__init__.py": "loads a stage",
    "fdbpl/stages/evaluated.py": "refuses what was evaluated under other parameters",
    "fdbpl/stages/learned.py": "refuses what was learned under other parameters",
    "fdbpl/stages/planned.py": "refuses what was planned under other parameters",
    "fdbpl/stages/workers.py": "no result depends on who encodes",
    "fdbpl/system/workspace.py": "where files lie, which dvc.yaml says too",
}
CHECKS = dict.fromkeys(
    ("fdbpl/cache", "fdbpl/classify", "fdbpl/clip", "fdbpl/methods", "fdbpl/system/blas.py"),
    "params.py checks sections by it, or names and options of methods, which import it",
)
MEASURES = {"fdbpl/evaluation": "imported with protocols; nothing is measured here"}
FOLDERS = dict.fromkeys(
    ("fdbpl/data", "fdbpl/playground"),
    "say where images lie; the plan knows each by its content",
)
OF_TEXT = {
    "fdbpl/system/blas.py": "imported with methods, of which nothing is computed",
    "fdbpl/classify": "imported with methods, of which nothing is decided",
    "fdbpl/methods": "imported with parameters, of which nothing is learned",
}
DRAWN = dict.fromkeys(
    ("fdbpl/data", "fdbpl/playground"),
    "the registry is asked whether a dataset is drawn, no more",
)
REFUSING = dict.fromkeys(
    ("fdbpl/protocols", "fdbpl/stages/made_with.py", "fdbpl/stages/tasks.py"),
    "refuses a plan made with other parameters; what protocols want is in the plan",
)

ASIDE = {
    "parameters": {
        **CHECKS,
        **MEASURES,
        **FOLDERS,
        "fdbpl/protocols": "names are checked by it",
        "fdbpl/regions": "imported with methods",
    },
    "prepare-crops": {**CHECKS, **MEASURES},
    "cache-teacher": {**FOLDERS, **MEASURES, **OF_TEXT, **REFUSING},
    "train-student": {**FOLDERS, **MEASURES},
    "evaluate": DRAWN,
    "compare": {
        **CHECKS,
        **DRAWN,
        "fdbpl/regions": "imported with tasks; of plans only the generator's name is said",
    },
    "ood": {},
}
"""What a stage imports beside its deps, and why that changes no result of it."""


class Running(ast.NodeTransformer):
    """Leaves out what only a type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        is_for_types = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if is_for_types else self.generic_visit(node)


@cache
def imported(path: Path) -> tuple[Path, ...]:
    """All modules of fdbpl that a module imports, those that its functions import included."""
    found: list[Path] = []
    for node in ast.walk(Running().visit(ast.parse(path.read_text(encoding="utf-8")))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import, which this test does not follow"
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found += [file for name in names for file in modules(name)]
    return tuple(found)


def modules(name: str) -> Iterator[Path]:
    """The files that importing fdbpl's module `name` runs: it, if it is one, and its packages."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1 if parts[0] == "fdbpl" else 0):
        place = PROJECT.joinpath(*parts[:count])
        yield from filter(Path.is_file, (place / "__init__.py", place.with_suffix(".py")))


def closure(name: str) -> set[str]:
    """Everything of fdbpl that a module stands on, itself included, as paths in the project."""
    seen: set[Path] = set()
    left = list(modules(name))
    while left:
        path = left.pop()
        if path not in seen:
            seen.add(path)
            left += imported(path)
    return {path.relative_to(PROJECT).as_posix() for path in seen if says_something(path)}


@cache
def says_something(path: Path) -> bool:
    """Tell whether a file holds more than its docstring."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) > 1


def lies_under(path: str, places: list[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def module_of(stage: str) -> str:
    if stage == "parameters":
        return "fdbpl.settings.resolved"
    return f"fdbpl.stages.{stage.replace('-', '_')}"


@pytest.mark.parametrize("stage", STAGES)
def test_code_that_a_stage_stands_on_is_watched_or_cannot_change_its_results(stage: str) -> None:
    known = [*STAGES[stage]["deps"], *ALWAYS_ASIDE, *ASIDE[stage]]
    stale = [path for path in closure(module_of(stage)) if not lies_under(path, known)]
    assert sorted(stale) == []


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_watched_or_set_aside_that_a_stage_does_not_stand_on(stage: str) -> None:
    deps, found = STAGES[stage]["deps"], closure(module_of(stage))
    code = [dep for dep in deps if dep.startswith("fdbpl/")]
    assert [dep for dep in code if not any(lies_under(path, [dep]) for path in found)] == []
    assert [dep for dep in deps if lies_under(dep, [one for one in deps if one != dep])] == []
    left = [path for path in found if not lies_under(path, code)]
    assert [one for one in ASIDE[stage] if not any(lies_under(path, [one]) for path in left)] == []


def test_nothing_is_set_aside_that_no_stage_stands_on() -> None:
    found = set().union(*(closure(module_of(stage)) for stage in STAGES))
    assert set(ALWAYS_ASIDE) <= found
    assert set(ASIDE) == set(STAGES)


def test_there_is_a_stage_for_every_module_and_dataset() -> None:
    of_datasets = {stage for stage, about in STAGES.items() if "matrix" in about}
    assert {stage.replace("_", "-") for stage in PER_DATASET} == of_datasets
    over_all = {"parameters", *(stage.replace("_", "-") for stage in OVER_ALL)}
    assert over_all == set(STAGES) - of_datasets


def trainings(params: Params) -> list[Record]:
    plan = empty_plan(of_plan(params, "pets"))
    learned = [method for method in params.methods if method in LEARNED]
    tasks = tasks_of(params, plan)
    return [of_training(params, task, method, 1) for task in tasks for method in learned]


WRITES: dict[str, Callable[[Params], Any]] = {
    "prepare-crops": lambda params: of_plan(params, "pets"),
    "cache-teacher": lambda params: of_caches(params, "pets"),
    "train-student": trainings,
    "evaluate": lambda params: of_evaluation(params, "pets"),
    "compare": of_all,
    "ood": of_all,
}
"""What each stage's outputs say they were made with."""

MAYBE_NOTHING = ("train-student",)
"""It writes nothing where no method can learn: then nothing tells those who stand on it."""

COMMON: dict[str, Any] = {
    "protocols": ["base-to-new", "transfer"],
    "data": {
        "own": {"pets": {"folder": "x"}, "ships": {"folder": "x"}},
        "vocabulary": "words.txt",
    },
}
CHECKPOINTS = {
    "base-to-new": {"pets": "at{}.tar", "ships": "at{}.tar"},
    "transfer": {"pets": "of-all.tar"},
}
BOTH = ["pets", "ships"]
BASES = (
    workspace_params(Path(), BOTH, methods=[m for m in KNOWN if m != IMPORTED], **COMMON),
    workspace_params(Path(), BOTH, methods=[IMPORTED], imported=CHECKPOINTS, **COMMON),
)


@cache
def decided(stage: str) -> frozenset[str]:
    """The keys of params.yaml that decide what a stage's outputs say they were made with."""
    write, found = WRITES[stage], set()
    for base in BASES:
        for key in CHANGES:
            with suppress(UserError):  # another dataset has no checkpoint
                if write(with_change(base, key)) != write(base):
                    found.add(key)
    return frozenset(found)


def params_of(stage: str) -> list[str]:
    """The keys of the parameters that a stage names."""
    return [key for one in STAGES[stage]["params"] for keys in one.values() for key in keys]


def outputs(stage: str) -> list[str]:
    entries = [*STAGES[stage].get("outs", []), *STAGES[stage].get("metrics", [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@pytest.mark.parametrize("stage", sorted(MAKING))
def test_a_stage_runs_again_when_a_key_changed_that_its_outputs_are_made_with(stage: str) -> None:
    """Else what it left would be refused by its reader, and never made again."""
    told = {key for key in decided(stage) if key.partition(".")[0] in params_of(stage)}
    for other in (one for one in MAKING if one not in MAYBE_NOTHING):
        if any(lies_under(place, STAGES[stage]["deps"]) for place in outputs(other)):
            told |= decided(other)
    assert sorted(decided(stage) - told) == []


def test_there_is_a_record_for_every_stage_and_it_depends_on_something() -> None:
    assert set(WRITES) == MAKING
    for stage in MAKING:
        assert decided(stage) >= {"shots", "seeds", "data.vocabulary", "data.own.pets.template"}


@pytest.mark.parametrize("stage", sorted(MAKING))
def test_a_stage_runs_the_flow_of_its_name(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"python -m flows.stage {stage}"
    assert stage in flows.stage.STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_no_command_holds_what_params_yaml_says(stage: str) -> None:
    """DVC runs commands by a shell."""
    assert "$" not in STAGES[stage]["cmd"]


@pytest.mark.parametrize("stage", sorted(MAKING))
def test_no_stage_begins_before_the_parameters_were_checked(stage: str) -> None:
    """DVC deletes outputs first, at paths that names of datasets are part of."""
    [(file, keys)] = [item for one in STAGES[stage]["params"] for item in one.items()]
    assert [file] == outputs("parameters") == [str(RESOLVED)]
    assert set(keys) <= set(Params.model_fields)
    assert ("methods" in keys) == ("method_files" in keys)


def test_what_functions_and_packages_import_is_followed() -> None:
    found = closure("fdbpl.stages.evaluate")
    assert "fdbpl/clip/model.py" in found  # by a function
    assert "fdbpl/cache/build.py" in found  # by a package on the way
    assert "fdbpl/data/__init__.py" not in found  # holds its docstring alone
