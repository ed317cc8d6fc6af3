"""The grid of an ablation: which settings differ from the reference, and in what. No I/O."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.error import YAMLError

from fdbpl.methods.options import PRESETS
from fdbpl.settings.params import Params, check_params
from fdbpl.settings.yaml_text import load_yaml
from fdbpl.system.errors import UserError

REFERENCE = "reference"

Changes = Mapping[str, Any]
"""Values by dotted key, as `--vary` names them."""

PAIRING = ("datasets", "development", "methods", "seeds", "data", "protocols", "source", "shifted")
"""Keys that cannot vary: a difference is taken between equal datasets and seeds."""

DEFAULT = (
    "regions.per_image=1,2,5,10,20,50",
    "regions.scale=0.08:1,0.3:1,0.08:0.3",
    "cache.payload=float32,float16,int8",
    "fdbpl.weight=area,entropy,none",
    "fdbpl.normalise=sum,batch",
    "fdbpl.similarity=difference,positive",
    "fdbpl.rejection_weight=0,1",
    "fdbpl.mutual_weight=0,0.001",
    "fdbpl.first_weight=0,0.1",
    "fdbpl.second_weight=0,0.1",
    "fdbpl.inference=difference,positive",
    "fdbpl.negative_share=0,0.25,0.5,1,50",
    "fdbpl.template_share=0,0.5,1,2,100",
)
"""The grid where none is named: regions, how they are kept, and every option that `fdbpl` reads:
every other word; a term off or on; a share none, half, double, and a hundred times, which leaves
hardly anything else."""

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
        spelt = (f"{key}={spell(value)}" for key, value in self.changes.items())
        return ", ".join(spelt) or REFERENCE

    def touches(self, method: str) -> bool:
        """Return whether it has the method trained: an option of a preset has none but that."""
        sections = {key.partition(".")[0] for key in self.changes}
        return not sections or any(one == method or one not in PRESETS for one in sections)


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
        return load_yaml(word)
    except YAMLError:
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
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise UserError(f"--vary {twice[0]} stands twice, wanted all its values in one --vary.")
    reference = changed(params, {})
    found = [Setting({}, reference)]
    groups = [factors] if cross else [[factor] for factor in factors]
    for changes in itertools.chain(*map(_product, groups)):
        differing = {
            key: value
            for key, value in changes.items()
            if changed(params, {key: value}) != reference
        }
        setting = Setting(differing, changed(params, differing))
        if setting not in found:
            found.append(setting)
    return found


def _product(factors: Sequence[Factor]) -> Iterator[Changes]:
    for values in itertools.product(*(factor.values for factor in factors)):
        yield dict(zip((factor.key for factor in factors), values, strict=True))


def changed(params: Params, changes: Changes) -> Params:
    """Return parameters with some values changed, checked as if they stood in params.yaml.

    Options that say what their preset says anyway are dropped, so that equal settings are equal.

    Raises:
        UserError: naming the key, and the values or keys that are allowed there.
    """
    raw = params.model_dump(mode="json")
    for key, value in changes.items():
        section, _, option = key.partition(".")
        if section in PAIRING:
            raise UserError(
                f"--vary {key}: {section} cannot vary, since differences are taken between equal "
                "datasets and seeds. Use --datasets, --methods or --seeds."
            )
        keys = ("objectives", section, option) if section in PRESETS else key.split(".")
        _put(raw, keys, value, key)
    checked = check_params(raw, source="--vary")
    differing = {
        preset: {name: v for name, v in options.items() if v != getattr(PRESETS[preset], name)}
        for preset, options in checked.objectives.items()
    }
    kept = {preset: options for preset, options in differing.items() if options}
    return checked.model_copy(update={"objectives": kept})


def _put(raw: dict[str, Any], keys: Sequence[str], value: Any, whole: str) -> None:
    section = raw
    for part in keys[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise UserError(f"--vary {whole}: {part} has no keys below it.")
    section[keys[-1]] = value
