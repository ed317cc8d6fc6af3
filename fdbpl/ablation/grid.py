"""The grid of an ablation: which settings differ from the reference, and in what. No I/O."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from fdbpl.methods.options import PRESETS, FdbplOptions
from fdbpl.methods.registry import find_method
from fdbpl.settings.params import Params, check_params
from fdbpl.system.errors import UserError

REFERENCE = "reference"

Changes = Mapping[str, Any]
"""Values by dotted key, as `--vary` names them."""

PAIRING = ("datasets", "development", "methods", "seeds", "data", "transfer")
"""Keys that cannot vary: a difference is taken between equal datasets and seeds."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Factor:
    """One key and the values it takes."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Setting:
    """Parameters, and in what they differ from the reference's: nothing for the reference."""

    changes: Changes
    params: Params

    @property
    def name(self) -> str:
        """What a table calls it."""
        return ", ".join(f"{key}={spell(value)}" for key, value in self.changes.items()) or (
            REFERENCE
        )


def parse_factor(text: str) -> Factor:
    """Read KEY=VALUE,VALUE...; a pair of numbers is written 0.08:1, other values as in YAML.

    Raises:
        UserError: no key, no value, or a value that YAML cannot read.
    """
    key, equals, values = text.partition("=")
    words = [word.strip() for word in values.split(",")]
    if not (key.strip() and equals and all(words)):
        raise UserError(f"--vary is {text!r}, wanted KEY=VALUE,VALUE such as train.batch=32,128.")
    return Factor(key.strip(), tuple(_value(word, text) for word in words))


def _value(word: str, text: str) -> Any:
    parts = word.split(":")
    if all(_NUMBER.fullmatch(part) for part in parts):  # YAML reads 1:30 as 90, and 1e-3 as text
        numbers = [int(part) if part.lstrip("+-").isdigit() else float(part) for part in parts]
        return numbers if len(numbers) > 1 else numbers[0]
    try:
        return yaml.safe_load(word)
    except yaml.YAMLError:
        raise UserError(f"--vary is {text!r}: {word!r} is no value of YAML.") from None


