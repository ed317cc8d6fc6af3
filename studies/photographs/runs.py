"""The pipeline over photographs: what is run, with which parameters, in which workspace."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdbpl.clip import small
from fdbpl.methods.registry import IMPORTED, METHODS
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.protocols.transductive import TRANSDUCTIVE
from fdbpl.protocols.transfer import TRANSFER
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import PER_DATASET, run_stage
from fdbpl.stages.compare import compare
from fdbpl.stages.ood import ood
from fdbpl.system.workspace import Workspace
from studies.contrasts import COMPARED
from studies.photographs import late
from studies.photographs.parts import DATASETS, DEVELOPMENT, EVIDENCE, unpack
from studies.photographs.processes import processes
from studies.photographs.shifts import SHIFTS, TABLE, write_shifted

STUDENT, TEACHER = small.PAIR
SHIFTED = ("tiny_imagenet", "caltech101")
"""The datasets with shifted versions."""

EVERY = tuple(name for name, one in METHODS.items() if name != IMPORTED and one.sees != "prompted")
"""All that a student with convolutions can be learned with."""
TOLD = tuple(name for name in METHODS if name in {*EVERY} & {*COMPARED})
"""Methods that sentences are about, where all would take too long."""

CURVES = (
    *("zero_shot", "teacher", "linear_probe", "tip_adapter", "tip_adapter_f", "gda", "gda_teacher"),
    *("template_bridge", "coop", "kdpl", "fdbpl"),
)
"""Methods that have a curve over shots: those that learn no context, and three that do."""
LABEL_FREE = tuple(name for name in TOLD if not METHODS[name].labelled)
PROMPTED = tuple(name for name, one in METHODS.items() if one.sees == "prompted")
"""Methods that prompt the image tower."""
BESIDE = ("zero_shot", "teacher", "template_bridge", "coop", "kdpl", "fdbpl")
"""What these are shown beside, with the same student."""


@dataclass(frozen=True)
class Run:
    """One set of parameters.

    Attributes:
        datasets: without shifted versions.
        protocols: what is learned and tested.
        seeds: of shots and training.
        shots: of each class.
        shifted: whether the first dataset, the source, is tested in its shifted versions too.
        with_ood: whether OOD detection is measured.
        source: a dataset whose cached regions methods may know, and nothing else of it; without,
            that is the first of those learned on.
        methods: that are learned and measured.
        student: packaged, of small weights; without, that of the pair for evidence.
    """

    datasets: tuple[str, ...]
    protocols: tuple[str, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    shots: tuple[int, ...] = (16,)
    shifted: bool = False
    with_ood: bool = False
    source: str | None = None
    methods: tuple[str, ...] = EVERY
    student: str | None = None


RUNS: Mapping[str, Run] = {
    "development": Run(DEVELOPMENT, (BASE_TO_NEW.name,), seeds=(11, 12, 13), source=EVIDENCE[0]),
    "evidence": Run(EVIDENCE, (BASE_TO_NEW.name, TRANSFER.name), shifted=True, with_ood=True),
    "caltech": Run(("caltech101",), (TRANSFER.name,), shifted=True, methods=TOLD),
    "few_shot": Run(EVIDENCE, (ALL_CLASSES.name,), shots=(1, 2, 4, 8, 16), methods=CURVES),
    "transductive": Run(EVIDENCE, (TRANSDUCTIVE.name,), methods=LABEL_FREE),
    "both_towers": Run(EVIDENCE, (BASE_TO_NEW.name,), methods=BESIDE + PROMPTED, student=small.VIT),
    "both_towers_every_class": Run(
        EVIDENCE,
        (ALL_CLASSES.name, TRANSFER.name, TRANSDUCTIVE.name),  # which share their trainings
        shots=(1, 4, 16),
        shifted=True,
        methods=BESIDE + PROMPTED,
        student=small.VIT,
    ),
    "late": Run(
        DEVELOPMENT,
        (BASE_TO_NEW.name,),
        seeds=(11, 12, 13),
        methods=("zero_shot", "teacher", "coop", "promptsrc", *late.NAMES),
        student=small.VIT,
    ),
    **{
        f"bridge_{image_tower}": Run(
            DEVELOPMENT,
            (BASE_TO_NEW.name,),
            seeds=(11, 12, 13),
            source=EVIDENCE[0],
            methods=("zero_shot", "teacher", "template_own_bridge", "template_bridge"),
            student=student,
        )
        for image_tower, student in (("efficientnet", small.PAIR[0]), ("vit", small.VIT))
    },
}


def parameters(run: Run, out: Path, student: Path) -> Params:
    """Return a run's parameters; its datasets alone are named by `measured`.

    Args:
        run: which.
        out: holds pictures and region store.
        student: the weights of the evidence's student.
    """
    model: dict[str, Any] = {"architecture": STUDENT, "weights": str(student), "activation": "gelu"}
    if run.student:
        model = {"architecture": run.student, "weights": "small"}
    shifted = [f"{run.datasets[0]}-{shift}" for shift in SHIFTS] if run.shifted else []
    datasets = list(dict.fromkeys([*run.datasets, run.source or run.datasets[0]]))
    own: dict[str, Any] = {
        name: {"folder": str(out / "data" / name), "template": DATASETS[name].template}
        for name in datasets
    }
    own |= {
        name: {
            "table": str(out / "data" / name / TABLE),
            "template": DATASETS[run.datasets[0]].template,
        }
        for name in shifted
    }
    return check_params(
        {
            "datasets": [*datasets, *shifted],
            "protocols": list(run.protocols),
            "source": run.source or run.datasets[0],
            "shifted": shifted,
            "development": [name for name in run.datasets if name in DEVELOPMENT],
            "methods": list(run.methods),
            "seeds": list(run.seeds),
            "shots": list(run.shots) if len(run.shots) > 1 else run.shots[0],
            "data": {"own": own},
            "regions": {"per_image": 5},
            "student": model,
            "teacher": {"architecture": TEACHER, "weights": "small"},
            "cache": {"store": str(out / "store"), "batch": 32},
            "train": {"lr": 0.01, "epochs": 25, "batch": 32},
            "device": "cpu",
        }
    )


def measured(params: Params, run: Run) -> Params:
    """Return a run's parameters without a dataset of which it only knows regions."""
    names = [one for one in params.datasets if one in run.datasets or one in params.shifted]
    return params.model_copy(update={"datasets": names})


