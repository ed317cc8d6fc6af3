"""Names that no caption held: what the small models make of them, by word vectors alone.

Each name has its like: a class whose pictures a person would look for under that name. The classes
of all datasets are ordered by how near the mean of their test pictures is to the name's text; what
is measured is where the like stands.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from fdbpl import api
from fdbpl.classify.decision import unit
from fdbpl.clip.model import ClipModel
from fdbpl.system.errors import UserError
from studies.photographs.accuracies import Seen
from studies.photographs.captions import Subject, templates_of
from studies.photographs.features import Floats

UNHEARD: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "cifar10": {
            "puppy": "dog",
            "kitten": "cat",
            "pony": "horse",
            "lorry": "truck",
            "jet": "airplane",
            "fawn": "deer",
            "yacht": "ship",
        },
        "caltech101": {
            "armchair": "chair",
            "stool": "chair",
            "teacup": "cup",
            "handset": "cellphone",
            "motorcycle": "motorbike",
            "dinosaur": "brontosaurus",
            "turntable": "gramophone",
            "prawn": "crayfish",
            "shrimp": "crayfish",
        },
        "tiny_imagenet": {"rucksack": "backpack"},
        "clothing": {
            "trousers": "pants",
            "sneakers": "shoes",
            "boots": "shoes",
            "blouse": "shirt",
            "frock": "dress",
            "pullover": "longsleeve",
        },
        "scenes15": {
            "woodland": "forest",
            "trees": "forest",
            "seaside": "coast",
            "peak": "mountain",
            "road": "street",
            "avenue": "street",
            "skyscraper": "tall building",
            "supermarket": "store",
            "motorway": "highway",
            "freeway": "highway",
        },
        "rsscn7": {
            "factory": "industry",
            "meadow": "field",
            "pasture": "grass",
            "creek": "river or lake",
            "stream": "river or lake",
            "cottage": "residential area",
        },
        "intel_scenes": {"iceberg": "glacier"},
        "grocery": {
            "eggplant": "Aubergine",
            "courgette": "Zucchini",
            "capsicum": "Pepper",
            "tangerine": "Satsumas",
            "clementine": "Satsumas",
            "spud": "Potato",
            "yogurt": "Yoghurt",
        },
        "stanford_cars": {
            "suv": "sport utility vehicle",
            "cabriolet": "convertible",
            "roadster": "convertible",
        },
    }
)
"""By dataset: each name, and the class of the dataset that it is most like. None is a form of its
like's own word, and none was chosen by what is measured here."""

NEAREST = (1, 5, 20)
"""Among how many of the nearest classes a like is looked for."""

DRAWS = 9999
"""Of likes in another order, for p-values."""

Ints = NDArray[np.int64]


class Unheard(NamedTuple):
    """A name that no caption held, and the class that it is most like."""

    name: str
    dataset: str
    like: str


def unheard() -> list[Unheard]:
    """Return all such names, those of a dataset together."""
    return [
        Unheard(name, dataset, like)
        for dataset, likes in UNHEARD.items()
        for name, like in likes.items()
    ]


def words(text: str) -> set[str]:
    """Return the words of a text in lower case, without figures and signs."""
    return set(re.findall(r"[^\W\d_]+", text.lower()))


def require_unheard(names: Iterable[str], subjects: Sequence[Subject]) -> None:
    """Refuse a name with a word that stands in a caption: in its subject or its template.

    Raises:
        UserError: there is one; it is named, and so is what holds it.
    """
    templates = dict.fromkeys(one for subject in subjects for one in templates_of(subject))
    holders: dict[str, str] = {}
    for text in (*(subject.name for subject in subjects), *templates):
        for word in words(text):
            holders.setdefault(word, text)
    for name in names:
        held = sorted(words(name) & holders.keys())
        if held:
            raise UserError(
                f"{name!r}: captions hold {held[0]!r}, in {holders[held[0]]!r}, wanted a name that "
                "no caption held. Take it from studies/photographs/unheard.py."
            )


def same(name: str) -> str:
    """Return what names of one class have in common: no capitals, and no s at the end."""
    return name.lower().removesuffix("s")


