"""How many threads numpy's matrix products take."""

from contextlib import AbstractContextManager
from functools import cache

import numpy  # noqa: F401 - brings the library whose threads are meant
from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """Return a context in which products take one thread: no bit depends on the machine's cores."""
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries() -> ThreadpoolController:
    """Find the loaded libraries, once: the search takes as long as many of the products here."""
    return ThreadpoolController()
