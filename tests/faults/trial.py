"""One trial: from the sound project, a fault, a command, what it names as next, and the judge."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from .child import Ran
from .commands import Command
from .outcome import BAD, Mark, Step, Tree, differing, judge, remedies, to_delete
from .project import Project, datasets_of

DEPTH = 4
"""How many next steps may rest on each other."""

NOTHING: Callable[[], None] = lambda: None  # noqa: E731
REPAIR = ("fdbpl", "repair")


@dataclass(frozen=True)
class Trial:
    """What became of a trial: of which kind it was, what happened to what, and what was said."""

    kind: str
    fault: str
    command: str
    marks: frozenset[Mark]
    said: str
    number: int = 0

    @property
    def is_bad(self) -> bool:
        return bool(self.marks & BAD)

    def __str__(self) -> str:
        marks = ", ".join(sorted(self.marks))
        return f"{self.number}: {self.kind}: {self.fault}; {self.command}: {marks}\n    {self.said}"


@dataclass(frozen=True)
class Fault:
    """A fault that is there already, or strikes as the command runs.

    touched: paths that it changed; names: words of which an error must have one; begin: called in
    the command's process before it; heal: called before anything is tried again; later: called in
    the processes that then run; again: the commands that make anew what was changed, where no
    error says them; before: the files before an earlier command was interrupted, if one was.
    """

    kind: str
    fault: str
    touched: Collection[str] = ()
    names: Collection[str] = ()
    begin: Callable[[], None] = NOTHING
    heal: Callable[[], None] = NOTHING
    later: Callable[[], None] = NOTHING
    again: Sequence[Sequence[str]] = ()
    before: Tree | None = None


def try_out(project: Project, command: Command, fault: Fault) -> Trial:
    """Run a command under a fault, then what is named as next, and judge."""
    wanted = project.result_of(command)
    before = fault.before or project.files()
    ran = project.run(command.words, fault.begin)
    first = Step(ran, before, project.files())
    fault.heal()
    last = first
    if ran.code or (command.goes_on and differing(first.after, wanted.tree)):
        dataset = datasets_of(fault.touched)[0]
        last = Step(_mended(project, command, fault, ran, dataset), before, project.files())
    marks = judge(
        first,
        last,
        wanted=wanted.tree,
        wanted_out=wanted.out if command.tells else None,
        touched=fault.touched,
        makes=command.makes,
        interrupted=fault.before is not None,
        names=fault.names,
        goes_on=command.goes_on,
    )
    said = " / ".join(_last_line(one) for one in dict.fromkeys((ran, last.ran)))
    return Trial(fault.kind, fault.fault, " ".join(command.words), marks, said)


def _mended(project: Project, command: Command, fault: Fault, ran: Ran, dataset: str) -> Ran:
    """Do what an error names as next, or else repair and make anew; return how the command ends."""

    def run(words: Sequence[str]) -> Ran:
        return project.run(words, fault.later)

    def follow(words: Sequence[str], ran: Ran, depth: int) -> Ran:
        """Run the commands that an error names, then the same again, and so with each of them."""
        deleted = to_delete(ran, fault.touched)
        for path in deleted:
            (project.place / path).unlink(missing_ok=True)
        steps = [step for step in remedies(ran, dataset) if step != tuple(words)]
        if depth == 0 or not (steps or (deleted and ran.code)):
            return ran
        for step in steps:
            follow(step, run(step), depth - 1)
        return follow(words, run(words), depth - 1)

    ran = follow(command.words, ran, DEPTH)
    if ran.code:
        run(REPAIR)
        for again in fault.again or [command.words]:
            follow(again, run(again), DEPTH)
        ran = run(command.words)
    return ran


def _last_line(ran: Ran) -> str:
    lines = [line for line in (ran.err or ran.out).splitlines() if line.strip()]
    return f"{ran.code} {lines[-1] if lines else ''}"[:300]
