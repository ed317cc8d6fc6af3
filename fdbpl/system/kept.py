"""What takes long to make, kept for the user of a machine, and made again where it is damaged."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fdbpl.system.files import canonical_json, sha256, write_whole

PLACE = "FDBPL_CACHE"
"""The variable that names another folder than fdbpl in the user's cache."""

_DIGEST = 64  # characters before the content


def kept(decides: object, make: Callable[[], bytes]) -> bytes:
    """Return what `make` returns, made once.

    Where the folder cannot be written it is made every time.

    Args:
        decides: plain values of all that decides it.
        make: makes it.
    """
    path = _folder() / f"{sha256(canonical_json(decides))[:40]}.kept"
    with suppress(OSError):
        data = path.read_bytes()
        content = data[_DIGEST:]
        if data[:_DIGEST] == sha256(content).encode():
            return content
    made = make()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, sha256(made).encode() + made)
    return made


def _folder() -> Path:
    named = os.environ.get(PLACE)
    if named:
        return Path(named)
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "fdbpl"
