"""Transductive base-to-new: unlabelled images of all classes are learned from, each half is tested.

The setting of PromptKD (Li et al. 2024): images of new classes may be seen and the names of all
classes are known, but no label. Figures stand beside those of base-to-new, and never in one column.
"""

from dataclasses import replace

from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.protocols.base_to_new import BASE_TO_NEW, halves
from fdbpl.protocols.protocol import Classes, Labels


def every_class_by_halves(labels: Labels, names: Labels) -> Classes:
    """Return every class with training images as learned; each half is tested."""
    return Classes(labels, halves(labels, names).tested)


TRANSDUCTIVE = replace(
    BASE_TO_NEW,
    name="transductive",
    title="Transductive",
    classes=every_class_by_halves,
    gives_labels=False,
    trained_as=ALL_CLASSES.name,
)
"""Methods that read labels take no part."""
