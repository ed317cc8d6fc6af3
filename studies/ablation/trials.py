"""Trials: every method under every setting on every dataset, by the pipeline's own stages."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.stages import run_stage
from fdbpl.stages.made_with import of_caches
from fdbpl.system.files import canonical_json, locked, sha256
from fdbpl.system.progress import Report, silent
from fdbpl.system.workspace import Workspace
from studies.ablation.grid import REFERENCE, Setting
from studies.records import Seeds, read_trainings

Trials = dict[tuple[str, str, str], Seeds]
"""What came of a setting, by its name, a dataset and a method."""


def run_trials(
    settings: Sequence[Setting],
    datasets: Sequence[str],
    methods: Sequence[str],
    root: Path,
    report: Report = silent,
) -> Trials:
    """Train and evaluate under every setting; a method that it does not touch keeps its reference.

    Args:
        settings: the reference first; their parameters say the seeds.
        datasets: to learn and evaluate on.
        methods: trained ones.
        root: folder of the ablation, used by one process at a time; another waits.
        report: follows settings times datasets.

    Raises:
        UserError: what the stages raise.
    """
    trials: Trials = {}
    made: set[Path] = set()
    jobs = list(itertools.product(settings, datasets))
    with locked(root / "lock"):
        for done, (setting, dataset) in enumerate(jobs, start=1):
            touched = [name for name in methods if setting.touches(name)]
            only = {"methods": touched, "protocols": [BASE_TO_NEW.name]}  # all that is read here
            params = setting.params.model_copy(update=only)
            inputs = sha256(canonical_json(of_caches(params, dataset)))
            work = Workspace(root / "inputs" / inputs[:16])  # many settings share plan and caches
            if touched and work.root not in made:
                run_stage("prepare_crops", params, work, dataset)
                run_stage("cache_teacher", params, work, dataset)
                made.add(work.root)
            for stage in ("train_student", "evaluate") if touched else ():
                run_stage(stage, params, work, dataset)
            found = read_trainings(params, work, dataset, touched) if touched else {}
            for method in methods:
                known = found.get(method) or trials[REFERENCE, dataset, method]
                trials[setting.name, dataset, method] = known
            report(done, len(jobs))
    return trials
