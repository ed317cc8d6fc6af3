import math

import numpy as np
import open_clip
import pytest
import torch
from conftest import unit
from kinds import TRAINED, contexts
from torch import Tensor

from fdbpl.classify.decision import Decision
from fdbpl.clip.model import ClipModel, state_digest
from fdbpl.clip.vectors import class_vectors, template_vectors
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.methods.coop import CoOp
from fdbpl.methods.method import Batch, Terms
from fdbpl.methods.options import PRESETS
from fdbpl.methods.params import TrainParams
from fdbpl.methods.prompts import starting_contexts
from fdbpl.methods.registry import find_method
from fdbpl.system.errors import UserError
from fdbpl.training.learning import Learned, learn, learn_method, text_encoder, training_data
from fdbpl.training.loop import gradient_norms, inactive_terms
from fdbpl.training.schedule import epoch_batches

NAMES = ("cat", "dog", "sea side", "maltese puppy")
CROPS, IMAGES = 3, 16
PARAMS = TrainParams(lr=0.1, epochs=5, batch=4)  # 20 steps


@pytest.fixture(scope="module")
def features() -> dict[str, np.ndarray]:
    """Features of regions that gather around their classes, for a student and a teacher."""
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % len(NAMES)
    at = np.repeat(labels, CROPS)
    found = {"labels": labels, "teacher_vectors": unit(rng, len(NAMES), 24)}
    noise = 0.3 * unit(rng, IMAGES * CROPS, 24)
    teacher = found["teacher_vectors"][at] + noise
    found["teacher"] = (teacher / np.linalg.norm(teacher, axis=1, keepdims=True)).astype("f4")
    student = unit(rng, len(NAMES), 32)[at] + 0.3 * unit(rng, IMAGES * CROPS, 32)
    found["student"] = (student / np.linalg.norm(student, axis=1, keepdims=True)).astype("f4")
    found["anchors"] = unit(rng, len(NAMES), 32)
    found["areas"] = rng.uniform(0.08, 1, IMAGES * CROPS).astype("f4")
    return found


def start_of(clip: ClipModel, name: str) -> np.ndarray:
    return torch.stack(starting_contexts(clip, find_method(name).starts)).numpy()


def farthest(one: Learned, other: Learned) -> float:
    return float(np.abs(contexts(one) - contexts(other)).max())


def bits(learned: Learned) -> object:
    arrays = {name: one.tobytes() for name, one in learned.arrays.items()}
    return arrays, learned.names, learned.history


def learned(
    clip: ClipModel, features, method: str = "fdbpl", *, seed: int = 1, images=None, **changes
) -> Learned:
    picks = {seed: np.arange(len(features["labels"])) if images is None else images}
    options = {"teacher_scale": 18.7, "crops": CROPS, "params": PARAMS, **changes}
    return learn(clip, NAMES, **features, method=method, picks=picks, **options)[seed]


@pytest.mark.parametrize("name", TRAINED)
def test_the_contexts_change_the_loss_falls_and_the_network_stays(clip, features, name) -> None:
    before = state_digest(clip.network.state_dict())
    result = learned(clip, features, name, params=replace_params(epochs=12, batch=8))
    start = start_of(clip, name)
    assert contexts(result).shape == start.shape
    assert len(start) == (2 if name in PRESETS else 1)
    assert (np.linalg.norm((contexts(result) - start).reshape(len(start), -1), axis=1) > 1e-4).all()
    assert state_digest(clip.network.state_dict()) == before
    assert all(parameter.grad is None for parameter in clip.network.parameters())
    losses = np.sum(list(result.history["terms"].values()), axis=0)
    assert len(losses) == 12
    assert losses[-1] < losses[0]


