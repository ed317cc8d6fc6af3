"""The tiny student and teacher of the playground: configurations, weights, merges.

They load through open_clip's own factory. Their tokenizer keeps only the merges that the
playground's words need; any other text falls back to bytes and still tokenizes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdbpl.system.installed import read_installed

if TYPE_CHECKING:
    from torch import Tensor

HERE = Path(__file__).resolve().parent
MODELS: tuple[str, ...] = ("fdbpl-tiny-student", "fdbpl-tiny-teacher")
MERGES = HERE / "merges.txt.gz"


def config(model: str) -> dict[str, Any]:
    """Return a tiny model's configuration, its merges file as an absolute path."""
    loaded: dict[str, Any] = json.loads(read_installed(HERE / f"{model}.json"))
    loaded["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": str(MERGES)}
    return loaded


def image_size(model: str) -> int:
    """Return the side of a tiny model's square input, in pixels."""
    return int(config(model)["vision_cfg"]["image_size"])


def weights(model: str) -> Path:
    """Return where a tiny model's weights lie: safetensors, fp16, every key of the state dict."""
    return HERE / f"{model}.safetensors"


def preprocessing(model: str) -> Mapping[str, Any]:
    """Return what a tiny model's pre-processing differs in from open_clip's default: nothing."""
    return {}


def state(model: str) -> dict[str, "Tensor"]:
    """Return all tensors of a tiny model by open_clip's names.

    Raises:
        UserError: its file is missing or damaged.
    """
    from safetensors.torch import load

    return load(read_installed(weights(model)))


def register() -> None:
    """Make the tiny models known to open_clip by name. Doing it twice changes nothing.

    open_clip reads configurations from files only, and a file in the package cannot hold the
    absolute path of the merges: the path is filled in after it has been read.

    Raises:
        UserError: a configuration or the merges are missing or damaged.
    """
    import open_clip
    from open_clip import factory

    configs = {model: config(model) for model in MODELS}
    read_installed(MERGES)
    if not set(MODELS) <= set(open_clip.list_models()):
        for model in MODELS:
            open_clip.add_model_config(HERE / f"{model}.json")
    factory._MODEL_CONFIGS.update(configs)
