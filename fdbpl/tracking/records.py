"""What a workspace holds, as records fit for tracking: read from its outputs and nothing else.

A record is known by its key, a digest of the outputs it is made of. Equal outputs are one record,
whoever made them, where and how often.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from fdbpl.cache.cache import open_cache
from fdbpl.evaluation.record import DatasetRecord, Run, runs_of
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.protocols.protocol import Protocol, Shots
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.evaluated import read_record
from fdbpl.stages.learned import load_learned, open_history
from fdbpl.stages.summary import read_summary
from fdbpl.stages.tasks import Task, task_of, wanted
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, sha256
from fdbpl.system.workspace import Workspace


@dataclass(frozen=True)
class SeedRecord:
    """One dataset learned on, method and seed.

    Attributes:
        task: what was learned.
        setting: the protocol, teacher-agreement where no test image has a class, or of a transfer
            cross-dataset or shifted.
        accuracies: in per cent: base, new and h, and joint_<name> where all classes compete;
            accuracy, or agreement with the teacher, where nothing is held back; of a transfer
            source, average and acc/<target>.
        params: what distinguishes it: options, training, models, shots.
        digests: SHA-256 of the plan, both caches' manifests, of the prompts where learned, and
            of the targets' plans where there are targets.
        terms: every loss term by epoch; none where nothing was learned.
        inactive: terms that had next to no gradient, by training's rule.
        files: prompts, classifier and history, by kind; none where nothing was learned.
        counts: classes, images and regions of the dataset.
    """

    dataset: str
    method: str
    seed: int
    task: Task = field(compare=False, repr=False)
    setting: str
    accuracies: Mapping[str, float]
    params: Mapping[str, Any]
    digests: Mapping[str, str]
    terms: Mapping[str, list[float]]
    inactive: tuple[str, ...]
    files: Mapping[str, Path]
    counts: Mapping[str, int]

    @cached_property
    def key(self) -> str:
        """Digest of all that the record is made of, files by their content."""
        files = {kind: sha256(path.read_bytes()) for kind, path in self.files.items()}
        what = [self.dataset, self.method, self.seed, self.setting]
        return sha256(canonical_json([*what, self.accuracies, self.params, self.digests, files]))


@dataclass(frozen=True)
class SummaryRecord:
    """One method over all datasets of a comparison.

    Attributes:
        comparison: digest of the comparison it stands in.
        datasets: for each its base, new and h, and joint_<name>, in per cent, over all seeds.
        average: the same and h_mean over all datasets.
        files: the comparison as JSON, table and plot.
        parts: keys of the seed records below it.
    """

    method: str
    setting: str
    comparison: str
    datasets: Mapping[str, Mapping[str, float]]
    average: Mapping[str, float]
    files: tuple[Path, ...]
    parts: tuple[str, ...]

    @cached_property
    def key(self) -> str:
        """Digest of the comparison and of the seed records."""
        return sha256(canonical_json([self.method, self.comparison, sorted(self.parts)]))


@dataclass(frozen=True)
class Records:
    """All records of a workspace: base-to-new, transfers, and summaries of base-to-new.

    `notes` say in a sentence each what could not be recorded.
    """

    params: Params
    work: Workspace
    seeds: tuple[SeedRecord, ...]
    transfers: tuple[SeedRecord, ...]
    summaries: tuple[SummaryRecord, ...]
    notes: tuple[str, ...]


def read_records(params: Params, work: Workspace) -> Records:
    """Read what the evaluated datasets of the parameters and their comparison say.

    A dataset whose outputs are missing, damaged, of another shape or of other parameters, or do not
    belong together, is left out, with a note: its neighbours are whole all the same.
    """
    evaluated: dict[str, DatasetRecord] = {}
    seeds: list[SeedRecord] = []
    transfers: list[SeedRecord] = []
    notes: list[str] = []
    for dataset in params.datasets:
        try:
            found = read_record(params, dataset, work)
            seeds += list(_seed_records(params, found, work))  # all of a dataset or nothing
            evaluated[dataset] = found
        except UserError as error:
            notes.append(f"{dataset}: not recorded. {error}")
    try:
        summaries = list(_summaries(seeds, work)) if BASE_TO_NEW in wanted(params) else []
    except UserError as error:
        summaries = []
        notes.append(f"comparison: not recorded. {error}")
    for protocol in wanted(params):
        if protocol.learns_on_source and set(evaluated) == set(params.datasets):
            try:
                transfers += list(_transfers(params, protocol, evaluated, work))
            except UserError as error:
                notes.append(f"{protocol.name}: not recorded. {error}")
    return Records(params, work, tuple(seeds), tuple(transfers), tuple(summaries), tuple(notes))


def _seed_records(
    params: Params, evaluated: DatasetRecord, work: Workspace
) -> Iterator[SeedRecord]:
    """Yield a record for every protocol that is by dataset, number of shots, method and seed.

    Most shots first, since the first record of a method is the one that is registered.
    """
    origin = _origin(params, work, evaluated)
    for protocol in (one for one in wanted(params) if not one.learns_on_source):
        for shots in reversed(protocol.counts(params)):
            run = evaluated.run(protocol.name, shots)
            if run is not None:
                yield from _of_run(origin, protocol, shots, run)


def _of_run(origin: "_Origin", protocol: Protocol, shots: Shots, run: Run) -> Iterator[SeedRecord]:
    task = task_of(origin.params, origin.plan, protocol, shots)
    counts = {
        **{f"{name}_classes": count for name, count in run.classes.items()},
        **{f"{name}_test_images": count for name, count in run.test_images.items()},
    }
    for method, of in run.methods.items():
        for seed, cell in of.items():
            yield _seed_record(
                origin,
                task,
                _learned(task, method, int(seed), cell.prompts, origin.work),
                method=method,
                seed=int(seed),
                setting="teacher-agreement" if "agreement" in cell.measures else protocol.name,
                accuracies=_measured(cell.measures),
                counts=counts,
            )


def _transfers(
    params: Params,
    protocol: Protocol,
    evaluated: Mapping[str, DatasetRecord],
    work: Workspace,
) -> Iterator[SeedRecord]:
    """Yield a record for every kind of target, method and seed of a transfer."""
    shots = params.counts[-1]
    runs = runs_of(evaluated, protocol.name, shots)
    of_source = runs.pop(params.source, None)
    if of_source is None:
        return
    origin = _origin(params, work, evaluated[params.source])
    task = task_of(params, origin.plan, protocol, shots)
    kinds: dict[str, list[str]] = {}
    for target, run in runs.items():
        kinds.setdefault(run.kind, []).append(target)
    for method, of in of_source.methods.items():
        for seed, cell in of.items():
            learned = _learned(task, method, int(seed), cell.prompts, work)
            for kind, targets in kinds.items():
                accuracies: dict[str, Any] = {
                    f"acc/{name}": runs[name].methods[method][seed].measures["accuracy"]
                    for name in targets
                }
                plans = sha256(canonical_json({name: evaluated[name].plan for name in targets}))
                yield _seed_record(
                    origin,
                    task,
                    replace(learned, digests={**learned.digests, "targets": plans}),
                    method=method,
                    seed=int(seed),
                    setting=kind,
                    accuracies={
                        "source": cell.measures["accuracy"],
                        "average": mean(accuracies.values()),
                        **accuracies,
                    },
                    counts={},
                )


@dataclass(frozen=True)
class _Origin:
    """What all records of a dataset share: where it lies, its plan, and what its caches are."""

    params: Params
    work: Workspace
    plan: Plan
    digests: Mapping[str, str]
    models: Mapping[str, Any]


def _origin(params: Params, work: Workspace, evaluated: DatasetRecord) -> _Origin:
    """Read plan and caches, and see that they are of the plan that was evaluated."""
    dataset = evaluated.dataset
    plan = Plan.load(work.plan(dataset))
    caches = {role: open_cache(work.cache(dataset, role)) for role in ("teacher", "student")}
    manifests = {role: cache.manifest for role, cache in caches.items()}
    plans = {plan.digest, *(manifest.identity.plan for manifest in manifests.values())}
    if plans != {evaluated.plan}:
        command, path = work.command("cache-teacher", dataset), work.metrics(dataset)
        raise UserError(f"{path}: of another plan than its caches. Run {command} and what follows.")
    return _Origin(
        params,
        work,
        plan,
        {
            "plan": plan.digest,
            **{f"{role}_cache": manifest.digest for role, manifest in manifests.items()},
        },
        {
            role: manifest.identity.encoder.get("architecture")
            for role, manifest in manifests.items()
        },
    )


def _seed_record(
    origin: _Origin,
    task: Task,
    learned: "_Learned",
    *,
    seed: int,
    counts: Mapping[str, int],
    **named: Any,
) -> SeedRecord:
    plan = origin.plan
    rows = plan.images["label"][list(task.picks[seed])]
    return SeedRecord(
        dataset=plan.name,
        seed=seed,
        task=task,
        params={
            **origin.models,
            **({"shots": int(np.bincount(rows).max())} if plan.is_labelled else {}),
            "regions_per_image": plan.crops,
            **learned.params,
        },
        digests={**origin.digests, **learned.digests},
        terms=learned.terms,
        inactive=learned.inactive,
        files=learned.files,
        counts={**counts, "regions": len(plan.regions), "train_images": len(rows)},
        **named,
    )


@dataclass(frozen=True)
class _Learned:
    params: Mapping[str, Any]
    digests: Mapping[str, str]
    terms: Mapping[str, list[float]]
    inactive: tuple[str, ...]
    files: Mapping[str, Path]


def _learned(
    task: Task, method: str, seed: int, evaluated: str | None, work: Workspace
) -> _Learned:
    """Read one training's three files, and see that they are of the prompts `evaluated`."""
    if evaluated is None:
        return _Learned({}, {}, {}, (), {})
    dataset = task.plan.name
    command = work.command("train-student", dataset)
    kinds = ("prompts", "classifier", "history")
    files = {kind: work.learned(dataset, task.folder, method, seed, kind) for kind in kinds}
    prompts, classifier = (load_learned(kind, task, work, method, seed) for kind in kinds[:2])
    history = open_history(task, work, method, seed, evaluated)
    with _shape_known(work.prompts_of(dataset), command):
        for kind, found in (
            ("prompts", prompts.digest),
            ("classifier", classifier.about["prompts"]),
        ):
            if found != evaluated:
                raise UserError(
                    f"{files[kind]}: not of the prompts that were evaluated. Run {command} again."
                )
        made_with = prompts.about["made_with"]
        options = made_with.get("objectives", {}).get(method, {})
        told = {
            **{f"train.{name}": value for name, value in made_with.get("train", {}).items()},
            **{f"option.{name}": value for name, value in options.items()},
        }
        return _Learned(
            told,
            {"prompts": prompts.digest},
            history["terms"],
            tuple(history["inactive"]),
            files,
        )


