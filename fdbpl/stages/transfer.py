"""Transfer, stage 4: accuracies on the source and the targets, all classes, prompts unchanged."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from fdbpl.classify.artifact import Artifact
from fdbpl.classify.decision import Decision
from fdbpl.clip.weights import about_model
from fdbpl.data.registry import KNOWN, is_shifted
from fdbpl.evaluation.accuracy import accuracy, over_targets
from fdbpl.methods.method import Classes, Method
from fdbpl.methods.registry import usable
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, TransferParams
from fdbpl.stages.caches import known_classes, open_caches
from fdbpl.stages.learned import open_learned
from fdbpl.stages.made_with import of_transfer
from fdbpl.stages.planned import load_planned
from fdbpl.stages.targets import NOT_WANTED, target_workspace
from fdbpl.system.errors import UserError
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.workspace import Workspace, require_folder

NOTHING = Artifact({}, {"learned_classes": []})
"""What a method learned that learns nothing."""

Carry = Callable[[Artifact, Method, Classes], Decision]
"""Makes of what a method learned what decides between classes."""

Learned = Mapping[tuple[str, int], Artifact]
"""Prompts by method and seed."""


def transfer(params: Params, work: Workspace) -> list[str]:
    """Write the accuracies of every method and seed on the source and on every target.

    Raises:
        UserError: a plan, cache or prompts file is missing, damaged, or of other parameters.
    """
    if params.transfer is None:
        write_whole(
            work.transferred,
            readable_json(
                {"source": None, "left_out": [], "targets": {}, "methods": {}, "made_with": {}}
            ),
        )
        return [NOT_WANTED]
    return measure_transfer(params, params.transfer, work, _text_tower(params, work))


def measure_transfer(
    params: Params, transfer: TransferParams, work: Workspace, carry: Carry
) -> list[str]:
    """Do what `transfer` does, with `carry` for the text tower. Loads no model itself."""
    source = transfer.source
    places = _places(params, transfer, work)
    plans = {dataset: load_planned(params, dataset, place) for dataset, place in places.items()}
    kinds = {
        target: "shifted" if is_shifted(target, transfer) else "cross-dataset"
        for target in transfer.targets
    }
    of_domain = {source, *(target for target, kind in kinds.items() if kind == "shifted")}
    learned = _learned(params, plans[source], work.source)
    listed = [one for one in params.chosen_methods if one.transfers]
    methods = usable(listed, labels=plans[source].teaches_labels)
    results: dict[str, dict[str, dict[str, float]]] = {
        method.name: {str(seed): {} for seed in params.seeds} for method in methods
    }
    for dataset, plan in plans.items():
        found = _accuracies(
            params, methods, plan, places[dataset], learned, dataset in of_domain, carry
        )
        for (method, seed), per_cent in found.items():
            results[method][str(seed)][dataset] = per_cent
    record = {
        "source": source,
        "plan": plans[source].digest,
        "student": about_model(params.student),
        "left_out": [method.name for method in listed if method not in methods],
        "targets": {target: _about(plans[target], kind) for target, kind in kinds.items()},
        "methods": {
            method: {
                "seeds": seeds,
                **over_targets(seeds, source, kinds),
                **_digests(learned, method, params.seeds),
            }
            for method, seeds in results.items()
        },
        "made_with": of_transfer(params, transfer),
    }
    write_whole(work.transferred, readable_json(record))
    images = sum(len(plan.test) for plan in plans.values())
    return [
        f"{source} to {len(kinds)} datasets: {len(methods)} methods evaluated on "
        f"{images:,} test images",
        *(
            f"  {target} has the classes of {source}. If it shows them in other pictures, name it "
            "under transfer.shifted; now it counts as another dataset."
            for target, kind in kinds.items()
            if kind != "shifted"
            and target not in KNOWN
            and plans[target].class_names == plans[source].class_names
        ),
    ]


def _places(params: Params, transfer: TransferParams, work: Workspace) -> dict[str, Workspace]:
    """Return the workspaces of the source and of every target, sure that the transfer's are there.

    Those that base-to-new has are named, where they are missing, by what reads them.
    """
    places = {transfer.source: work.source}
    places |= {target: target_workspace(params, target, work) for target in transfer.targets}
    for dataset, place in places.items():
        if place != work:
            require_folder(place.plan(dataset), work.command("prepare-transfer"))
            require_folder(place.cache(dataset, "student"), work.command("cache-transfer"))
    return places


def _about(plan: Plan, kind: str) -> dict[str, str | int]:
    return {
        "kind": kind,
        "classes": len(plan.class_names),
        "test_images": len(plan.test),
        "plan": plan.digest,
    }


def _learned(params: Params, plan: Plan, place: Workspace) -> Learned:
    """Load the prompts of every trained method and seed, as `open_learned` does."""
    found = {}
    for method in usable(params.chosen_methods, labels=plan.teaches_labels):
        for seed in params.seeds if method.learns and method.transfers else ():
            found[method.name, seed] = open_learned(
                "prompts", params, plan, place, method.name, seed
            )
    return found


def _digests(learned: Learned, method: str, seeds: Sequence[int]) -> dict[str, dict[str, str]]:
    digests = {str(s): learned[method, s].digest for s in seeds if (method, s) in learned}
    return {"prompts": digests} if digests else {}


def _accuracies(
    params: Params,
    methods: Sequence[Method],
    plan: Plan,
    place: Workspace,
    learned: Learned,
    same_domain: bool,
    carry: Carry,
) -> dict[tuple[str, int], float]:
    """Return the accuracy over all classes of one dataset, for every method and seed."""
    caches = open_caches(params, plan, place)
    tests = cache(lambda role: caches[role].features("test"))
    labels = plan.images["label"][plan.test]
    found = {}
    for method in methods:
        for seed in params.seeds:
            prompts = learned.get((method.name, seed), NOTHING)
            names = prompts.about["learned_classes"]
            classes = known_classes(plan, caches, learned=names, same_domain=same_domain)
            decision = carry(prompts, method, classes)
            among = range(len(plan.class_names))
            found[method.name, seed] = accuracy(tests(decision.sees), labels, decision, among)
    return found


def _text_tower(params: Params, work: Workspace) -> Carry:
    """Return what carries prompts to class names: the student's text tower, loaded when needed."""

    @cache
    def student() -> Any:
        # these load torch, which untrained methods do without
        from fdbpl.clip.model import load_model
        from fdbpl.system.device import choose_device

        clip = load_model(params.student, "student")
        clip.move_text(choose_device(params.device))
        return clip

    def carry(prompts: Artifact, method: Method, classes: Classes) -> Decision:
        if not prompts.arrays:
            return method.decision({}, classes)
        from fdbpl.training.learning import class_vectors

        clip = student()
        if prompts.about["student"] != dict(clip.identity):
            raise UserError(
                f"the prompts of {method.name} were learned with another student than "
                f"{params.student.architecture}, {params.student.weights}. "
                f"Run {work.command('train-transfer')} again."
            )
        encode = partial(class_vectors, clip, class_names=classes.names)
        return method.decision(prompts.arrays, replace(classes, encode=encode, clip=clip))

    return carry
