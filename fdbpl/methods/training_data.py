"""What a method learns from, whatever the method: regions' features, class names, labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import repeat
from operator import add
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdbpl.classify.decision import unit
from fdbpl.classify.moments import Moments, Pairs
from fdbpl.clip.class_aware import ClassAwareText
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.clip.prompted_image import PromptedImage
from fdbpl.clip.prompting import TextEncoder
from fdbpl.clip.tokens import PromptTokens, tokenize_prompts
from fdbpl.methods.batch import Batch, Floats
from fdbpl.methods.features import Lookup, Teacher, in_order
from fdbpl.methods.options import POSITIVE
from fdbpl.methods.pixels import normalised
from fdbpl.methods.refinement import image_knowledge, refined_log_probabilities
from fdbpl.methods.region_pairs import RegionPairs, SourceRegions
from fdbpl.methods.scratch import Parts, ScratchRows
from fdbpl.methods.vocabulary import VocabularyText
from fdbpl.system.device import moved
from fdbpl.system.errors import UserError

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class TrainingData:
    """The regions of a dataset and the classes they are learned by, for all seeds.

    Training runs on the device of the teacher's vectors; `anchors` lie there, and what `features`
    and `text` give. The others are small, and follow step by step.

    Attributes:
        clip: the student.
        names: of the C classes learned.
        labels: (N,) for every image its position among them.
        picks: for each seed the images (I,) it learns from, equally many.
        regions: of all images, as both models see them.
        teacher: class vectors over the classes learned, and the scale of its logits.
        text: contexts (K, M, W), or deep ones, to class features (K, C, D) over the same classes;
            or, of a vocabulary, over the likeliest of each batch.
        knows_classes: whether the names are those of classes, not a vocabulary's.
        anchors: (C, D) the student's unit class features under a hand-written template.
        source: regions of the source dataset, where that is another one.
        sees_hidden: whether the student's features are those before its last projection.
        pixels: rows (...) of regions to their pixels (..., 3, S, S), uint8, as the student's image
            tower is given them but for the normalisation.
        activations: rows (...) of regions to what a layer of that tower is given (..., (1 + N) W),
            by layer.
        image_tower: the student's image tower for tokens that enter at a layer.
        ensemble: (C, D) the student's unit class features under several hand-written templates;
            None of a vocabulary.
    """

    clip: ClipModel
    names: Sequence[str]
    labels: Tensor
    picks: Mapping[int, Ints]
    regions: RegionPairs
    teacher: Teacher
    text: TextEncoder | VocabularyText
    knows_classes: bool = True
    anchors: Tensor | None = None
    source: SourceRegions | None = None
    sees_hidden: bool = False
    pixels: Lookup | None = None
    activations: Mapping[int, Lookup] = field(default_factory=dict)
    image_tower: Callable[[int], PromptedImage] | None = None
    ensemble: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where training runs."""
        return self.teacher.vectors.device

    @property
    def scale(self) -> float:
        """The student's logit scale."""
        return self.clip.logit_scale

    @cached_property
    def tokens(self) -> PromptTokens:
        """Tokens of the classes' prompts, for methods with a text encoder of their own."""
        return tokenize_prompts(self.clip, POSITIVE, tuple(self.names))

    @cached_property
    def class_aware_text(self) -> ClassAwareText:
        """Contexts and tokens of each class to text features; made once, not at every step.

        Raises:
            UserError: the text tower is not CLIP's causal transformer.
        """
        return ClassAwareText(self.clip, self.tokens)

    def encode(self, contexts: Tensor, batch: Batch) -> tuple[Batch, Tensor]:
        """Return the batch and the text features (S, K, C, D) of contexts (S, K, M, W).

        Or of deep ones (S, K, J, M, W). Of a vocabulary both are over the likeliest of its names.
        """
        if isinstance(self.text, VocabularyText):
            return self.text(contexts, batch)
        features = self.text(contexts.flatten(0, 1))
        return batch, features.view(*contexts.shape[:2], *features.shape[1:])

    def prompted_features(self, tokens: Tensor, batch: Batch, first_layer: int) -> Tensor:
        """Return the student's unit features (S, B, D) of a batch's regions under image prompts.

        Args:
            tokens: (S, J, P, W) of the image tower's layers from `first_layer` on.
            batch: with the regions' pixels, or with their activations before a later layer.
            first_layer: where the tokens enter.

        Raises:
            UserError: the batch has none.
        """
        if self.image_tower is None:
            raise ValueError("`TrainingData` has no image tower to encode regions with")
        tower = self.image_tower(first_layer)
        if first_layer:
            flat = batch.require("activations")
            below = flat.view(*flat.shape[:-1], -1, tokens.shape[-1])
        else:
            pixels = normalised(batch.require("pixels"), self.clip.preprocessing)
            below = tower.activations(pixels)
        return tower(tokens, below)

    def batches(
        self, steps: Sequence[tuple[Ints, Ints]], image_layer: int | None = None
    ) -> Iterator[Batch]:
        """Yield what is known of each step's images (S, B) and their regions' rows (S, B).

        Args:
            steps: in this order; what they need is read ahead.
            image_layer: read what this layer of the student's image tower is given, too: of the
                first the pixels.

        Raises:
            UserError: nobody gave the pixels or the activations; or as reading does.
        """
        rows = [torch.from_numpy(rows) for _, rows in steps]
        pixels: Iterator[Tensor | None] = repeat(None, len(rows))
        activations: Iterator[Tensor | None] = repeat(None, len(rows))
        if image_layer == 0:
            pixels = in_order(_required("pixels", self.pixels), rows)
        elif image_layer is not None:
            found = _required("activations", self.activations.get(image_layer))
            activations = in_order(found, rows)
        features = in_order(self.regions.features, rows)
        for (images, _), one, (student, teacher), seen, below in zip(
            steps, rows, features, pixels, activations, strict=True
        ):
            batch = self.batch(torch.from_numpy(images), one, student, teacher)
            yield replace(
                batch,
                pixels=None if seen is None else moved(seen, self.device),
                activations=None if below is None else moved(below, self.device),
            )

    def batch(self, images: Tensor, rows: Tensor, student: Tensor, teacher: Tensor) -> Batch:
        """Return what is known of the regions `rows` (S, B) of the images (S, B)."""
        areas = None if self.regions.areas is None else self.regions.areas(rows)
        return Batch(
            student=student,
            teacher=self.teacher.log_probabilities(teacher),
            labels=moved(self.labels[images], self.device),
            anchors=self.anchors,
            areas=None if areas is None else moved(areas, self.device),
        )

    def class_vectors(self) -> Floats:
        """Return the student's unit class vectors (C, D) under a hand-written prompt.

        Raises:
            UserError: nobody gave the student's.
        """
        if self.anchors is None:
            raise UserError(
                "this method needs anchors, and none were given. Pass learn(anchors=...)."
            )
        return self.anchors.cpu().numpy()

    def labelled(self, seed: int) -> tuple[Floats, Ints]:
        """Return the student's features (I, K, D) of K regions of a seed's images, and labels (I,).

        For methods whose data are few: all are held.
        """
        images = torch.from_numpy(np.asarray(self.picks[seed]))
        parts = [student.cpu().numpy() for _, (student, _) in self.regions.read(images)]
        return np.concatenate(parts), self.labels[images].numpy()

    @cached_property
    def refined(self) -> Mapping[int, Parts]:
        """For every seed what the teacher makes of its images, log-probabilities (I, C).

        No seed knows of another's images. See `fdbpl.methods.refinement`.

        Raises:
            UserError: there is no room for what stands in files for temporary use.
        """
        images = np.unique(np.concatenate(list(self.picks.values())))
        means, verdicts = self._look(torch.from_numpy(images))
        found: dict[int, Parts] = {}
        for seed, pick in self.picks.items():
            places, refined = np.searchsorted(images, pick), ScratchRows(verdicts.width)
            for part in refined_log_probabilities(means.at(places), verdicts.at(places)):
                refined.append(part)
            found[seed] = refined
        return found

    def _look(self, images: Tensor) -> tuple[ScratchRows, ScratchRows]:
        """Return the images' mean features (I, E) and verdicts (I, C), features read once.

        A function of its own, so that no features are held beyond it.
        """
        classes, width = self.teacher.vectors.shape
        means, verdicts = ScratchRows(width), ScratchRows(classes)
        for _, (_, features) in self.regions.read(images):
            log_p = self.teacher.log_probabilities(features)
            mean, verdict = image_knowledge(features, log_p)
            means.append(mean)
            verdicts.append(verdict)
        return means, verdicts

    def samples(self, seed: int) -> Iterator[tuple[Pairs, Floats]]:
        """Yield what `pairs` does, and the regions' class probabilities: those of its image.

        The student's features are those after its last projection. See `refined`.
        """
        done, refined = 0, self.refined[seed]
        for student, teacher, weights in self.pairs(seed):
            part = slice(done, done + len(student) // self.regions.crops)
            classes = refined[part].exp().repeat_interleave(self.regions.crops, dim=0)
            done = part.stop
            yield (self._projected(student), teacher, weights), classes.cpu().numpy()

    @cached_property
    def projection(self) -> Floats | None:
        """The student's last projection W (H, D), where `regions` show its features before it."""
        if not self.sees_hidden:
            return None
        return last_projection(self.clip).float().cpu().numpy()

    def moments(self, seed: int) -> Moments:
        """Return the moments of a seed's regions; see `source_moments`."""
        return self._moments(self.pairs(seed))

    @cached_property
    def source_moments(self) -> Moments | None:
        """The moments of the source's regions, read when first asked for, and let go of.

        x are the student's features, y the teacher's, behind them the student's after W.
        """
        if self.source is None:
            return None
        regions, images = self.source.open()
        return self._moments(regions.weighted(images))

    def _moments(self, pairs: Iterator[Pairs]) -> Moments:
        parts = (
            Moments.of(x, np.hstack([y, self._projected(x)]), weights) for x, y, weights in pairs
        )
        return reduce(add, parts)  # which holds two of them at a time

    def _projected(self, student: Floats) -> Floats:
        """Return the student's features (n, D) after its last projection."""
        return student if self.projection is None else unit(student @ self.projection)

    def pairs(self, seed: int) -> Iterator[Pairs]:
        """Yield both models' features of a seed's regions and their weights, by parts."""
        return self.regions.weighted(self.picks[seed])


def _required(name: str, source: Lookup | None) -> Lookup:
    if source is None:
        raise UserError(
            f"this method reads {name} of regions, and none were given. Pass learn({name}=...)."
        )
    return source
