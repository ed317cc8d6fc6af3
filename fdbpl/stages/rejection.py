"""How well each method tells what shows a base class from what shows none, over all datasets."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.cache import Cache
from fdbpl.data.registry import is_drawn, open_dataset
from fdbpl.evaluation import outsiders
from fdbpl.evaluation import rejection as rules
from fdbpl.methods.names import LEARNED, UNTRAINED, usable
from fdbpl.playground.datasets import has_empty_ground
from fdbpl.regions.plan import TEST, Plan
from fdbpl.reporting import rejection_report
from fdbpl.settings.params import Params
from fdbpl.stages.caches import Role, open_caches
from fdbpl.stages.classifiers import Classifier, Classifiers
from fdbpl.stages.made_with import of_all
from fdbpl.stages.planned import load_planned
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.workspace import Workspace

Floats = NDArray[np.floating[Any]]

EMPTY, NEW, OTHER = rejection_report.KINDS


def rejection(params: Params, work: Workspace) -> list[str]:
    """Write metrics/rejection.json, .md and .png; return the table to print.

    Datasets without new classes, learned from images without a class, take no part, nor do
    methods that know base classes alone.

    Raises:
        UserError: a plan, cache or classifier is missing, damaged or of other parameters.
    """
    found = list(sample(params, work))
    methods = [name for name in params.methods if name in UNTRAINED + LEARNED]
    methods = usable(methods, labels=all(one.plan.teaches_labels for one in found))
    if not found:
        return _nothing(
            params, work, "No dataset has base and new classes, so there is nothing to reject."
        )
    if not methods:
        return _nothing(
            params, work, "No method has class vectors, so there is nothing to reject by."
        )
    record = rejection_report.summarise(
        {one.plan.name: one.counts() for one in found},
        {
            method: {
                one.plan.name: {seed: one.measure(method, seed) for seed in params.seeds}
                for one in found
            }
            for method in methods
        },
    )
    text = rejection_report.text(record)
    picture = io.BytesIO()
    rejection_report.plot(record, picture)
    write_whole(work.rejection("json"), readable_json({**record, "made_with": of_all(params)}))
    write_whole(work.rejection("md"), text.encode())
    write_whole(work.rejection("png"), picture.getvalue())
    return [
        "How well insiders are told from outsiders: AUROC in per cent, and calibration error:",
        "",
        *rejection_report.usual_table(record).splitlines(),
        "",
        f"Written: {work.rejection('json')}, .md, .png",
    ]


def _nothing(params: Params, work: Workspace, line: str) -> list[str]:
    """Write outputs that say in a line why there is nothing."""
    picture = io.BytesIO()
    rejection_report.plot_line(line, picture)
    record = {"counts": {}, "methods": {}, "made_with": of_all(params)}
    write_whole(work.rejection("json"), readable_json(record))
    write_whole(work.rejection("md"), f"{line}\n".encode())
    write_whole(work.rejection("png"), picture.getvalue())
    return [line]


@dataclass(frozen=True)
class Known:
    """A dataset's plan, both caches, and both models' features of its test images (T, D)."""

    plan: Plan
    caches: Mapping[Role, Cache]
    tests: Mapping[Role, Floats]

    def test(self, role: Role, rows: NDArray[np.int64]) -> Floats:
        """Return features of some rows of the plan's images, all of them test images."""
        first = int(np.argmax(self.plan.images["split"] == TEST))
        features: Floats = self.tests[role][rows - first]
        return features


@dataclass(frozen=True)
class Sample:
    """A dataset's insiders and outsiders, as either model sees them.

    Attributes:
        plan: the dataset's.
        classifiers: of every method and seed.
        labels: (n,) of the base test images, which are the insiders of every kind but EMPTY.
        images: their features, by role.
        pairs: by role the features of insiders and outsiders, by kind.
        learned: by role the features (R, D) of all training regions.
    """

    plan: Plan
    classifiers: Classifiers
    labels: NDArray[np.int64]
    images: Mapping[Role, Floats]
    pairs: Mapping[str, Mapping[Role, tuple[Floats, Floats]]]
    learned: Mapping[Role, Floats]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many insiders and outsiders there are of each kind."""
        sizes = {kind: list(map(len, pair["student"])) for kind, pair in self.pairs.items()}
        return {kind: dict(zip(("inside", "outside"), n, strict=True)) for kind, n in sizes.items()}

    def measure(self, method: str, seed: int) -> dict[str, Any]:
        """Return {"ece", "scores": {score: {kind: measures}}} of one method and seed, per cent."""
        role, scorer = self.scorer(method, seed)
        sides = {
            kind: [scorer(features) for features in pair[role]] for kind, pair in self.pairs.items()
        }
        log_p = rules.log_softmax(scorer.logits(self.images[role]))
        right = np.asarray(self.plan.base)[log_p.argmax(axis=1)] == self.labels
        names = list(next(iter(sides.values()))[0])
        return {
            "ece": rules.ece(np.exp(log_p.max(axis=1)), right),
            "scores": {
                name: {
                    kind: rules.measures(inside[name], outside[name])
                    for kind, (inside, outside) in sides.items()
                }
                for name in names
            },
        }

    def scorer(self, method: str, seed: int) -> tuple[Role, rules.Scorer]:
        """Return whose features a method and seed look at, and its scores of them."""
        classifier = self.classifiers.open(method, seed)
        learned = learned_from(self.learned[classifier.sees], self.plan, seed)
        return classifier.sees, base_scorer(classifier, self.plan, learned)


def base_scorer(classifier: Classifier, plan: Plan, learned: Floats) -> rules.Scorer:
    """Return a classifier's scores over the base classes alone."""
    base, pair = list(plan.base), classifier.pair
    if pair is not None:
        pair = rules.Pair(pair.positive[base], pair.negative[base], pair.written[base])
    return rules.Scorer(classifier.decision, base, pair, learned)