def _summaries(seeds: list[SeedRecord], work: Workspace) -> Iterator[SummaryRecord]:
    files = tuple(work.comparison(suffix) for suffix in ("json", "md", "png"))
    command = work.command("compare")
    comparison = read_summary(work.comparison, command)
    with _shape_known(files[0], command):
        yield from _of_comparison(comparison, files, seeds, command)


def _of_comparison(
    comparison: Any, files: tuple[Path, ...], seeds: list[SeedRecord], command: str
) -> Iterator[SummaryRecord]:
    halved = [one for one in seeds if one.setting == BASE_TO_NEW.name]
    found = {(one.method, one.dataset, str(one.seed)): one for one in halved}
    for method, result in comparison["methods"].items():
        parts = []
        for dataset, cell in result["datasets"].items():
            for seed, accuracies in cell["seeds"].items():
                part = found.get((method, dataset, seed))
                if part is None or part.accuracies != _measured(accuracies):
                    raise UserError(
                        f"{files[0]}: {dataset}, {method}, seed {seed} is not what was evaluated. "
                        f"Run {command} again."
                    )
                parts.append(part)
        yield SummaryRecord(
            method=method,
            setting=parts[0].setting,
            comparison=sha256(canonical_json(comparison)),
            datasets={dataset: _measured(cell) for dataset, cell in result["datasets"].items()},
            average=_measured(result["avg"]),
            files=files,
            parts=tuple(part.key for part in parts),
        )


def _measured(cell: Mapping[str, Any]) -> dict[str, float]:
    """Return the accuracies of a cell, nested ones as joint_<name>."""
    found: dict[str, float] = {}
    for name, value in cell.items():
        if isinstance(value, dict) and name != "seeds":
            found |= {f"{name}_{inner}": one for inner, one in value.items()}
        elif name not in ("seeds", "h_std"):
            found[name] = value
    return found


@contextmanager
def _shape_known(path: Path, command: str) -> Iterator[None]:
    """Turn what is raised by JSON of another shape than ours into one line that names its file."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}: of another shape, as another fdbpl may have left it "
            f"({type(error).__name__}: {error}). Run {command} again."
        ) from None
