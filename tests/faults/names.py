"""Hostile names of datasets, classes, pictures, runs and outputs: taken as names, or refused."""

import os
from collections.abc import Sequence
from pathlib import Path

from .chance import Random, one_of
from .commands import DVC, RUN
from .outcome import BAD, Mark, gone, has_traceback, is_named
from .project import PARAMS, Project, write_params
from .trial import Trial

NAMES = (
    *("x; touch made", "$(touch made)", "`touch made`", "x | touch made", "x\ntouch made"),
    *("x&&touch made", "=cmd|' /C made'!A0", "<script>made</script>", "../up", "..", ".", "/made"),
    *("~", "~root", "-rf", "--help", "a b", " a", "a ", "a'b", 'a"b', "a\\b", "a/b", "$HOME"),
    *("${made}", "%s", "{0}", "{made}", "*", "?", "[a]", "#a", "@here", "a@b", "a:b", "::"),
    *("http://made", "memory://made", "NUL", ".hidden", "\u00e9", "e\u0301", "日本", "\u202ea"),
    *("a\tb", "\x1b[31ma", "null", "1e3", "true", "here ", "x" * 300, ""),
)
UNCONCERNED = ("pictures/", "model/", "plans/here/", "caches/here/")
"""Below these is nothing that a command changes for the sake of a name."""

STAGES = ("prepare-crops", "cache-teacher", "train-student", "evaluate")
WHERE = ("dataset", "dataset under DVC", "class", "picture", "run", "output", "model")


def hostile_name(project: Project, random: Random) -> Trial | None:
    """Give something a hostile name; nothing but what has it may come of that."""
    name = one_of(random, NAMES)
    where = one_of(random, WHERE)
    project.put_back()
    commands = _named(project, where, name)
    if commands is None:
        return None
    before, around = project.files(), set(project.folder.iterdir())
    marks = {Mark.RIGHT}
    for words in commands:
        ran = project.run(words)
        if has_traceback(ran):
            marks.add(Mark.TRACEBACK)
        elif ran.code:
            marks.add(Mark.NAMED if is_named(ran, ()) else Mark.UNCLEAR)
        if ran.code:
            break
    if commands[0] == DVC.words:  # it takes outputs away before it makes them
        write_params(project.place, PARAMS)
        project.run(DVC.words)
    after = project.files()
    strange = {path for path in set(after) - set(before) if Path(path).name == "made"}
    made = os.path.lexists("/made") or set(project.folder.iterdir()) - around
    if strange or made:
        marks.add(Mark.WRONG)
    whole = {path: one for path, one in before.items() if path.startswith(UNCONCERNED)}
    if gone(whole, after, whole, ()):
        marks.add(Mark.LOST)
    if marks & BAD:
        marks.discard(Mark.RIGHT)
    lines = (ran.err or ran.out).strip().splitlines()
    said = f"{ran.code} {lines[-1][:300] if lines else ''}"
    return Trial("hostile name", f"{where} {name[:40]!r}", " ".join(words), frozenset(marks), said)


def _named(project: Project, where: str, name: str) -> list[Sequence[str]] | None:
    """Give the name; return the commands that meet it, None where the system has no such names."""
    here = project.place / "pictures" / "here"
    if where.startswith("dataset"):
        own = {name: {"folder": "pictures/there"}, "here": {"folder": "pictures/here"}}
        both = {**PARAMS, "datasets": ["here", name], "data": {"own": own}}
        write_params(project.place, both)
        under_dvc = where != "dataset"
        return [DVC.words] if under_dvc else [("fdbpl", stage, "--", name) for stage in STAGES]
    if where == "run":
        return [("fdbpl", "prepare-crops", "here", f"--run={name}")]
    if where == "output":
        return [("fdbpl", "pack", "here", "--run", Path(RUN).name, f"--out={name}")]
    if where == "model":
        return [("fdbpl", "predict", "--json", "--", name, "pictures/here/test/cat")]
    old = here / "train" / ("cat" if where == "class" else "cat/0.png")
    try:
        old.rename(old.with_name(name + old.suffix))
        if where == "class":
            (here / "test" / "cat").rename(here / "test" / name)
    except (OSError, ValueError):  # too long, or a path
        return None
    stages = [("fdbpl", stage, "here") for stage in STAGES]
    return [*stages, ("fdbpl", "predict", "model", "pictures/here/train", "--csv")]
