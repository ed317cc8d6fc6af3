"""What a workspace holds, as records fit for tracking: read from its outputs and nothing else.

A record is known by its key, a digest of the outputs it is made of. Equal outputs are one record,
whoever made them, where and how often.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from fdbpl.cache.cache import open_cache
from fdbpl.classify.artifact import Artifact
from fdbpl.data.dataset import UNKNOWN
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import METHODS_SERVE, of_evaluation, of_transfer, require_made_with
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, sha256
from fdbpl.system.workspace import Workspace


@dataclass(frozen=True)
class SeedRecord:
    """One dataset learned on, method and seed.

    Attributes:
        setting: the protocol of evaluation: base-to-new, all-classes, teacher-agreement,
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

    seeds: tuple[SeedRecord, ...]
    transfers: tuple[SeedRecord, ...]
    summaries: tuple[SummaryRecord, ...]
    notes: tuple[str, ...]


def read_records(params: Params, work: Workspace) -> Records:
    """Read what the evaluated datasets of the parameters, their comparison and the transfer say.

    A dataset whose outputs are missing, damaged, of another shape or of other parameters, or do not
    belong together, is left out, with a note: its neighbours are whole all the same.
    """
    seeds: list[SeedRecord] = []
    notes: list[str] = []
    for dataset in params.datasets:
        try:
            seeds += list(_seed_records(params, dataset, work))  # all of a dataset or nothing
        except UserError as error:
            notes.append(f"{dataset}: not recorded. {error}")
    try:
        summaries = list(_summaries(seeds, work))
    except UserError as error:
        summaries = []
        notes.append(f"comparison: not recorded. {error}")
    try:
        transfers = list(_transfers(params, work))
    except UserError as error:
        transfers = []
        notes.append(f"transfer: not recorded. {error}")
    return Records(tuple(seeds), tuple(transfers), tuple(summaries), tuple(notes))


def _seed_records(params: Params, dataset: str, work: Workspace) -> Iterator[SeedRecord]:
    path, command = work.metrics(dataset), partial(work.command, "evaluate", dataset)
    evaluated, wanted = _read_json(path, command()), of_evaluation(params, dataset)
    with _shape_known(path, command()):
        require_made_with(path, evaluated["made_with"], wanted, command)
        yield from _of_evaluation(dataset, evaluated, work)


def _of_evaluation(dataset: str, evaluated: Any, work: Workspace) -> Iterator[SeedRecord]:
    origin = _origin(work, dataset, evaluated["plan"], work.metrics(dataset))
    counts = {
        **{f"{half}_classes": count for half, count in evaluated["classes"].items()},
        **{f"{half}_test_images": count for half, count in evaluated["test_images"].items()},
    }
    for method, result in evaluated["methods"].items():
        for seed, accuracies in result["seeds"].items():
            learned = _learned(dataset, method, int(seed), accuracies.get("prompts"), work)
            yield _seed_record(
                origin,
                learned,
                dataset=dataset,
                method=method,
                seed=int(seed),
                setting=evaluated["protocol"],
                accuracies=_measured(accuracies),
                counts=counts,
            )


def _transfers(params: Params, work: Workspace) -> Iterator[SeedRecord]:
    """Yield a record for every kind of target, method and seed of the transfer, if there is one."""
    path, command = work.transferred, partial(work.command, "transfer")
    if params.transfer is None or not path.is_file():
        return
    evaluated, wanted = _read_json(path, command()), of_transfer(params, params.transfer)
    with _shape_known(path, command()):
        require_made_with(path, evaluated["made_with"], wanted, command, METHODS_SERVE)
        yield from _of_transfer(evaluated, work)


def _of_transfer(evaluated: Any, work: Workspace) -> Iterator[SeedRecord]:
    source, about = evaluated["source"], evaluated["targets"]
    origin = _origin(work.source, source, evaluated["plan"], work.transferred)
    kinds: dict[str, list[str]] = {}
    for target, facts in about.items():
        kinds.setdefault(facts["kind"], []).append(target)
    for method, result in evaluated["methods"].items():
        for seed, found in result["seeds"].items():
            prompts = result.get("prompts", {}).get(seed)
            learned = _learned(source, method, int(seed), prompts, work.source)
            for kind, targets in kinds.items():
                accuracies = {f"acc/{target}": found[target] for target in targets}
                plans = sha256(canonical_json({name: about[name]["plan"] for name in targets}))
                yield _seed_record(
                    origin,
                    replace(learned, digests={**learned.digests, "targets": plans}),
                    dataset=source,
                    method=method,
                    seed=int(seed),
                    setting=kind,
                    accuracies={
                        "source": found[source],
                        "average": mean(accuracies.values()),
                        **accuracies,
                    },
                    counts={},
                )