@dataclass(frozen=True)
class Means:
    """What the pictures of every class look like.

    Attributes:
        names: N, one for all classes that are called the same, in whatever dataset.
        vectors: (N, D) the mean features of their pictures, brought to unit length.
    """

    names: Sequence[str]
    vectors: Floats


def means(parts: Iterable[Seen]) -> Means:
    """Return the means of all classes of several datasets that have a picture."""
    rows: dict[str, list[Floats]] = {}
    names: dict[str, str] = {}
    for one in parts:
        for label, name in enumerate(one.names):
            own = one.features[one.labels == label]
            if len(own):
                rows.setdefault(same(name), []).append(own)
                names.setdefault(same(name), name)
    vectors = [np.concatenate(of).mean(0) for of in rows.values()]
    return Means(list(names.values()), unit(np.stack(vectors)))


def places(names: Sequence[Unheard], classes: Means) -> Ints:
    """Return the place (n) of each name's like among the classes.

    Raises:
        UserError: a like is no class.
    """
    place = {same(name): index for index, name in enumerate(classes.names)}
    for one in names:
        if same(one.like) not in place:
            raise UserError(
                f"{one.name!r} is said to be like {one.like!r}, which is no class with a picture. "
                "Correct studies/photographs/unheard.py."
            )
    return np.array([place[same(one.like)] for one in names])


def ranks(texts: Floats, vectors: Floats) -> Ints:
    """Return the rank (n, N) of every class for every text, the nearest first, from 1 on.

    Args:
        texts: (n, D) of unit length.
        vectors: (N, D) of unit length.
    """
    order = np.argsort(-(texts @ vectors.T), axis=1, kind="stable")
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(1, len(vectors) + 1)[None], axis=1)
    return found


def texts_of(clip: ClipModel, names: Sequence[Unheard], templates: Mapping[str, str]) -> Floats:
    """Return the unit vectors (n, D) of names, each under the template of its like's dataset."""
    found = [
        api.template_vectors(clip, [one.name for one in together], templates[dataset])
        for dataset, together in groupby(names, lambda one: one.dataset)
    ]
    return np.concatenate(found)


def p_value(found: Ints, likes: Ints, groups: Ints, draws: int = DRAWS, seed: int = 1) -> float:
    """Return how probable a mean rank as low as this is if likes are handed out at random.

    Likes change hands within groups only. So a class that stands near to all texts helps no more
    than it does by chance; and where groups are the likes' datasets, nor does a template that
    tells the dataset.

    Args:
        found: (n, N) ranks of all classes for n texts.
        likes: (n) their places.
        groups: (n) whole numbers, ascending.
        draws: how many orders are drawn; the least value is 1 / (draws + 1).
        seed: of the draws.
    """
    rows = np.arange(len(likes))
    chances = np.random.default_rng(seed).random((draws, len(likes)))
    order = np.argsort(groups + chances, axis=1)  # any order of each group, groups ascending
    drawn = found[rows, likes[order]].sum(axis=1)
    lower = int((drawn <= found[rows, likes].sum()).sum())
    return (1 + lower) / (1 + draws)


@dataclass(frozen=True)
class Share:
    """The share of names whose like is among the nearest so many classes.

    Attributes:
        nearest: how many.
        share: of the names.
        low: of the exact (Clopper-Pearson) 95 % interval.
        high: likewise.
        chance: the share if classes stood in any order.
    """

    nearest: int
    share: float
    low: float
    high: float
    chance: float


def share(own: Ints, nearest: int, classes: int) -> Share:
    """Return the share of ranks (n) among so many classes that are no worse than `nearest`."""
    test = binomtest(int((own <= nearest).sum()), len(own))
    ends = test.proportion_ci(confidence_level=0.95, method="exact")
    chance = min(nearest / classes, 1.0)
    return Share(nearest, float(test.statistic), float(ends.low), float(ends.high), chance)


def summary(found: Ints, likes: Ints, groups: Ints) -> dict[str, Any]:
    """Return what is said of ranks (n, N), where (n) likes are the right ones, as plain values."""
    own = found[np.arange(len(likes)), likes]
    shares = [share(own, nearest, found.shape[1]) for nearest in NEAREST]
    return {
        "median": float(np.median(own)),
        "shares": [asdict(one) for one in shares],
        "p": p_value(found, likes, np.zeros_like(groups)),
        "p_within": p_value(found, likes, groups),
    }