def spell(value: Any) -> str:
    """Return a value as `--vary` takes it: a pair as 0.08:1, and no needless zeros."""
    if isinstance(value, list | tuple):
        return ":".join(spell(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def settings_of(params: Params, factors: Sequence[Factor], *, cross: bool) -> list[Setting]:
    """Return the reference, then every setting that differs from it, each once.

    Args:
        params: the reference.
        factors: what varies.
        cross: whether to take the product of all factors; else one factor varies at a time.

    Raises:
        UserError: a key that does not exist, may not vary or stands twice, or a wrong value.
    """
    keys = [factor.key for factor in factors]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise UserError(f"--vary {twice[0]} stands twice, wanted all its values in one --vary.")
    reference = changed(params, {})
    found = [Setting({}, reference)]
    for changes in _product(factors) if cross else _one_at_a_time(factors):
        differing = {
            key: value
            for key, value in changes.items()
            if changed(params, {key: value}) != reference
        }
        setting = Setting(differing, changed(params, differing))
        if setting.params not in [other.params for other in found]:
            found.append(setting)
    return found


def _one_at_a_time(factors: Sequence[Factor]) -> Iterator[Changes]:
    for factor in factors:
        for value in factor.values:
            yield {factor.key: value}


def _product(factors: Sequence[Factor]) -> Iterator[Changes]:
    for values in itertools.product(*(factor.values for factor in factors)):
        yield dict(zip((factor.key for factor in factors), values, strict=True))


def changed(params: Params, changes: Changes) -> Params:
    """Return parameters with some values changed, checked as if they stood in params.yaml.

    Raises:
        UserError: naming the key, and the values or keys that are allowed there.
    """
    raw = params.model_dump(mode="json")
    for key, value in changes.items():
        preset, _, option = key.partition(".")
        if preset in PAIRING:
            raise UserError(
                f"--vary {key}: {preset} cannot vary, since differences are taken between equal "
                "datasets and seeds. Use --datasets, --methods or --seeds."
            )
        if preset in PRESETS:
            _put(raw["objectives"], (preset, option), value, key)
        else:
            _put(raw, key.split("."), value, key)
    checked = check_params(raw, source="--vary")
    return checked.model_copy(update={"objectives": _whole_objectives(checked)})


def _put(raw: dict[str, Any], keys: Sequence[str], value: Any, whole: str) -> None:
    section = raw
    for part in keys[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise UserError(f"--vary {whole}: {part} has no keys below it.")
    section[keys[-1]] = value


def _whole_objectives(params: Params) -> dict[str, dict[str, Any]]:
    """Drop options that say what the preset says anyway, so that equal settings are equal."""
    kept = {}
    for preset, options in params.objectives.items():
        own = PRESETS[preset].model_dump()
        different = {name: value for name, value in options.items() if own[name] != value}
        if different:
            kept[preset] = different
    return kept


def default_factors(params: Params, preset: str = "fdbpl") -> list[Factor]:
    """Return the grid that is taken when none is named.

    Regions: how many and how large; the payload; then every option of the preset that bears on
    anything. Options are read from their model, so that a new one is in the grid without a word
    here.
    """
    own = find_method(preset, params.objectives.get(preset)).options
    factors = [
        Factor("regions.per_image", (1, 2, 5, 10, 20, 50)),
        Factor("regions.scale", ([0.08, 1.0], [0.3, 1.0], [0.08, 0.3])),
        Factor("cache.payload", ("float32", "float16", "int8")),
    ]
    for name in (option for option in FdbplOptions.model_fields if _is_read(option, own)):
        values = tuple(value for value in _alternatives(name, own) if _allowed(preset, name, value))
        if values:
            factors.append(Factor(f"{preset}.{name}", values))
    return factors


def _alternatives(name: str, own: FdbplOptions) -> tuple[Any, ...]:
    """Return what to try in place of an option's own value.

    A word: every other word. A term's weight: nothing and double; if it is nothing, the option's
    default. A share in what decides: nothing, half, double, and a
    hundred times, which leaves hardly anything else. Another number: half and double.
    """
    value, field = getattr(own, name), FdbplOptions.model_fields[name]
    margins = dict(zip(("first_margin", "second_margin"), own.margins, strict=True))
    value = margins.get(name, value)  # None stands for the margin of the unit
    words = getattr(field.annotation, "__args__", ())
    kind = name.rpartition("_")[2]
    if isinstance(value, str):
        return tuple(word for word in words if isinstance(word, str) and word != value)
    if not isinstance(value, int | float):
        return ()
    if kind == "share":
        return (0.0, value / 2, 2 * value, 100 * value) if value else ()
    if kind == "weight":
        return (0.0, 2 * value) if value else (field.get_default(),)
    return (value // 2 if isinstance(value, int) else value / 2, 2 * value)


def _is_read(name: str, own: FdbplOptions) -> bool:
    """Return whether an option bears on anything: whether the term that reads it counts."""
    weighs = own.weight != "none"  # else all regions inform, and there is nothing to reject
    read_where = {
        "weight_power": weighs,
        "weight_floor": False,  # there for what the released code computes, not to be chosen
        "normalise": weighs,
        "rejection": weighs and own.rejection_weight > 0,
        "rejection_weight": weighs,
        "difference_unit": own.first_weight + own.second_weight > 0,
        "first_margin": own.first_weight > 0,
        "second": own.second_weight > 0,
        "second_reduce": own.second_weight > 0 and own.second == "hinge",
        "second_margin": own.second_weight > 0 and own.second == "hinge",
        "negative_share": "difference" in (own.similarity, own.inference),
    }
    return read_where.get(name, True)


def _allowed(preset: str, name: str, value: Any) -> bool:
    try:
        find_method(preset, {name: value})
    except UserError:
        return False
    return True
