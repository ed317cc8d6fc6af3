"""A deadline for calls that keep none: most clients of remote stores wait for ever, or for an hour.

A call is given up, not ended, since nothing ends a thread: it goes on beside its caller, and the
end of the process does not wait for it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

Result = TypeVar("Result")


def within(seconds: float, action: Callable[[], Result], more: Callable[[], float]) -> Result:
    """Return action(), or raise what it raises.

    Args:
        seconds: to wait for it.
        action: the call.
        more: asked when they are over; waited for as long. Returns how many seconds more the call
            may take; what it raises says only that there was an answer.

    Raises:
        TimeoutError: the call did not end, or `more` did not.
    """
    call = _started(action)
    if not wait([call], seconds).done:
        asked = _started(more)
        both: list[Future[Any]] = [call, asked]
        if not wait(both, seconds, FIRST_COMPLETED).done:
            raise TimeoutError(f"no answer within {2 * seconds:g} s")
        grace = asked.result() if asked.done() and not asked.exception() else 0.0
        if not wait([call], grace).done:
            raise TimeoutError(f"no end within {seconds + grace:g} s")
    return call.result()


def _started(action: Callable[[], Result]) -> "Future[Result]":
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # for whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