def test_the_same_seed_gives_the_same_bytes(clip: ClipModel, features) -> None:
    first, other = (learned(clip, features, seed=seed) for seed in (1, 2))
    with torch.random.fork_rng():
        torch.manual_seed(99)
        before = torch.get_rng_state()
        again = learned(clip, features)
        assert torch.equal(torch.get_rng_state(), before)  # no global generator is moved
    assert bits(first) == bits(again)
    assert farthest(first, other) > 0


def replace_params(**changes) -> TrainParams:
    return PARAMS.model_copy(update=changes)


def test_learning_helps_to_tell_the_classes(clip: ClipModel, features) -> None:
    result = learned(clip, features, "coop", params=replace_params(epochs=30))
    labels = np.repeat(features["labels"], CROPS)
    before, after = (
        accuracy(features["student"], labels, Decision(class_vectors(clip, c, NAMES)[0]), range(4))
        for c in (start_of(clip, "coop"), contexts(result))
    )
    assert after > before + 10


def hand_written_loop(clip: ClipModel, f, objective, start: np.ndarray, order: list) -> np.ndarray:
    """SGD with momentum and decay, written out, from online features of both towers."""
    encode = text_encoder(clip, NAMES)
    found = torch.from_numpy(start)
    velocity = torch.zeros_like(found)
    for epoch, images, rows in order:
        cosine = 0.1 * (1 + math.cos(math.pi * (epoch - 1) / 5)) / 2
        rate = 1e-5 if epoch == 0 else cosine
        leaf = found.clone().requires_grad_()
        teacher = torch.from_numpy(f["teacher"][rows]) @ torch.from_numpy(f["teacher_vectors"]).T
        batch = Batch(
            student=torch.from_numpy(f["student"][rows]),
            teacher=(18.7 * teacher.float()).log_softmax(-1),
            labels=torch.from_numpy(f["labels"][images]),
            anchors=torch.from_numpy(f["anchors"]),
            areas=torch.from_numpy(f["areas"][rows]),
        )
        loss = sum(objective(batch, encode(leaf), clip.logit_scale).values())
        (gradient,) = torch.autograd.grad(loss, leaf)
        velocity = 0.9 * velocity + gradient + 5e-4 * found
        found = found - rate * velocity
    return found.numpy()


@pytest.mark.parametrize("name", TRAINED)
def test_twenty_steps_equal_a_hand_written_loop(clip: ClipModel, features, name: str) -> None:
    order = [
        (epoch, images, rows)
        for epoch in range(5)
        for images, rows in epoch_batches(
            np.arange(IMAGES), crops=CROPS, batch=4, epoch=epoch, seed=1
        )
    ]
    assert len(order) == 20
    start = start_of(clip, name)
    wanted = hand_written_loop(clip, features, find_method(name).objective, start, order)
    found = contexts(learned(clip, features, name))
    moved = np.linalg.norm(found - start)
    assert np.linalg.norm(found - wanted) < 1e-5 * moved  # rounding grows on the way
    assert moved > 0.1


def test_images_choose_what_is_learned_from(clip: ClipModel, features) -> None:
    images = np.array([1, 4, 6, 7, 11])
    part = learned(clip, features, "coop", images=images)
    rows = (images[:, None] * CROPS + np.arange(CROPS)).ravel()
    cut = {**features, "labels": features["labels"][images]}
    cut |= {name: features[name][rows] for name in ("student", "teacher", "areas")}
    assert bits(part) == bits(learned(clip, cut, "coop"))


