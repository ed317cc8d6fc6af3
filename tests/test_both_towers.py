"""Methods that prompt both towers: through the pipeline, against plain loops, and as each other."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import taught
import torch
import torch.nn.functional as F
from conftest import VISION, MakeModel, unit
from safetensors.torch import save_file
from small_pipeline import decision, evaluated, goes_through, run_all, small_params
from torch import Tensor

from fdbpl.cache.cache import open_cache
from fdbpl.classify.decision import Decision
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel, load_model
from fdbpl.clip.params import ModelParams
from fdbpl.clip.plain_prompted import prompted_plainly
from fdbpl.clip.prompting import PlainText
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.clip.vectors import template_vectors
from fdbpl.data.images import decode
from fdbpl.methods.both_towers import IMAGE_TOKENS
from fdbpl.methods.maple import COUPLING, OFFSET
from fdbpl.methods.method import Method, Start
from fdbpl.methods.options import POSITIVE
from fdbpl.methods.params import TrainParams
from fdbpl.methods.promptkd import EPS, MOMENTUM
from fdbpl.methods.registry import find_method
from fdbpl.regions.plan import Plan
from fdbpl.serving.card import origin
from fdbpl.serving.from_run import made_of_run
from fdbpl.serving.make import predictor_of_made, save_model
from fdbpl.serving.predictor import load_predictor
from fdbpl.settings.params import Params
from fdbpl.stages import run_stage
from fdbpl.stages.estimate import estimate, lines_of
from fdbpl.stages.judged import JudgedFeatures
from fdbpl.stages.tasks import tasks_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import Learned, classifier, learn, training_data
from fdbpl.training.schedule import epoch_batches, learning_rate

NAMES = ("cat", "dog", "small sea side")
METHODS = ("ivlp", "maple", "promptsrc", "promptkd", "fdbpl_vision", "fdbpl_vision_released")
DEEP = {"vision_cfg": {**VISION, "layers": 4}}
IMAGES, CROPS, CONTEXT = 12, 2, "positive"
SCHEDULE = TrainParams(lr=0.005, epochs=5, batch=3)  # 20 steps


@pytest.fixture(scope="module")
def deep(make_model: MakeModel) -> ClipModel:
    """A student whose towers have four layers."""
    return make_model({"layers": 4}, **DEEP)


@pytest.fixture(scope="session")
def vit(architecture: Callable[..., str], random_state: Any, tmp_path_factory: Any) -> dict:
    """The same, as parameters name it."""
    name = architecture({"layers": 4}, **DEEP)
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    save_file(random_state(name), path)
    return {"architecture": name, "weights": str(path), "activation": "gelu"}


def given(clip: ClipModel) -> dict[str, Any]:
    """Regions drawn at random, with the features that the frozen student has of them."""
    rng = np.random.default_rng(0)
    rows = IMAGES * CROPS
    pixels = torch.from_numpy(rng.integers(0, 256, (rows, 3, 32, 32), np.uint8))
    shown = (pixels.float() / 255 - torch.tensor(clip.preprocessing.mean).view(3, 1, 1)) / (
        torch.tensor(clip.preprocessing.std).view(3, 1, 1)
    )
    with torch.no_grad():
        frozen = F.normalize(clip.network.encode_image(shown), dim=-1)
    return {
        "student": frozen.numpy(),
        "teacher": unit(rng, rows, 8),
        "teacher_vectors": unit(rng, len(NAMES), 8),
        "teacher_scale": 12.0,
        "labels": np.arange(IMAGES) % len(NAMES),
        "anchors": template_vectors(clip, NAMES, "a photo of a {}."),
        "ensemble": template_vectors(clip, NAMES, "a photo of a {}.", "art of a {}."),
        "pixels": lambda rows: pixels[rows],
        "crops": CROPS,
    }


def learned_of(clip: ClipModel, method: str | Method, **options: Any) -> Learned:
    found = learn(clip, NAMES, **given(clip), method=method, params=SCHEDULE, options=options)
    return found[1]


@pytest.mark.parametrize("method", ["ivlp", "promptkd"])
def test_it_goes_through_the_pipeline(tmp_path: Path, vit: dict, method: str) -> None:
    work = goes_through(tmp_path, method, transfers=True, student=vit)
    params = small_params(tmp_path, ["zero_shot", method], student=vit)
    found = decision(params, work, method)
    assert found.sees == "prompted"
    assert found.image_prompts is not None
    assert found.image_prompts.tokens.shape == (3, 4, 32)
    if method == "promptkd":  # which has a projector, too; ivlp is packed from own pictures
        packs(params, work, method, found, tmp_path / "model")


def packs(params: Params, work: Workspace, method: str, found: Decision, path: Path) -> None:
    """See that a model of a run decides as `evaluate` does."""
    task = tasks_of(params, Plan.load(work.plan("here")))[0]
    made = made_of_run(
        params, work, task, find_method(method), 1, "model",
        lambda: load_model(params.student, "student"),
    )  # fmt: skip
    save_model(path, made, {"README.md": b"# model\n"})
    predictor, plan = load_predictor(path), task.plan
    assert "of here, as they are encoded under the learned tokens." in origin(made.about)
    pictures = [decode(path.parent / "here" / plan.paths[row]) for row in plan.test]
    logits = predictor.logits(np.stack([predictor.pixels(one) for one in pictures]))
    features = JudgedFeatures(params, plan, work, {}).judged_by(found)
    wanted = found.logits(features, range(len(plan.class_names)))
    np.testing.assert_allclose(logits, wanted, atol=1e-4)


def test_every_protocol_has_them(tmp_path: Path, vit: dict) -> None:
    protocols = ["base-to-new", "all-classes", "transductive", "transfer"]
    params = small_params(tmp_path, METHODS, protocols=protocols, student=vit, seeds=[1])
    work = Workspace(tmp_path / "work")
    run_all(params, work)
    for protocol in protocols:
        for method in METHODS:
            found = evaluated(work, method, "here", protocol)
            left_out = protocol == "transductive" and find_method(method).labelled
            assert set(found) == (set() if left_out else {"1"})


def test_own_pictures_are_learned_and_told(class_pictures: Path, tmp_path: Path, vit: dict) -> None:
    student = ModelParams(**vit)
    found = taught.learn(class_pictures, tmp_path, student=student, methods=["ivlp"], shots=2)
    assert found.outcome.decision.sees == "prompted"
    predictor = predictor_of_made(found.made)
    some = [decode(one) for one in sorted(class_pictures.rglob("*.png"))[:3]]
    pixels = np.stack([predictor.pixels(one) for one in some])
    assert predictor.judgement(predictor.logits(pixels)).probabilities.shape == (3, 6)


class Plain:
    """A method's training written out: one step after the other, in float64, by autograd alone."""

    def __init__(self, clip: ClipModel, method: Method, start: Start) -> None:
        self.clip, self.method = clip, method
        self.known = given(clip)
        self.network: Any = deepcopy(clip.network).double()
        self.learned = {
            name: one.detach().double().requires_grad_() for name, one in start.learned.items()
        }
        self.moments = {name: one.double().clone() for name, one in start.fixed.items()}
        tokens = tokenize_prompts(clip, POSITIVE, NAMES)
        self.text = PlainText(self.network, tokens)

    def run(self, schedule: TrainParams) -> dict[str, Tensor]:
        optimiser = torch.optim.SGD(
            list(self.learned.values()), schedule.lr, schedule.momentum, 0.0, schedule.weight_decay
        )
        kept = {name: torch.zeros_like(one) for name, one in self.learned.items()}
        weights = self.gaussian(schedule.epochs)
        for epoch in range(schedule.epochs):
            optimiser.param_groups[0]["lr"] = learning_rate(schedule, epoch)
            batches = epoch_batches(
                np.arange(IMAGES), crops=CROPS, batch=schedule.batch, epoch=epoch, seed=1
            )
            for images, rows in batches:
                optimiser.zero_grad()
                self.loss(images, torch.from_numpy(rows)).backward()
                optimiser.step()
            for name, one in self.learned.items():
                kept[name] += weights[epoch] * one.detach()
        return {**kept, **self.moments}

    def gaussian(self, epochs: int) -> list[float]:
        """PromptSRC's weights of epochs 1 to N; of all others the last epoch is kept."""
        if self.method.name not in ("promptsrc", "fdbpl_vision", "fdbpl_vision_released"):
            return [0.0] * (epochs - 1) + [1.0]
        mean, deviation = 0.75 * epochs, 0.05 * epochs
        density = [np.exp(-0.5 * ((a - mean) / deviation) ** 2) for a in range(1, epochs + 1)]
        return [one / sum(density) for one in density]

    def image_features(self, rows: Tensor) -> Tensor:
        preprocessing = self.clip.preprocessing
        mean, std = (
            torch.tensor(one).view(3, 1, 1) for one in (preprocessing.mean, preprocessing.std)
        )
        pixels = (self.known["pixels"](rows).double() / 255 - mean) / std
        if self.method.name == "maple":
            pairs = zip(*(self.learned[name] for name in (CONTEXT, COUPLING, OFFSET)), strict=True)
            tokens = torch.stack([t @ weight + offset for t, weight, offset in pairs])
        else:
            tokens = self.learned[IMAGE_TOKENS]
        first = self.method.options.model_dump().get("first_layer", 0)
        return F.normalize(prompted_plainly(self.network.visual, tokens, pixels, first), dim=-1)

    def loss(self, images: np.ndarray, rows: Tensor) -> Tensor:
        """The loss as the authors' code has it."""
        name, scale = self.method.name, self.clip.logit_scale
        seen = self.image_features(rows)
        labels = torch.from_numpy(self.known["labels"][images])
        v = torch.from_numpy(self.known["teacher_vectors"]).double()
        teacher = 12.0 * torch.from_numpy(self.known["teacher"]).double()[rows] @ v.T
        if name == "promptkd":
            hidden = seen @ self.learned["first"] + self.learned["first_offset"]
            hidden = F.batch_norm(
                hidden, self.moments["running_mean"], self.moments["running_variance"],
                self.learned["gain"], self.learned["shift"], True, MOMENTUM, EPS,
            )  # fmt: skip
            out = F.relu(hidden) @ self.learned["second"] + self.learned["second_offset"]
            own = scale * F.normalize(out, dim=-1) @ v.T
            apart = F.kl_div(own.log_softmax(1), teacher.softmax(1), reduction="sum")
            return 1000 * apart / own.numel()
        text = self.text(self.learned[CONTEXT][None])[0]
        own = scale * seen @ text.T
        if name in ("ivlp", "maple"):
            return F.cross_entropy(own, labels)
        fixed = torch.from_numpy(self.known["ensemble"]).double()
        frozen = torch.from_numpy(self.known["student"]).double()[rows]
        before = scale * frozen @ fixed.T
        found = 25 * F.l1_loss(text, fixed) + 10 * F.l1_loss(seen, frozen)
        found = found + F.kl_div(
            own.log_softmax(1), before.log_softmax(1), reduction="sum", log_target=True
        ) / own.numel()  # fmt: skip
        if name == "promptsrc":
            return found + F.cross_entropy(own, labels)
        p, log_q = teacher.softmax(1), own.log_softmax(1)
        floor = 1e-6 if name.endswith("released") else 0.0
        w = 1 + (p * (p + floor).log()).sum(1) / np.log(len(NAMES))
        each = ((p * (p.log() - log_q)).sum(1) + (log_q.exp() * (log_q - p.log())).sum(1)) / 2
        if name.endswith("released"):  # batch means, by which w was multiplied
            return found + (w * each.mean()).mean()
        return found + (w * each).mean()


