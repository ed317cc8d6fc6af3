import numpy as np
import pytest
from conftest import unit
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.evaluation.fitted import (
    PENALTIES,
    Shots,
    fit,
    fit_probe,
    gda,
    linear_probe,
    tip_adapter,
)
from fdbpl.methods.decision import Decision
from fdbpl.methods.discriminant import discriminant, values
from fdbpl.methods.names import FITTED

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
    assert linear_probe(sorted_by_class).penalty == linear_probe(shots).penalty


def test_separable_regions_are_all_classified_rightly() -> None:
    shots = problem(0, noise=0.3)
    probe = linear_probe(shots)
    assert (probe.scores(shots.features).argmax(axis=-1) == shots.labels[:, None]).all()
    assert probe.scores(shots.features[0]).shape == (4, 3)


def test_the_penalty_is_the_strongest_under_which_images_left_out_are_classified_best() -> None:
    assert linear_probe(problem(0, noise=0.1)).penalty == PENALTIES[0]  # all are right at once
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
    assert linear_probe(noisy).penalty == PENALTIES[int(np.argmax(right[:falls]))]


def test_a_single_image_of_a_class_leaves_nothing_to_choose_by() -> None:
    assert linear_probe(problem(0, images=3)).penalty == PENALTIES[2]
    lopsided = problem(0, images=8, classes=2)
    one = rearranged(lopsided, np.flatnonzero((lopsided.labels == 0) | (np.arange(8) == 1)))
    assert linear_probe(one).penalty == PENALTIES[2]


@given(seed=seeds)
def test_tip_adapter_without_its_cache_model_is_zero_shot(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, vectors = unit(rng, 9, 8), unit(rng, 3, 8)
    found = tip_adapter(problem(seed), features, vectors, 18.7, alpha=0)
    assert np.abs(found - 18.7 * features @ vectors.T).max() < 1e-5


@given(seed=seeds)
def test_tip_adapter_equals_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shots, features, vectors = problem(seed), unit(rng, 5, 8), unit(rng, 3, 8)
    found = tip_adapter(shots, features, vectors, 18.7, alpha=2.0)
    for row, f in enumerate(features.astype(float)):
        wanted = 18.7 * vectors.astype(float) @ f
        for regions, label in zip(shots.features, shots.labels, strict=True):
            key = regions.mean(axis=0)
            key /= np.sqrt(key @ key)
            wanted[label] += 2.0 * np.exp(-5.5 * (1 - f @ key))
        assert found[row] == pytest.approx(wanted, abs=1e-4)


@given(seed=seeds)
def test_gda_adds_the_discriminant_of_the_labelled_regions_whatever_competes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shots, features, vectors = problem(seed), unit(rng, 5, 8), unit(rng, 5, 8)
    labelled = np.eye(3)[np.repeat(shots.labels, 4)]
    rows = discriminant([(shots.features.reshape(-1, 8), labelled, np.ones(48))])
    base, template = np.array([0, 2, 3]), Decision(vectors, 18.7)
    decision = gda(shots, base, template, share=0.3)
    for among in ([0, 2, 3], [1, 4], [0, 1, 2, 3, 4]):
        wanted = np.array(template.logits(features, among), np.float64)
        for column, label in enumerate(among):
            if label in base:
                row = np.flatnonzero(base == label)[0]
                wanted[:, column] += 0.3 * values(rows[[row]], features)[:, 0]
        assert decision.logits(features, among) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("method", FITTED)
def test_of_new_classes_the_template_speaks_and_beside_base_ones_as_it_is(method: str) -> None:
    rng = np.random.default_rng(3)
    shots, features, vectors = problem(3), unit(rng, 7, 8), unit(rng, 5, 8)
    base, template = np.array([1, 2, 4]), Decision(vectors, 18.7)
    decision, about = fit(method, shots, base, template)
    assert set(about) == ({"penalty"} if method == "linear_probe" else set())
    assert np.array_equal(decision.logits(features, [3, 0]), template.logits(features, [3, 0]))
    alone = decision.logits(features, base)
    assert not np.allclose(alone, template.logits(features, base), atol=0.1)
    joint = decision.logits(features, [0, 1, 2, 3, 4])
    assert joint[:, base] == pytest.approx(alone, abs=1e-5)
    assert joint[:, [0, 3]] == pytest.approx(template.logits(features, [0, 3]), abs=1e-5)
