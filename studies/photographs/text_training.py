"""Training a text tower and a projection onto frozen image features.

A picture's feature h (E) before the projection enters as

    x = P (unit(h) / s),    P = I - m m^T

with s the deviation of each number over all pictures, and m the direction of the mean of unit(h)/s:
what all pictures share says nothing. P and s are linear and go into the projection afterwards,
which so needs no bias. The loss is cross-entropy between pictures and captions, both ways, over all
captions of the batch; a caption is right for every picture that it is true of.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from fdbpl.clip import small
from fdbpl.clip.model import quiet_about_random_start
from fdbpl.system.files import write_whole
from studies.photographs.captions import Captions, Subject

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """All that decides a text tower beside the pictures and the words.

    Attributes:
        seed: of the start, the batches and the captions.
        steps: of training.
        batch: pictures a step.
        lr: the highest learning rate.
        weight_decay: of matrices.
        dropout: share of a picture's numbers that are hidden.
        kinds: share of captions that name the kind alone.
        wrong: share of pictures whose captions name another class of the dataset.
        with_kind: share of captions by name that name the kind, too; these are never wrong, so that
            there are words to be found under which names are truer than under known templates.
        told: how many pictures of each class are ever told by name, None for all; all others
            are told by kind.
        within: weight of the cross-entropy among the classes of a picture's own dataset.
        imagenet: how many of ImageNet's names stand among a step's captions.
        imagenet_weight: of the cross-entropy to ImageNet's classifier over these.
    """

    seed: int
    steps: int = 1500
    batch: int = 1024
    lr: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    kinds: float = 0.15
    wrong: float = 0.0
    with_kind: float = 0.0
    told: int | None = None
    within: float = 1.0
    imagenet: int = 96
    imagenet_weight: float = 0.5


@dataclass(frozen=True)
class Pictures:
    """What is trained on.

    Attributes:
        features: (n, E) before the projection, of unit length.
        labels: (n) rows of the classes among the subjects.
        imagenet: (n, 1000) logits of ImageNet's classifier.
    """

    features: Floats
    labels: Rows
    imagenet: Floats


class TextTower(nn.Module):
    """The text tower of one of open_clip's networks, its token embedding made of words.

    Args:
        network: a CLIP of open_clip, whose image tower is not used.
        tokens: those with a vector of their own beside their word's.
    """

    words: Tensor
    slots: Tensor
    rows: Tensor

    def __init__(self, network: Any, tokens: Sequence[int]):
        super().__init__()
        from safetensors.torch import load_file

        words = load_file(small.WORDS)
        self.network = network
        self.register_buffer("words", words["vectors"].float() * words["scale"])
        width = network.ln_final.weight.shape[0]
        rows = torch.tensor(tokens)
        slots = torch.zeros(len(self.words), dtype=torch.long)
        slots[rows] = torch.arange(1, len(tokens) + 1)
        self.register_buffer("slots", slots)
        self.register_buffer("rows", rows)
        self.expand = nn.Parameter(0.03 * torch.randn(self.words.shape[1], width))
        self.delta = nn.Parameter(torch.zeros(len(tokens) + 1, width))
        with torch.no_grad():
            self.delta[1:][-2:] = 0.02 * torch.randn(2, width)  # start and end are no words

    def forward(self, tokens: Tensor) -> Tensor:
        """Return unit features (n, D) of tokens (n, L): short captions do not pay for long ones."""
        order = tokens.argmax(1).argsort()
        parts = [self._encode(part) for part in tokens[order].chunk(3)]
        return torch.cat(parts)[order.argsort()]

    def _encode(self, tokens: Tensor) -> Tensor:
        end = tokens.argmax(1)
        length = int(end.max()) + 1
        used, where = torch.unique(tokens[:, :length], return_inverse=True)
        embedding = self.words[used] @ self.expand + self.delta[self.slots[used]]
        net = self.network
        x = embedding[where] + net.positional_embedding[:length]
        x = net.transformer(x, attn_mask=net.attn_mask[:length, :length])
        ends = net.ln_final(x[torch.arange(len(x)), end])
        return normalize(ends @ net.text_projection, dim=1)

    def tensors(self) -> dict[str, Tensor]:
        """Return what `fdbpl.clip.small.assemble` takes, but for the image tower's projection."""
        text = {
            name: tensor
            for name, tensor in self.network.state_dict().items()
            if not name.startswith("visual.") and name != small.EMBEDDING
        }
        return {
            **text,
            small.EXPAND: self.expand,
            small.ROWS: self.rows,
            small.DELTA: self.delta[1:],
        }


