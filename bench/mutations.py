"""Wire training wrongly, and see the fast tests fail: `python -m bench.mutations`.

Each mutation is one replacement in a copy of the project, under which tests/test_golden.py runs. It
prints a line each, and ends with exit code 1 if any goes unnoticed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

HOME = Path(__file__).resolve().parents[1]
PARTS = ("fdbpl", "flows", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    """What is wired wrongly: in which file which text becomes which."""

    says: str
    file: str
    old: str
    new: str


MUTATIONS = (
    Mutation(
        "anchors in reverse order",
        "fdbpl/stages/train_student.py",
        "anchors=student.learned(task),",
        "anchors=student.learned(task)[::-1].copy(),",
    ),
    Mutation(
        "areas dropped",
        "fdbpl/stages/train_student.py",
        "areas=areas_of(plan, held=isinstance(student.features, np.ndarray)),",
        "areas=None,",
    ),
    Mutation(
        "the teacher's temperature is the student's",
        "fdbpl/stages/train_student.py",
        'teacher.logit_scale if params.teacher.logit_scale == "own" else clip.logit_scale',
        "clip.logit_scale",
    ),
    Mutation(
        "the teacher's class vectors are those of all classes in reverse",
        "fdbpl/stages/train_student.py",
        "teacher_vectors=teacher.learned(task),",
        "teacher_vectors=teacher.learned(task)[::-1].copy(),",
    ),
    Mutation(
        "labels shifted by one",
        "fdbpl/stages/train_student.py",
        "labels=np.searchsorted(task.labels, labels) %",
        "labels=(np.searchsorted(task.labels, labels) + 1) %",
    ),
    Mutation(
        "every seed learns from the first seed's shots",
        "fdbpl/stages/train_student.py",
        "picks={seed: task.picks[seed] for seed in params.seeds},",
        "picks={seed: task.picks[params.seeds[0]] for seed in params.seeds},",
    ),
    Mutation(
        "one crop too many taken for the next image",
        "fdbpl/stages/train_student.py",
        "crops=plan.crops,",
        "crops=plan.crops - 1,",
    ),
    Mutation(
        "the mean region speaks across the bridge for the classes it shows",
        "fdbpl/methods/bridged.py",
        "offsets = weights @ arrays[HIDDEN_MEAN] * self.share",
        "offsets = np.zeros(len(weights))",
    ),
    Mutation(
        "the bridge knows nothing of the source's regions",
        "fdbpl/methods/bridged.py",
        "if self.reads_source and data.source_moments is not None:",
        "if False:",
    ),
    Mutation(
        "contexts are learned as if no bridge stood beside them",
        "fdbpl/methods/batch.py",
        "found if self.beside is None else found + self.beside",
        "found",
    ),
    Mutation(
        "no warm-up epoch",
        "fdbpl/training/loop.py",
        '["lr"] = learning_rate(params, epoch)',
        '["lr"] = params.lr',
    ),
    Mutation(
        "the memory counts regions of all sizes alike",
        "fdbpl/methods/knowledge.py",
        "weights if self.by_area else np.ones_like(weights)",
        "np.ones_like(weights)",
    ),
    Mutation(
        "the memory speaks where new classes compete",
        "fdbpl/classify/decision.py",
        'self.unseen == "silent" and not seen.all()',
        "False",
    ),
    Mutation(
        "GDA told by the teacher is silent where new classes compete",
        "fdbpl/methods/prompts.py",
        '"adds" if self.gda else "silent"',
        '"silent"',
    ),
    Mutation(
        "the memory of another domain speaks",
        "fdbpl/stages/evaluate.py",
        'same_domain=protocol.kind(self.params, self.plan.name) != "cross-dataset"',
        "same_domain=True",
    ),
    Mutation(
        "flips forgotten",
        "fdbpl/clip/preprocessing.py",
        "        if flip:\n",
        "        if False:\n",
    ),
)


@click.command()
def main() -> None:
    """Try each in a copy of its own."""
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, one in enumerate(MUTATIONS, start=1):
            copy = Path(folder) / str(number)
            for part in PARTS:
                whole = HOME / part
                take = shutil.copytree if whole.is_dir() else shutil.copy
                copy.mkdir(exist_ok=True)
                take(whole, copy / part)
            mutate(copy, one)
            is_noticed = not passes(copy)
            unnoticed += not is_noticed
            print(
                f"{'noticed  ' if is_noticed else 'UNNOTICED'}  {number:2}  {one.says}", flush=True
            )
            shutil.rmtree(copy)
    sys.exit(unnoticed > 0)


def mutate(home: Path, mutation: Mutation) -> None:
    """Replace the one place that a mutation names."""
    path = home / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        sys.exit(f"{mutation.file}: {text.count(mutation.old)} times {mutation.old!r}, wanted once")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def passes(home: Path) -> bool:
    """Run the golden training in a copy of the project."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", "tests/test_golden.py"]
    environment = {**os.environ, "PYTHONPATH": str(home)}
    done = subprocess.run(words, cwd=home, env=environment, capture_output=True, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    main()
