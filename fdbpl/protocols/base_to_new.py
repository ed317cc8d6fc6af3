"""Base-to-new (Zhou et al. 2022, CoCoOp): learn half of the classes, test both halves."""

from fdbpl.data.splits import halve
from fdbpl.evaluation.accuracy import base_to_new
from fdbpl.protocols.protocol import Classes, Labels, Protocol

BASE, NEW = "base", "new"


def halves(labels: Labels, _: Labels) -> Classes:
    """Return the first half as learned; each half is tested."""
    base, new = halve(labels)
    return Classes(base, {BASE: base, NEW: new})


BASE_TO_NEW = Protocol(
    name="base-to-new",
    title="Base-to-new",
    classes=halves,
    measure=lambda features, labels, decision, tested: base_to_new(
        features, labels, decision, tested[BASE], tested[NEW]
    ),
)
"""Each half is tested among its own classes, and among those of both."""
