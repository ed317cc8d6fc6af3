"""A small sound project: two drawn datasets and the tiny pair, all stages done, a model packed.

Made once, by DVC and by hand, and put back before every trial at the same place.
"""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from PIL import Image

from fdbpl.system.files import sha256

from .child import SECONDS, Ran, run
from .commands import LEARN, RUN, Command
from .outcome import DATABASE, Tree

if TYPE_CHECKING:
    from .strangers import Servers

CLASSES = {"here": ("cat", "owl", "sea", "sky"), "there": ("dog", "elk", "ice")}
UNTOLD = (".git/", ".dvc/tmp/", ".dvc/cache/", ".dvc-state/", ".kept/", ".fdbpl/store/", "dvc.lock")
"""Below these the same results may be kept in other bytes; what rests on them is compared."""

PARAMS: dict[str, Any] = {
    "datasets": list(CLASSES),
    "protocols": ["base-to-new", "transfer"],
    "source": "here",
    "shifted": [],
    "methods": ["zero_shot", "teacher", "gda", "coop", "fdbpl"],
    "seeds": [1, 2],
    "shots": 2,
    "data": {"own": {name: {"folder": f"pictures/{name}"} for name in CLASSES}},
    "regions": {"per_image": 3},
    "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
    "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
    "cache": {"payload": "float32", "store": ".fdbpl/store", "batch": 8},
    "train": {"lr": 0.02, "epochs": 3, "batch": 2},
    "device": "cpu",
    "objectives": {},
    "imported": {},
}
OUTPUTS = ("plans", "caches", "prompts", "metrics")
MADE: tuple[Sequence[str], ...] = (
    ("fdbpl", "pack", "here", "--out", "model"),
    LEARN,
    ("fdbpl", "record", "--register", "none"),
)


@dataclass(frozen=True)
class Result:
    """What a command leaves in a sound project: files, and what it says."""

    tree: Tree
    out: str
    seconds: float


@dataclass
class Project:
    """The project of one lane.

    folder: of the lane. The project lies in folder/project, and what is put back in folder/sound.
    """

    folder: Path
    results: dict[Command, Result] = field(default_factory=dict)

    servers: "Servers | None" = None
    place: Path = field(init=False)

    def __post_init__(self) -> None:
        self.place = self.folder / "project"

    @property
    def sound(self) -> Path:
        return self.folder / "sound"

    def make(self) -> None:
        """Make the project and all its results, unless they are there.

        Raises RuntimeError where a command fails.
        """
        settle(self.place)
        if self.sound.is_dir():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.must("fdbpl", "init", "project", "--preset", "folder", "--root", "x", at=self.folder)
        for name, classes in CLASSES.items():
            for label in classes:
                draw(self.place / "pictures" / name, label)
        write_params(self.place, PARAMS)
        self.must("dvc", "repro")
        for name in (*OUTPUTS, ".fdbpl/trainings"):  # by hand come the same bytes
            shutil.copytree(self.place / name, self.place / RUN / name)
        for words in MADE:
            self.must(*words)
        subprocess.run(["cp", "-a", str(self.place), str(self.sound)], check=True)

    def end(self) -> None:
        """End what was started."""
        if self.servers is not None:
            self.servers.end()

    def must(self, *words: str, at: Path | None = None) -> Ran:
        """Run a command that must succeed."""
        ran = run(words, at or self.place)
        if ran.code:
            raise RuntimeError(f"{shlex.join(words)}: {ran.code}\n{ran.out}\n{ran.err}")
        return ran

    def run(
        self,
        words: Sequence[str],
        first: Callable[[], None] = lambda: None,
        seconds: float = SECONDS,
    ) -> Ran:
        """Run a command in the project as it stands."""
        return run(words, self.place, first=first, seconds=seconds)

    def put_back(self) -> None:
        """Make the project what it was, every file of it, with the links between them."""
        if not self.place.is_mount():
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir()
        subprocess.run(["cp", "-a", f"{self.sound}/.", str(self.place)], check=True)

    def result_of(self, command: Command) -> Result:
        """Return what a command leaves that does all of its work in the project."""
        if command not in self.results:
            self.begin_anew(command)
            ran = self.must(*command.words)
            self.results[command] = Result(self.files(), ran.out, ran.seconds)
        return self.results[command]

    def begin_anew(self, command: Command) -> None:
        """Make the project sound, but for what a command makes and what it would look up."""
        self.put_back()
        self.take_away(*command.makes, *command.rests)

    def matching(self, *patterns: str) -> list[str]:
        """Return the paths of the files that fit a pattern, sorted."""
        paths = (
            (Path(folder) / name).relative_to(self.place).as_posix()
            for folder, _, names in os.walk(self.place)
            for name in names
        )
        return sorted(path for path in paths if any(fnmatch(path, one) for one in patterns))

    def take_away(self, *patterns: str) -> None:
        """Remove the files that fit a pattern, and the folders that are empty then."""
        for path in self.matching(*patterns):
            (self.place / path).unlink()
            for folder in (self.place / path).parents:
                if folder == self.place or any(folder.iterdir()):
                    break
                folder.rmdir()

    def files(self) -> Tree:
        """Return the digests of all files but UNTOLD, and of every run that MLflow shows."""
        found = {}
        for folder, folders, names in os.walk(self.place):
            below = Path(folder).relative_to(self.place).as_posix()
            below = "" if below == "." else below + "/"
            folders[:] = [f for f in folders if not f"{below}{f}/".startswith((*UNTOLD, DATABASE))]
            for name in names:
                if not f"{below}{name}".startswith(UNTOLD):
                    found[below + name] = sha256((Path(folder) / name).read_bytes())
        for shown, count in Counter(recorded(self.place / DATABASE)).items():
            found |= {f"{DATABASE}{sha256(shown.encode())}": str(count)}
        return found


