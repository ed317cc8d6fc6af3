"""YAML from whoever wrote it: read as DVC reads it, in bounded time and memory."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node

MOST_LETTERS = 1 << 20
MOST_VALUES = 50_000
"""A file of parameters has some hundred. Aliases of aliases would make billions of them."""


def load_yaml(text: str) -> Any:
    """Return what a text says in YAML 1.2, as DVC reads it: there `1e-3` is a number, `no` a word.

    Raises:
        YAMLError: it is no YAML, a key stands twice in one mapping, or it says too much.
    """
    if len(text) > MOST_LETTERS:
        raise YAMLError(f"{len(text):,} letters, wanted at most {MOST_LETTERS:,}")
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = _Bounded
    try:
        return reader.load(text)
    except RecursionError:
        raise YAMLError("its lists and mappings are nested too deep") from None
    except ValueError as error:  # of a number or a date that Python has not
        raise YAMLError(str(error)) from None


class _Bounded(SafeConstructor):
    """Makes values of what was read, after their number was counted."""

    def construct_document(self, node: Node) -> Any:
        count = _values(node, {})
        if count > MOST_VALUES:
            raise YAMLError(
                f"{count:,} values when its aliases (*name) are written out, wanted at most "
                f"{MOST_VALUES:,}"
            )
        return super().construct_document(node)


def _values(node: Node, counted: dict[Node, int | None]) -> int:
    """Return how many values a node has below it, with every alias written out."""
    if node not in counted:
        counted[node] = None
        below: list[Node] = node.value if isinstance(node, CollectionNode) else []
        if isinstance(node, MappingNode):
            below = [one for pair in node.value for one in pair]
        counted[node] = 1 + sum(_values(one, counted) for one in below)
    count = counted[node]
    if count is None:
        raise YAMLError("an alias (*name) stands within what it names")
    return count
