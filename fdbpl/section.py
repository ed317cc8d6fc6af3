"""The base of all typed parameters, and the sentence that says what is wrong with one."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Section(BaseModel):
    """A section of the parameters: no unknown keys, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say the first thing wrong: the key, the value found, what is allowed."""
    first = error.errors()[0]
    keys = [str(part) for part in first["loc"] if not _is_branch(str(part))]
    key = ".".join(keys)
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(_fields_at(model, keys[:-1]))
        return f"unknown key '{key}'. Allowed here: {allowed}."
    if first["type"] == "missing":
        return f"'{key}' is missing, and has no default. Add it."
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"'{key}' is {first['input']!r}, wanted {wanted}."


def _is_branch(part: str) -> bool:
    """Tell the branch of a union, which pydantic names among the keys, from a key."""
    return part == "int" or part.startswith("literal[")


def _fields_at(model: type[BaseModel], keys: list[str]) -> list[str]:
    for key in keys:
        field = model.model_fields.get(key)
        if field is None:  # a key of a mapping, such as the name of an own dataset
            continue
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next(t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return list(model.model_fields)
