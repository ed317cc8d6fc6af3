"""The table of methods: what each starts from, needs and minimises."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fdbpl.errors import UserError
from fdbpl.methods.batch import Extra, Objective
from fdbpl.methods.coop import coop
from fdbpl.methods.fdbpl import Fdbpl
from fdbpl.methods.inference import POSITIVE_ONLY, Inference
from fdbpl.methods.kdpl import kdpl
from fdbpl.methods.kdpl_w import kdpl_w
from fdbpl.methods.kgcoop import kgcoop
from fdbpl.methods.names import TRAINED
from fdbpl.methods.options import PRESETS, with_overrides, without_inference

POSITIVE = "a photo of a"


@dataclass(frozen=True)
class Method:
    """A trained method.

    Attributes:
        name: as in `params.yaml`.
        training: what its contexts depend on; methods that agree in it learn the same ones.
        starts: the words each context starts from: the positive, then perhaps the negative.
        objective: what training minimises.
        options: what distinguishes it, for the record.
        inference: how its prompts classify.
        needs: what the objective must know of the training cache as a whole.
        diagnose: values that show whether the objective's parts are alive, where it has any.
    """

    name: str
    training: tuple[Any, ...]
    starts: tuple[str, ...]
    objective: Objective
    options: Mapping[str, Any]
    inference: Inference = POSITIVE_ONLY
    needs: frozenset[Extra] = frozenset()
    diagnose: Objective | None = None


_PLAIN: Mapping[str, Objective] = {
    "coop": coop,
    "kgcoop": kgcoop,
    "kdpl": kdpl,
    "kdpl_w": kdpl_w,
}


def trained_method(name: str, overrides: Mapping[str, Any] | None = None) -> Method:
    """Return the trained method called `name`, an FDBPL preset perhaps with changed options.

    Raises:
        UserError: no trained method has this name, or it has no options, or not these.
    """
    if name in PRESETS:
        options = with_overrides(name, overrides or {})
        objective = Fdbpl(options)
        share = options.negative_share if options.inference == "difference" else 0.0
        return Method(
            name,
            ("fdbpl", without_inference(options)),
            (POSITIVE, options.negative_start),
            objective,
            options.model_dump(),
            Inference(share, options.template_share, options.memory_share, options.bridge_share),
            objective.needs,
            objective.diagnose,
        )
    if name not in _PLAIN:
        raise UserError(f"method {name!r} is not trained, wanted one of {', '.join(TRAINED)}.")
    if overrides:
        raise UserError(f"method {name!r} has no options, found {dict(overrides)}.")
    return Method(name, (name,), (POSITIVE,), _PLAIN[name], {})
