"""Threads that are to end."""

import threading
import time


def threads_end(before: int) -> None:
    """Threads come to be as many as before, soon."""
    until = time.monotonic() + 10
    while threading.active_count() > before:
        assert time.monotonic() < until
        time.sleep(0.001)
