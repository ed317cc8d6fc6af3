"""The table of methods: what each starts from, needs and minimises."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fdbpl.errors import UserError
from fdbpl.methods.batch import Objective
from fdbpl.methods.coop import coop
from fdbpl.methods.fdbpl import Fdbpl
from fdbpl.methods.kdpl import kdpl
from fdbpl.methods.kdpl_w import kdpl_w
from fdbpl.methods.kgcoop import kgcoop
from fdbpl.methods.names import TRAINED
from fdbpl.methods.options import PRESETS, with_overrides

POSITIVE = "a photo of a"
NEGATIVE = "a photo of no"


@dataclass(frozen=True)
class Method:
    """A trained method.

    Attributes:
        name: as in `params.yaml`.
        starts: the words each context starts from: the positive, then perhaps the negative.
        objective: what training minimises.
        options: what distinguishes it, for the record.
    """

    name: str
    starts: tuple[str, ...]
    objective: Objective
    options: Mapping[str, Any]


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
        return Method(name, (POSITIVE, NEGATIVE), Fdbpl(options), options.model_dump())
    if name not in _PLAIN:
        raise UserError(f"method {name!r} is not trained, wanted one of {', '.join(TRAINED)}.")
    if overrides:
        raise UserError(f"method {name!r} has no options, found {dict(overrides)}.")
    return Method(name, (POSITIVE,), _PLAIN[name], {})
