import numpy as np
from conftest import unit
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.methods.linear_probe import PENALTIES, Shots, fit_chosen, fit_probe

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
