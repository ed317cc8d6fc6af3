"""Class names as people write them, and as they are said in a prompt."""

import unicodedata
from collections.abc import Iterable

from fdbpl.system.errors import UserError


def spoken(name: str) -> str:
    """Return a class name as it is said in a prompt.

    Underscores become spaces, spaces are single, and a letter with its accent is one character
    (Unicode's form NFC), however the keyboard or file system spelt it.
    """
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split())


def require_distinct(names: Iterable[tuple[str, str]]) -> None:
    """Refuse two classes of one name, in a dataset of the user's own.

    Published datasets may have them: ImageNet has two classes "missile", and keeps them.

    Args:
        names: where each class name stands, and the name as `spoken`.

    Raises:
        UserError: a name is empty, or two are the same to CLIP, which reads lower case only.
    """
    first: dict[str, tuple[str, str]] = {}
    for where, name in names:
        if not name:
            raise UserError(f"{where}: an empty class name, wanted letters to put in a prompt.")
        place, known = first.setdefault(name.lower(), (where, name))
        if place != where:
            raise UserError(
                f"{where}: class name {name!r} is the same to CLIP as {known!r} ({place}), "
                "wanted names that differ. Rename or join them."
            )
