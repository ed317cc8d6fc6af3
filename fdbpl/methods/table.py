"""The table of methods: what each starts from and minimises."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fdbpl.methods.batch import Objective
from fdbpl.methods.coop import coop
from fdbpl.methods.fdbpl import Fdbpl
from fdbpl.methods.inference import POSITIVE_ONLY, Inference
from fdbpl.methods.kdpl import kdpl
from fdbpl.methods.kdpl_w import kdpl_w
from fdbpl.methods.kgcoop import kgcoop
from fdbpl.methods.names import FROM_REGIONS
from fdbpl.methods.options import PRESETS, FdbplOptions, with_overrides, without_inference
from fdbpl.system.errors import UserError

POSITIVE = "a photo of a"


@dataclass(frozen=True)
class Method:
    """A trained method.

    Attributes:
        name: as in `params.yaml`.
        training: what its contexts depend on; methods that agree in it learn the same ones.
        starts: the words each context starts from: the positive, then perhaps the negative; none
            for a method that learns no context.
        objective: what training minimises; None where nothing is learned.
        options: what distinguishes it, for the record.
        inference: how its prompts classify.
        diagnose: values that show whether the objective's parts are alive, where it has any.
    """

    name: str
    training: tuple[Any, ...]
    starts: tuple[str, ...]
    objective: Objective | None
    options: Mapping[str, Any]
    inference: Inference = POSITIVE_ONLY
    diagnose: Objective | None = None


_OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {"coop": coop, "kgcoop": kgcoop, "kdpl": kdpl, "kdpl_w": kdpl_w}
)
_OURS = PRESETS["fdbpl"]
_MEMORY = Inference(
    template_share=_OURS.template_share,
    memory_share=_OURS.memory_share,
    bridge_share=_OURS.bridge_share,
)
"""What `fdbpl` decides by beside its two contexts: rows that have it show what contexts add."""

_WITH_MEMORY: Mapping[str, str] = MappingProxyType({"coop_memory": "coop", "kdpl_memory": "kdpl"})
_CLOSED_FORM: Mapping[str, Inference] = MappingProxyType(
    {
        "template_memory": _MEMORY,
        "gda_teacher": Inference(template_share=1.0, memory_share=_OURS.memory_share, gda=True),
    }
)


def trained_method(name: str, overrides: Mapping[str, Any] | None = None) -> Method:
    """Return the trained method called `name`, an FDBPL preset perhaps with changed options.

    Raises:
        UserError: no trained method has this name, or it has no options, or not these.
    """
    if name in PRESETS:
        return _preset(name, with_overrides(name, overrides or {}))
    if name not in FROM_REGIONS:
        wanted = ", ".join(FROM_REGIONS)
        raise UserError(f"method {name!r} does not learn from regions, wanted one of {wanted}.")
    if overrides:
        raise UserError(f"method {name!r} has no options, found {dict(overrides)}.")
    if name in _CLOSED_FORM:
        return Method(name, (), (), None, {}, _CLOSED_FORM[name])
    learned = _WITH_MEMORY.get(name, name)
    inference = _MEMORY if name in _WITH_MEMORY else POSITIVE_ONLY
    return Method(name, (learned,), (POSITIVE,), _OBJECTIVES[learned], {}, inference)


def _preset(name: str, options: FdbplOptions) -> Method:
    objective = Fdbpl(options)
    return Method(
        name,
        ("fdbpl", without_inference(options)),
        (POSITIVE, options.negative_start),
        objective,
        options.model_dump(),
        Inference(
            options.negative_share if options.inference == "difference" else 0.0,
            options.template_share,
            options.memory_share,
            options.bridge_share,
        ),
        objective.diagnose,
    )
