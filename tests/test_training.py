import math
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from conftest import unit
from fdbpl.methods.batch import Batch
from fdbpl.methods.decision import Decision
from fdbpl.methods.names import TRAINED
from fdbpl.methods.table import trained_method
from fdbpl.methods.features import CachedColumn, PairedFeatures, Teacher
from torch import Tensor

from fdbpl.clip.model import ClipModel, state_digest
from fdbpl.evaluation.accuracy import accuracy
from fdbpl.methods.options import PRESETS
from fdbpl.methods.params import TrainParams
from fdbpl.system.errors import UserError
from fdbpl.training.learning import (
    class_vectors,
    learn,
    starting_contexts,
    template_vectors,
    text_encoder,
)
from fdbpl.training.loop import Task, Trained, gradient_norms, inactive_terms, train
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


def learned(
    clip: ClipModel, features, method: str = "fdbpl", *, seed: int = 1, images=None, **changes
) -> Trained:
    picks = {seed: np.arange(len(features["labels"])) if images is None else images}
    options = {"teacher_scale": 18.7, "crops": CROPS, "params": PARAMS, **changes}
    return learn(clip, NAMES, **features, method=method, picks=picks, **options)[seed]


@pytest.mark.parametrize("name", TRAINED)
def test_the_contexts_change_and_the_network_does_not(clip: ClipModel, features, name) -> None:
    before = state_digest(clip.network.state_dict())
    result = learned(clip, features, name)
    start = starting_contexts(clip, trained_method(name))
    assert result.contexts.shape == start.shape
    assert len(start) == (2 if name in PRESETS else 1)
    assert ((result.contexts - start).flatten(1).norm(dim=1) > 1e-4).all()
    assert not result.contexts.requires_grad
    assert state_digest(clip.network.state_dict()) == before
    assert all(parameter.grad is None for parameter in clip.network.parameters())


def test_the_same_seed_gives_the_same_bytes(clip: ClipModel, features) -> None:
    first, again, other = (learned(clip, features, seed=seed) for seed in (1, 1, 2))
    assert first.contexts.numpy().tobytes() == again.contexts.numpy().tobytes()
    assert first.terms == again.terms
    assert first.gradients == again.gradients
    assert not torch.equal(first.contexts, other.contexts)


def test_no_global_generator_is_read_or_moved(clip: ClipModel, features) -> None:
    first = learned(clip, features)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        before = torch.get_rng_state()
        again = learned(clip, features)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.contexts, again.contexts)


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_falls(clip: ClipModel, features, name: str) -> None:
    result = learned(clip, features, name, params=replace_params(epochs=12, batch=8))
    losses = np.sum(list(result.terms.values()), axis=0)
    assert len(losses) == 12
    assert losses[-1] < losses[0]


def replace_params(**changes) -> TrainParams:
    return PARAMS.model_copy(update=changes)


def test_learning_helps_to_tell_the_classes(clip: ClipModel, features) -> None:
    contexts = starting_contexts(clip, trained_method("coop"))
    result = learned(clip, features, "coop", params=replace_params(epochs=30))
    labels = np.repeat(features["labels"], CROPS)
    before, after = (
        accuracy(features["student"], labels, Decision(class_vectors(clip, c, NAMES)[0]), range(4))
        for c in (contexts, result.contexts)
    )
    assert after > before + 10


def hand_written_loop(clip: ClipModel, f, objective, start: Tensor, order: list) -> Tensor:
    """SGD with momentum and decay, written out, from online features of both towers."""
    encode = text_encoder(clip, NAMES)
    contexts, velocity = start.clone(), torch.zeros_like(start)
    for epoch, images, rows in order:
        cosine = 0.1 * (1 + math.cos(math.pi * (epoch - 1) / 5)) / 2
        rate = 1e-5 if epoch == 0 else cosine
        leaf = contexts.clone().requires_grad_()
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
        velocity = 0.9 * velocity + gradient + 5e-4 * contexts
        contexts = contexts - rate * velocity
    return contexts


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
    method = trained_method(name)
    start = starting_contexts(clip, method)
    wanted = hand_written_loop(clip, features, method.objective, start, order)
    found = learned(clip, features, name).contexts
    moved = (found - start).norm()
    assert (found - wanted).norm() < 1e-5 * moved  # rounding grows with the way that was gone
    assert moved > 0.1


def test_images_choose_what_is_learned_from(clip: ClipModel, features) -> None:
    images = np.array([1, 4, 6, 7, 11])
    part = learned(clip, features, "coop", images=images)
    rows = (images[:, None] * CROPS + np.arange(CROPS)).ravel()
    cut = {**features, "labels": features["labels"][images]}
    cut |= {name: features[name][rows] for name in ("student", "teacher", "areas")}
    assert torch.equal(part.contexts, learned(clip, cut, "coop").contexts)


