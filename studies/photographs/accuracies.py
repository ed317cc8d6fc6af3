"""How often the small models are right: by names alone, from few shots, in full size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fdbpl import api
from fdbpl.classify.decision import unit
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.data.dataset import Item
from fdbpl.data.registry import LAYOUTS
from fdbpl.data.splits import draw_order, halve
from fdbpl.evaluation.accuracy import decided
from fdbpl.evaluation.statistics import Interval, t_interval
from studies.photographs.features import Floats, encode, encoder, stored
from studies.photographs.parts import DATASETS, Picture, class_names, decode, read_part

SEEDS = (1, 2, 3)
SHOTS = 16

SHORT_SIDE, QUALITY = 64, 76
"""Pixels, and JPEG quality, of the pictures that the models were trained on."""

FULL_SIZE: Mapping[str, str] = MappingProxyType({"caltech101": "caltech-101", "dtd": "dtd"})
"""The datasets that are looked at in full size, and their names in CoOp's layout."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Seen:
    """A part of a dataset as a model sees it.

    Attributes:
        features: (n, D) of unit length.
        paths: n paths below the dataset's folder, PART/CLASS/FILE, by which shots are drawn.
        labels: (n) places in `names`.
        names: of the C classes.
        template: of the dataset.
    """

    features: Floats
    paths: Sequence[str]
    labels: Ints
    names: Sequence[str]
    template: str


def seen(photos: Path, part: str, clip: ClipModel, hidden: Mapping[str, Floats]) -> dict[str, Seen]:
    """Return a part of all datasets as a model sees it.

    Args:
        photos: where the tar files lie.
        part: of `studies.photographs.parts.PARTS`.
        clip: the model.
        hidden: by dataset (n, E) before its projection, as `studies.photographs.features` has them.
    """
    found = {}
    for dataset, about in DATASETS.items():
        pictures = list(read_part(photos, dataset, part))
        found[dataset] = Seen(
            features=projected(clip, hidden[dataset]),
            paths=[one.path.removeprefix(f"{dataset}/") for one in pictures],
            labels=np.array([one.label for one in pictures]),
            names=list(class_names(photos, dataset).values()),
            template=about.template,
        )
    return found


def projected(clip: ClipModel, hidden: Floats) -> Floats:
    """Return unit features (n, D) of features (n, E) before a model's last projection."""
    return unit(hidden @ last_projection(clip).numpy())


def by_template(clip: ClipModel, one: Seen) -> api.Decision:
    """Return how a model decides between the classes by their names under the template."""
    return api.Decision(api.template_vectors(clip, one.names, one.template), clip.logit_scale)


def zero_shot(clip: ClipModel, one: Seen) -> float:
    """Return the accuracy over all classes, in per cent, by names alone."""
    return api.accuracy(one.features, one.labels, by_template(clip, one), range(len(one.names)))


def base_of(one: Seen) -> tuple[int, ...]:
    """Return the labels of the base classes, the first half."""
    return halve(tuple(range(len(one.names))))[0]


def probed(
    clip: ClipModel, train: Seen, test: Seen, seeds: Sequence[int] = SEEDS, shots: int = SHOTS
) -> dict[int, float]:
    """Return the accuracy of a linear probe on base classes, in per cent, by seed.

    Args:
        clip: the model, which decides between classes that the probe does not know: none here.
        train: what shots are drawn from, as the pipeline draws them.
        test: of the same classes.
        seeds: of the shots.
        shots: of each base class, or all that there are.
    """
    base = base_of(train)
    names = [train.names[label] for label in base]
    kept = np.flatnonzero(np.isin(train.labels, base)).tolist()
    items = [Item(train.paths[row], int(train.labels[row])) for row in kept]
    place = {item: index for index, item in enumerate(items)}
    picks = {
        seed: [place[item] for drawn in draw_order(items, seed).values() for item in drawn[:shots]]
        for seed in seeds
    }
    features, vectors = train.features[kept], api.template_vectors(clip, names, train.template)
    learned = api.learn(
        clip,
        names,
        student=features,
        teacher=features,  # nobody is asked: the probe reads labels
        teacher_vectors=vectors,
        teacher_scale=clip.logit_scale,
        labels=train.labels[kept],
        picks=picks,
        method="linear_probe",
    )
    found = {}
    for seed, one in learned.items():
        decision = api.classifier(clip, one, names, train.template)
        rows = np.isin(test.labels, base)
        found[seed] = api.accuracy(test.features[rows], test.labels[rows], decision, base)
    return found


@dataclass(frozen=True)
class FullSize:
    """Photographs of a dataset in full size, and the same ones made small.

    Attributes:
        dataset: of `FULL_SIZE`.
        names: of its C classes.
        labels: (n) places in `names`.
        read: returns the n pictures in full size.
    """

    dataset: str
    names: Sequence[str]
    labels: Ints
    read: Callable[[], Iterator[Picture]]


def full_size(real: Path) -> list[FullSize]:
    """Return the photographs in full size that lie in a folder in CoOp's layout, all splits.

    Raises:
        UserError: a dataset of `FULL_SIZE` is not there, or is damaged.
    """
    return [_full_size(real, dataset, name) for dataset, name in FULL_SIZE.items()]


def _full_size(real: Path, dataset: str, name: str) -> FullSize:
    found = LAYOUTS[name].read(name, real)
    items = sorted((*found.train, *found.val, *found.test))

    def read() -> Iterator[Picture]:
        for item in items:
            yield Picture(item.path, item.label, (found.folder / item.path).read_bytes())

    return FullSize(dataset, found.class_names, np.array([one.label for one in items]), read)


def made_small(picture: Picture) -> Picture:
    """Return a picture with a short side of SHORT_SIDE pixels, saved as JPEG anew.

    One that is as small already keeps its size.
    """
    image = decode(picture)
    share = min(1.0, SHORT_SIDE / min(image.size))
    width, height = (max(1, round(share * side)) for side in image.size)
    saved = BytesIO()
    image.resize((width, height), Image.Resampling.BICUBIC).save(saved, "JPEG", quality=QUALITY)
    return picture._replace(data=saved.getvalue())


VERSIONS: Mapping[str, Callable[[Picture], Picture]] = MappingProxyType(
    {"full_size": lambda picture: picture, "small": made_small}
)
"""What is made of a photograph in full size, before a model sees it."""


def right(
    clip: ClipModel, model: str, pictures: FullSize, out: Path, say: Callable[[str], None]
) -> dict[str, NDArray[np.bool_]]:
    """Return which pictures (n) a model takes for what they show, by version.

    Args:
        clip: the model.
        model: its architecture, of `fdbpl.clip.small.PAIR`.
        pictures: of a dataset.
        out: holds what was encoded before, and what is encoded now.
        say: told of every version that was encoded.
    """
    found = {}
    for version, make in VERSIONS.items():
        folder = out / model / f"{pictures.dataset}-{version}"
        if not folder.is_dir():
            encode(encoder(model), [make(one) for one in pictures.read()], folder)
            say(f"{pictures.dataset}: {version} encoded by the tower of {model}")
        template = DATASETS[pictures.dataset].template
        decision = api.Decision(api.template_vectors(clip, pictures.names, template))
        features = projected(clip, stored(folder))
        taken = decided(features, decision, range(len(pictures.names)))
        found[version] = taken == pictures.labels
    return found


def gain(full: NDArray[np.bool_], small: NDArray[np.bool_]) -> Interval:
    """Return by how many points full size (n) is better than small (n), over the same pictures."""
    return t_interval(100.0 * (full.astype(float) - small.astype(float)))
