"""Accuracies that others published, to stand beside ours where the student is the same.

All in per cent, at 16 shots where nothing else is said, means of 3 seeds, of students with OpenAI's weights. Numbers of one
backbone say nothing beside those of another, and transductive methods, which train on unlabelled
images of all classes, the new ones among them, nothing beside methods that do not. Every number is as
published, H too: that of PromptKD on two datasets, and HPT's, is not H of the halves beside it.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Halves(NamedTuple):
    """Base, new and H."""

    base: float
    new: float
    h: float


BACKBONES: Mapping[str, str] = {"ViT-B-16": "ViT-B/16", "ViT-B-32": "ViT-B/32"}
"""Architectures of open_clip, without what tells their activation, and what papers call them."""

TRANSDUCTIVE = frozenset({"PromptKD", "TextRefiner+PromptKD", "DPC+PromptKD"})

PROMPTKD = "the tables of PromptKD (Li et al. 2024)"
AWESOME = "the public list Awesome-Prompt-Adapter-Learning-for-VLMs"
KDPL = "the tables of KDPL (Mistretta et al. 2024)"
CLIP_SVD = "the table of CLIP-SVD (Koleilat et al. 2025)"

_BASE_TO_NEW = """
dataset        CLIP              CoOp              CoCoOp            MaPLe             PromptSRC         PromptKD
imagenet       72.43/68.14/70.22 76.47/67.88/71.92 75.98/70.43/73.10 76.66/70.54/73.47 77.60/70.73/74.01 80.83/74.66/77.62
caltech-101    96.84/94.00/95.40 98.00/89.81/93.73 97.96/93.81/95.84 97.74/94.36/96.02 98.10/94.03/96.02 98.91/96.65/97.77
oxford_pets    91.17/97.26/94.12 93.67/95.29/94.47 95.20/97.69/96.43 95.43/97.76/96.58 95.33/97.30/96.30 96.30/98.01/97.15
stanford_cars  63.37/74.89/68.65 78.12/60.40/68.13 70.49/73.59/72.01 72.94/74.00/73.47 78.27/74.97/76.58 82.80/83.37/83.13
oxford_flowers 72.08/77.80/74.83 97.60/59.67/74.06 94.87/71.75/81.71 95.92/72.46/82.56 98.07/76.50/85.95 99.42/82.62/90.24
food-101       90.10/91.22/90.66 88.33/82.26/85.19 90.70/91.29/90.99 90.71/92.05/91.38 90.67/91.53/91.10 92.43/93.68/93.05
fgvc_aircraft  27.19/36.29/31.09 40.44/22.30/28.75 33.41/23.71/27.74 37.44/35.61/36.50 42.73/37.87/40.15 49.12/41.81/45.17
sun397         69.36/75.35/72.23 80.60/65.89/72.51 79.74/76.86/78.27 80.82/78.70/79.75 82.67/78.47/80.52 83.69/81.54/82.60
dtd            53.24/59.90/56.37 79.44/41.18/54.24 77.01/56.00/64.85 80.36/59.18/68.16 83.37/62.97/71.75 85.84/71.37/77.94
eurosat        56.48/64.05/60.03 92.19/54.74/68.69 87.49/60.04/71.21 94.07/73.23/82.35 92.90/73.90/82.32 97.54/82.08/89.14
ucf101         70.53/77.50/73.85 84.69/56.05/67.46 82.33/73.45/77.64 83.00/78.66/80.77 87.10/78.80/82.74 89.71/82.27/86.10
average        69.34/74.22/71.70 82.69/63.22/71.66 80.47/71.69/75.83 82.28/75.14/78.55 84.26/76.10/79.97 86.96/80.73/83.73
"""

_AVERAGES = """
CLIP                 69.34/74.22/71.70
CoOp                 82.69/63.22/71.66
CoCoOp               80.47/71.69/75.83
ProDA                81.56/72.30/76.65
TextRefiner          79.74/74.32/76.94
KgCoOp               80.73/73.60/77.00
DePT                 83.80/72.89/77.97
TCP                  84.13/75.36/79.51
MaPLe                82.28/75.14/78.55
MMA                  83.20/76.80/79.87
PromptSRC            84.26/76.10/79.97
HPT                  84.32/76.86/80.23
CoPrompt             84.00/77.23/80.48
MMRL                 85.68/77.16/81.20
LLaMP                85.16/77.71/81.27
CasPL+PromptSRC      86.11/79.54/82.69
TextRefiner+PromptKD 85.22/79.64/82.33
PromptKD             86.96/80.73/83.73
DPC+PromptKD         87.55/80.55/83.91
"""

_SHIFTED = """
CLIP                    62.00 54.70 40.80 29.60 66.00 47.78
CoOp                    66.33 58.30 41.40 31.47 65.87 49.26
CoOp+KDPL               65.97 58.10 42.50 31.63 67.37 49.90
PromptSRC               66.33 58.70 42.97 32.07 68.93 50.67
PromptSRC+KDPL          66.27 58.60 43.07 31.70 68.83 50.55
ViT-H/14 DFN5B, teacher 82.80 76.60 71.10 71.10 91.30 77.53
"""
_SHIFTED_COLUMNS = (
    "imagenet",
    "imagenetv2",
    "imagenet-sketch",
    "imagenet-adversarial",
    "imagenet-rendition",
    "average",
)


_ALL_CLASSES = """
shots             1     2     4     8    16
CoOp          68.09 70.13 73.59 76.45 79.01
Tip-Adapter   68.89 70.42 72.69 74.41 76.44
Tip-Adapter-F 70.62 73.08 75.75 78.51 81.15
GDA           69.39 73.09 76.24 79.71 81.70
ProKeR        71.32 73.74 76.23 79.84 82.01
CLIP-LoRA     72.20 75.41 77.32 80.10 82.89
CLIP-SVD      73.20 76.06 78.18 80.55 82.97
"""


def _halves(text: str) -> Halves:
    return Halves(*map(float, text.split("/")))


def _by_method(text: str) -> Mapping[str, Mapping[str, Halves]]:
    (_, *methods), *rows = (line.split() for line in text.strip().splitlines())
    return {
        method: {dataset: _halves(cells[column]) for dataset, *cells in rows}
        for column, method in enumerate(methods)
    }


def _by_shots(text: str) -> Mapping[str, Mapping[str, float]]:
    (_, *shots), *rows = (line.split() for line in text.strip().splitlines())
    return {method: dict(zip(shots, map(float, cells), strict=True)) for method, *cells in rows}


BASE_TO_NEW: Mapping[str, Mapping[str, Mapping[str, Halves]]] = {
    "ViT-B/16": _by_method(_BASE_TO_NEW)
}
"""By backbone, method and dataset; source: PROMPTKD."""

AVERAGES: Mapping[str, Mapping[str, Halves]] = {
    "ViT-B/16": {
        method: _halves(cell) for method, cell in map(str.split, _AVERAGES.strip().splitlines())
    }
}
"""By backbone and method, over the eleven; H is that of the averaged halves; source: AWESOME."""

CROSS_DATASET: Mapping[str, Mapping[str, float]] = {
    "ViT-B/16": {
        "CoOp": 63.88,
        "CoCoOp": 65.74,
        "MaPLe": 66.30,
        "PromptSRC": 65.81,
        "PromptKD": 71.33,
    }
}
"""By backbone and method, learned on ImageNet, the average of the ten others; source: PROMPTKD."""

SHIFTED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "ViT-B/32": {
        method.rstrip(): dict(zip(_SHIFTED_COLUMNS, map(float, cells), strict=True))
        for method, *cells in (line.rsplit(maxsplit=6) for line in _SHIFTED.strip().splitlines())
    }
}
"""By backbone, method and dataset, learned on ImageNet; `average` is of the four; source: KDPL."""

ALL_CLASSES: Mapping[str, Mapping[str, Mapping[str, float]]] = {"ViT-B/16": _by_shots(_ALL_CLASSES)}
"""By backbone, method and shots of each class, all classes learned, over the eleven; source:
CLIP_SVD."""
