"""Trials that were done, kept as they come, so that a round goes on where it was interrupted."""

import json
from contextlib import suppress
from pathlib import Path

from .outcome import Mark
from .trial import Trial


class Log:
    """A file of trials, a line each; several processes may add to it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sound(self) -> list[Trial]:
        """Return the trials in which nothing was wrong."""
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        found: dict[int, Trial] = {}
        for line in lines:
            with suppress(ValueError):  # cut by an interrupt
                one = json.loads(line)
                found[one["number"]] = Trial(**{**one, "marks": frozenset(map(Mark, one["marks"]))})
        return [trial for trial in found.values() if not trial.is_bad]

    def add(self, trial: Trial) -> None:
        """Keep one."""
        line = json.dumps({**vars(trial), "marks": sorted(trial.marks)})
        with self._path.open("a") as file:
            file.write(f"{line}\n")

    def end(self) -> None:
        """Forget all: the round is over, and found nothing."""
        self._path.unlink(missing_ok=True)
