"""A flow run that ends when the worker that started it is gone: nobody could cancel it any more."""

import os
import signal
import threading
import time

from prefect.runtime import deployment

SECONDS = 1.0


def end_with_parent() -> None:
    """Watch the parent of a deployed run; once it has died, end as if it had been cancelled."""
    if deployment.id:
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
