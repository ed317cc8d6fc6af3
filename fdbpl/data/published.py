"""How many classes and images the field's datasets have, as published: facts to check against.

The eleven benchmarks: CoOp's splits, as CoCoOp's base-to-new protocol halves them. The four
shifted ImageNets: as their authors released them, and as CoOp evaluates them.
"""

from collections.abc import Mapping
from types import MappingProxyType

CLASSES = "classes"
BASE = "base classes"
NEW = "new classes"
TRAIN = "training images"
TEST = "test images"
TEST_BASE = "test images, base"
TEST_NEW = "test images, new"

Counts = Mapping[str, int]


def _halves(base: int, new: int, train: int, test_base: int, test_new: int) -> Counts:
    return {
        CLASSES: base + new,
        BASE: base,
        NEW: new,
        TRAIN: train,
        TEST: test_base + test_new,
        TEST_BASE: test_base,
        TEST_NEW: test_new,
    }


def _shifted(classes: int, test: int) -> Counts:
    return {CLASSES: classes, TRAIN: 0, TEST: test}


PUBLISHED: Mapping[str, Counts] = MappingProxyType(
    {
        "imagenet": _halves(500, 500, 1_281_167, 25_000, 25_000),
        "caltech-101": _halves(50, 50, 4_128, 1_549, 916),
        "oxford_pets": _halves(19, 18, 2_944, 1_881, 1_788),
        "stanford_cars": _halves(98, 98, 6_509, 4_002, 4_039),
        "oxford_flowers": _halves(51, 51, 4_093, 1_053, 1_410),
        "food-101": _halves(51, 50, 50_500, 15_300, 15_000),
        "fgvc_aircraft": _halves(50, 50, 3_334, 1_666, 1_667),
        "sun397": _halves(199, 198, 15_880, 9_950, 9_900),
        "dtd": _halves(24, 23, 2_820, 864, 828),
        "eurosat": _halves(5, 5, 13_500, 4_200, 3_900),
        "ucf101": _halves(51, 50, 7_639, 1_934, 1_849),
        "imagenetv2": _shifted(1000, 10_000),
        "imagenet-sketch": _shifted(1000, 50_889),
        "imagenet-adversarial": _shifted(200, 7_500),
        "imagenet-rendition": _shifted(200, 30_000),
    }
)
