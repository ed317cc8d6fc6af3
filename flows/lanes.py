"""All of DVC's stages, datasets side by side: python -m flows.lanes [LANES].

What `dvc repro` does, in as many lanes as there are cores, two at most unless LANES says another
number. The source's caches come first, which every training may read. Then lanes learn on one
dataset after another, then evaluate one after another, and whatever depends on all of them follows.
They bring up single items, because a lane that looked at all that they rest on would want to write
it. Stages of small models keep one core busy at best, so that lanes are what uses the others.
"""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fdbpl.settings.params import DEFAULT_PATH, Params, read_params
from fdbpl.system.errors import INTERRUPTED, USER_MISTAKE, UserError
from fdbpl.system.terminal import replace_unknown_letters
from flows import dvc, dvc_files
from flows.repair import repair

AT_ONCE = 2
HOURS = 24 * 7  # of a stage chain; whoever wants less interrupts it
_speaking = threading.Lock()


def run(lanes: int) -> None:
    """Bring everything up to date, in so many lanes.

    Raises:
        DvcFailed: stages failed; the other datasets were still brought up to date.
    """
    params = read_params(DEFAULT_PATH)
    dvc_files.require_git()
    for line in repair():
        print(line, flush=True)
    dvc.bring_parameters_up_to_date(_say_of("parameters"))
    changed = set(dvc.changed_stages())
    _share_cores(lanes)
    failures: dict[str, str] = {}
    with ThreadPoolExecutor(lanes) as pool:
        try:
            for wave in _waves(params, changed) if changed else []:
                failed = {target.split("@")[-1] for target in failures}
                if failures and not any("@" in words[-1] for words in wave):
                    break  # it reads all datasets
                left = [words for words in wave if words[-1].split("@")[-1] not in failed]
                failures |= _together(pool, left)
        except BaseException:
            dvc.end_all()
            raise
    if failures:
        raise dvc.DvcFailed("\n".join(failures.values()))
    _bring_up_to_date([])  # whatever else dvc.yaml may hold


def _together(pool: ThreadPoolExecutor, wave: Sequence[Sequence[str]]) -> dict[str, str]:
    """Run `dvc repro` with each of the words; return what failed, by target."""
    runs = {words[-1]: pool.submit(_bring_up_to_date, words) for words in wave}
    try:
        errors = {target: run.exception() for target, run in runs.items()}
    except BaseException:  # interrupted: those that wait shall not begin
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return {target: str(error) for target, error in errors.items() if error}


def _waves(params: Params, changed: set[str]) -> list[list[list[str]]]:
    """Return the targets of every wave: each reads what the one before it writes.

    Learning waits for the source's caches. The source is learned on first, since all its classes
    take longest. Evaluating waits for that: every dataset's rests on the source's prompts.
    """
    source = params.source
    ordered = sorted(params.datasets, key=lambda name: name != source)
    is_cached = not changed & {f"{stage}@{source}" for stage in dvc.CACHING}
    learned = [f"{stage}@" for stage in (*dvc.CACHING, *dvc.TRAINING)]
    learning = [
        name for name in ordered if not is_cached or changed & {stage + name for stage in learned}
    ]
    evaluating = [name for name in ordered if name in learning or f"evaluate@{name}" in changed]
    if source in learning:
        evaluating = ordered
    return [
        [] if is_cached else [dvc.single_items(dvc.CACHING, source)],
        [dvc.learning(name, source) for name in learning],
        [["--single-item", f"evaluate@{name}"] for name in evaluating],
        [["--single-item", stage] for stage in ("compare", "ood")],
    ]


def _bring_up_to_date(words: Sequence[str]) -> None:
    """Run `dvc repro`, every line under the name of what is brought up to date."""
    name = words[-1].split("@")[-1] if words else "all"
    dvc.repro(*words, seconds=3600 * HOURS, log=_say_of(name))


def _say_of(name: str) -> Callable[[str], None]:
    """Return what prints a line under a name."""

    def say(line: str) -> None:
        if line:
            with _speaking:
                print(f"{name:<14} {line}", flush=True)

    return say


def _share_cores(lanes: int) -> None:
    """Let every lane's numerics use its share of the cores; a user's own setting stands."""
    share = max(1, (os.cpu_count() or 1) // lanes)
    os.environ.setdefault("OMP_NUM_THREADS", str(share))


def main(words: Sequence[str]) -> int:
    """Run with the command line's words; return the exit code."""
    replace_unknown_letters()
    try:
        wanted = words[0] if words else str(min(AT_ONCE, os.cpu_count() or 1))
        if len(words) > 1 or not wanted.isdecimal() or int(wanted) < 1:
            raise UserError(f"LANES is {' '.join(words)!r}, wanted one number of 1 or more.")
        run(int(wanted))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print(
            "interrupted; what was done stays, and the next run goes on from there", file=sys.stderr
        )
        return INTERRUPTED
    except dvc.DvcFailed as error:
        print(f"error: stages failed; what else was done stays.\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
