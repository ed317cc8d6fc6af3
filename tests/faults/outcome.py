"""What became of a trial: the judge, which knows nothing of how faults are made."""

import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path

from .child import Ran

Tree = Mapping[str, str]
"""Digests of files, by their path in the project."""

DATABASE = ".fdbpl/mlflow/"
"""Below it each path stands for a run that MLflow shows."""
NEXT_STEP = re.compile(
    r"\b(run|add|make|move|take|name|change|check|wanted|fetch|free|mend|put|remove|give|say|restore|"
    r"install|choose|write|delete|build|get|learn)\b",
    re.IGNORECASE,
)
REMEDY = re.compile(r"\b[Rr]un `?((?:fdbpl|dvc|python -m) [^`]*?)`? (?:first|again|once|to)\b")
DVCS_OWN = re.compile(r"dvc\.lock' (is invalid|validation failed)")
STAGE = re.compile(r"\b[Rr]un (prepare-crops|cache-teacher|train-student|evaluate)\b")


class Mark(StrEnum):
    """What may be said of a trial, several at once."""

    NAMED = "named"
    RIGHT = "right afterwards"
    LOST = "lost"
    WRONG = "wrong accepted"
    TRACEBACK = "traceback"
    UNCLEAR = "unclear"


BAD = frozenset({Mark.LOST, Mark.WRONG, Mark.TRACEBACK, Mark.UNCLEAR})


@dataclass(frozen=True)
class Step:
    """A command that was run, and the files before and after."""

    ran: Ran
    before: Tree
    after: Tree


def judge(
    first: Step,
    last: Step,
    *,
    wanted: Tree,
    wanted_out: str | None = None,
    touched: Collection[str] = (),
    makes: Collection[str] = (),
    interrupted: bool = False,
    names: Collection[str] = (),
    goes_on: bool = False,
) -> frozenset[Mark]:
    """Say what became of a trial.

    Args:
        first: the command that met the fault.
        last: the same command after all that was named as the next step; `first` where it did
            all that it should.
        wanted: the files that it leaves in a sound project.
        wanted_out: what it then says, where that counts.
        touched: paths that the fault changed.
        makes: patterns of the paths that the command writes.
        interrupted: whether an earlier command was, whose results may come again by the last.
        names: words of which an error must have one; none where any will do.
        goes_on: whether the command may do without what is damaged, if it says so.
    """
    excused = {path for path in touched if not any(fnmatch(path, one) for one in makes)}

    def is_right(step: Step) -> bool:
        said = wanted_out is None or step.ran.out == wanted_out
        return step.ran.code == 0 and said and not differing(step.after, wanted, excused)

    def is_gone(step: Step) -> bool:
        written = makes if step.ran.code == 0 else ()  # that is judged above
        lost = gone(step.before, step.after, wanted, touched)
        return any(not any(fnmatch(path, one) for one in written) for path in lost)

    marks = {Mark.TRACEBACK for step in (first, last) if has_traceback(step.ran)}
    if not is_right(first) and not has_traceback(first.ran):
        if (first.ran.code or goes_on) and is_named(first.ran, names):
            marks.add(Mark.NAMED)
        else:
            marks.add(Mark.UNCLEAR if first.ran.code else Mark.WRONG)
    if last.ran.code == 0 and not is_right(last):
        marks.add(Mark.WRONG)
    if last.ran.code or is_gone(last) or (is_gone(first) and not interrupted):
        marks.add(Mark.LOST)
    if not marks & {Mark.LOST, Mark.WRONG}:
        marks.add(Mark.RIGHT)
    return frozenset(marks)


def differing(found: Tree, wanted: Tree, excused: Collection[str] = ()) -> list[str]:
    """Return the paths of `wanted` that are missing or have another content, but those excused."""
    return sorted(
        path for path, digest in wanted.items() if path not in excused and found.get(path) != digest
    )


def gone(before: Tree, after: Tree, wanted: Tree, touched: Collection[str]) -> list[str]:
    """Return the results that were whole before a command, and are neither that nor new after."""
    return sorted(
        path
        for path, digest in before.items()
        if path in wanted and path not in touched and after.get(path) not in {digest, wanted[path]}
    )


def has_traceback(ran: Ran) -> bool:
    """Tell whether a command ended by no decision of its own: a traceback, a signal, a hang."""
    return "Traceback (most recent call last)" in ran.out + ran.err or ran.code < 0


def is_named(ran: Ran, names: Collection[str]) -> bool:
    """Tell whether an error says in one line what it met, where, and what to do next."""
    lines = [line for line in ran.err.splitlines() if line.startswith(("error: ", "ERROR: "))]
    lines += ran.out.splitlines()  # notes, and the answer of what looks for faults
    if DVCS_OWN.search(ran.err):  # before any stage of ours begins
        return True
    names = list(names)
    return any(  # DVC says no next step
        (line.startswith("ERROR") or NEXT_STEP.search(line))
        and (not names or any(name in line for name in names))
        for line in lines
    )


def to_delete(ran: Ran, touched: Iterable[str]) -> list[str]:
    """Return the paths that a command says to delete, of those that a fault changed."""
    lines = [line for line in (ran.err + ran.out).splitlines() if "delete it" in line]
    return [path for path in touched if any(Path(path).name in line for line in lines)]


def remedies(ran: Ran, dataset: str) -> list[Sequence[str]]:
    """Return the commands that an error names as the next step, in order, each once.

    dataset: whose stage is meant where an error names a stage alone.
    """
    said = " ".join((ran.err + ran.out).split())
    found = [tuple(shlex.split(words)) for words in REMEDY.findall(said)]
    found += [("fdbpl", stage, dataset) for stage in STAGE.findall(said)]
    return list(dict.fromkeys(found))
