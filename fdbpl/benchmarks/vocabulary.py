"""Vocabularies: the names that class-agnostic training learns from in place of class names."""

from pathlib import Path

from fdbpl.benchmarks.lines import numbered_lines
from fdbpl.benchmarks.names import spoken
from fdbpl.system.errors import UserError

IMAGENET = "imagenet"


def read_vocabulary(source: str) -> tuple[str, ...]:
    """Return the names of a vocabulary, in its order, each once.

    Names that are the same to CLIP, which reads lower case only, are taken once: two of them would
    halve each other's probability.

    Args:
        source: "imagenet" for the names of ImageNet's classes that open_clip ships, or a UTF-8
            text file with a name on each line.

    Raises:
        UserError: the file is missing, unreadable or not UTF-8, or has fewer than two names.
    """
    wanted = f"a name on each line (data.vocabulary), or {IMAGENET!r}"
    if source == IMAGENET:
        from open_clip import IMAGENET_CLASSNAMES  # loads torch, and only this vocabulary needs it

        lines = list(IMAGENET_CLASSNAMES)
    else:
        lines = [line for _, line in numbered_lines(Path(source), wanted)]
    names: dict[str, str] = {}
    for name in map(spoken, lines):
        if name:
            names.setdefault(name.lower(), name)
    if len(names) < 2:
        raise UserError(f"{source}: {len(names)} names in it, wanted at least 2: {wanted}.")
    return tuple(names.values())
