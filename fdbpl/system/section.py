"""The base of all typed parameters, and the sentence that says what is wrong with one."""

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)


def _from_home(path: str) -> str:
    """Return a path as anybody with the same files in his home would write it."""
    home = os.path.expanduser("~").rstrip("/")  # noqa: PTH111 - of a text, not of a Path
    return f"~{path.removeprefix(home)}" if home and f"{path}/".startswith(f"{home}/") else path


PathText = Annotated[
    str, AfterValidator(os.path.expanduser), PlainSerializer(_from_home, when_used="json")
]
"""A path as people write it: one that begins with ~ lies in a home, and is so written again."""

SHOWN = 300  # letters of a value

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with values",
    "model": "keys with values",
}


class Section(BaseModel):
    """A section of the parameters: no unknown keys, no infinities, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false, YAML's yes and on too, where pydantic takes them for 1 and 0."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = {annotation, *get_args(annotation)}
        if kinds & {int, float} and bool not in kinds:
            if isinstance(value, bool):
                raise ValueError("a number" if float in kinds else "a whole number")
            if isinstance(value, list | tuple) and any(isinstance(one, bool) for one in value):
                raise ValueError("a list of numbers")
        return value


def explain(error: ValidationError, model: type[BaseModel], above: Sequence[str] = ()) -> str:
    """Say the first thing wrong: the key, the value found, what is allowed.

    An unknown key goes first: a misspelt one is why another seems to be missing.

    Args:
        error: of validating `model`.
        model: the section at fault.
        above: the keys that lead to the section.
    """
    errors = error.errors()
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    keys = _keys(first)
    key = ".".join([*above, *keys])
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_fields_at(model, keys[:-1]))
        return f"unknown key '{key}'. Allowed here: {allowed}."
    if first["type"] == "missing":
        return f"'{key}' is missing, and has no default. Add it."
    branches = [_wanted(other) for other in errors if _keys(other) == keys]
    return f"'{key}' is {_shown(first['input'])}, wanted {' or '.join(branches)}."


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of thousands of digits
        return "a number of too many digits"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _keys(error: Mapping[str, Any]) -> list[str]:
    """Return the keys that lead to the value, without the branch of a union that pydantic adds."""
    keys = [str(part) for part in error["loc"]]
    branch = len(keys) > 1 and (keys[-1] == "int" or keys[-1].startswith("literal["))
    return keys[:-1] if branch else keys


def _wanted(error: Mapping[str, Any]) -> str:
    kind, _, fault = error["type"].partition("_")
    if kind in _KINDS and fault in ("type", "parsing", "from_float"):
        return _KINDS[kind]
    if error["type"] == "string_too_short":
        return "text that is not empty"
    if error["type"] == "too_short":
        return f"at least {error['ctx']['min_length']} of them"
    message: str = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"a number {message}" if message.startswith(("greater", "less")) else message


def _fields_at(model: type[BaseModel], keys: list[str]) -> list[str]:
    for key in keys:
        field = model.model_fields.get(key)
        if field is None:  # a key of a mapping, such as the name of an own dataset
            continue
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        models = (t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
        model = next(models, model)  # stays for an own dataset that is called like a key of its own
    return list(model.model_fields)
