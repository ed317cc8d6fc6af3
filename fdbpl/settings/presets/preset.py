"""A preset: the text of a whole `params.yaml`, perhaps limited to some datasets."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fdbpl.settings.params import check_params
from fdbpl.settings.yaml_text import load_yaml
from fdbpl.system.errors import UserError

NAMES = ("playground", "eleven", "eleven-b16", "few-shot", "few-shot-drawn", "folder")
WIDTH = 100


def preset(name: str, only: Sequence[str] = (), root: str | None = None) -> str:
    """Return the text of a preset, comments and all.

    Args:
        name: of NAMES.
        only: the datasets to keep; by default all. Where the source is not among them, or nothing
            else is, no transfer is left, and no shifted dataset, which it alone tests.
        root: the folder of datasets, instead of the preset's: CoOp's, or one's own classes.

    Raises:
        UserError: no preset has this name, a dataset is not among the preset's, or none that is
            learned on is left.
    """
    if name not in NAMES:
        raise UserError(f"preset {name!r} is unknown, wanted one of {', '.join(NAMES)}.")
    text = shipped(name)
    if only or root is not None:
        text = _edited(text, name, only, root)
    check_params(load_yaml(text), f"preset {name}")
    return text


def shipped(name: str) -> str:
    """Return the text of a preset as the package holds it."""
    return (Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")


def _edited(text: str, name: str, only: Sequence[str], root: str | None) -> str:
    editor = _editor()
    params = editor.load(text)
    if root is not None:
        own = params["data"].get("own")
        if own:
            next(iter(own.values()))["folder"] = root
        else:
            params["data"]["root"] = root
    if only:
        _limit(params, name, only)
    out = io.StringIO()
    editor.dump(params, out)
    return out.getvalue()


def _editor() -> Any:
    """Return what reads and writes YAML without losing a comment, and spells None `null`."""
    editor = YAML()
    editor.width = WIDTH
    editor.representer.add_representer(
        type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return editor


def _limit(params: Any, name: str, only: Sequence[str]) -> None:
    """Drop what is not among `only`, and a transfer that has no source or no target left."""
    known, shifted = list(params["datasets"]), params.get("shifted", [])
    unknown = [dataset for dataset in only if dataset not in known]
    if unknown:
        raise UserError(
            f"--only names {unknown[0]!r}, which preset {name} has not. Wanted some of "
            f"{', '.join(known)}."
        )
    learned = [dataset for dataset in known if dataset not in shifted]
    if not set(only) & set(learned):
        raise UserError(
            f"--only is {', '.join(only)}, wanted at least one of {', '.join(learned)}."
        )
    transfers = params["source"] in only and len(only) > 1
    kept = [one for one in only if transfers or one not in shifted]
    for datasets in (params["datasets"], params.get("development", []), shifted):
        _keep(datasets, kept)
    if not transfers:
        _keep(params["protocols"], [one for one in params["protocols"] if one != "transfer"])
    if params["source"] not in kept:
        params["source"] = params["datasets"][0]


def _keep(listed: Any, kept: Sequence[str]) -> None:
    """Drop all others from a list in place, since its comments hang on it."""
    for index in reversed(range(len(listed))):
        if listed[index] not in kept:
            del listed[index]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for every key's old and new value where they differ; no line, no change."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    lines = []
    for key in dict.fromkeys([*new, *old]):
        if key in old and (key not in new or old[key] != new[key]):
            lines.append(f"  - {key}: {_spelled(old[key])}")
        if key in new and (key not in old or old[key] != new[key]):
            lines.append(f"  + {key}: {_spelled(new[key])}")
    return lines


def _leaves(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _spelled(value: Any) -> str:
    writer, out = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style, writer.width = True, 2**31
    writer.dump(value, out)
    return out.getvalue().removesuffix("...\n").strip()
