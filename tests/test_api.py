"""The library without a pipeline, as the README shows it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeModel, draw_image, unit
from kinds import contexts
from numpy.typing import NDArray
from PIL import Image

from fdbpl import api
from fdbpl.classify.decision import ImagePrompts
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.methods.params import TrainParams
from fdbpl.system.errors import UserError
from fdbpl.training.learning import Learned

NAMES = ("red star", "blue star", "red moon", "blue moon")
WORDS = "a photo of a {}."


def test_features_and_names_in_prompts_and_accuracies_out() -> None:
    rng = np.random.default_rng(0)
    clip = api.load("fdbpl-tiny-student", "tiny")
    teacher_vectors = unit(rng, 2, 24)
    labels = np.arange(24) % 2
    seen = api.template_vectors(clip, NAMES, WORDS)
    student = lengths_of_one(seen[labels] + 0.1 * unit(rng, 24, seen.shape[1]))
    teacher = lengths_of_one(teacher_vectors[labels] + 0.1 * unit(rng, 24, 24))

    learned = api.learn(
        clip,
        NAMES[:2],
        student=student,
        teacher=teacher,
        teacher_vectors=teacher_vectors,
        teacher_scale=20.0,
        labels=labels,
        anchors=seen[:2],
    )
    decision = api.classifier(
        clip,
        learned[1],
        NAMES,
        template=WORDS,
        teacher_vectors=unit(rng, 4, 24),
    )

    assert decision.vectors.shape == seen.shape
    u, v = api.class_vectors(clip, contexts(learned[1]), NAMES)
    difference = (u - 0.5 * v) / np.linalg.norm(u - 0.5 * v, axis=1, keepdims=True)
    by_hand = difference + seen
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose(decision.vectors, by_hand, atol=1e-6)
    assert api.accuracy(student, labels, decision, among=[0, 1]) == 100
    assert api.base_to_new(seen, np.arange(4), decision, [0, 1], [2, 3])["new"] >= 50


def test_the_readmes_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    tiny = {"ViT-B-32": "fdbpl-tiny-student", "ViT-L-14": "fdbpl-tiny-teacher"}
    load = api.load
    monkeypatch.setattr(api, "load", lambda name, _weights: load(tiny[name], "tiny"))
    files = [tmp_path / f"{number}.png" for number in range(8)]
    for number, file in enumerate(files):
        draw_image(file, number)
    given = {
        "base_names": NAMES[:2],
        "all_names": NAMES,
        "images": files[:4],
        "labels": np.arange(4) % 2,
        "test_images": [str(file) for file in files[4:]],
        "test_labels": np.array([2, 3, 2, 3]),
        "new_labels": [2, 3],
    }
    exec(code, given)
    assert 0 <= float(capsys.readouterr().out) <= 100


def test_image_features_are_those_of_the_test_view(tmp_path: Path) -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    files = [tmp_path / f"{number}.png" for number in range(api.AT_ONCE + 3)]
    for number, file in enumerate(files):
        draw_image(file, number)
    found = api.image_features(clip, files)
    encoder = ImageEncoder(clip, precision="fp32", batch_size=1)
    for file, feature in zip(files, found, strict=True):
        alone = encoder.encode(encoder.pixels(Image.open(file), None)[None])[0]
        np.testing.assert_allclose(feature, alone, atol=1e-5)
    with Image.open(files[0]) as image:
        image.load()
    for one in (files[0], str(files[0]), files[0].read_bytes(), image, np.asarray(image)):
        np.testing.assert_allclose(api.image_features(clip, one), found[:1], atol=1e-5)
    with pytest.raises(UserError, match="images is empty"):
        api.image_features(clip, [])
    for wrong in (3, [3], [None], [[files[0]]]):
        with pytest.raises(UserError, match="wanted"):
            api.image_features(clip, wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"device is 'tpu'"):
        api.image_features(clip, files, device="tpu")


def test_prompts_in_both_towers_are_learned_and_judged_without_a_pipeline(
    tmp_path: Path, make_model: MakeModel
) -> None:
    clip = make_model()
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        draw_image(file, number)
    seen, pixels = api.image_features(clip, files), api.image_pixels(clip, files)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (6, 3, 32, 32))
    names, labels = NAMES[:2], np.arange(6) % 2
    vectors = api.template_vectors(clip, names, WORDS)
    learned = api.learn(
        clip,
        names,
        student=seen,
        teacher=seen,
        teacher_vectors=vectors,
        teacher_scale=clip.logit_scale,
        labels=labels,
        pixels=pixels,
        method="ivlp",
        params=TrainParams(lr=0.01, epochs=10, batch=6),
    )
    decision = api.classifier(clip, learned[1], names)
    features = api.image_features(clip, files, prompts=decision.image_prompts)
    apart = np.abs(features - seen).max()
    assert apart > 1e-4
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert 0 <= api.accuracy(features, labels, decision, among=[0, 1]) <= 100
    other = ImagePrompts(np.zeros((1, 2, 7), np.float32))
    with pytest.raises(UserError, match=r"width 7, but .* has 32"):
        api.image_features(clip, files, prompts=other)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"student": lambda x: x[:7]}, r"student has shape \[7, \d+\], wanted \[8, \d+\]"),
        ({"student": lambda x: x[:, :5]}, r"student has shape \[8, 5\], wanted \[8, \d+\]"),
        ({"student": lambda x: 10 * x}, "student: row 0 has length 10, wanted 1"),
        ({"student": lambda x: x.tolist()}, "student is a list, wanted an array"),
        ({"teacher": lambda x: x[:7]}, r"teacher has shape \[7, 24\], wanted \[8, 24\]"),
        ({"teacher": lambda x: x[:, :7]}, r"teacher has shape \[8, 7\], wanted \[8, 24\]"),
        ({"teacher": lambda x: x * np.nan}, "teacher: row 0 is not finite"),
        (
            {"teacher_vectors": lambda x: x[:3]},
            r"teacher_vectors has shape \[3, 24\], wanted \[4, a",
        ),
        (
            {"teacher_vectors": lambda x: x.T},
            r"teacher_vectors has shape \[24, 4\], wanted \[4, any",
        ),
        ({"anchors": lambda x: x[:1]}, r"anchors has shape \[1, \d+\], wanted \[4, \d+\]"),
        ({"labels": lambda x: x[:7]}, r"student has shape \[8, \d+\], wanted \[7, \d+\]"),
        ({"areas": lambda _: np.ones(9)}, r"areas has shape \[9\], wanted \[8\]"),
        ({"areas": lambda _: np.full(8, np.inf)}, "areas: row 0 is not finite"),
        ({"picks": lambda _: {1: [0, 8]}}, "picks of seed 1: 8 is among them, wanted 0 to 7"),
        ({"picks": lambda _: {1: []}}, "picks of seed 1: none, wanted at least one"),
        ({"device": lambda _: "tpu"}, "device is 'tpu', wanted 'cpu'"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], says: str) -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    given = given_to_learn(clip)
    for key, change in changes.items():
        given[key] = change(given.get(key))
    with pytest.raises(UserError, match=says):
        api.learn(clip, NAMES, **given)


def test_labels_are_of_a_class_where_they_are_read() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    given = {**given_to_learn(clip), "labels": np.arange(8)}
    with pytest.raises(UserError, match="labels: 4 is among them, wanted 0 to 3: 4 class names"):
        api.learn(clip, NAMES, **given, method="coop")
    api.learn(clip, NAMES, **given, method="kdpl")


def test_vectors_in_double_precision_are_taken_too() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    given = given_to_learn(clip)
    double = {**given, "teacher_vectors": given["teacher_vectors"].astype(np.float64)}
    first, second = (api.learn(clip, NAMES, **one)[1] for one in (given, double))
    assert np.array_equal(contexts(first), contexts(second))


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UserError, match=r"device is 'cuda', wanted 'cpu'.*torch finds 0"):
        api.learn(clip, NAMES, **given_to_learn(clip), device="cuda")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(UserError, match=r"device is 'cuda:2'.*torch finds 2"):
        api.learn(clip, NAMES, **given_to_learn(clip), device="cuda:2")


def test_a_template_has_one_gap_and_a_bridge_its_teachers_vectors() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    for template in ("a photo", "a {} {}", "a {x}", "{0}"):
        with pytest.raises(UserError, match=r"wanted a template with one \{\}"):
            api.template_vectors(clip, NAMES, template)
    one, width = learned_by(clip, "fdbpl"), clip_width(clip)
    bridge = np.zeros((width, 1 + width + 24), np.float32)
    one = replace(one, arrays={**one.arrays, "bridge": bridge})
    told = teacher_vectors_of(4)
    for vectors in (told[:3], lengths_of_one(told[:, :5])):
        with pytest.raises(UserError, match="teacher_vectors has shape"):
            api.classifier(clip, one, NAMES, WORDS, teacher_vectors=vectors)


@pytest.mark.parametrize(("lr", "warmup_lr"), [(1e30, 1e-5), (1, 1e30)])
def test_a_training_that_diverged_says_what_to_lower(lr: float, warmup_lr: float) -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    given = {**given_to_learn(clip), "params": TrainParams(epochs=4, lr=lr, warmup_lr=warmup_lr)}
    with pytest.raises(
        UserError, match=r"'coop', seed 1: the training diverged in epoch \d of 4, at a rate of "
    ):
        api.learn(clip, NAMES, **given, method="coop")


def test_a_share_of_the_template_needs_the_template() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    with pytest.raises(UserError, match=r"Pass template="):
        api.classifier(clip, learned_by(clip, "fdbpl"), NAMES)
    plain = learned_by(clip, "paper")
    decision = api.classifier(clip, plain, NAMES)
    assert np.array_equal(decision.vectors, api.class_vectors(clip, contexts(plain), NAMES)[0])
    assert decision.parts == {}


def test_the_memory_speaks_of_the_classes_learned_alone() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    one = learned_by(clip, "template_memory")
    given = (clip, one, (*NAMES[:2], "green star"), "a {}.", teacher_vectors_of(3))
    memory = api.classifier(*given).parts["memory"]
    assert memory.seen.tolist() == [1, 1, 0]
    assert np.array_equal(memory.rows[:2], one.arrays["memory"][:2])
    assert list(api.classifier(*given, same_domain=False).parts) == ["bridge"]


@pytest.mark.parametrize("hidden", [True, False])
def test_a_bridge_is_of_features_before_the_projection_or_after_it(hidden: bool) -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    width = len(last_projection(clip)) if hidden else clip_width(clip)
    student = unit(np.random.default_rng(4), 8, width)
    one = learned_by(clip, "fdbpl", student=student)
    assert one.arrays["bridge"].shape == (width, 24)
    found = api.classifier(clip, one, NAMES, WORDS, teacher_vectors_of(4))
    assert found.sees == ("hidden" if hidden else "student")
    assert found.logits(student, range(4)).shape == (8, 4)
    with pytest.raises(UserError, match=f"wanted .*{len(last_projection(clip))}"):
        learned_by(clip, "prolip", student=unit(np.random.default_rng(4), 8, clip_width(clip)))


def test_what_was_learned_is_found_in_a_store(tmp_path: Path) -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    stores = [api.TrainingStore(tmp_path, {1: "my features"}) for _ in range(2)]
    first, second = (learned_by(clip, "coop", store=store) for store in stores)
    assert [(one.learned, one.looked_up) for one in stores] == [(1, 0), (0, 1)]
    assert np.array_equal(contexts(first), contexts(second))


def lengths_of_one(rows: NDArray[Any]) -> NDArray[Any]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def contexts_of(clip: ClipModel, method: str, **extras: Any) -> NDArray[Any]:
    return contexts(learned_by(clip, method, **extras))


def teacher_vectors_of(classes: int) -> NDArray[Any]:
    return unit(np.random.default_rng(3), classes, 24)


def learned_by(clip: ClipModel, method: str, **extras: Any) -> Learned:
    """What two steps on eight random regions teach, the same at every call."""
    given = given_to_learn(clip)
    if method != "fdbpl":
        del given["anchors"]
    return api.learn(clip, NAMES, **{**given, **extras}, method=method)[1]


def given_to_learn(clip: ClipModel) -> dict[str, Any]:
    draws = np.random.default_rng(2)
    return {
        "student": unit(draws, 8, clip_width(clip)),
        "teacher": unit(draws, 8, 24),
        "teacher_vectors": unit(draws, 4, 24),
        "teacher_scale": 20.0,
        "labels": np.arange(8) % 4,
        "anchors": api.template_vectors(clip, NAMES, WORDS),
        "params": TrainParams(epochs=2, batch=8, warmup_lr=0.02, lr=0.02),
    }


def clip_width(clip: ClipModel) -> int:
    return int(clip.network.text_projection.shape[1])


def test_areas_weigh_regions_and_without_them_all_weigh_the_same() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    plain = contexts_of(clip, "fdbpl")
    assert np.array_equal(contexts_of(clip, "fdbpl", areas=np.ones(8)), plain)
    assert not np.array_equal(contexts_of(clip, "fdbpl", areas=np.linspace(0.1, 1, 8)), plain)


def test_kgcoop_needs_anchors_and_so_does_a_bridge() -> None:
    clip = api.load("fdbpl-tiny-student", "tiny")
    for method in ("kgcoop", "fdbpl"):
        with pytest.raises(UserError, match=r"Pass learn\(anchors="):
            contexts_of(clip, method, anchors=None)
    anchors = api.template_vectors(clip, NAMES, WORDS)
    there, opposite = (contexts_of(clip, "kgcoop", anchors=sign * anchors) for sign in (1, -1))
    assert not np.array_equal(there, opposite)


def test_a_wrong_model_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="no such file, and no pretrained tag"):
        api.load("ViT-B-32", "nowhere.safetensors")
    with pytest.raises(
        UserError, match=r"'model\.activation' is 'relu', wanted 'gelu' or 'quickgelu'"
    ):
        api.load("ViT-B-32", "openai", "relu")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"'model\.weights' is None, wanted text"):
        api.load("ViT-B-32", None)  # type: ignore[arg-type]