STREAM = 0.1
"""What the residual stream is scaled by after training."""

INTO_STREAM = (small.EXPAND, small.DELTA, "positional_embedding", ".attn.out_proj.", ".mlp.c_proj.")
"""Parts of the names of tensors that are added to the residual stream."""


def with_small_stream(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a text tower's tensors with a residual stream scaled by STREAM, which changes nothing.

    Every reader of the stream normalises it first; only the normalisation's epsilon is seen. But
    contexts are added to it: at the learning rates of the field, which are for token embeddings as
    short as CLIP's, longer ones would not move.
    """
    return {
        name: tensor * STREAM if any(part in name for part in INTO_STREAM) else tensor
        for name, tensor in tensors.items()
    }


class Projection(nn.Module):
    """The image side: x W of features, and the one matrix that does all of it.

    Args:
        features: (n, E) of all pictures, for s and m.
        width: D.
    """

    scale: Tensor
    mean: Tensor

    def __init__(self, features: Floats, width: int):
        super().__init__()
        scale = features.std(0, dtype=np.float64) + 1e-3
        mean = (features / scale).mean(0)
        self.register_buffer("scale", torch.from_numpy(scale).float())
        self.register_buffer("mean", normalize(torch.from_numpy(mean), dim=0).float())
        dim = features.shape[1]
        self.weight = nn.Parameter(torch.randn(dim, width) * dim**-0.5)

    def inputs(self, features: Tensor) -> Tensor:
        """Return x (n, E) of features (n, E), of about unit length."""
        scaled = features / self.scale
        return (scaled - (scaled @ self.mean)[:, None] * self.mean) / math.sqrt(len(self.mean))

    def matrix(self) -> Tensor:
        """Return the matrix (D, E) that takes unit(h) to what is normalised to the feature."""
        weight = self.weight - self.mean[:, None] * (self.mean @ self.weight)
        return (weight / self.scale[:, None]).T


@dataclass(frozen=True)
class Batch:
    """One step's pictures and captions.

    Attributes:
        rows: (n) of the pictures.
        subjects: (t) rows of the subjects of the captions, each once.
        right: (n, t) whether a caption is true of a picture.
        unknown: (n, t) whether it counts neither as true nor as false.
        own: (n, t) whether a caption names a class of the picture's dataset, which was named.
    """

    rows: Rows
    subjects: Rows
    right: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    own: NDArray[np.bool_]


class Sampler:
    """Draws batches: all datasets and classes in turn, small ones as often as their root says.

    Args:
        labels: (n) the pictures' classes.
        subjects: classes first, then kinds, then the classes again with their kinds, if any are
            told so.
        recipe: who is told what.
    """

    def __init__(self, labels: Rows, subjects: Sequence[Subject], recipe: Recipe):
        self._recipe, self._labels = recipe, labels
        datasets = list(dict.fromkeys(one.dataset for one in subjects))
        self._dataset = np.array([datasets.index(one.dataset) for one in subjects])
        self._is_kind = np.array([one.is_kind for one in subjects])
        rows = {(one.dataset, one.name): row for row, one in reversed(list(enumerate(subjects)))}
        self._class = np.array([rows[one.dataset, one.name] for one in subjects])
        twins = {self._class[row]: row for row, one in enumerate(subjects) if one.with_kind}
        self._twin = np.array([twins.get(row, row) for row in range(len(subjects))])
        self._is_class = ~self._is_kind & (self._class == np.arange(len(subjects)))
        classes, sets = np.bincount(labels), np.bincount(self._dataset[labels])
        chances = 1 / np.sqrt(classes[labels]) / np.sqrt(sets[self._dataset[labels]])
        self._chances = chances / chances.sum()
        self._named = np.ones(len(labels), bool)
        if recipe.told is not None:
            order = np.random.default_rng(recipe.seed).permutation(len(labels))
            rank = np.empty(len(labels), int)
            for label in range(len(classes)):
                own = order[labels[order] == label]
                rank[own] = np.arange(len(own))
            self._named = rank < recipe.told
        # said once and for all, as a caption of the web is
        rng = np.random.default_rng((recipe.seed, 1))
        self._said = labels.copy()
        for row in np.flatnonzero(rng.random(len(labels)) < recipe.wrong):
            classes = np.flatnonzero(self._is_class & self._in(self._dataset[labels[row]]))
            others = classes[classes != labels[row]]
            self._said[row] = rng.choice(others if len(others) else classes)

    def _in(self, dataset: int) -> NDArray[np.bool_]:
        of_dataset: NDArray[np.bool_] = self._dataset == dataset
        return of_dataset

    def draw(self, rng: np.random.Generator) -> Batch:
        """Return a batch."""
        recipe, count = self._recipe, self._recipe.batch
        rows = rng.choice(len(self._labels), count, p=self._chances)
        dataset = self._dataset[self._labels[rows]]
        said = self._said[rows]
        by_kind = ~self._named[rows] | (rng.random(count) < recipe.kinds)
        for at in np.flatnonzero(by_kind):
            said[at] = rng.choice(np.flatnonzero(self._is_kind & self._in(dataset[at])))
        both = ~by_kind & (rng.random(count) < recipe.with_kind)
        said[both] = self._twin[self._labels[rows[both]]]
        subjects = np.unique(said)
        same = self._dataset[subjects] == dataset[:, None]
        kinds = self._is_kind[subjects]
        right = (said[:, None] == subjects) | (same & kinds)
        otherwise = self._class[said][:, None] == self._class[subjects]  # told in other words
        unknown = ~right & ((by_kind[:, None] & same) | otherwise)
        own = same & ~kinds & ~unknown & ~by_kind[:, None]
        return Batch(rows, subjects, right, unknown, own)


def share(logits: Tensor, right: Tensor, dim: int) -> Tensor:
    """Return the cross-entropy to equal shares of what is right, over what has any; else 0."""
    counts = right.sum(dim, keepdim=True)
    terms = -(logits.log_softmax(dim) * right / counts.clamp(min=1)).sum(dim)
    told = terms[counts.squeeze(dim) > 0]
    return told.mean() if len(told) else told.sum()


def loss_of(
    logits: Tensor, batch: Batch, imagenet: Tensor, teacher: Tensor, recipe: Recipe
) -> Tensor:
    """Return the loss of a step.

    Args:
        logits: (n, t) of pictures and captions.
        batch: which are right.
        imagenet: (n, k) logits of pictures and some of ImageNet's names.
        teacher: (n, k) logits of ImageNet's classifier on these names.
        recipe: weights.
    """
    right, own = torch.from_numpy(batch.right).float(), torch.from_numpy(batch.own)
    known = logits.masked_fill(torch.from_numpy(batch.unknown), -1e4)
    loss = share(known, right, 1) + share(known, right, 0)
    if recipe.within:
        loss = loss + recipe.within * share(logits.masked_fill(~own, -1e4), right * own, 1)
    if recipe.imagenet:
        told = teacher.softmax(1) * imagenet.log_softmax(1)
        loss = loss - recipe.imagenet_weight * told.sum(1).mean()
    return loss


EVERY = 100
"""Steps between checkpoints: less than two minutes on one core."""


def train(
    model: str,
    pictures: Pictures,
    subjects: Sequence[Subject],
    imagenet: Sequence[Subject],
    recipe: Recipe,
    checkpoint: Path,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Tensor]:
    """Return the tensors of a small model's file, trained from the last checkpoint on.

    Args:
        model: of `fdbpl.clip.small.MODELS`.
        pictures: what is trained on.
        subjects: classes, then kinds; `pictures.labels` are rows of it.
        imagenet: ImageNet's names.
        recipe: how.
        checkpoint: where an interrupted training goes on; it is taken away at the end.
        report: called with the steps done and all steps.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        everybody = [*subjects, *imagenet]
        captions = Captions(everybody)
        tower = TextTower(_network(model), captions.tokens_used())
        projection = Projection(pictures.features, small.config(model)["embed_dim"])
    learned = nn.ModuleDict({"text": tower, "image": projection})
    trained = [one for name, one in learned.named_parameters() if ".visual." not in name]
    trained = [one for one in trained if one is not tower.network.token_embedding.weight]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, recipe.lr, (0.9, 0.98))
    first = _resume(checkpoint, trained, optimiser)
    inputs = projection.inputs(torch.from_numpy(pictures.features))
    logits_of_imagenet = torch.from_numpy(pictures.imagenet)
    sampler = Sampler(pictures.labels, subjects, recipe)
    for step in range(first, recipe.steps):
        rng = np.random.Generator(np.random.Philox(key=[recipe.seed, step]))
        hidden = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * _share_of_rate(step, recipe.steps)
        batch = sampler.draw(rng)
        names = rng.choice(len(imagenet), recipe.imagenet, replace=False)
        texts = tower(captions.draw(rng, np.concatenate([batch.subjects, len(subjects) + names])))
        x = inputs[batch.rows]
        kept = (torch.rand(x.shape, generator=hidden) >= recipe.dropout) / (1 - recipe.dropout)
        images = normalize((x * kept) @ projection.weight, dim=1)
        logits = tower.network.logit_scale.exp() * images @ texts.T
        count = len(batch.subjects)
        loss = loss_of(
            logits[:, :count], batch, logits[:, count:],
            logits_of_imagenet[batch.rows][:, names], recipe,
        )  # fmt: skip
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        with torch.no_grad():
            tower.network.logit_scale.clamp_(max=math.log(100))
        report(step + 1, recipe.steps)
        if (step + 1) % EVERY == 0:
            _keep(checkpoint, step + 1, trained, optimiser)
    found = {**with_small_stream(tower.tensors()), "visual.head.proj.weight": projection.matrix()}
    return {name: _stored(tensor) for name, tensor in found.items()}


