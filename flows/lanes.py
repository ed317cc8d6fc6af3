"""All of DVC's stages, datasets side by side: python -m flows.lanes [LANES]

What `dvc repro` does, in as many lanes as there are cores, two at most unless LANES says another
number: a lane brings one dataset up to date after another, and whatever depends on all of them
follows. Stages of small models keep one core busy at best, so that lanes are what uses the others.
"""

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fdbpl.errors import UserError
from fdbpl.params import DEFAULT_PATH, Params, read_params
from flows import dvc

AT_ONCE = 2
HOURS = 24 * 7  # of a stage chain; whoever wants less interrupts it
LAST = ("compare", "rejection")
_speaking = threading.Lock()


def run(lanes: int) -> None:
    """Bring everything up to date, in so many lanes.

    Raises:
        DvcFailed: a stage failed; what the other lanes did stays.
    """
    params = read_params(DEFAULT_PATH)
    changed = set(dvc.changed_stages())
    _share_cores(lanes)
    with ThreadPoolExecutor(lanes) as pool:
        try:
            # two waves, since the second reads what the first writes
            for wave in (_datasets(params, changed), ["transfer"] if "transfer" in changed else []):
                list(pool.map(_bring_up_to_date, wave))
            waiting = [stage for stage in LAST if stage in changed]
            list(pool.map(lambda stage: _bring_up_to_date("--single-item", stage), waiting))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            dvc.end_all()
            raise
    _bring_up_to_date()  # whatever else dvc.yaml may hold


def _datasets(params: Params, changed: set[str]) -> list[str]:
    """Return the last stage of every dataset that has any to run, then of the transfer's training.

    The transfer comes last: it draws its source's pictures, if no dataset's stage has.
    """
    of = {stage.split("@")[1] for stage in changed if "@" in stage}
    wanted = [f"evaluate@{dataset}" for dataset in params.datasets if dataset in of]
    own = {"prepare-transfer", "cache-transfer", "train-transfer"}
    return [*wanted, "train-transfer"] if own & changed else wanted


def _bring_up_to_date(*words: str) -> None:
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
        print(f"error: a stage failed; the lanes' other results stay.\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
