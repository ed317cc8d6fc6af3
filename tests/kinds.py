"""The registry's methods by what they learn and need, and contexts as one array."""

import numpy as np

from fdbpl.methods.prompts import SIDES, PromptMethod
from fdbpl.methods.registry import METHODS
from fdbpl.training.learning import Learned

KNOWN = tuple(METHODS)
TRAINED = tuple(
    name for name, one in METHODS.items() if one.takes_steps and type(one).loss is PromptMethod.loss
)
"""Those that learn contexts alone, by steps."""
FROM_FEATURES = tuple(
    name for name, one in METHODS.items() if one.takes_steps and one.image_layer is None
)
"""Those that learn anything by steps, from features of regions."""
LABELLED = tuple(name for name, one in METHODS.items() if one.labelled)
FITTED = tuple(name for name, one in METHODS.items() if not one.transfers)
LEARNED = tuple(name for name, one in METHODS.items() if one.learns and one.transfers)


def contexts(learned: Learned) -> np.ndarray:
    """The contexts (K, M, W) of what one seed learned, positive first."""
    return np.stack([learned.arrays[side] for side in SIDES if side in learned.arrays])