@pytest.mark.parametrize("method", METHODS)
def test_twenty_steps_are_those_of_a_plain_loop(deep: ClipModel, method: str) -> None:
    chosen = find_method(method)
    if method == "promptkd":  # at its own weight a random projector's logits run away
        chosen = chosen.with_options({"lr": 2e-6})
    learned = learned_of(deep, chosen)
    known = {name: one for name, one in given(deep).items() if name != "crops"}
    data = training_data(deep, NAMES, **known, crops=CROPS, params=SCHEDULE, sees="prompted")
    wanted = Plain(deep, chosen, chosen.start(data, 1)).run(chosen.recipe(SCHEDULE))
    assert set(wanted) == set(learned.arrays)
    moved = 0.0
    for name, one in wanted.items():
        np.testing.assert_allclose(learned.arrays[name], one.numpy(), atol=1e-5, rtol=1e-5)
        start = {**chosen.start(data, 1).learned, **chosen.start(data, 1).fixed}[name]
        moved = max(moved, float((one - start.double()).abs().max()))
    assert moved > 1e-3


OFF = {"text_weight": 0, "image_weight": 0, "logits_weight": 0, "average_width": 0}


def test_promptsrc_with_everything_off_is_ivlp(deep: ClipModel) -> None:
    plain, off = learned_of(deep, "ivlp").arrays, learned_of(deep, "promptsrc", **OFF).arrays
    for name, one in plain.items():
        np.testing.assert_array_equal(one, off[name])


