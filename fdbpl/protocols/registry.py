"""The protocols there are: one line each."""

from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.protocols.base_to_new import BASE_TO_NEW
from fdbpl.protocols.protocol import Protocol
from fdbpl.protocols.transductive import TRANSDUCTIVE
from fdbpl.protocols.transfer import TRANSFER

PROTOCOLS: dict[str, Protocol] = {
    one.name: one for one in (BASE_TO_NEW, ALL_CLASSES, TRANSDUCTIVE, TRANSFER)
}
"""By name, in the order in which they are learned and shown."""
