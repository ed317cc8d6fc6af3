"""The errors a user can mend, and the line that tells each."""

import errno
import re
import sys
from collections.abc import Callable

USER_MISTAKE, INTERRUPTED = 2, 130
"""Exit codes."""

_REMEDIES = {
    errno.EACCES: "Change the rights there, or name another place",
    errno.EPERM: "Change the rights there, or name another place",
    errno.EROFS: "Name a place that can be written",
    errno.ENOSPC: "Make room on that disk, or work on another",
    errno.EDQUOT: "Make room on that disk, or work on another",
    errno.EEXIST: "Move away the file that stands where a folder is wanted",
    errno.ENOTDIR: "Move away the file that stands where a folder is wanted",
    errno.EISDIR: "Move away the folder that stands where a file is wanted",
    errno.ENOENT: "Make what is missing, or name another place",
}


class UserError(Exception):
    """A mistake in the user's input: parameters, data or weights.

    The message names the file or key, the value found, the value wanted and the next step.
    The command line prints it on one line and ends with exit code 2, without a traceback.
    """


def told(error: UserError | OSError) -> str | None:
    """Return the line that tells an error to the user.

    None for an error of the system that names no file: nobody could say from it what to mend.
    """
    if isinstance(error, UserError):
        return _one_line(str(error))
    if error.filename is None:
        return None
    remedy = _REMEDIES.get(error.errno or 0, "Check that place and its disk")
    return _one_line(f"{error.filename}: {error.strerror or error}. {remedy}, then run again.")


def _one_line(text: str) -> str:
    """Return a text in which a path's line ends and other control characters are escaped."""
    return re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], text)


def exit_code(action: Callable[[], None]) -> int:
    """Run what a command does; return the exit code, after a line about what the user can mend."""
    try:
        action()
    except (UserError, OSError) as error:
        line = told(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0
