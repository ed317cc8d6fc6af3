"""CLIP models of true shapes and random weights, for timing alone."""

import open_clip
import torch
from open_clip import factory

from fdbpl.clip import packaged
from fdbpl.clip.model import ClipModel, quiet_about_random_start


def random_model(architecture: str, seed: int) -> ClipModel:
    """Build an architecture of open_clip as its own initialisation leaves it.

    Its features mean nothing, and its identity names no weights: no cache takes it for a model.
    """
    packaged.register()
    with quiet_about_random_start(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = factory.create_model(architecture, load_weights=False, pretrained_text=False)
    network.eval().requires_grad_(requires_grad=False)
    size = network.visual.image_size
    return ClipModel(
        network=network,
        tokenizer=open_clip.get_tokenizer(architecture),
        logit_scale=float(network.logit_scale.exp()),
        image_size=size if isinstance(size, int) else size[0],
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        interpolation="bicubic",
        resize_mode="shortest",
        source="random",
        identity={"architecture": architecture},
    )