def test_ivlp_without_image_tokens_is_coop(deep: ClipModel) -> None:
    bare = learned_of(deep, "ivlp", image_tokens=0, text_depth=1)
    coop = learned_of(deep, "coop")
    assert bare.arrays[IMAGE_TOKENS].size == 0
    found, wanted = bare.arrays[CONTEXT][0], coop.arrays[CONTEXT]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    features = unit(np.random.default_rng(1), 5, 32)
    logits = [classifier(deep, one, ["x", "y"]).logits(features, [0, 1]) for one in (bare, coop)]
    np.testing.assert_allclose(*logits, atol=1e-4)


@pytest.mark.parametrize("method", ["ivlp", "promptkd", "promptsrc"])
def test_late_prompts_on_activations_are_those_on_pixels(deep: ClipModel, method: str) -> None:
    chosen = find_method(method, {"first_layer": 2, **({"lr": 1e-5} if "kd" in method else {})})
    known = given(deep)
    encoder = ImageEncoder(deep, precision="fp32", batch_size=8, before_layer=2)
    pixels = deep.preprocessing.normalised(known["pixels"](torch.arange(IMAGES * CROPS)).numpy())
    below = np.concatenate([encoder.encode(part) for part in np.split(pixels, CROPS * 4)])
    assert below.shape == (IMAGES * CROPS, 5 * 32)
    assert encoder.dim == 5 * 32
    del known["pixels"]
    late = learn(deep, NAMES, **known, activations=below, method=chosen, params=SCHEDULE)[1]
    assert late.arrays[IMAGE_TOKENS].shape == (2, 4, 32)

    data = training_data(deep, NAMES, **given(deep), params=SCHEDULE, sees="prompted")
    wanted = Plain(deep, chosen, chosen.start(data, 1)).run(chosen.recipe(SCHEDULE))
    for name, one in wanted.items():
        np.testing.assert_allclose(late.arrays[name], one.numpy(), atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match=r"reads activations .* learn\(activations"):
        learn(deep, NAMES, **known, method=chosen, params=SCHEDULE)


