"""What outputs were made with: the parameters that decide them, held against those of today.

Every output but a cache, which has its manifest, carries such a record: the part of params.yaml
that decides it, its inputs' included, in the shape and under the keys of that file. A file stands
in it by the digest of its content, a folder of pictures by being named at all, since a plan knows
its pictures by their content. So no path of the machine is in it, nor what changes no result but
by rounding: the device, workers, memory, the store, the encoder's batch. Whether training looks
features up or encodes them anew is in it, since a cache may keep them rounded.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fdbpl.clip.params import ModelParams
from fdbpl.clip.weights import A_FILE, file_source, weights_source
from fdbpl.data.names import IMAGENET
from fdbpl.data.registry import is_drawn
from fdbpl.methods.registry import IMPORTED
from fdbpl.regions.boxes import GENERATOR
from fdbpl.settings.params import Params
from fdbpl.stages.tasks import Task, checkpoint, folder_of, learning, wanted
from fdbpl.system.difference import difference, short
from fdbpl.system.errors import UserError

Record = dict[str, Any]

MORE_SERVES = ("protocols", "seeds", "methods")
"""Lists of which an output for more serves as well: it keeps what each stands for apart."""

METHODS_SERVE = ("protocols", "methods")
"""The same of an output that takes means over its seeds and datasets."""


def of_plan(params: Params, dataset: str) -> Record:
    """Return what decides a plan. That of test images alone has no shots, seeds or regions."""
    data: Record = {
        "own": {dataset: _own(params, dataset)},
        "allow_unreadable_test_images": params.data.allow_unreadable_test_images,
    }
    if is_drawn(dataset, params.data):
        data["world"] = params.data.world
    protocols = sorted(protocol.name for protocol in learning(params, dataset))
    if not protocols:
        return {"protocols": [], "data": data}
    data["picks"] = {dataset: _list(params.data.picks.get(dataset))}
    data["vocabulary"] = _list(params.data.vocabulary)
    return {
        "protocols": protocols,
        "seeds": sorted(params.seeds),
        "shots": params.counts[-1],
        "regions": {"generator": GENERATOR, **params.regions.model_dump(mode="json")},
        "data": data,
    }


def of_caches(params: Params, dataset: str) -> Record:
    """Return what decides both caches of a dataset."""
    return _merged([of_plan(params, dataset), _models(params)])


def of_training(params: Params, task: Task, method: str, seed: int) -> Record:
    """Return what decides prompts and classifier of one training.

    Args:
        params: all but what the plan says.
        task: of which the plan's own record counts.
        method: one with prompts; of imported ones the student and the checkpoint decide alone.
        seed: of the training.
    """
    planned = {key: told for key, told in task.plan.made_with.items() if key != "protocols"}
    learned = _learned(params, task.plan.name, task.folder, method, [seed])
    return _merged([planned, learned, {"shots": task.shots}])


def of_evaluation(params: Params, dataset: str) -> Record:
    """Return what decides a dataset's accuracies; of a transfer, also what decides its source."""
    testing = [one for one in wanted(params) if one.learned_on(params, dataset)]
    learned = dict.fromkeys(str(one.learned_on(params, dataset)) for one in testing)
    about: Record = {"protocols": sorted(one.name for one in testing)}
    if learned:
        about["shots"] = params.shots
    if any(one.learns_on_source for one in testing):
        about |= {"source": params.source, "shifted": [n for n in [dataset] if n in params.shifted]}
    return _merged(
        [
            *(of_plan(params, source) for source in learned),
            *(_methods(params, source) for source in learned),
            of_caches(params, dataset),
            about,
        ]
    )


def of_all(params: Params) -> Record:
    """Return what decides a measure over all datasets: the comparison, or OOD detection."""
    of_each = [of_evaluation(params, dataset) for dataset in params.datasets]
    about = {"protocols": sorted(params.protocols), "shifted": sorted(params.shifted)}
    return _merged([{"datasets": sorted(params.datasets)}, *of_each, about])


def require_made_with(
    path: object,
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    command: Callable[..., str],
    more: Sequence[str] = MORE_SERVES,
) -> None:
    """Raise UserError when an output was made with other parameters than those of today.

    Args:
        path: of the output.
        found: its record.
        wanted: the record it would have now.
        command: returns the command that makes it again, with `force` where a file has another
            content, of which DVC does not know.
        more: lists of which `found` may hold more.
    """
    differs = differing(found, wanted, more)
    if differs is not None:
        key, have, want = differs
        again = command(force=want.startswith(f'"{A_FILE}') or None)
        raise UserError(f"{path}: made with {key} {have}, wanted {want}. Run {again} again.")


