"""Loading a CLIP model through open_clip: weights that fit exactly, and never a random start."""

import difflib
import hashlib
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from open_clip import convert, factory, pretrained
from open_clip.model import CLIP

from fdbpl.clip import packaged
from fdbpl.clip.download import download
from fdbpl.clip.packaged import PACKAGED
from fdbpl.clip.params import ModelParams
from fdbpl.clip.preprocessing import Preprocessing
from fdbpl.clip.weights import weights_source
from fdbpl.clip.weights_file import SCALARS, read_weights, shown
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, sha256

DERIVED = ("input_resolution", "context_length", "vocab_size", "attn_mask", "position_ids")
"""What files of other programs hold beside weights: nothing learned, and made anew here."""

LARGEST_SCALE = 7.0
"""Of `logit_scale`: CLIP's is at most ln 100. A file that holds 100 has no logarithm."""


@dataclass(frozen=True)
class ClipModel:
    """A frozen CLIP model in fp32, its tokenizer, and all that decides its features.

    `logit_scale` is exp(logit_scale) as the weights have it. `mean` and `std` normalise the
    colours, `image_size` is the side of the square input in pixels, reached by `interpolation`
    ("bicubic" or "bilinear"); a whole image is brought to it by `resize_mode`, "shortest" (side,
    then the centre) or "squash". `identity` holds the architecture, the digests of configuration
    and weights, and the activation; `source` says where the weights came from.
    """

    network: torch.nn.Module
    tokenizer: Any
    logit_scale: float
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    resize_mode: Literal["shortest", "squash"]
    source: str
    identity: Mapping[str, str]

    @property
    def preprocessing(self) -> Preprocessing:
        """What brings an image to the image tower's input."""
        return Preprocessing(
            self.image_size, self.mean, self.std, self.interpolation, self.resize_mode
        )

    @property
    def text_tower(self) -> Any:
        """The module that holds the text tower: the network itself, or its `text`."""
        return (
            self.network if isinstance(self.network, CLIP) else self.network.get_submodule("text")
        )

    @property
    def text_device(self) -> torch.device:
        """Where the text tower is, and with it all that is learned."""
        return next(self.text_tower.parameters()).device  # type: ignore[no-any-return]

    def move_text(self, device: str) -> None:
        """Bring the text tower to a device; the image tower stays where it is."""
        tower = self.text_tower
        for name, child in tower.named_children():
            if name != "visual":
                child.to(device)
        for name, own in list(tower.named_parameters(recurse=False)):
            setattr(tower, name, torch.nn.Parameter(own.to(device), requires_grad=False))
        for name, own in list(tower.named_buffers(recurse=False)):
            setattr(tower, name, own.to(device))


def load_model(params: ModelParams, role: str) -> ClipModel:
    """Load the model that `params` describes.

    Args:
        params: architecture, weights, activation.
        role: "student" or "teacher", the section of the parameters that errors name.

    Raises:
        UserError: unknown architecture; weights that are missing, cannot be fetched, lack or
            exceed the model's tensors, have other shapes or are not finite; an activation that
            nothing tells.
    """
    packaged.register()
    config = open_clip.get_model_config(params.architecture)
    if config is None:
        near = difflib.get_close_matches(
            params.architecture, open_clip.list_models(), n=4, cutoff=0
        )
        raise UserError(
            f"{role}.architecture is {params.architecture!r}, wanted an architecture of open_clip, "
            f"such as {', '.join(near)}."
        )
    path, registry = _find_weights(params, role)
    activation = _activation(params, role, config, path, registry)
    network, tokenizer = _build(params, role, activation)
    source = f"{role}.weights: {path or params.weights}"
    parts = {name.partition(".")[0] for name in network.state_dict()}
    found = read_weights(path, source, parts) if path else _packaged(params, role)
    _fill(network, found, source)
    network.eval().requires_grad_(requires_grad=False)
    size = network.visual.image_size
    special = packaged.preprocessing(params.architecture)
    preprocess = {**network.visual.preprocess_cfg, **special, **registry}
    if preprocess["resize_mode"] not in ("shortest", "squash"):
        raise UserError(
            f"{role}.architecture: {params.architecture} resizes images by "
            f"{preprocess['resize_mode']!r}, wanted 'shortest' or 'squash'."
        )
    return ClipModel(
        network=network,
        tokenizer=tokenizer,
        logit_scale=float(network.logit_scale.exp()),
        image_size=size if isinstance(size, int) else size[0],
        mean=tuple(preprocess["mean"]),
        std=tuple(preprocess["std"]),
        interpolation="bilinear" if preprocess["interpolation"] == "bilinear" else "bicubic",
        resize_mode=preprocess["resize_mode"],
        source=weights_source(params),
        identity={
            "architecture": params.architecture,
            "configuration": sha256(canonical_json(_shape_of(config))),
            "weights": state_digest(network.state_dict()),
            "activation": activation,
        },
    )


