"""The stages, one module each: read inputs from a workspace, write outputs into it."""

import atexit
import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from fdbpl.settings.params import Params
from fdbpl.stages.tasks import learning
from fdbpl.system.files import whole_folder
from fdbpl.system.workspace import Workspace

# Before any stage loads torch: threads that wait for work shall sleep. By default they spin, and
# two processes on the same cores then keep each other from working (measured: encoding 25 times
# slower). A user's own setting stands.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

PER_DATASET = ("prepare_crops", "cache_teacher", "train_student", "evaluate")
OVER_ALL = ("compare", "ood")
ENCODING = ("cache_teacher",)


def run_stage(
    stage: str,
    params: Params,
    work: Workspace,
    dataset: str | None,
    open_pool: Callable[..., Any] | None = None,
) -> list[str]:
    """Run one stage and return what to tell the user.

    open_pool: opens the workers of a stage that encodes (an OpenPool of fdbpl.stages.workers);
    those on this machine when not given.

    Imports the stage alone, because planning and evaluating need neither torch nor open_clip, nor
    does training where nothing is learned.
    """
    if stage == "train_student" and dataset and not learning(params, dataset):
        return learn_nothing(params, dataset, work)
    function = getattr(load(f"fdbpl.stages.{stage}"), stage)
    inputs = (params, work) if stage in OVER_ALL else (params, dataset, work)
    options = {"open_pool": open_pool} if open_pool and stage in ENCODING else {}
    lines: list[str] = function(*inputs, **options)
    return lines


def learn_nothing(params: Params, dataset: str, work: Workspace) -> list[str]:
    """Write the empty folder of a dataset that is only tested on."""
    with whole_folder(work.prompts_of(dataset)):
        work.before_writing()
        return [f"{dataset}: nothing is learned here under {', '.join(params.protocols)}"]


def load(name: str) -> ModuleType:
    """Import a module without looking for garbage among what it brings, then or later.

    Modules stay. Looking through torch's, again and again, takes about a sixth of the import's
    time.
    """
    if name in sys.modules:
        return import_module(name)  # which waits, if another thread is still at it
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # or libraries complain at the end of what they find there
        if was_enabled:
            gc.enable()
