"""The first difference between a record that was found and what is wanted of it."""

import json
from collections.abc import Mapping
from typing import Any


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return (dotted key, found, wanted) of the first difference, in the order of `wanted`.

    None where there is none. Nested mappings are subsets too; a key that is not there is as None.
    Both are of plain JSON values.
    """
    for key, want in wanted.items():
        differs = _at(str(key), found.get(key), want)
        if differs:
            return differs
    return None


def _at(path: str, have: Any, want: Any) -> tuple[str, Any, Any] | None:
    if isinstance(have, list) and isinstance(want, list) and len(have) == len(want):
        have, want = (dict(enumerate(values)) for values in (have, want))
    if not (isinstance(have, dict) and isinstance(want, dict)):
        return None if have == want else (path, have, want)
    inner = difference(have, want)
    return inner and (f"{path}.{inner[0]}", *inner[1:])


def short(value: Any) -> str:
    """Return a value as a message shows it, at most 100 characters."""
    text = "absent" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."
