"""Tasks: what the wanted protocols learn on a dataset, and what they test there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fdbpl.methods.method import Method
from fdbpl.methods.registry import usable
from fdbpl.protocols.protocol import Classes, Labels, Protocol, Shots
from fdbpl.protocols.registry import PROTOCOLS
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params


@dataclass(frozen=True)
class Task:
    """What is learned on a dataset under a protocol, from so many shots of each class.

    Attributes:
        plan: the dataset's.
        protocol: the one that it is learned for.
        shots: at most all that the plan has.
        folder: of what is learned, below the dataset's.
    """

    plan: Plan
    protocol: Protocol
    shots: Shots
    folder: str

    @cached_property
    def classes(self) -> Classes:
        """Return the labels learned, and every label space tested."""
        return classes_of(self.protocol, self.plan)

    @property
    def labels(self) -> Labels:
        """The labels learned."""
        return self.classes.learned

    @property
    def names(self) -> tuple[str, ...]:
        """The names learned from: the plan's vocabulary, or else those of the classes learned."""
        return self.plan.vocabulary or tuple(self.plan.class_names[label] for label in self.labels)

    def methods(self, params: Params) -> list[Method]:
        """Return the methods of the parameters that can learn it and take part."""
        labels = self.plan.teaches_labels and self.protocol.gives_labels
        found = usable(params.chosen_methods, labels=labels)
        return [one for one in found if one.transfers or not self.protocol.learns_on_source]

    @cached_property
    def picks(self) -> Mapping[int, tuple[int, ...]]:
        """Return for each seed the rows of the plan's images to learn from, ascending."""
        return self.plan.picks(self.labels, self.shots)

    def identity(self, method: str, seed: int) -> dict[str, Any]:
        """Return what the files of one training say that they are of."""
        return {"dataset": self.plan.name, "task": self.folder, "method": method, "seed": seed}


def classes_of(protocol: Protocol, plan: Plan) -> Classes:
    """Return what a protocol learns and tests of a plan's classes."""
    return protocol.classes(plan.labels, tuple(range(len(plan.class_names))))


def wanted(params: Params) -> list[Protocol]:
    """Return the protocols that the parameters name, in the registry's order."""
    return [one for name, one in PROTOCOLS.items() if name in params.protocols]


def learning(params: Params, dataset: str) -> list[Protocol]:
    """Return the protocols that learn on a dataset; none where it is only tested on."""
    return [one for one in wanted(params) if one.learns_on(params, dataset)]


def protocols_of(params: Params, plan: Plan) -> list[Protocol]:
    """Return the protocols under which something is learned of a plan."""
    return [one for one in learning(params, plan.name) if plan.is_labelled or not one.needs_labels]


def testing(params: Params, plan: Plan) -> list[Protocol]:
    """Return the protocols that test on a dataset."""
    return [
        one
        for one in wanted(params)
        if (
            plan.is_labelled or not one.needs_labels
            if one.learns_on(params, plan.name)
            else one.learned_on(params, plan.name) and plan.tests_labels
        )
    ]


def task_of(params: Params, plan: Plan, protocol: Protocol, shots: Shots) -> Task:
    """Return the task of a protocol that learns on a plan's dataset."""
    return Task(plan, protocol, shots, folder_of(params, protocol, shots))


def tasks_of(params: Params, plan: Plan) -> list[Task]:
    """Return what is to be learned of a plan, each once."""
    found = {
        folder_of(params, protocol, shots): task_of(params, plan, protocol, shots)
        for protocol in reversed(protocols_of(params, plan))
        for shots in reversed(protocol.counts(params))
    }
    return list(found.values())[::-1]


def folder_of(params: Params, protocol: Protocol, shots: Shots) -> str:
    """Return the name of the folder of what a protocol learns from so many shots."""
    if protocol.trained_as in params.protocols:
        protocol = PROTOCOLS[str(protocol.trained_as)]
    several = len(protocol.counts(params)) > 1
    return f"{protocol.name}-{shots}" if several else protocol.name


def checkpoint(params: Params, dataset: str, folder: str, seed: int) -> str | None:
    """Return the path of what another program learned of a task and seed, if there is one.

    In `imported` it stands under the protocol; {} is the seed, and {shots} their number.
    """
    for protocol in wanted(params):
        for shots in protocol.counts(params):
            path = params.imported.get(protocol.name, {}).get(dataset)
            if path is not None and folder_of(params, protocol, shots) == folder:
                return path.replace("{shots}", str(shots)).replace("{}", str(seed))
    return None
