"""What is printed: a terminal or file of another encoding than UTF-8 takes all of it."""

import io
import sys


def replace_unknown_letters() -> None:
    """Let standard output write letters that its encoding lacks as escapes, as errors are written.

    Class names and paths may hold any; by default the first one would end the program.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
