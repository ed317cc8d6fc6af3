"""The presets `released` and `paper` against the authors' formulas, value and gradient.

Written out plainly in double precision, region by region and pair by pair, so that autograd gives
the gradient on both contexts' class features.
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import SCALE, problem, seeds
from torch import Tensor

from fdbpl.methods.registry import find_method


def plain_total(student: Tensor, teacher: Tensor, text: Tensor, *, released: bool) -> Tensor:
    """The loss of a batch.

    Both: w from the teacher's entropy, the symmetric KL weighted by w, the negative prompts'
    rejection by 1 - w, 0.001 times the cosine of both logits by w, each a mean over the batch.
    Released: w with 1e-6 inside its logarithm; the rejection is minus the entropy; 0.1 times the
    sum of the mean over the width of d_i - d_j over all ordered pairs of the classes in the batch.
    Paper: the rejection is KL(uniform || p-); 0.1 times the first difference by w, a mean; and 0.1
    times the hinge of the second difference, summed over pairs with label_a < label_b.
    """
    positive, negative = text
    probabilities = teacher.softmax(-1)
    labels = teacher.argmax(-1).tolist()
    count, classes = teacher.shape
    floor = 1e-6 if released else 0.0
    difference = positive - negative
    weights = []
    total = torch.zeros((), dtype=torch.float64)
    for b in range(count):
        p = probabilities[b]
        w = 1 + (p * (p + floor).log()).sum() / math.log(classes)
        weights.append(w)
        z_plus, z_minus = SCALE * positive @ student[b], SCALE * negative @ student[b]
        q, rejecting = z_plus.softmax(-1), z_minus.softmax(-1)
        forward = (p * (p.log() - q.log())).sum()
        backward = (q * (q.log() - p.log())).sum()
        total = total + (w * 0.5 * forward + w * 0.5 * backward) / count
        if released:
            rejection = (rejecting * rejecting.log()).sum()
        else:
            rejection = (math.log(1 / classes) - rejecting.log()).mean()
        total = total + (1 - w) * rejection / count
        cosine = (z_plus @ z_minus) / (z_plus.norm() * z_minus.norm())
        total = total + w * 0.001 * cosine / count
        if not released:
            hinge = torch.relu(0.2 - student[b] @ difference[labels[b]])
            total = total + 0.1 * w * hinge / count
    if released:
        for i in set(labels):
            for j in set(labels):
                if i != j:
                    total = total + 0.1 * (difference[i] - difference[j]).mean()
        return total
    for a in range(count):
        for b in range(count):
            if labels[a] < labels[b]:
                second = difference[labels[a]] - difference[labels[b]]
                gap = student[b] @ second - student[a] @ second
                total = total + 0.1 * weights[a] * weights[b] * torch.relu(gap + 0.2)
    return total


@pytest.mark.parametrize("preset", ["released", "paper"])
@settings(max_examples=40, deadline=None)
@given(seed=seeds, regions=st.integers(2, 9), classes=st.integers(2, 7))
def test_a_preset_is_what_its_authors_wrote(preset, seed: int, regions: int, classes: int) -> None:
    batch, text = problem(seed, regions=regions, classes=classes)
    text.requires_grad_()
    terms = find_method(preset).objective(batch, text, SCALE)
    ours = torch.stack(tuple(terms.values())).sum()
    theirs = plain_total(batch.student, batch.teacher, text, released=preset == "released")
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    found, wanted = (torch.autograd.grad(loss, text)[0] for loss in (ours, theirs))
    for side in range(2):  # the positive context's class features, then the negative's
        assert wanted[side].abs().max() > 0
        assert torch.allclose(found[side], wanted[side], rtol=1e-10, atol=1e-14)
