"""IVLP (Rasheed et al. 2023): independent prompts in both towers; and what its kin share with it.

    CE(softmax(s g U^T), label)

U are the unit features of the classes under tokens of the text tower, g those of a region under
tokens of the image tower, each at its own J consecutive layers (`fdbpl.clip.prompted_image`). Nine
layers of twelve in the released code, here as large a share of any tower. Late prompts, which enter
at a higher layer of the image tower, are learned at all layers from there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from fdbpl.classify.decision import Decision, ImagePrompts
from fdbpl.methods.batch import Batch, Floats, Tensors, Terms
from fdbpl.methods.coop import CoOp
from fdbpl.methods.method import Classes, Start
from fdbpl.methods.prompts import DEEPER_STD, SIDES, PromptMethod, stacked, starting_deep_contexts
from fdbpl.system.errors import UserError
from fdbpl.system.section import Section

if TYPE_CHECKING:
    from torch import Tensor

    from fdbpl.clip.model import ClipModel
    from fdbpl.methods.training_data import TrainingData

CONTEXT, IMAGE_TOKENS = SIDES[0], "image_tokens"
_DRAWS = 2  # of a seed, after those of the order of images and of the crops shown


class ImageOptions(Section):
    """Where tokens of the image tower are learned: by default in three quarters of its layers.

    `first_layer` is where they enter, `image_depth` at how many layers from there, `image_tokens`
    how many a layer has.
    """

    image_depth: int | None = Field(None, ge=1)
    first_layer: int = Field(0, ge=0)
    image_tokens: int = Field(4, ge=0)


class TowerOptions(ImageOptions):
    """And at how many layers of the text tower."""

    text_depth: int | None = Field(None, ge=1)


class BothTowers(PromptMethod):
    """An objective over text features of a deep context and prompted features of regions."""

    Options: ClassVar[type[Section]] = TowerOptions
    sees = "prompted"

    def require_student(self, clip: "ClipModel") -> None:
        """Look whether the image tower takes tokens, and is deep enough for them."""
        require_layers(clip, self.image_layer, self.image_depth(clip))

    @property
    def image_layer(self) -> int:
        """Where the image tower's tokens enter."""
        return int(self.options.first_layer)

    def image_depth(self, clip: "ClipModel") -> int:
        """Return how many layers of the image tower have tokens of their own."""
        return depth_of(clip, self.options)

    def text_depth(self, clip: "ClipModel") -> int:
        """Return how many layers of the text tower have tokens of their own."""
        return self.options.text_depth or three_quarters(text_layers(clip))

    def start(self, data: "TrainingData", seed: int) -> Start:
        """Return the context's words in the first layer; all other tokens drawn."""
        clip = data.clip
        (context,) = starting_deep_contexts(clip, self.starts, self.text_depth(clip), seed)
        tokens = drawn_tokens(clip, self.image_depth(clip), self.options.image_tokens, seed)
        return Start({CONTEXT: context, IMAGE_TOKENS: tokens})

    def image_prompts(self, tensors: Mapping[str, Any]) -> Any:
        """Return the image tower's tokens (..., J, P, W), of tensors or of arrays."""
        return tensors[IMAGE_TOKENS]

    def loss(self, tensors: Tensors, batch: Batch, data: "TrainingData") -> Terms:
        """Return the objective's terms, and those that keep features near to the frozen ones."""
        seen = data.prompted_features(self.image_prompts(tensors), batch, self.image_layer)
        batch, text = data.encode(stacked(tensors), batch)
        prompted = replace(batch, student=seen)
        return {
            **self.objective(prompted, text, data.scale),
            **self.regularisation(prompted, batch, text, data),
        }

    def regularisation(
        self, prompted: Batch, frozen: Batch, text: "Tensor", data: "TrainingData"
    ) -> Terms:
        """Return what holds the prompted features: nothing, here.

        Args:
            prompted: with the student's features under the prompts.
            frozen: with those of the frozen student.
            text: (S, 1, C, D) unit class features under the context.
            data: of which hand-written class features are known.
        """
        return {}

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return what decides by the context, on images seen under the image tower's tokens."""
        tokens = np.asarray(self.image_prompts(arrays), np.float32)
        return Decision(
            self.vectors(arrays, classes)[CONTEXT],
            classes.scale,
            sees=self.sees,
            image_prompts=ImagePrompts(tokens, self.image_layer),
        )


class Ivlp(BothTowers, CoOp):
    """CoOp's cross-entropy, on prompts in both towers."""


def image_layers(clip: "ClipModel") -> int:
    """Return the layers of an image tower that takes tokens; of any other none."""
    from fdbpl.clip.prompted_image import why_not

    tower: Any = clip.network.get_submodule("visual")
    return 0 if why_not(tower) else len(tower.transformer.resblocks)


def text_layers(clip: "ClipModel") -> int:
    """Return the layers of the text tower."""
    tower: Any = clip.text_tower
    return len(tower.transformer.resblocks)


def depth_of(clip: "ClipModel", options: ImageOptions) -> int:
    """Return how many layers of the image tower have tokens: of late ones, all from their first."""
    layers, first = image_layers(clip), options.first_layer
    return options.image_depth or (max(1, layers - first) if first else three_quarters(layers))


def three_quarters(layers: int) -> int:
    """Return nine of twelve layers, and as large a share of others, but one at least."""
    return max(1, 3 * layers // 4)


def require_layers(clip: "ClipModel", first: int, depth: int) -> None:
    """See that the image tower takes tokens for so many layers from `first` on.

    Raises:
        UserError: it does not.
    """
    from fdbpl.clip.prompted_image import PromptedImage

    PromptedImage(clip, first=first)  # which says what is wrong with the tower
    layers = image_layers(clip)
    if first + depth > layers:
        raise UserError(
            f"tokens for {depth} layers of the image tower from layer {first} on, but "
            f"{clip.identity['architecture']} has {layers}. Lower image_depth or first_layer."
        )


def drawn_tokens(clip: "ClipModel", depth: int, tokens: int, seed: int) -> "Tensor":
    """Return the image tower's tokens (J, P, W) that training starts from, drawn by the seed."""
    import torch

    tower: Any = clip.network.get_submodule("visual")
    drawn = np.random.default_rng([seed, _DRAWS])
    shape = depth, tokens, tower.transformer.width
    return torch.from_numpy(DEEPER_STD * drawn.standard_normal(shape, dtype=np.float32))
