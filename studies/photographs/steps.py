"""Directions that were tried and take steps: contexts beside the bridge, and a bridge by steps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fdbpl.methods.bridged import SHARE
from fdbpl.methods.options import POSITIVE
from fdbpl.methods.prompts import starting_contexts
from fdbpl.methods.terms import symmetric_kl
from fdbpl.training.learning import text_encoder
from studies.photographs.development import Case
from studies.photographs.directions import Bridge, Direction, foretold
from studies.photographs.pair import Floats

BATCH, EPOCHS = 32, 25  # of contexts
STEPS = 200  # of M


@dataclass(frozen=True)
class Side:
    """Pictures of the own dataset or the source, as steps learn from them.

    Attributes:
        scales: of the student's and the teacher's logits.
        names: of the classes learned.
        hidden: h - h0 (n, H).
        student: f - f0 (n, D).
        teacher: (n, E).
        text: e (C, D) and v (C, E) under the template.
    """

    scales: tuple[float, float]
    names: Sequence[str]
    hidden: Tensor
    student: Tensor
    teacher: Tensor
    text: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, case: Case, bridge: Bridge, *, source: bool) -> "Side":
        """Return the own side, by the base classes, or the source's, by all of its own."""
        names = case.pair.names[case.pair.source if source else case.dataset]
        photos = case.source if source else case.own
        some = np.arange(len(names)) if source else case.halves[0]
        e, v = (tensor(case.text(one, source=source)[some]) for one in ("student", "teacher"))
        return cls(
            (case.pair.student.logit_scale, case.pair.teacher.logit_scale),
            [names[label] for label in some],
            tensor(photos.hidden - bridge.hidden_mean),
            tensor(photos.student - bridge.feature_mean),
            tensor(photos.teacher),
            (e, v),
        )

    def divergence(self, rows: Tensor, across: Tensor, e: Tensor, v: Tensor) -> Tensor:
        """Return the symmetric KL of the teacher's probabilities and the chosen logits with e, v.

        Args:
            rows: (B,) of the pictures.
            across: (B, E) what the bridge says of them.
            e: (C, D) the student's class vectors.
            v: (C, E) the teacher's.
        """
        of_student, of_teacher = self.scales
        says = (of_teacher * self.teacher[rows] @ self.text[1].T).log_softmax(-1)
        logits = of_student * self.student[rows] @ e.T + SHARE * of_teacher * across @ v.T
        return symmetric_kl(says, logits.log_softmax(-1)).mean()


def contexts(case: Case, tower: Literal["student", "teacher"], datasets: int) -> Floats:
    """Learn a context, half of e or v beside the template's, by the chosen logits' divergence.

    The bridge's part of a picture is that of a bridge fitted without it: of those it was fitted to,
    nothing is left to learn.

    Args:
        case: the dataset and seed.
        tower: which model's text tower the context goes through.
        datasets: 1 for the own pictures and base classes alone, 2 for the source's, too.
    """
    bridge, clip = Bridge.of(case.own, case.source), getattr(case.pair, tower)
    across = torch.split(tensor(foretold(case)), [len(case.own.labels), len(case.source.labels)])
    sides = [Side.of(case, bridge, source=one) for one in (False, True)][:datasets]
    encoders = [text_encoder(clip, side.names) for side in sides]
    place = ("student", "teacher").index(tower)
    context = torch.stack(starting_contexts(clip, (POSITIVE,))).detach().requires_grad_()
    steps = EPOCHS * -(-len(case.own.labels) // BATCH)
    optimiser = torch.optim.SGD([context], lr=0.01, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn = np.random.default_rng(case.seed)
    for _ in range(steps):
        losses = []
        for side, encode, one in zip(sides, encoders, across, strict=False):
            rows = torch.from_numpy(drawn.integers(0, len(one), BATCH))
            text = [*side.text]
            text[place] = normalize(encode(context)[0] + text[place], dim=-1)
            losses.append(side.divergence(rows, one[rows], *text))
        _step(optimiser, losses)
        schedule.step()
    vectors = [case.text("student"), case.text("teacher")]
    with torch.no_grad():
        learned = text_encoder(clip, case.pair.names[case.dataset])(context)[0]
    vectors[place] = normalize(learned + tensor(vectors[place]), dim=-1).numpy()
    return bridge.logits(case, case.test, text=(vectors[0], vectors[1]))


def matrix(case: Case) -> Floats:
    """Go on from M by steps of Adam, by the divergence on own pictures and the source's."""
    bridge, drawn = Bridge.of(case.own, case.source), np.random.default_rng(0)
    start = tensor(bridge.matrix)
    size = float(((case.source.hidden - bridge.hidden_mean) ** 2).mean())
    change = torch.zeros_like(start, requires_grad=True)
    optimiser = torch.optim.Adam([change], lr=0.003)
    sides = [Side.of(case, bridge, source=one) for one in (False, True)]
    for _ in range(STEPS):
        losses = [size * (change**2).sum()]
        for side in sides:
            rows = torch.from_numpy(drawn.integers(0, len(side.hidden), 256))
            across = side.hidden[rows] @ (start + change)
            losses.append(side.divergence(rows, across, *side.text))
        _step(optimiser, losses)
    moved = replace(bridge, matrix=bridge.matrix + change.detach().numpy())
    return moved.logits(case, case.test)


def _step(optimiser: torch.optim.Optimizer, losses: Iterable[Tensor]) -> None:
    optimiser.zero_grad()
    torch.stack(list(losses)).sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def tensor(array: Floats) -> Tensor:
    """Return an array as torch computes with it."""
    return torch.from_numpy(np.asarray(array, np.float32))


BY_STEPS = (Direction(f"M by {STEPS} steps on the teacher's probabilities", matrix),)
CONTEXTS = tuple(
    Direction(
        f"a context in the {tower}'s text tower, by {what}",
        partial(contexts, tower=tower, datasets=datasets),
    )
    for tower in ("student", "teacher")
    for datasets, what in ((1, "base classes"), (2, "the source's, too"))
)
