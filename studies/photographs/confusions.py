"""Which classes are taken for which, where all of a dataset compete."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from fdbpl.classify.artifact import decision_of
from fdbpl.evaluation.accuracy import decided
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.settings.params import Params
from fdbpl.stages.caches import open_caches
from fdbpl.stages.learned import open_learned
from fdbpl.stages.planned import load_planned
from fdbpl.stages.tasks import task_of
from fdbpl.system.workspace import Workspace

MOST = 5  # confusions that a page shows of a dataset


@dataclass(frozen=True)
class Confusion:
    """One class taken for another, so many times of all its test pictures times seeds."""

    truth: str
    taken_for: str
    times: int
    of: int

    def __str__(self) -> str:
        """Return it as pages say it."""
        return f"{self.truth} taken for {self.taken_for}: {self.times:,} of {self.of:,}"


@dataclass(frozen=True)
class Mistakes:
    """What a method took wrongly on a dataset, of so many test pictures times seeds.

    `confusions` are the most frequent first; of equally frequent ones the order of labels decides.
    """

    wrong: int
    of: int
    confusions: list[Confusion]


def mistakes(params: Params, work: Workspace, dataset: str, method: str) -> Mistakes:
    """Return a method's mistakes under base to new, classes of both halves competing, all seeds.

    Raises:
        UserError: plan, cache or classifier are missing, damaged or of other parameters.
    """
    plan = load_planned(params, dataset, work)
    task = task_of(params, plan, BASE_TO_NEW, params.counts[-1])
    caches = open_caches(params, plan, work)
    truth = plan.images["label"][plan.test]
    counted = np.isin(truth, plan.labels)
    truth = truth[counted]
    pairs, shown = Counter[tuple[int, int]](), Counter[int]()
    for seed in params.seeds:
        decision = decision_of(open_learned("classifier", params, task, work, method, seed))
        features = caches[decision.sees].features("test")[counted]
        taken = decided(features, decision, plan.labels)
        pairs.update(zip(truth.tolist(), taken.tolist(), strict=True))
        shown.update(truth.tolist())
    wrong = {pair: times for pair, times in pairs.items() if pair[0] != pair[1]}
    names = plan.class_names
    confusions = [
        Confusion(names[true], names[other], times, shown[true])
        for (true, other), times in sorted(wrong.items(), key=lambda one: (-one[1], one[0]))
    ]
    return Mistakes(sum(wrong.values()), shown.total(), confusions)
