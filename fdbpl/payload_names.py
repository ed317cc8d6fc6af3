"""Names of payloads, apart from the arithmetic so that checking them needs none of it."""

import re

WANTED = "float32, float16, int8, logits, or top and a number such as top16"


def require_known(name: str) -> None:
    """Raise ValueError, saying what is wanted, for a name that no payload has."""
    if not re.fullmatch(r"float32|float16|int8|logits|top[1-9]\d{0,4}", name):
        raise ValueError(WANTED)


def is_of_classes(name: str) -> bool:
    """Tell whether a payload's name is one of logits, which are tied to a class list."""
    return name.startswith(("logits", "top"))


def of_role(name: str, role: str) -> str:
    """Return the payload of a role's cache: prompts are learned on the student's features."""
    return "float16" if role == "student" and is_of_classes(name) else name
