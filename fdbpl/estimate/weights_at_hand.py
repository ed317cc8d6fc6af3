"""A model to time: with its weights where they are on this machine, else of the same shapes."""

from pathlib import Path
from urllib.parse import urlparse

from huggingface_hub import try_to_load_from_cache
from open_clip import pretrained
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.shapes import random_model
from fdbpl.params import ModelParams
from fdbpl.weights import TINY


def model_to_time(params: ModelParams, role: str) -> tuple[ClipModel, bool]:
    """Return the model that `params` describes, and whether its weights are its own.

    Nothing is fetched: a tag whose weights were never fetched gives random ones, which take as
    long. Only with its own weights can a model be looked up in the store.

    Raises:
        UserError: an unknown architecture, or a weights file that does not fit.
    """
    registry = pretrained.get_pretrained_cfg(params.architecture, params.weights)
    if params.weights != TINY and registry and not _fetched(registry):
        return random_model(params.architecture, seed=0), False
    return load_model(params, role), True


def _fetched(registry: dict[str, str]) -> bool:
    """Tell whether the weights of a tag lie where open_clip looks for them."""
    hub, _, own = registry.get("hf_hub", "").rpartition("/")
    if hub:
        names = [own] if own else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
        return any(isinstance(try_to_load_from_cache(hub, name), str) for name in names)
    name = Path(urlparse(registry.get("url", "")).path).name
    return bool(name) and (Path.home() / ".cache/clip" / name).is_file()