@pytest.mark.parametrize("name", [*TRAINED, "diagnosed"])
def test_the_seeds_of_one_pass_learn_as_each_alone(clip: ClipModel, features, name: str) -> None:
    method, options = name, {}
    if name == "diagnosed":
        method, options = "fdbpl", {"options": {"weight": "entropy", "mutual_weight": 0.1}}
    picks = {3: np.array([0, 1, 2, 3, 8, 9]), 1: np.arange(6, 12), 2: np.arange(6, 12)}
    given = {"teacher_scale": 18.7, "crops": CROPS, "params": PARAMS, **options}
    together = learn(clip, NAMES, **features, method=method, picks=picks, **given)
    assert list(together) == [3, 1, 2]
    for seed, images in picks.items():
        alone = learned(clip, features, method, seed=seed, images=images, **options)
        assert farthest(together[seed], alone) < 1e-5
        assert together[seed].arrays.keys() == alone.arrays.keys()
        told = together[seed].history
        for term, values in alone.history["terms"].items():
            assert told["terms"][term] == pytest.approx(values, abs=1e-5, rel=1e-5)
        for epoch, found in alone.history["diagnoses"].items():
            assert told["diagnoses"][epoch] == pytest.approx(found, abs=1e-4)
    assert farthest(together[1], together[2]) > 1e-3


def test_regions_show_the_whole_image_unless_said_otherwise(clip: ClipModel, features) -> None:
    without = {name: value for name, value in features.items() if name != "areas"}
    ones = {**features, "areas": np.ones(IMAGES * CROPS, np.float32)}
    found = learned(clip, without)
    assert bits(found) == bits(learned(clip, ones))
    assert farthest(found, learned(clip, without, options={"weight": "none"})) < 1e-6
    assert farthest(found, learned(clip, features)) > 1e-4


def test_seeds_with_unequally_many_images_are_refused(clip: ClipModel, features) -> None:
    with pytest.raises(UserError, match=r"seeds learn from \[4, 5\] images, wanted equally many"):
        learn(
            clip,
            NAMES,
            **features,
            teacher_scale=18.7,
            crops=CROPS,
            picks={1: range(4), 2: range(5)},
        )


def test_half_precision_features_are_widened(clip: ClipModel, features) -> None:
    half = {**features, "student": features["student"].astype("f2")}
    half["teacher"] = features["teacher"].astype("f2")
    found, wanted = learned(clip, half), learned(clip, features)
    assert contexts(found).dtype == np.float32
    assert farthest(found, wanted) < 0.01


def test_the_history_names_terms_gradients_and_diagnoses(clip: ClipModel, features) -> None:
    reports: list[tuple[int, int]] = []
    found = learned(clip, features, "paper", report=lambda *steps: reports.append(steps)).history
    names = ["similarity", "rejection", "mutual", "first_difference", "second_difference"]
    assert list(found["terms"]) == names
    assert all(len(values) == 5 for values in found["terms"].values())
    assert list(found["gradients"]) == list(found["diagnoses"]) == ["0", "2", "4"]
    for norms in found["gradients"].values():
        assert list(norms) == names
        assert norms["similarity"][0] > 0
        assert norms["similarity"][1] == 0  # the negative context has no part in it
        assert norms["rejection"][0] == 0
    for told in found["diagnoses"].values():
        assert list(told) == [
            "first_hinges_active",
            "second_hinges_active",
            "negative_entropy_informative",
            "negative_entropy_uninformative",
            "negative_cosine",
        ]
        assert all(-1 <= value <= 1 for value in told.values())
    assert reports == [(done, 5) for done in range(1, 6)]
    assert list(learned(clip, features).history["terms"]) == ["similarity"]  # the only weight
    assert learned(clip, features, "kdpl").history["diagnoses"] == {}


def test_the_released_second_difference_is_reported_as_inactive(clip, features) -> None:
    inactive = learned(clip, features, "released").history["inactive"]
    assert "second_difference" in inactive
    assert "similarity" not in inactive


def test_inactive_terms_by_hand() -> None:
    loud, faint, late = [99.0, 50.0], [0.9, 0.4], [0.0, 0.0]
    probes = {0: {"loud": loud, "faint": faint, "late": late}}
    assert inactive_terms(probes) == ("faint", "late")
    probes[9] = {"loud": [99.0, 0.0], "faint": [0.9, 0.0], "late": [0.0, 0.1]}
    assert inactive_terms(probes) == ("faint",)
    assert inactive_terms({0: {"nothing": [0.0]}}) == ("nothing",)