@pytest.mark.parametrize("name", TRAINED)
def test_the_seeds_of_one_pass_learn_as_each_alone(clip: ClipModel, features, name: str) -> None:
    picks = {3: np.array([0, 1, 2, 3, 8, 9]), 1: np.arange(6, 12), 2: np.arange(6, 12)}
    options = {"teacher_scale": 18.7, "crops": CROPS, "params": PARAMS}
    together = learn(clip, NAMES, **features, method=name, picks=picks, **options)
    assert list(together) == [3, 1, 2]
    for seed, images in picks.items():
        alone = learned(clip, features, name, seed=seed, images=images)
        assert (together[seed].contexts - alone.contexts).abs().max() < 1e-5
        for term, values in alone.terms.items():
            assert together[seed].terms[term] == pytest.approx(values, abs=1e-5)
    assert (together[1].contexts - together[2].contexts).abs().max() > 1e-3


def in_bytes(trained: Trained) -> dict[str, object]:
    arrays = {"contexts": trained.contexts.numpy(), "memory": trained.memory}
    arrays["bridge"] = trained.bridge
    there = {name: array.tobytes() for name, array in arrays.items() if array is not None}
    return {**vars(trained), **dict.fromkeys(arrays), **there}


def test_what_another_method_of_the_same_training_learned_is_taken(
    clip: ClipModel, features, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = learned(clip, features)
    taught = {1: learned(clip, features, "fdbpl_prompts")}
    assert taught[1].memory is None
    monkeypatch.setattr("fdbpl.training.learning.train", None)  # is not called
    for given in (taught, {1: wanted}):
        found = learned(clip, features, taught=given)
        assert in_bytes(found) == in_bytes(wanted)
        alone = learned(clip, features, "fdbpl_prompts", taught=given)
        assert in_bytes(alone) == in_bytes(taught[1])


@pytest.mark.parametrize("options", [{}, {"weight": "entropy", "mutual_weight": 0.1}])
def test_the_seeds_of_one_pass_know_nothing_of_each_others_images(clip, features, options) -> None:
    picks = {1: np.arange(6), 2: np.arange(5, 11)}
    given = {"teacher_scale": 18.7, "crops": CROPS, "params": PARAMS, "options": options}
    together = learn(clip, NAMES, **features, picks=picks, **given)
    for seed, images in picks.items():
        alone = learned(clip, features, seed=seed, images=images, options=options)
        assert (together[seed].contexts - alone.contexts).abs().max() < 1e-5
        for epoch, found in alone.diagnoses.items():
            assert together[seed].diagnoses[epoch] == pytest.approx(found, abs=1e-4)


def test_regions_show_the_whole_image_unless_said_otherwise(clip: ClipModel, features) -> None:
    without = {name: value for name, value in features.items() if name != "areas"}
    ones = {**features, "areas": np.ones(IMAGES * CROPS, np.float32)}
    found = learned(clip, without)
    assert torch.equal(found.contexts, learned(clip, ones).contexts)
    unweighted = learned(clip, without, options={"weight": "none"})
    assert (found.contexts - unweighted.contexts).abs().max() < 1e-6
    assert (found.contexts - learned(clip, features).contexts).abs().max() > 1e-4


def test_diagnoses_stand_where_gradients_are_probed(clip: ClipModel, features) -> None:
    result = learned(clip, features)
    assert list(result.terms) == ["similarity"]  # the others have no weight
    assert list(result.diagnoses) == list(result.gradients) == [0, 2, 4]
    for found in result.diagnoses.values():
        assert list(found) == [
            "first_hinges_active",
            "second_hinges_active",
            "negative_entropy_informative",
            "negative_entropy_uninformative",
            "negative_cosine",
        ]
        assert all(-1 <= value <= 1 for value in found.values())
    assert learned(clip, features, "kdpl").diagnoses == {}


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
    assert found.contexts.dtype == torch.float32
    assert (found.contexts - wanted.contexts).abs().max() < 0.01


def test_the_history_names_terms_and_gradients(clip: ClipModel, features) -> None:
    reports: list[tuple[int, int]] = []
    result = learned(clip, features, "paper", report=lambda *steps: reports.append(steps))
    names = ["similarity", "rejection", "mutual", "first_difference", "second_difference"]
    assert list(result.terms) == names
    assert all(len(values) == 5 for values in result.terms.values())
    assert list(result.gradients) == [0, 2, 4]
    for norms in result.gradients.values():
        assert list(norms) == names
        assert norms["similarity"][0] > 0
        assert norms["similarity"][1] == 0  # the negative context has no part in it
        assert norms["rejection"][0] == 0
    assert reports == [(done, 5) for done in range(1, 6)]


def test_the_released_second_difference_is_reported_as_inactive(clip, features) -> None:
    result = learned(clip, features, "released")
    assert "second_difference" in result.inactive
    assert "similarity" not in result.inactive


def test_inactive_terms_by_hand() -> None:
    loud, faint, late = [99.0, 50.0], [0.9, 0.4], [0.0, 0.0]
    probes = {0: {"loud": loud, "faint": faint, "late": late}}
    assert inactive_terms(probes) == ("faint", "late")
    probes[9] = {"loud": [99.0, 0.0], "faint": [0.9, 0.0], "late": [0.0, 0.1]}
    assert inactive_terms(probes) == ("faint",)
    assert inactive_terms({0: {"nothing": [0.0]}}) == ("nothing",)


def test_gradient_norms_by_hand() -> None:
    contexts = torch.zeros(1, 2, 3, 4, requires_grad=True)  # one seed, two contexts
    terms = {
        "first": 2 * contexts[:, 0].sum(),
        "both": contexts.sum(),
        "none": torch.zeros((), requires_grad=True) * 1,
    }
    norms = gradient_norms(terms, contexts)
    root = 12**0.5
    assert norms["first"].flatten().tolist() == pytest.approx([2 * root, 0])
    assert norms["both"].flatten().tolist() == pytest.approx([root, root])
    assert norms["none"].flatten().tolist() == [0, 0]


def test_any_source_of_features_will_do(clip: ClipModel, features) -> None:
    """The loop reads features by rows, cached or encoded online, and nothing else."""
    method = trained_method("kdpl")
    asked: list[int] = []
    cached = PairedFeatures(
        *(CachedColumn(torch.from_numpy(features[k])) for k in ("student", "teacher"))
    )

    def online(rows: Tensor) -> tuple[Tensor, Tensor]:
        asked.extend(rows.flatten().tolist())
        return cached(rows)

    task = Task(
        labels=torch.from_numpy(features["labels"]),
        crops=CROPS,
        features=cached,
        teacher=Teacher(torch.from_numpy(features["teacher_vectors"]), 18.7),
        text=text_encoder(clip, NAMES),
        scale=clip.logit_scale,
    )
    start, picks = starting_contexts(clip, method), {1: np.arange(IMAGES)}
    results = [
        train(method.objective, start, replace(task, features=source), PARAMS, picks)[1].contexts
        for source in (cached, online)
    ]
    assert torch.equal(*results)
    assert sorted(set(asked)) == list(range(IMAGES * CROPS))  # 5 epochs show all 3 crops


def test_an_objective_reads_the_anchors_of_its_task_or_says_that_there_are_none(clip) -> None:
    def to_anchors(batch: Batch, text: Tensor, _scale: float) -> dict[str, Tensor]:
        return {"distance": (text[..., 0, :, :] - batch.require("anchors")).square().mean((-2, -1))}

    anchors = torch.from_numpy(template_vectors(clip, NAMES, "a drawing of a {}."))
    rows = torch.zeros(IMAGES * CROPS, 8)
    task = Task(
        labels=torch.arange(IMAGES) % 4,
        crops=CROPS,
        features=PairedFeatures(CachedColumn(rows), CachedColumn(rows)),
        teacher=Teacher(torch.zeros(4, 8), 1.0),
        text=text_encoder(clip, NAMES),
        scale=clip.logit_scale,
    )
    start, picks = starting_contexts(clip, trained_method("coop")), {1: np.arange(IMAGES)}
    run = train(to_anchors, start, replace(task, anchors=anchors), PARAMS, picks)[1]
    assert run.terms["distance"][-1] < run.terms["distance"][0]
    with pytest.raises(UserError, match=r"none were given. Pass learn\(anchors="):
        train(to_anchors, start, task, PARAMS, picks)


def test_template_vectors_are_the_zero_shot_classifier(clip: ClipModel) -> None:
    vectors = template_vectors(clip, NAMES, "a photo of a {}.")
    assert vectors.shape == (4, 32)
    start = starting_contexts(clip, trained_method("coop"))
    assert np.abs(vectors - class_vectors(clip, start, NAMES)[0]).max() < 3e-6


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
    contexts = learned(clip, features, "fdbpl").contexts
    vectors = class_vectors(clip, contexts, ("a", "wholly", "new list of names"))
    assert vectors.shape == (2, 3, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-6)


def test_starts_of_unequal_length_are_refused(clip: ClipModel) -> None:
    method = replace(trained_method("fdbpl"), starts=("a photo of a", "no photo"))
    with pytest.raises(UserError, match=r"have \[4, 2\] tokens .* wanted equal numbers"):
        starting_contexts(clip, method)