def differing(
    found: Mapping[str, Any], wanted: Mapping[str, Any], more: Sequence[str] = MORE_SERVES
) -> tuple[str, str, str] | None:
    """Return the first dotted key in which a record is another, what it says and what it should."""
    for key in more:
        there = found.get(key)
        for one in wanted.get(key, []):
            if one not in (there or []):
                return key, short(there), f"{short(one)} too"
    rest = {key: value for key, value in wanted.items() if key not in more}
    differs = difference(found, rest)
    return differs and (differs[0], short(differs[1]), short(differs[2]))


def _own(params: Params, dataset: str) -> Record | None:
    """Return what is said of one's own dataset but where its pictures lie; None of others."""
    own = params.data.own.get(dataset)
    if own is None:
        return None
    folders = {key: getattr(own, key) and "a folder" for key in ("folder", "images", "test")}
    names = own.names or (own.images and params.data.vocabulary)  # as fdbpl.data.registry
    return {"template": own.template, **folders, "table": _list(own.table), "names": _list(names)}


def _list(name: str | None) -> str | None:
    """Return what tells a list of images or names from others: ImageNet's, or a file's content."""
    return name if name in (None, IMAGENET) else file_source(name) or f"no file {name}"


def _model(model: ModelParams) -> Record:
    source = weights_source(model)
    # of others than files the weights say it, and another one is refused
    activation = {"activation": model.activation} if source.startswith(A_FILE) else {}
    return {
        "architecture": model.architecture,
        "weights": source,
        **activation,
        "precision": model.precision,
    }


def _models(params: Params) -> Record:
    return {
        "student": _model(params.student),
        "teacher": _model(params.teacher),
        "cache": {"payload": params.cache.payload},
    }


def _methods(params: Params, dataset: str) -> Record:
    methods = sorted(params.methods)
    folders = {
        folder_of(params, protocol, shots)
        for protocol in learning(params, dataset)
        for shots in protocol.counts(params)
    }
    of_each = (
        _learned(params, dataset, folder, method, params.seeds)
        for method in methods
        for folder in sorted(folders)
    )
    return _merged([{"methods": methods}, *of_each])


def _learned(
    params: Params, dataset: str, folder: str, method: str, seeds: Sequence[int]
) -> Record:
    """Return what decides what a method learned, apart from the plan."""
    if not params.method(method).learns:
        return _models(params)
    if method == IMPORTED:
        return {
            "student": _model(params.student),
            "imported": {folder: {dataset: _imported(params, dataset, folder, seeds)}},
        }
    unread = {"memory_mb", *(() if params.data.vocabulary else ("likeliest",))}
    told: Record = {
        "student": {"features": params.student.features},
        "teacher": {"logit_scale": params.teacher.logit_scale, "mode": params.teacher.mode},
        "train": params.train.model_dump(mode="json", exclude=unread),
    }
    options = params.method(method).options.model_dump(mode="json")
    if options:
        told["objectives"] = {method: options}
    if method in params.method_files:
        told["method_files"] = {method: _list(params.method_files[method])}
    if params.method(method).reads_source and dataset != params.source:
        source = of_plan(params, params.source)
        protocols = {"source": params.source, "source_protocols": source.pop("protocols")}
        told = _merged([source, protocols, told])
    return _merged([_models(params), told])


def _imported(params: Params, dataset: str, folder: str, seeds: Sequence[int]) -> Record:
    """Return the content of every seed's checkpoint, where params.yaml has the path of all."""
    found = {seed: checkpoint(params, dataset, folder, seed) for seed in seeds}
    return {str(seed): path and _list(path) for seed, path in found.items()}


def _merged(records: Iterable[Mapping[str, Any]]) -> Record:
    """Return all that the records say; of what several say, the last."""
    merged: Record = {}
    for record in records:
        for key, value in record.items():
            before = merged.get(key)
            nested = isinstance(value, dict) and isinstance(before, dict)
            merged[key] = _merged([before or {}, value]) if nested else value
    return merged
