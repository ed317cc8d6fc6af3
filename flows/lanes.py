"""All of DVC's stages, datasets side by side: python -m flows.lanes [LANES].

What `dvc repro` does, in as many lanes as there are cores, two at most unless LANES says another
number: a lane brings one dataset up to date after another, and whatever depends on all of them
follows. Stages of small models keep one core busy at best, so that lanes are what uses the others.
"""

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from fdbpl.settings.params import DEFAULT_PATH, Params, read_params
from fdbpl.system.errors import UserError
from flows import dvc

AT_ONCE = 2
HOURS = 24 * 7  # of a stage chain; whoever wants less interrupts it
TABLES = [["--single-item", "transfer", "compare"], ["--single-item", "ood"]]
"""Single items, because a lane that looked at all that they rest on would want to write it."""
_speaking = threading.Lock()


def run(lanes: int) -> None:
    """Bring everything up to date, in so many lanes.

    Raises:
        DvcFailed: stages failed; the other datasets were still brought up to date.
    """
    params = read_params(DEFAULT_PATH)
    changed = set(dvc.changed_stages())
    _share_cores(lanes)
    waves: list[list[list[str]]] = []  # each reads what the one before it writes
    if changed:
        waves = [_datasets(params, changed), TABLES]
    with ThreadPoolExecutor(lanes) as pool:
        try:
            for wave in waves:
                _together(pool, wave)
        except BaseException:
            dvc.end_all()
            raise
    _bring_up_to_date([])  # whatever else dvc.yaml may hold


def _together(pool: ThreadPoolExecutor, wave: Sequence[Sequence[str]]) -> None:
    """Run `dvc repro` with each of the words; when all are done, raise what failed."""
    runs = [pool.submit(_bring_up_to_date, words) for words in wave]
    try:
        failures = [str(error) for error in map(Future.exception, runs) if error]
    except BaseException:  # interrupted: those that wait shall not begin
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    if failures:
        raise dvc.DvcFailed("\n".join(failures))


def _datasets(params: Params, changed: set[str]) -> list[list[str]]:
    """Return the last stage of every dataset that has any to run, and of the transfer's training.

    The transfer's training takes longest, so that it is begun first; behind its source, whose
    pictures and regions it shares.
    """
    of = {stage.split("@")[1] for stage in changed if "@" in stage}
    wanted = [[f"evaluate@{dataset}"] for dataset in params.datasets if dataset in of]
    if not {"prepare-transfer", "cache-transfer", "train-transfer"} & changed:
        return wanted
    source = [f"evaluate@{params.transfer.source}"] if params.transfer else []
    before = source if source in wanted else []
    return [[*before, "train-transfer"], *(one for one in wanted if one != source)]


def _bring_up_to_date(words: Sequence[str]) -> None:
    """Run `dvc repro`, every line under the name of what is brought up to date."""
    name = words[-1].split("@")[-1] if words else "all"

    def say(line: str) -> None:
        if line:
            with _speaking:
                print(f"{name:<14} {line}", flush=True)

    dvc.repro(*words, seconds=3600 * HOURS, log=say)


def _share_cores(lanes: int) -> None:
    """Let every lane's numerics use its share of the cores; a user's own setting stands."""
    share = max(1, (os.cpu_count() or 1) // lanes)
    os.environ.setdefault("OMP_NUM_THREADS", str(share))


def main(words: Sequence[str]) -> int:
    """Run with the command line's words; return the exit code."""
    try:
        wanted = words[0] if words else str(min(AT_ONCE, os.cpu_count() or 1))
        if len(words) > 1 or not wanted.isdecimal() or int(wanted) < 1:
            raise UserError(f"LANES is {' '.join(words)!r}, wanted one number of 1 or more.")
        run(int(wanted))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except dvc.DvcFailed as error:
        print(f"error: stages failed; what else was done stays.\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
