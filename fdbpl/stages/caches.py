"""Opening the caches of a dataset, sure that they are the ones the parameters ask for."""

from pathlib import Path

from fdbpl.cache.cache import Cache, open_cache
from fdbpl.params import ModelParams, Params
from fdbpl.plan import Plan
from fdbpl.weights import weights_source
from fdbpl.workspace import Workspace


def open_caches(params: Params, plan: Plan, work: Workspace) -> tuple[Cache, Cache]:
    """Open the teacher's and the student's cache of a plan.

    Raises:
        UserError: one is missing or damaged, or was made from another plan or by another model
            than the parameters name; the message says which field differs.
    """
    teacher = _open(work.cache(plan.name, "teacher"), plan, params, params.teacher)
    student = _open(work.cache(plan.name, "student"), plan, params, params.student)
    return teacher, student


def _open(folder: Path, plan: Plan, params: Params, model: ModelParams) -> Cache:
    encoder = {"architecture": model.architecture, "precision": model.precision}
    if model.activation is not None:
        encoder["activation"] = model.activation
    return open_cache(
        folder,
        {
            "plan": plan.digest,
            "model": {"source": weights_source(model)},
            "encoder": encoder,
            "dtype": f"<f{2 if params.cache.dtype == 'float16' else 4}",
        },
    )