def test_late_prompts_go_through_the_pipeline_on_cached_activations(
    tmp_path: Path, vit: dict
) -> None:
    late = {"student": vit, "objectives": {"ivlp": {"first_layer": 2}}}
    work = goes_through(tmp_path, "ivlp", transfers=True, **late)
    assert not work.cache("here", "pixels").exists()
    table = open_cache(work.cache("here", "activations-2")).manifest.tables["train"]
    assert table.columns["feature"].shape == (5 * 32,)
    params = small_params(tmp_path, ["zero_shot", "ivlp"], **late)
    found = decision(params, work, "ivlp")
    assert found.image_prompts is not None
    assert (found.image_prompts.first_layer, len(found.image_prompts.tokens)) == (2, 2)
    plan = Plan.load(work.plan("here"))
    judged = JudgedFeatures(params, plan, work, {}).judged_by(found)
    clip = load_model(params.student, "student")
    images = [decode(tmp_path / "here" / plan.paths[row]) for row in plan.test]
    pixels = torch.from_numpy(np.stack([clip.preprocessing.pixels(one) for one in images]))
    tokens = torch.from_numpy(found.image_prompts.tokens)
    with torch.inference_mode():
        plain = prompted_plainly(clip.network.visual, tokens, pixels, 2)
    np.testing.assert_allclose(judged, F.normalize(plain, dim=-1).numpy(), atol=1e-5)
    said = "\n".join(lines_of(estimate(params, work)))
    assert "activations-2" in said


