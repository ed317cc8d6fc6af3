"""Class names as people write them and as a prompt says them, and vocabularies of them."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from fdbpl.data.disk import numbered_lines
from fdbpl.system.errors import UserError


def spoken(name: str) -> str:
    """Return a class name as it is said in a prompt.

    Underscores become spaces, spaces are single, and a letter with its accent is one character
    (Unicode's form NFC), however the keyboard or file system spelt it.
    """
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split())


def has_control_character(name: str) -> bool:
    """Tell whether a name holds what a terminal would obey, or end a line at."""
    return any(unicodedata.category(letter) == "Cc" for letter in name)


def require_distinct(names: Iterable[tuple[str, str]]) -> None:
    """Refuse two classes of one name, in a dataset of the user's own.

    Published datasets may have them: ImageNet has two classes "missile", and keeps them.

    Args:
        names: where each class name stands, and the name as `spoken`.

    Raises:
        UserError: a name is empty or has control characters, or two are the same to CLIP, which
            reads lower case only.
    """
    first: dict[str, tuple[str, str]] = {}
    for where, name in names:
        if not name:
            raise UserError(f"{where}: an empty class name, wanted letters to put in a prompt.")
        if has_control_character(name):
            raise UserError(f"{where}: class name {name!r} has a control character. Rename it.")
        place, known = first.setdefault(name.lower(), (where, name))
        if place != where:
            raise UserError(
                f"{where}: class name {name!r} is the same to CLIP as {known!r} ({place}), "
                "wanted names that differ. Rename or join them."
            )


def read_names(path: Path, key: str) -> tuple[str, ...]:
    """Return the class names of a text file, one a line, in its order.

    Args:
        path: of the file, UTF-8.
        key: the parameter or option that names it, for errors.

    Raises:
        UserError: the file cannot be read, or two names are the same; see `require_distinct`.
    """
    lines = numbered_lines(path, f"a class name on each line ({key})")
    named = [(f"{path}, line {number}", spoken(line)) for number, line in lines]
    require_distinct(named)
    return tuple(class_name for _, class_name in named)


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
