"""A preset: the text of a whole `params.yaml`, perhaps limited to some datasets."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fdbpl.settings.params import check_params, load_yaml
from fdbpl.system.errors import UserError

NAMES = ("playground", "eleven", "eleven-b16")
WIDTH = 100


def preset(name: str, only: Sequence[str] = (), root: str | None = None) -> str:
    """Return the text of a preset, comments and all.

    Args:
        name: of NAMES.
        only: the datasets to keep, of those the preset names anywhere; by default all. A transfer
            whose source is not among them, or that no target is left of, becomes null.
        root: the folder of datasets, instead of the preset's.

    Raises:
        UserError: no preset has this name, a dataset is not among the preset's, or none that
            base-to-new learns on is left.
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
    """Drop from datasets, development and the transfer what is not among `only`."""
    transfer = params["transfer"]
    known = list(dict.fromkeys([*params["datasets"], transfer["source"], *transfer["targets"]]))
    unknown = [dataset for dataset in only if dataset not in known]
    if unknown:
        raise UserError(
            f"--only names {unknown[0]!r}, which preset {name} has not. Wanted some of "
            f"{', '.join(known)}."
        )
    if not set(only) & set(params["datasets"]):
        raise UserError(
            f"--only is {', '.join(only)}, wanted at least one of {', '.join(params['datasets'])}."
        )
    for datasets in (params["datasets"], params.get("development", []), transfer["targets"]):
        for index in reversed(range(len(datasets))):
            if datasets[index] not in only:
                del datasets[index]
    if transfer["source"] not in only or not transfer["targets"]:
        params["transfer"] = None


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
