from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import unit
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.classify.decision import Decision
from fdbpl.methods.linear_probe import PENALTIES, Probe, ProbeWeights, Shots, fit_chosen, fit_probe
from fdbpl.methods.method import Classes
from fdbpl.methods.registry import METHODS

seeds = st.integers(0, 999)


def problem(seed: int, images: int = 12, noise: float = 0.5, classes: int = 3) -> Shots:
    """Images with four regions each that gather around their classes' directions."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    features = np.eye(classes, 8)[labels][:, None] + noise * unit(rng, images, 4, 8)
    return Shots(features / np.linalg.norm(features, axis=-1, keepdims=True), labels)


def rearranged(shots: Shots, order: np.ndarray) -> Shots:
    return Shots(shots.features[order], shots.labels[order])


@settings(max_examples=20, deadline=None)
@given(seed=seeds, penalty=st.sampled_from([1e-2, 1e-3]))
def test_the_probe_is_at_the_minimum_of_its_formula(seed: int, penalty: float) -> None:
    shots = problem(seed)
    probe = fit_probe(shots, penalty)
    samples, labels = shots.features.reshape(-1, 8), np.repeat(shots.labels, 4)

    def loss(weights: np.ndarray, bias: np.ndarray) -> float:
        total = 0.0
        for f, y in zip(samples, labels, strict=True):
            z = weights @ f + bias
            total += (np.log(np.exp(z).sum()) - z[y]) / len(labels)
        return total + penalty / 2 * (weights**2).sum()

    best = loss(probe.weights, probe.bias)
    rng = np.random.default_rng(seed)
    for size in (1e-2, 1.0):
        moved = probe.weights + size * rng.standard_normal((3, 8))
        assert loss(moved, probe.bias) > best
        assert loss(probe.weights, probe.bias + size * np.array([1, 0, -1])) > best


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_the_order_of_images_and_regions_does_not_matter(seed: int) -> None:
    shots, rng = problem(seed), np.random.default_rng(seed)
    other = rearranged(shots, rng.permutation(12))
    other = Shots(other.features[:, rng.permutation(4)], other.labels)
    found, wanted = fit_probe(other, 1e-2), fit_probe(shots, 1e-2)
    assert np.abs(found.weights - wanted.weights).max() < 5e-3
    # The folds follow each class's order of images: classes may stand in any order all the same.
    sorted_by_class = rearranged(shots, np.argsort(shots.labels, kind="stable"))
    assert fit_chosen(sorted_by_class).penalty == fit_chosen(shots).penalty


def test_separable_regions_are_all_classified_rightly() -> None:
    shots = problem(0, noise=0.3)
    probe = fit_chosen(shots)
    assert (probe.scores(shots.features).argmax(axis=-1) == shots.labels[:, None]).all()
    assert probe.scores(shots.features[0]).shape == (4, 3)


def test_the_penalty_is_the_strongest_under_which_images_left_out_are_classified_best() -> None:
    assert fit_chosen(problem(0, noise=0.1)).penalty == PENALTIES[0]  # all are right at once
    noisy = problem(3, images=24, noise=1.2)
    right = []
    for penalty in PENALTIES:
        count = 0
        for fold in range(4):
            left = np.arange(24) // 3 % 4 == fold  # each class's k-th image
            kept = fit_probe(rearranged(noisy, ~left), penalty)
            found = kept.scores(noisy.features[left]).argmax(axis=-1)
            count += int((found == noisy.labels[left][:, None]).sum())
        right.append(count)
    falls = next((k for k in range(1, 5) if right[k] < max(right[:k])), 5)
    assert fit_chosen(noisy).penalty == PENALTIES[int(np.argmax(right[:falls]))]


def test_a_single_image_of_a_class_leaves_nothing_to_choose_by() -> None:
    assert fit_chosen(problem(0, images=3)).penalty == PENALTIES[2]
    lopsided = problem(0, images=8, classes=2)
    one = rearranged(lopsided, np.flatnonzero((lopsided.labels == 0) | (np.arange(8) == 1)))
    assert fit_chosen(one).penalty == PENALTIES[2]


def from_text(seed: int, **more: Any) -> Shots:
    """A problem whose penalty pulls to scaled class vectors that are near the classes."""
    shots, rng = problem(seed, **more), np.random.default_rng(seed + 1)
    classes = int(shots.labels.max()) + 1
    vectors = np.eye(classes, 8) + 0.4 * unit(rng, classes, 8)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Shots(shots.features, shots.labels, 5 * vectors)


def loss_of(shots: Shots, penalty: float, weights: np.ndarray, bias: np.ndarray) -> float:
    """The formula of `fit_probe`, written out."""
    samples, labels = shots.features.reshape(-1, 8), np.repeat(shots.labels, 4)
    z = samples @ weights.T + bias
    entropy = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]
    return float(entropy.mean() + penalty / 2 * ((weights - shots.prior) ** 2).sum())


@settings(max_examples=20, deadline=None)
@given(seed=seeds, penalty=st.sampled_from([1e-2, 1e-3]))
def test_the_probe_from_text_is_at_the_minimum_of_its_formula(seed: int, penalty: float) -> None:
    shots = from_text(seed, noise=1.5)
    probe = fit_probe(shots, penalty)
    best = loss_of(shots, penalty, probe.weights, probe.bias)
    rng = np.random.default_rng(seed)
    for size in (3e-2, 1.0):
        moved = probe.weights + size * rng.standard_normal((3, 8))
        assert loss_of(shots, penalty, moved, probe.bias) > best
        shifted = probe.bias + size * np.array([1, 0, -1])
        assert loss_of(shots, penalty, probe.weights, shifted) > best
    assert loss_of(shots, penalty, shots.prior, np.zeros(3)) > best


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_under_a_huge_penalty_the_weights_are_those_of_the_text(seed: int) -> None:
    shots = from_text(seed, noise=1.0)
    probe = fit_probe(shots, 1e6)
    assert np.abs(probe.weights - shots.prior).max() < 1e-3
    level = probe.scores(shots.features) - probe.bias  # which no penalty holds
    wanted = shots.features @ shots.prior.T
    assert np.abs(level - wanted).max() < 1e-2
    assert (level.argmax(axis=-1) == wanted.argmax(axis=-1)).mean() > 0.99


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_a_prior_of_zeros_is_none(seed: int) -> None:
    shots = problem(seed)
    zeros = Shots(shots.features, shots.labels, np.zeros((3, 8)))
    found, wanted = fit_probe(zeros, 1e-2), fit_probe(shots, 1e-2)
    assert np.allclose(found.weights, wanted.weights)
    assert np.allclose(found.bias, wanted.bias)


@settings(max_examples=10, deadline=None)
@given(seed=seeds, weaker=st.sampled_from([1e-3, 1e-2]))
def test_where_it_starts_changes_nothing_but_the_way(seed: int, weaker: float) -> None:
    shots = from_text(seed, noise=1.5)
    near = fit_probe(shots, weaker)
    rng = np.random.default_rng(seed)
    wanted = fit_probe(shots, 1e-2)
    for start in (near, Probe(5 * rng.standard_normal((3, 8)), rng.standard_normal(3), 1.0)):
        found = fit_probe(shots, 1e-2, start=start)
        losses = [loss_of(shots, 1e-2, one.weights, one.bias) for one in (found, wanted)]
        assert abs(losses[0] - losses[1]) < 1e-5


@pytest.mark.parametrize("name", ["linear_probe", "linear_probe_text"])
def test_the_method_pulls_to_zero_or_to_the_scaled_template(name: str) -> None:
    shots, scale = from_text(3), 5.0
    vectors = shots.prior / scale
    data = SimpleNamespace(
        scale=scale,
        class_vectors=lambda: vectors,
        labelled=lambda seed: (shots.features, shots.labels),
    )
    (form,) = METHODS[name].closed_form
    assert form == ProbeWeights(from_text=name.endswith("text"))
    arrays, told = form.fit(data, 1)
    prior = shots.prior if form.from_text else None
    wanted = fit_chosen(Shots(shots.features, shots.labels, prior))
    assert told == {"penalty": wanted.penalty}
    assert np.allclose(arrays["probe"], np.hstack([wanted.weights, wanted.bias[:, None]]))

    names = ("a", "b", "c")
    unseen = unit(np.random.default_rng(0), 1, 8)
    classes = Classes(
        names=("new", *names), scale=scale, learned=names,
        texts={"template": np.concatenate([unseen, vectors]).astype(np.float32)},
        encode=None, clip=None,
    )  # fmt: skip
    decision = METHODS[name].decision(arrays, classes)
    features = shots.features.reshape(-1, 8)
    found = decision.logits(features, range(4))
    assert np.allclose(found[:, 1:], wanted.scores(features), atol=1e-3)
    template = Decision(classes.texts["template"], scale).logits(features, range(4))
    assert np.allclose(found[:, 0], template[:, 0], atol=1e-4)