def learned_from(regions: Floats, plan: Plan, seed: int) -> Floats:
    """Return the features (R, D) that a seed learned from, of those of all training regions."""
    by_image = regions.reshape(-1, plan.crops, regions.shape[-1])
    return by_image[list(plan.shots[seed])].reshape(-1, regions.shape[-1])


def sample(params: Params, work: Workspace) -> Iterator[Sample]:
    """Yield the insiders and outsiders of every dataset that the parameters list."""
    plans = {name: load_planned(params, name, work) for name in params.datasets}
    known = {name: _known(plan, params, work) for name, plan in plans.items() if plan.new}
    drawn = [name for name in known if is_drawn(name, params.data) and has_empty_ground(name)]
    pairs = _encode(drawn, known, params) if drawn else {}
    for name, one in known.items():
        others = {other: known[other] for other in known if other != name}
        classifiers = Classifiers(params, one.plan, one.caches, work)
        yield _sample(one, others, pairs.get(name), classifiers)


def _known(plan: Plan, params: Params, work: Workspace) -> Known:
    teacher, student = open_caches(params, plan, work)
    caches: dict[Role, Cache] = {"student": student, "teacher": teacher}
    return Known(plan, caches, {role: cache.features("test") for role, cache in caches.items()})


def _sample(
    one: Known,
    others: Mapping[str, Known],
    regions: Mapping[Role, tuple[Floats, Floats]] | None,
    classifiers: Classifiers,
) -> Sample:
    plan = one.plan
    base, new = outsiders.base_images(plan), outsiders.new_images(plan)
    foreign = outsiders.foreign_images(plan, {name: other.plan for name, other in others.items()})
    inside = {role: one.test(role, base) for role in one.tests}
    pairs: dict[str, Mapping[Role, tuple[Floats, Floats]]] = {}
    if regions is not None:
        pairs[EMPTY] = regions
    pairs[NEW] = {role: (inside[role], one.test(role, new)) for role in inside}
    if any(len(rows) for rows in foreign.values()):
        pairs[OTHER] = {
            role: (
                inside[role],
                np.concatenate([others[name].test(role, rows) for name, rows in foreign.items()]),
            )
            for role in inside
        }
    return Sample(
        plan=plan,
        classifiers=classifiers,
        labels=plan.images["label"][base].astype(np.int64),
        images=inside,
        pairs=pairs,
        learned={role: cache.features("train") for role, cache in one.caches.items()},
    )


def _encode(
    datasets: list[str], known: Mapping[str, Known], params: Params
) -> dict[str, dict[Role, tuple[Floats, Floats]]]:
    """Return features of regions that show the main thing and of empty ones, by dataset and role.

    The models are loaded only here, because importing torch takes seconds.
    """
    from fdbpl.cache import RegionStore, region_features
    from fdbpl.stages.cache_teacher import image_encoder
    from fdbpl.system.progress import progress

    plans, counts = {}, {}
    for name in datasets:
        plan = known[name].plan
        showing, empty = outsiders.region_pairs(plan, params.data.world)
        plans[name] = replace(plan, regions=np.concatenate([showing, empty]))
        counts[name] = len(showing)
    store = RegionStore(params.cache.store)
    found: dict[str, dict[Role, tuple[Floats, Floats]]] = {name: {} for name in datasets}
    roles: tuple[Role, ...] = ("student", "teacher")
    for role in roles:
        encoder = image_encoder(params, role)
        for name, plan in plans.items():
            folder = open_dataset(name, params.data).folder
            with progress(f"{name}: encoding, {role}") as report:
                features, _ = region_features(
                    plan,
                    folder,
                    encoder,
                    store,
                    payload=params.cache.payload,
                    progress=report,
                )
            found[name][role] = features[: counts[name]], features[counts[name] :]
    return found
