"""YAML in which a key stands once: of two, the last would win and the first would go unnoticed."""

from typing import Any

import yaml

from fdbpl.system.errors import UserError


class _UniqueKeys(yaml.SafeLoader):
    # before merge keys are resolved, which put a second one beside those they override
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.ScalarNode] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            before = first.setdefault((key.tag, key.value), key)
            if before is not key:
                raise UserError(
                    f"{key.start_mark.name}, line {key.start_mark.line + 1}: key {key.value!r} "
                    f"stands in line {before.start_mark.line + 1} too, wanted once. Take one out."
                )
        return node


def load_yaml(text: str, name: str) -> Any:
    """Return what a text says in YAML.

    Args:
        text: one document.
        name: of its file, for errors.

    Raises:
        UserError: a key stands twice in one mapping.
        yaml.YAMLError: it is no YAML.
    """
    loader = _UniqueKeys(text)
    loader.name = name
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
