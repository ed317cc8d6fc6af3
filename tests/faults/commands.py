"""The commands that faults happen to: what each reads, writes, and is begun anew from."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

Words = Sequence[str]
RUN = "runs/default"
TINY = "fdbpl-tiny-{0}:tiny"
LEARN = ("fdbpl", "learn", "pictures/here", "--out", "learned")
LEARN += tuple(w for role in ("student", "teacher") for w in (f"--{role}", TINY.format(role)))


@dataclass(frozen=True)
class Command:
    """A command.

    makes: patterns of the files that it writes; rests: patterns of what it would look up in place
    of doing its work, taken away with `makes` where it shall do all of it; tells: whether what it
    prints is its result; goes_on: whether it does without what is damaged, and says so.
    """

    words: Words
    makes: tuple[str, ...] = ()
    rests: tuple[str, ...] = ()
    tells: bool = False
    goes_on: bool = False

    def writes(self, path: str) -> bool:
        """Tell whether a file is of those that it writes where it does all of its work."""
        return any(fnmatch(path, one) for one in (*self.makes, *self.rests))


def stage(name: str, dataset: str) -> Command:
    """Return a stage by hand."""
    makes = {
        "prepare-crops": f"{RUN}/plans/{dataset}/*",
        "cache-teacher": f"{RUN}/caches/{dataset}/*",
        "train-student": f"{RUN}/prompts/{dataset}/*",
        "evaluate": f"{RUN}/metrics/datasets/{dataset}.json",
    }[name]
    rests = {"cache-teacher": (".fdbpl/store/*",), "train-student": (f"{RUN}/.fdbpl/trainings/*",)}
    return Command(("fdbpl", name, dataset), (makes,), rests.get(name, ()))


OUTPUTS = ("plans/*", "caches/*", "prompts/*", "metrics/*", "code/*")
DVC = Command(("dvc", "repro"), OUTPUTS, ("dvc.lock", ".dvc/cache/*", ".fdbpl/trainings/*"))
COMPARE = Command(("fdbpl", "compare"), (f"{RUN}/metrics/compare.*",))
OOD = Command(("fdbpl", "ood"), (f"{RUN}/metrics/ood.*",))
REPORT = Command(("fdbpl", "report", "--run", "default", "--out", "run.html"), ("run.html",))
RECORD = Command(("fdbpl", "record", "--run", "default"), goes_on=True)
RECORD_DVC = Command(
    ("fdbpl", "record", "--register", "none"), rests=(".fdbpl/mlflow/*",), goes_on=True
)
PACK = Command(
    ("fdbpl", "pack", "here", "--run", "default", "--out", "packed"), ("packed/*",), (".kept/*",)
)
LEARNED = Command(LEARN, ("learned/*",), (".fdbpl/learn/*",))
PREDICT = Command(("fdbpl", "predict", "model", "pictures/there/test", "--json"), tells=True)
PREDICT_CSV = Command(("fdbpl", "predict", "model", "pictures/here", "--csv"), tells=True)
MODEL_REPORT = Command(("fdbpl", "report", "model", "--out", "model.html"), ("model.html",))
ONNX = Command(("fdbpl", "export", "model", "--to", "onnx", "--out", "onnx"), ("onnx/*",))
VERIFY = Command(("fdbpl", "cache", "verify", "."))
LS = Command(("fdbpl", "cache", "ls", RUN))
GC = Command(("fdbpl", "cache", "gc", ".fdbpl/store", ".", "--delete"))
VIEW = Command(
    ("fdbpl", "cache", "inspect", f"{RUN}/caches/here/student", "--out", "view.png",
     "--plan", f"{RUN}/plans/here"),
    ("view.png",),
)  # fmt: skip
REGIONS = Command(
    ("fdbpl", "regions", "here", "cat", "--run", "default", "--out", "regions.png"),
    ("regions.png",),
)