def _network(model: str) -> Any:
    import open_clip

    small.register()
    with quiet_about_random_start():
        return open_clip.create_model(model)


def _share_of_rate(step: int, steps: int, warm: float = 0.08) -> float:
    """Return the learning rate's share: up in a straight line, then down along a cosine."""
    done = (step + 1) / steps
    return done / warm if done < warm else (1 + math.cos(math.pi * (done - warm) / (1 - warm))) / 2


def _stored(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return (tensor.half() if tensor.is_floating_point() else tensor.int()).contiguous()


def _keep(path: Path, step: int, trained: Sequence[Tensor], optimiser: Any) -> None:
    import io

    kept = io.BytesIO()
    tensors = [one.detach() for one in trained]
    torch.save({"step": step, "trained": tensors, "optimiser": optimiser.state_dict()}, kept)
    write_whole(path, kept.getvalue())


def _resume(path: Path, trained: Sequence[Tensor], optimiser: Any) -> int:
    """Bring a training to where its checkpoint left it; return the next step, 0 without one."""
    if not path.exists():
        return 0
    found = torch.load(path, weights_only=True)
    with torch.no_grad():
        for one, kept in zip(trained, found["trained"], strict=True):
            one.copy_(kept)
    optimiser.load_state_dict(found["optimiser"])
    return int(found["step"])