def _shape_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where the tokeniser's files lie: a path of the machine, and no matter of images."""
    text = {key: value for key, value in config["text_cfg"].items() if key != "tokenizer_kwargs"}
    return {**config, "text_cfg": text}


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of all tensors by name, whatever file they came from."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _find_weights(params: ModelParams, role: str) -> tuple[Path | None, Mapping[str, Any]]:
    """Return the file of weights, None for packaged ones, and what open_clip's registry says."""
    if params.weights in PACKAGED:
        having = PACKAGED[params.weights].MODELS
        if params.architecture not in having:
            raise UserError(
                f"{role}.weights is {params.weights!r}, which {params.architecture} does not have. "
                f"Wanted an architecture of {', '.join(having)}, or other weights."
            )
        return None, {}
    registry = pretrained.get_pretrained_cfg(params.architecture, params.weights)
    if registry:
        what = f"{role}.weights: {params.architecture} {params.weights!r}"
        return download(registry, what), registry
    path = Path(params.weights)
    if not path.is_file():
        tags = open_clip.list_pretrained_tags_by_model(params.architecture)
        known = [*tags, *packaged.weights_of(params.architecture)]
        wanted = f"a file, or one of: {', '.join(known)}" if known else "a file: it has no tags"
        raise UserError(
            f"{role}.weights is {params.weights!r}: no such file, and no pretrained tag of "
            f"{params.architecture}. Wanted {wanted}."
        )
    return path, {}


def _activation(
    params: ModelParams,
    role: str,
    config: Mapping[str, Any],
    path: Path | None,
    registry: Mapping[str, Any],
) -> str:
    """Tell GELU from QuickGELU: no tensor shows it, and the wrong one costs accuracy silently."""
    if path is None:
        known = "quickgelu" if config.get("quick_gelu") else "gelu"
    elif registry:
        known = "quickgelu" if registry.get("quick_gelu") else "gelu"
    elif params.activation is None:
        raise UserError(
            f"{role}.activation is missing: {path} does not tell whether it was trained with "
            "'gelu' or 'quickgelu'. Give the one it was trained with (OpenAI and DFN: quickgelu)."
        )
    else:
        return params.activation
    if params.activation not in (None, known):
        raise UserError(
            f"{role}.activation is {params.activation!r}, but {params.architecture} "
            f"{params.weights!r} was trained with {known!r}. Correct it, or leave it out."
        )
    return known


def _build(params: ModelParams, role: str, activation: str) -> tuple[Any, Any]:
    """Build the network, its weights still to be filled in, and its tokenizer."""
    try:
        with quiet_about_random_start(), torch.random.fork_rng(devices=[]):
            network = factory.create_model(
                params.architecture,
                load_weights=False,
                pretrained_text=False,
                quick_gelu=activation == "quickgelu",
            )
        return network, open_clip.get_tokenizer(params.architecture)
    except Exception as error:  # towers and tokenizers of other libraries may have to be fetched
        raise UserError(
            f"{role}.architecture: {params.architecture} could not be built "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). "
            "Wanted an architecture that needs nothing but open_clip and its weights."
        ) from error


def _packaged(params: ModelParams, role: str) -> Mapping[str, torch.Tensor]:
    """Return the tensors of packaged weights."""
    try:
        return PACKAGED[params.weights].state(params.architecture)
    except UserError as error:
        raise UserError(f"{role}.weights: {error}") from error
    except ImportError as error:
        raise UserError(
            f"{role}.weights: {params.weights!r} of {params.architecture} cannot be read: {error}. "
            "Install fdbpl again, with what it depends on."
        ) from error


def _fill(network: torch.nn.Module, found: Mapping[str, torch.Tensor], source: str) -> None:
    """Copy the tensors `found` into `network`; every tensor must have its place."""
    wanted = network.state_dict()
    try:
        named = convert.convert_state_dict(network, dict(found))
    except Exception as error:  # half of MobileCLIP's names, from which open_clip makes its own
        raise UserError(
            f"{source}: names of MobileCLIP that do not fit ({type(error).__name__}). "
            "Wanted the weights of exactly this architecture, by open_clip's names."
        ) from error
    state = {
        name: tensor
        for name, tensor in named.items()
        if name in wanted or name.rpartition(".")[2] not in DERIVED
    }
    lacking, excess = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if lacking or excess:
        lacks = [f"lacks {len(lacking)} tensors, the first {lacking[0]!r}"] if lacking else []
        has = [f"has in excess {len(excess)} tensors, {shown(excess)}"] if excess else []
        raise UserError(
            f"{source} {' and '.join(lacks + has)}. "
            "Wanted the weights of exactly this architecture, by open_clip's names."
        )
    for name, place in wanted.items():
        tensor = state[name]
        if name in SCALARS and tensor.numel() == 1:  # some files have shape (1,)
            tensor = tensor.reshape(place.shape)
        if tensor.shape != place.shape:
            raise UserError(
                f"{source}: {name!r} has shape {list(tensor.shape)}, wanted "
                f"{list(place.shape)}. Wanted the weights of exactly this architecture."
            )
        if not tensor.is_floating_point() and tensor.dtype != place.dtype:
            raise UserError(
                f"{source}: {name!r} is of {tensor.dtype}, wanted {place.dtype}. Save it as that."
            )
        place.copy_(tensor)  # which is the network's own
        is_sound = torch.isfinite(place) if place.is_floating_point() else place == tensor
        if not is_sound.all():
            raise UserError(f"{source}: {name!r} has values that are not finite. Get a sound copy.")
    scale = float(wanted["logit_scale"])
    if scale > LARGEST_SCALE:
        raise UserError(
            f"{source}: 'logit_scale' is {scale:g}, wanted the scale's natural logarithm, at most "
            f"{LARGEST_SCALE}. Where {scale:g} is the scale itself, save {math.log(scale):.4f}."
        )


@contextmanager
def quiet_about_random_start() -> Iterator[None]:
    """Keep open_clip from warning of random weights, which we fill in or want."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
