"""All numbers of the small models' card, as plain values."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fdbpl import api
from fdbpl.clip import small
from fdbpl.clip.model import ClipModel
from fdbpl.data.dataset import GENERIC_TEMPLATE
from studies.photographs.accuracies import (
    Seen,
    base_of,
    full_size,
    gain,
    probed,
    right,
    seen,
    zero_shot,
)
from studies.photographs.captions import class_subjects, imagenet_subjects, kind_subjects
from studies.photographs.features import features, tower_of
from studies.photographs.parts import DATASETS
from studies.photographs.unheard import (
    means,
    places,
    ranks,
    require_unheard,
    summary,
    texts_of,
    unheard,
)

ROLES: Mapping[str, str] = dict(zip(("student", "teacher"), small.PAIR, strict=True))
"""The small models' architectures, by what they are for."""

Say = Callable[[str], None]


def measured(photos: Path, real: Path | None, out: Path, say: Say) -> dict[str, Any]:
    """Return all that the card is written from.

    Args and errors are those of `studies.photographs.card.write_card`.

    Returns:
        `models`: by role what they are. `zero_shot`: by dataset the accuracy of both, in per cent,
        and chance. `probe`: by dataset the student's on base classes, by seed. `full_size`: by
        dataset and role accuracies by version, and the difference; None without `real`.
        `unheard`: `summaries` by role and template, and all `names` with the rank of their likes.
    """
    subjects = [*class_subjects(photos), *kind_subjects(), *imagenet_subjects()]
    require_unheard((one.name for one in unheard()), subjects)
    clips = {role: api.load(model, "small") for role, model in ROLES.items()}

    def part(which: str, role: str) -> dict[str, Seen]:
        hidden = features(photos, which, ROLES[role], out / "features", say)
        return seen(photos, which, clips[role], hidden)

    tests = {role: part("test", role) for role in ROLES}
    return {
        "models": {role: _about(ROLES[role], clip) for role, clip in clips.items()},
        "zero_shot": _zero_shot(clips, tests),
        "probe": _probe(clips["student"], part("train", "student"), tests["student"]),
        "full_size": None if real is None else _full_size(clips, real, out / "features", say),
        "unheard": _unheard(clips, tests),
    }


def _about(model: str, clip: ClipModel) -> dict[str, Any]:
    """Return a model's name, its image tower, and the parameters of both towers."""
    sizes: dict[bool, int] = {True: 0, False: 0}
    for name, tensor in clip.network.named_parameters():
        sizes[name.startswith("visual.")] += tensor.numel()
    return {
        "architecture": model,
        "image_tower": tower_of(model),
        "image_size": clip.image_size,
        "image_parameters": sizes[True],
        "text_parameters": sizes[False],
    }


def _zero_shot(
    clips: Mapping[str, ClipModel], tests: Mapping[str, Mapping[str, Seen]]
) -> dict[str, Any]:
    return {
        dataset: {
            "classes": len(one.names),
            "pictures": len(one.labels),
            "chance": 100 / len(one.names),
            **{role: zero_shot(clip, tests[role][dataset]) for role, clip in clips.items()},
        }
        for dataset, one in tests["student"].items()
    }


def _probe(
    clip: ClipModel, trains: Mapping[str, Seen], tests: Mapping[str, Seen]
) -> dict[str, Any]:
    found = {}
    for dataset, train in trains.items():
        by_seed = probed(clip, train, tests[dataset])
        found[dataset] = {
            "base_classes": len(base_of(train)),
            "seeds": {str(seed): accuracy for seed, accuracy in by_seed.items()},
        }
    return found


def _full_size(clips: Mapping[str, ClipModel], real: Path, out: Path, say: Say) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in full_size(real):
        found[one.dataset] = {"classes": len(one.names), "pictures": len(one.labels)}
        for role, clip in clips.items():
            hits = right(clip, ROLES[role], one, out, say)
            found[one.dataset][role] = {
                **{version: 100 * float(hit.mean()) for version, hit in hits.items()},
                "gain": asdict(gain(hits["full_size"], hits["small"])),
            }
    return found


def _unheard(
    clips: Mapping[str, ClipModel], tests: Mapping[str, Mapping[str, Seen]]
) -> dict[str, Any]:
    names = unheard()
    groups = np.array([list(DATASETS).index(one.dataset) for one in names])
    groups = np.unique(groups, return_inverse=True)[1]
    templates = {
        "own": {dataset: about.template for dataset, about in DATASETS.items()},
        "generic": dict.fromkeys(DATASETS, GENERIC_TEMPLATE),
    }
    rows: list[dict[str, Any]] = [one._asdict() for one in names]
    summaries: dict[str, Any] = {}
    for role, clip in clips.items():
        classes = means(tests[role].values())
        likes = places(names, classes)
        found = {
            template: ranks(texts_of(clip, names, of), classes.vectors)
            for template, of in templates.items()
        }
        summaries[role] = {
            template: summary(ranked, likes, groups) for template, ranked in found.items()
        }
        for row, ranked, like in zip(rows, found["own"], likes, strict=True):
            nearest = classes.names[int(ranked.argmin())]
            row[role] = {"rank": int(ranked[like]), "nearest": nearest}
    return {"classes": len(classes.names), "summaries": summaries, "names": rows}
