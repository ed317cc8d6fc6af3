"""Packaged models are known to open_clip whole, whichever was asked for first."""

from collections.abc import Callable

import open_clip
import pytest
from open_clip import factory

from fdbpl.clip import packaged, small
from fdbpl.playground import tiny

ASKED: list[list[Callable[[], None]]] = [[], [tiny.register], [small.register]]


@pytest.mark.parametrize("before", ASKED, ids=["none", "tiny", "small"])
def test_registering_leaves_every_tokenizer_whole(
    monkeypatch: pytest.MonkeyPatch, before: list[Callable[[], None]]
) -> None:
    names = [name for one in packaged.PACKAGED.values() for name in one.MODELS]
    shipped = [path for path in factory._MODEL_CONFIG_PATHS if path.stem not in names]
    known = {name: one for name, one in factory._MODEL_CONFIGS.items() if name not in names}
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", shipped)
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", known)
    for register in (*before, packaged.register):
        register()
    for name in names:
        assert open_clip.get_tokenizer(name)(["a fox"]).shape == (1, 32)
