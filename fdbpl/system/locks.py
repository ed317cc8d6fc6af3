"""Locks of open files, where the system and the file system have them."""

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_WITHOUT = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems without locks answer."""


def lock(handle: int, *, wait: bool = True) -> bool:
    """Lock a file that is open for writing; closing it, or the process's end, frees it.

    A folder will not do: network file systems lock only what is open for writing.

    Returns:
        Whether it is held; False where there are no locks.

    Raises:
        BlockingIOError: another holds it, and this does not wait.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _WITHOUT:
            return False
        raise
    return True


def is_named(handle: int, path: Path) -> bool:
    """Tell whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
