"""Transfer (Zhou et al. 2022, CoCoOp): learn one dataset's classes, test on all others unchanged.

Others are other datasets, or the source in pictures of another kind. Which is told by `shifted` in
params.yaml, never guessed: drawn flowers and dishes share all class names, and a flower is no dish.
"""

from fdbpl.protocols.all_classes import ALL_CLASSES, accuracy_over_all, every_class
from fdbpl.protocols.protocol import Protocol

TRANSFER = Protocol(
    name="transfer",
    title="Transfer",
    classes=every_class,
    measure=accuracy_over_all,
    learns_on_source=True,
    trained_as=ALL_CLASSES.name,
)
"""Only methods that decide between any class names take part: `Method.transfers`."""