@dataclass(frozen=True)
class _Origin:
    """What all records of a dataset share: its plan, and what its caches are."""

    plan: Plan
    digests: Mapping[str, str]
    models: Mapping[str, Any]


def _origin(work: Workspace, dataset: str, evaluated: str, name: Path) -> _Origin:
    """Read plan and caches, and see that they are of the plan that was evaluated."""
    plan = Plan.load(work.plan(dataset))
    caches = {role: open_cache(work.cache(dataset, role)) for role in ("teacher", "student")}
    manifests = {role: cache.manifest for role, cache in caches.items()}
    plans = {plan.digest, *(manifest.identity.plan for manifest in manifests.values())}
    if plans != {evaluated}:
        command = work.command("cache-teacher", dataset)
        raise UserError(f"{name}: of another plan than its caches. Run {command} and what follows.")
    return _Origin(
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
    origin: _Origin, learned: "_Learned", *, seed: int, counts: Mapping[str, int], **named: Any
) -> SeedRecord:
    rows = origin.plan.images["label"][list(origin.plan.shots[seed])]
    is_labelled = bool((rows != UNKNOWN).all())
    return SeedRecord(
        seed=seed,
        params={
            **origin.models,
            **({"shots": int(np.bincount(rows).max())} if is_labelled else {}),
            "regions_per_image": origin.plan.crops,
            **learned.params,
        },
        digests={**origin.digests, **learned.digests},
        terms=learned.terms,
        inactive=learned.inactive,
        files=learned.files,
        counts={**counts, "regions": len(origin.plan.regions), "train_images": len(rows)},
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
    dataset: str, method: str, seed: int, evaluated: str | None, work: Workspace
) -> _Learned:
    """Read one training's three files, and see that they are of the prompts `evaluated`."""
    if evaluated is None:
        return _Learned({}, {}, {}, (), {})
    command = work.command("train-student", dataset)
    kinds = ("prompts", "classifier", "history")
    files = {kind: work.learned(dataset, method, seed, kind) for kind in kinds}
    prompts = Artifact.load(files["prompts"], "prompts")
    classifier = Artifact.load(files["classifier"], "classifier")
    history = _read_json(files["history"], command)
    with _shape_known(work.prompts_of(dataset), command):
        for name, found in (
            (files["prompts"], prompts.digest),
            (files["classifier"], classifier.about["prompts"]),
            (files["history"], history["prompts"]),
        ):
            if found != evaluated:
                raise UserError(
                    f"{name}: not of the prompts that were evaluated. Run {command} again."
                )
        made_with = prompts.about["made_with"]
        options = made_with.get("objectives", {}).get(method, {})
        params = {
            **{f"train.{name}": value for name, value in made_with.get("train", {}).items()},
            **{f"option.{name}": value for name, value in options.items()},
        }
        return _Learned(
            params,
            {"prompts": prompts.digest},
            history["terms"],
            tuple(history["inactive"]),
            files,
        )


def _summaries(seeds: list[SeedRecord], work: Workspace) -> Iterator[SummaryRecord]:
    files = tuple(work.comparison(suffix) for suffix in ("json", "md", "png"))
    command = work.command("compare")
    comparison = _read_json(files[0], command)
    with _shape_known(files[0], command):
        yield from _of_comparison(comparison, files, seeds, command)


def _of_comparison(
    comparison: Any, files: tuple[Path, ...], seeds: list[SeedRecord], command: str
) -> Iterator[SummaryRecord]:
    found = {(one.method, one.dataset, str(one.seed)): one for one in seeds}
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
    """Return the accuracies of a cell: those where all classes compete as joint_<name>."""
    names = ("base", "new", "h", "h_mean", "accuracy", "agreement")
    joint = {f"joint_{name}": value for name, value in cell.get("joint", {}).items()}
    return {name: cell[name] for name in names if name in cell} | joint


def _read_json(path: Path, command: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Run {command} first.") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}). Run {command} again.") from None


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