def unpack_all(photos: Path, out: Path, say: Callable[[str], None]) -> None:
    """Write the pictures that methods learn from and are tested on, and the shifted versions."""
    for dataset in DATASETS:
        unpack(photos, dataset, out / "data")
    for dataset in SHIFTED:
        for shift in SHIFTS:
            write_shifted(photos, dataset, shift, out / "data")
    say("pictures unpacked, shifted versions made")


def workspace(name: str, out: Path) -> Workspace:
    """Return where a run's outputs lie; what any run has learned is looked up by all."""
    work = Workspace(out / "runs" / name)
    trainings = out / "trainings"
    if not work.trainings.exists():
        trainings.mkdir(parents=True, exist_ok=True)
        work.trainings.parent.mkdir(parents=True, exist_ok=True)
        work.trainings.symlink_to(trainings, target_is_directory=True)
    return work


def execute(
    name: str, params: Params, out: Path, jobs: int, say: Callable[[str], None]
) -> Workspace:
    """Run all stages of a run, several datasets at a time; return its workspace.

    What was encoded or learned before is looked up, so a run that was interrupted goes on.
    """
    work = workspace(name, out)
    datasets = [params.source, *(one for one in params.datasets if one != params.source)]
    whole = measured(params, RUNS[name])
    with processes(jobs) as pool:
        for stage in PER_DATASET:
            of_stage = (
                datasets
                if stage in ("prepare_crops", "cache_teacher")
                else [one for one in datasets if one in whole.datasets]
            )
            waiting = [pool.submit(run_stage, stage, params, work, one) for one in of_stage]
            for future in waiting:
                for line in future.result():
                    say(f"{name}, {stage.replace('_', ' ')}: {line}")
    compare(whole, work)
    if RUNS[name].with_ood:
        ood(whole, work)
    say(f"{name}: compared")
    return work