def datasets_of(paths: Iterable[str]) -> list[str]:
    """Return the datasets whose files these are, the first where they are of none."""
    found = {word for path in paths for word in re.split(r"[/.]", path)} & set(CLASSES)
    return sorted(found) or [next(iter(CLASSES))]


def settle(place: Path) -> None:
    """Let all that a project's commands keep for a user lie in it, and nothing count but it."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "PREFECT_", "FDBPL_"))]:
        del os.environ[name]
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DVC_NO_ANALYTICS="1", DO_NOT_TRACK="1")
    os.environ["FDBPL_CACHE"] = str(place / ".kept")


def draw(folder: Path, label: str) -> None:
    """Draw 4 training and 3 test pictures of a class, of one colour with a little noise."""
    for part, count in (("train", 4), ("test", 3)):
        for number in range(count):
            rng = np.random.default_rng(zlib.crc32(f"{part}{label}{number}".encode()))
            noise = rng.integers(-20, 21, (18, 24, 3))
            pixels = np.clip(rng.integers(0, 256, 3) + noise, 0, 255).astype(np.uint8)
            path = folder / part / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def write_params(place: Path, params: Mapping[str, Any]) -> None:
    (place / "params.yaml").write_text(yaml.safe_dump(dict(params)))


def recorded(folder: Path) -> list[str]:
    """Return what the MLflow database in a folder shows of its runs, but when and where."""
    shown = (
        "select value from tags where run_uuid = ? and key not like 'mlflow.%' "
        "and key != 'fdbpl.folder' union all "
        "select key || value from metrics where run_uuid = ? union all "
        "select key || value from params where run_uuid = ?"
    )
    try:
        with closing(sqlite3.connect(f"file:{folder}/mlflow.db?mode=ro", uri=True)) as database:
            runs = database.execute("select run_uuid from runs where lifecycle_stage = 'active'")
            return sorted(
                " ".join(sorted(str(row[0]) for row in database.execute(shown, (run,) * 3)))
                for (run,) in runs
            )
    except sqlite3.Error:
        return []
