"""What pictures are told by: class names, kinds and ImageNet's names, under templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer

from fdbpl.data.dataset import GENERIC_TEMPLATE
from studies.photographs.parts import DATASETS, class_names

LENGTH = 32
"""Tokens that a text tower has room for."""

SIMPLE = tuple(fill("{}") for fill in open_clip.SIMPLE_IMAGENET_TEMPLATES)
MANY = tuple(fill("{}") for fill in open_clip.OPENAI_IMAGENET_TEMPLATES)


@dataclass(frozen=True)
class Subject:
    """What a caption names.

    Attributes:
        name: as it stands in the caption.
        dataset: the one whose class or kind it is; None for a name of ImageNet's.
        is_kind: whether it names what all pictures of the dataset are.
        with_kind: whether the caption names that beside the class, in words of no hand-written
            template.
    """

    name: str
    dataset: str | None
    is_kind: bool = False
    with_kind: bool = False


def class_subjects(photos: Path, *, with_kind: bool = False) -> list[Subject]:
    """Return the classes of all datasets, in the order of the datasets and of their folders."""
    return [
        Subject(name.lower(), dataset, with_kind=with_kind)
        for dataset in DATASETS
        for name in class_names(photos, dataset).values()
    ]


def kind_subjects() -> list[Subject]:
    """Return the kinds of all datasets."""
    return [
        Subject(kind, dataset, is_kind=True)
        for dataset, about in DATASETS.items()
        for kind in about.kinds
    ]


def imagenet_subjects() -> list[Subject]:
    """Return ImageNet's thousand names, in the order of its classifier."""
    return [Subject(name.lower(), None) for name in open_clip.IMAGENET_CLASSNAMES]


def templates_of(subject: Subject) -> Mapping[str, float]:
    """Return the templates that a subject may stand in, with the chance of each."""
    shares = [(dict.fromkeys(SIMPLE, 1.0), 0.2), (dict.fromkeys(MANY, 1.0), 0.2)]
    if subject.dataset is None:
        shares += [({GENERIC_TEMPLATE: 1.0}, 0.4), ({"{}": 1.0}, 0.2)]
    else:
        own = DATASETS[subject.dataset].template
        shares += [({own: 1.0}, 0.35), ({GENERIC_TEMPLATE: 1.0}, 0.15), ({"{}": 1.0}, 0.1)]
    found: dict[str, float] = {}
    for group, share in shares:
        for template in group:
            found[template] = found.get(template, 0.0) + share / len(group)
    return found


@lru_cache
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


@cache
def _tokens(text: str) -> tuple[int, ...]:
    return tuple(_tokenizer().encode(text))


def _halves(template: str, name: str) -> tuple[str, str]:
    """Cut a caption before its name: at a space, which no token crosses as one does a full stop."""
    before, after = template.split("{}")
    return before, name + after


def caption_tokens(template: str, name: str) -> list[int]:
    """Return the tokens of a caption, from start to end, cut to LENGTH."""
    tokenizer = _tokenizer()
    words = [token for half in _halves(template, name) for token in _tokens(half)]
    return [tokenizer.sot_token_id, *words[: LENGTH - 2], tokenizer.eot_token_id]


class Captions:
    """Draws a caption for each subject, as padded tokens.

    Args:
        subjects: of whom.
    """

    def __init__(self, subjects: Sequence[Subject]):
        self._names = [subject.name for subject in subjects]
        shares = [templates_of(subject) for subject in subjects]
        self._templates = [list(one) for one in shares]
        self._shares = [np.cumsum(list(one.values())) for one in shares]

    def tokens_used(self) -> list[int]:
        """Return every token that any caption may hold, ascending."""
        texts = {
            half
            for name, templates in zip(self._names, self._templates, strict=True)
            for template in templates
            for half in _halves(template, name)
        }
        found = {token for text in texts for token in _tokens(text)}
        tokenizer = _tokenizer()
        return sorted({*found, tokenizer.sot_token_id, tokenizer.eot_token_id})

    def draw(self, rng: np.random.Generator, rows: NDArray[np.integer]) -> torch.Tensor:
        """Return one caption of each of `rows` (n) as tokens (n, LENGTH), zero after the end."""
        chances = rng.random(len(rows))
        found = torch.zeros(len(rows), LENGTH, dtype=torch.long)
        for at, (row, chance) in enumerate(zip(rows.tolist(), chances, strict=True)):
            which = int(np.searchsorted(self._shares[row], chance * self._shares[row][-1]))
            ids = caption_tokens(self._templates[row][which], self._names[row])
            found[at, : len(ids)] = torch.tensor(ids)
        return found
