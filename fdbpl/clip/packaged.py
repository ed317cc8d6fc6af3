"""Models whose weights come with the installation, by the name their weights have."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from fdbpl.clip import small
from fdbpl.playground import tiny
from fdbpl.system.installed import read_installed

if TYPE_CHECKING:
    from torch import Tensor


class Packaged(Protocol):
    """A module that holds some models."""

    MODELS: tuple[str, ...]
    """Architectures, which open_clip knows once they are registered."""

    def preprocessing(self, model: str) -> Mapping[str, Any]:
        """Return what a model's pre-processing differs in from open_clip's default."""

    def register(self) -> None:
        """Make the models known to open_clip by name."""

    def state(self, model: str) -> Mapping[str, "Tensor"]:
        """Return all tensors of a model by open_clip's names."""


PACKAGED: Mapping[str, Packaged] = MappingProxyType({"small": small, "tiny": tiny})
"""By what stands under `weights`: for photographs, and for drawings.

Tiny is last: open_clip reads all files of configurations anew when one is added, and tiny's is
completed after it has been read."""


def register() -> None:
    """Make all packaged models known to open_clip by name.

    Raises:
        UserError: a configuration, or a list of words that texts are split by, is damaged.
    """
    from open_clip.tokenizer import default_bpe

    read_installed(Path(default_bpe()), "open_clip_torch")
    for one in PACKAGED.values():
        one.register()


def preprocessing(architecture: str) -> Mapping[str, Any]:
    """Return what an architecture's pre-processing differs in from open_clip's default."""
    having = (one for one in PACKAGED.values() if architecture in one.MODELS)
    return next((one.preprocessing(architecture) for one in having), {})


def weights_of(architecture: str) -> list[str]:
    """Return the names of packaged weights that an architecture has."""
    return [name for name, one in PACKAGED.items() if architecture in one.MODELS]
