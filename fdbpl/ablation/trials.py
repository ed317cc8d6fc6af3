"""Trials: one method under one setting on one dataset, each done once and then remembered.

A trial is known by the digest of all that decides its training. Its record is written
whole, so an ablation that was stopped goes on where it stood.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdbpl.ablation.grid import Setting
from fdbpl.cache.cache import open_cache
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.made_with import of_caches
from fdbpl.system.files import canonical_json, locked, readable_json, sha256, write_whole
from fdbpl.system.progress import Report, silent
from fdbpl.system.workspace import Workspace

MEASURED = ("base", "new", "h", "joint")


@dataclass(frozen=True)
class Trial:
    """What came of one method under one setting on one dataset.

    Attributes:
        key: digest of all that decides it.
        seeds: for each seed base, new and h in per cent, "joint" the same where all classes
            compete, the "gradients" of each term on each context by epoch, and the "inactive"
            terms.
    """

    key: str
    seeds: dict[str, dict[str, Any]]


Trials = dict[tuple[str, str, str], Trial]
"""Trials by name of the setting, dataset and method."""


def run_trials(
    settings: Sequence[Setting],
    datasets: Sequence[str],
    methods: Sequence[str],
    root: Path,
    report: Report = silent,
) -> tuple[Trials, int]:
    """Return the trial of every setting, dataset and method, and how many had to be run.

    Args:
        settings: their parameters say the seeds.
        datasets: to learn and evaluate on.
        methods: trained ones.
        root: folder of the ablation, used by one process at a time; another waits.
        report: follows settings times datasets.

    Raises:
        UserError: what the stages raise.
    """
    trials: Trials = {}
    ran = 0
    with locked(root / "lock"):
        for done, (setting, dataset) in enumerate((s, d) for s in settings for d in datasets):
            report(done, len(settings) * len(datasets))
            params = setting.params
            work = inputs_workspace(params, root)
            _make_inputs(params, dataset, work)
            keys = {method: _key(params, dataset, method, work) for method in methods}
            missing = [name for name, key in keys.items() if not _record(root, key).exists()]
            if missing:
                for method, record in _run(params, dataset, missing, work):
                    write_whole(_record(root, keys[method]), readable_json(record))
            ran += len(missing)
            for method, key in keys.items():
                record = json.loads(_record(root, key).read_text(encoding="utf-8"))
                trials[setting.name, dataset, method] = Trial(key, record["seeds"])
        report(len(settings) * len(datasets), len(settings) * len(datasets))
    return trials, ran


def _record(root: Path, key: str) -> Path:
    return root / "trials" / f"{key[:32]}.json"


def inputs_workspace(params: Params, root: Path) -> Workspace:
    """Return the workspace of all settings that share plans and caches."""
    fields = params.model_dump(mode="json", include={"data", "regions", "shots", "seeds"})
    models = params.model_dump(mode="json", include={"student", "teacher"})
    models["teacher"].pop("logit_scale")  # which no cache depends on
    payload = [params.cache.payload, params.cache.batch]
    return Workspace(root / "inputs" / sha256(canonical_json([fields, models, payload]))[:16])


def _make_inputs(params: Params, dataset: str, work: Workspace) -> None:
    """Plan and encode a dataset, unless this code has done so; the store spares known regions."""
    mark = work.root / "made" / dataset
    decides = [of_caches(params, dataset, work.split)]
    made = sha256(canonical_json(decides))
    if not mark.exists() or mark.read_text(encoding="utf-8") != made:
        run_stage("prepare_crops", params, work, dataset)
        run_stage("cache_teacher", params, work, dataset)
        write_whole(mark, made.encode())


def _key(params: Params, dataset: str, method: str, work: Workspace) -> str:
    sources = [
        open_cache(work.cache(dataset, role)).manifest.digest for role in ("student", "teacher")
    ]
    options = params.method(method).options.model_dump(mode="json")
    schedule = [params.train.model_dump(), params.teacher.logit_scale, params.seeds]
    plan = Plan.load(work.plan(dataset)).digest
    return sha256(canonical_json([plan, sources, method, options, schedule]))


def _run(
    params: Params, dataset: str, methods: list[str], work: Workspace
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train and evaluate methods on a dataset; yield each with its record."""
    chosen = params.model_copy(update={"methods": methods})
    run_stage("train_student", chosen, work, dataset)
    run_stage("evaluate", chosen, work, dataset)
    evaluated = json.loads(work.metrics(dataset).read_text(encoding="utf-8"))["methods"]
    for method in methods:
        seeds = {}
        for seed in params.seeds:
            accuracies = evaluated[method]["seeds"][str(seed)]
            path = work.learned(dataset, method, seed, "history")
            history = json.loads(path.read_text(encoding="utf-8"))
            seeds[str(seed)] = {
                **{name: accuracies[name] for name in MEASURED if name in accuracies},
                **{name: history[name] for name in ("gradients", "inactive")},
            }
        yield method, {"dataset": dataset, "method": method, "seeds": seeds}