def test_maple_couples_what_it_learns(deep: ClipModel) -> None:
    found = find_method("maple")
    arrays = learned_of(deep, found).arrays
    for layer, (text, image) in enumerate(
        zip(arrays[CONTEXT], found.image_prompts(arrays), strict=True)
    ):
        wanted = text @ arrays[COUPLING][layer] + arrays[OFFSET][layer]
        np.testing.assert_allclose(image, wanted, atol=1e-6)


def test_no_ensemble_keeps_near_to_the_anchors(deep: ClipModel) -> None:
    known = given(deep)
    anchors = known.pop("anchors"), known.pop("ensemble")
    alike = [
        learn(deep, NAMES, **known, method="promptsrc", params=SCHEDULE, **texts)[1].arrays
        for texts in ({"anchors": anchors[1]}, {"ensemble": anchors[1]})
    ]
    for name, one in alike[0].items():
        np.testing.assert_array_equal(one, alike[1][name])
    with pytest.raises(UserError, match="needs anchors"):
        learn(deep, NAMES, **known, method="promptsrc", params=SCHEDULE)


def test_a_vocabulary_teaches_both_towers(deep: ClipModel) -> None:
    known = {name: one for name, one in given(deep).items() if name != "ensemble"}
    found = learn(deep, NAMES, **known, method="fdbpl_vision", params=SCHEDULE, likeliest=2)[1]
    assert found.names == ()
    assert set(found.arrays) == {CONTEXT, IMAGE_TOKENS}


@pytest.mark.parametrize(
    ("top", "options", "why"),
    [
        ({"vision_cfg": {**VISION, "attentional_pool": True}}, {}, "it pools by attention"),
        (DEEP, {"first_layer": 4}, "it has 4. Wanted 0 to 3"),
        (DEEP, {"first_layer": 2, "image_depth": 3}, "3 layers .* from layer 2 on, but .* has 4"),
    ],
)
@pytest.mark.parametrize("method", ["ivlp", "promptkd"])
def test_a_tower_that_takes_no_such_tokens_is_refused_at_once(
    make_model: MakeModel, method: str, top: Mapping[str, Any], options: Any, why: str
) -> None:
    clip = make_model({"layers": 4}, **top)
    with pytest.raises(UserError, match=why):
        find_method(method, options).require_student(clip)


def test_pixels_that_vanished_are_asked_for(tmp_path: Path, vit: dict) -> None:
    params, work = small_params(tmp_path, ["ivlp"], student=vit), Workspace(tmp_path / "work")
    run_all(params, work)
    folder = work.cache("here", "pixels")
    folder.rename(folder.with_name("away"))
    with pytest.raises(UserError, match="cache-teacher"):
        run_stage("evaluate", params, work, "here")


@pytest.mark.parametrize(
    ("method", "changes", "tolerance"),
    [("promptsrc", {"memory_mb": 1}, 1e-6), ("ivlp", {"precision": "bf16"}, 5e-3)],
)
def test_a_small_budget_changes_nothing_and_bf16_little(
    deep: ClipModel, method: str, changes: dict[str, Any], tolerance: float
) -> None:
    whole = learned_of(deep, method).arrays
    params = SCHEDULE.model_copy(update=changes)
    found = learn(deep, NAMES, **given(deep), method=method, params=params)[1].arrays
    for name, one in whole.items():
        np.testing.assert_allclose(found[name], one, atol=tolerance)