def test_gradient_norms_by_hand() -> None:
    one, other = (torch.zeros(1, 3, 4, requires_grad=True) for _ in range(2))  # one seed
    terms = {
        "first": 2 * one.sum(),
        "both": one.sum() + other.sum(),
        "none": torch.zeros((), requires_grad=True) * 1,
    }
    norms = gradient_norms(terms, [one, other])
    root = 12**0.5
    assert norms["first"].flatten().tolist() == pytest.approx([2 * root, 0])
    assert norms["both"].flatten().tolist() == pytest.approx([root, root])
    assert norms["none"].flatten().tolist() == [0, 0]


def test_any_source_of_features_will_do(clip: ClipModel, features) -> None:
    """Training reads features by rows, cached or encoded online, and nothing else."""
    asked: list[int] = []

    def online(rows: Tensor) -> Tensor:
        asked.extend(rows.flatten().tolist())
        return torch.from_numpy(features["student"])[rows]

    found = learned(clip, {**features, "student": online}, "kdpl")
    assert bits(found) == bits(learned(clip, features, "kdpl"))
    assert sorted(set(asked)) == list(range(IMAGES * CROPS))  # 5 epochs show all 3 crops


class ToAnchors(CoOp):
    """A method of one's own, near to the anchors alone."""

    labelled = False

    def objective(self, batch: Batch, text: Tensor, scale: float) -> Terms:
        apart = text[..., 0, :, :] - batch.require("anchors")
        return {"distance": apart.square().mean((-2, -1))}


def test_a_method_of_ones_own_reads_anchors_or_says_that_there_are_none(clip, features) -> None:
    anchors = template_vectors(clip, NAMES, "a drawing of a {}.")
    given = {"method": ToAnchors("mine", "Mine")}
    run = learned(clip, {**features, "anchors": anchors}, **given)
    assert run.method.name == "mine"
    assert run.history["terms"]["distance"][-1] < run.history["terms"]["distance"][0]
    with pytest.raises(UserError, match=r"none were given\. Pass learn\(anchors="):
        learned(clip, {**features, "anchors": None}, **given)


def test_methods_may_learn_from_the_same_data(clip: ClipModel, features) -> None:
    data = training_data(clip, NAMES, **features, teacher_scale=18.7, crops=CROPS, params=PARAMS)
    for name in ("coop", "paper"):
        found = learn_method(find_method(name), data, PARAMS)[1]
        assert bits(found) == bits(learned(clip, features, name))


def test_template_vectors_are_the_zero_shot_classifier(clip: ClipModel) -> None:
    vectors = template_vectors(clip, NAMES, "a photo of a {}.")
    assert vectors.shape == (4, 32)
    assert np.abs(vectors - class_vectors(clip, start_of(clip, "coop"), NAMES)[0]).max() < 3e-6


def test_several_templates_are_open_clips_own_ensemble(clip: ClipModel) -> None:
    templates = ["a photo of a {}.", "art of the {}.", "a {} in a video game."]
    found = template_vectors(clip, NAMES, *templates)
    wanted = open_clip.build_zero_shot_classifier(clip.network, clip.tokenizer, NAMES, templates)
    assert np.abs(found - wanted.T.numpy()).max() < 1e-5
    mean = np.mean([template_vectors(clip, NAMES, one) for one in templates], axis=0)
    by_hand = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    assert np.abs(found - by_hand).max() < 1e-5
    assert np.abs(found - template_vectors(clip, NAMES, templates[0])).max() > 1e-3
    with pytest.raises(UserError, match="Shorten the name"):
        template_vectors(clip, ["cat " * 24], "a {}.", "a photo of the very, very large {}.")


def test_learned_contexts_serve_any_class_list(clip: ClipModel, features) -> None:
    found = contexts(learned(clip, features, "fdbpl"))
    vectors = class_vectors(clip, found, ("a", "wholly", "new list of names"))
    assert vectors.shape == (2, 3, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-6)
