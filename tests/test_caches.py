"""What the stages ask of the caches they open, and what they read from each payload."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeModel, unit
from workspaces import draw, prepare, workspace_params

from fdbpl.cache.manifest import OtherCache
from fdbpl.errors import UserError
from fdbpl.evaluation.accuracy import base_to_new
from fdbpl.evaluation.rejection import log_softmax
from fdbpl.params import Params, check_params
from fdbpl.regions.plan import Plan
from fdbpl.stages import caches
from fdbpl.stages.caches import open_caches, open_role, untrained
from fdbpl.stages.sources import Source, teacher_source
from fdbpl.stages.train_student import task_of, train_student
from fdbpl.training.learning import learn
from fdbpl.workspace import Workspace

PAYLOADS = ("float32", "float16", "int8", "logits", "top1", "top2")


def changed(params: Params, **sections: dict[str, Any]) -> Params:
    raw = params.model_dump()
    for name, values in sections.items():
        raw[name].update(values)
    return check_params(raw)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, dict[str, Workspace]]:
    """Parameters, and a workspace with plan and caches of each payload."""
    root = tmp_path_factory.mktemp("caches")
    params = workspace_params(root, ["birds"])
    draw(params, "birds")
    works = {}
    for payload in PAYLOADS:
        works[payload] = Workspace(root / payload)
        prepare(changed(params, cache={"payload": payload}), "birds", works[payload])
    return params, works


def teacher_log_p(params: Params, plan: Plan, work: Workspace) -> np.ndarray:
    teacher = open_role("teacher", params, plan, work)
    scale = teacher.manifest.identity.model["logit_scale"]
    vectors = teacher.class_vectors()[list(plan.base)]
    return log_softmax(scale * teacher.features("train").astype(np.float64) @ vectors.T)


@pytest.mark.parametrize("payload", PAYLOADS[1:])
def test_the_teacher_says_the_same_whatever_is_kept(made, payload: str) -> None:
    params, works = made
    plan = Plan.load(works[payload].plan("birds"))
    exact = teacher_log_p(changed(params, cache={"payload": "float32"}), plan, works["float32"])
    found = teacher_log_p(changed(params, cache={"payload": payload}), plan, works[payload])
    # of two base classes, top1 has one left: nothing is lost
    assert 0 < np.abs(found - exact).max() < (0.1 if payload == "int8" else 0.01)


def test_logits_evaluate_the_teacher_as_its_features_do(made) -> None:
    params, works = made
    plan = Plan.load(works["float16"].plan("birds"))
    labels = plan.images["label"][plan.test]

    def accuracies(payload: str) -> dict[str, float]:
        chosen = changed(params, cache={"payload": payload})
        teacher, student = open_caches(chosen, plan, works[payload])
        features, vectors = untrained("teacher", teacher, student)
        return base_to_new(features, labels, vectors, plan.base, plan.new)

    assert accuracies("logits") == accuracies("top1") == accuracies("float16")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_student_keeps_features_beside_logits(made, payload: str) -> None:
    params, works = made
    plan = Plan.load(works[payload].plan("birds"))
    student = open_role(
        "student", changed(params, cache={"payload": payload}), plan, works[payload]
    )
    kind = payload if payload in ("float32", "int8") else "float16"
    assert student.manifest.identity.payload == {"name": kind}
    assert student.features("train").shape == (len(plan.regions), 8)


@pytest.mark.parametrize(
    ("payload", "changes", "field"),
    [
        ("float16", {"cache": {"payload": "int8"}}, r'payload.name is "float16", wanted "int8"'),
        ("top2", {"cache": {"payload": "top1"}}, r'payload.name is "top2", wanted "top1"'),
        ("top2", {"teacher": {"logit_scale": "student"}}, r'payload.temperature is "own"'),
        ("float16", {"teacher": {"architecture": "huge"}}, r'encoder.architecture is "large"'),
        ("float16", {"teacher": {"precision": "bf16"}}, r'encoder.precision is "fp32"'),
        ("float16", {"teacher": {"weights": "openai"}}, r'model.source is "tiny"'),
        ("float16", {"teacher": {"activation": "gelu"}}, r"encoder.activation is absent"),
    ],
)
def test_another_teacher_or_payload_is_named(made, payload, changes, field) -> None:
    params, works = made
    plan = Plan.load(works[payload].plan("birds"))
    open_role("teacher", changed(params, cache={"payload": payload}), plan, works[payload])
    other = changed(changed(params, cache={"payload": payload}), **changes)
    with pytest.raises(OtherCache, match=f"teacher/manifest.json.*{field}"):
        open_role("teacher", other, plan, works[payload])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"regions": {"seed": 5}}, r"policy.seed is 0, wanted 5"),
        ({"regions": {"scale": [0.1, 1.0]}}, r"policy.scale.0 is 0.08, wanted 0.1"),
        ({"regions": {"per_image": 3}}, r"policy.per_image is 2, wanted 3"),
        ({"shots": "all"}, r"images is "),
    ],
)
def test_another_policy_or_plan_is_named(made, tmp_path: Path, changes, field: str) -> None:
    params, works = made
    raw = params.model_dump()
    for name, values in changes.items():
        raw[name] = {**raw[name], **values} if isinstance(values, dict) else values
    other = check_params(raw)
    prepare(other, "birds", Workspace(tmp_path))
    plan = Plan.load(Workspace(tmp_path).plan("birds"))
    with pytest.raises(OtherCache, match=field):
        open_role("teacher", other, plan, works["float16"])


def test_features_of_another_template_are_of_another_plan(made) -> None:
    params, works = made
    plan = Plan.load(works["float16"].plan("birds"))
    with pytest.raises(OtherCache, match="plan is "):
        open_role("teacher", params, replace(plan, template="{}."), works["float16"])


def test_another_generator_is_named(made, monkeypatch: pytest.MonkeyPatch) -> None:
    params, works = made
    plan = Plan.load(works["float16"].plan("birds"))
    monkeypatch.setitem(plan.policy, "generator", "philox-2")
    with pytest.raises(OtherCache, match=r'policy.generator is "philox-1", wanted "philox-2"'):
        open_role("teacher", params, plan, works["float16"])


def test_pixels_of_another_decoder_are_named(made, monkeypatch: pytest.MonkeyPatch) -> None:
    params, works = made
    plan = Plan.load(works["float16"].plan("birds"))
    monkeypatch.setattr(caches, "DECODER", "fdbpl-2/pillow-99")
    with pytest.raises(OtherCache, match=r'decoder is "fdbpl-.*, wanted "fdbpl-2/pillow-99"'):
        open_role("teacher", params, plan, works["float16"])


def test_logits_of_another_class_list_or_template_are_named(made) -> None:
    params, works = made
    logits = changed(params, cache={"payload": "logits"})
    plan = Plan.load(works["logits"].plan("birds"))
    renamed = replace(plan, class_names=(*plan.class_names[:-1], "wren"))
    with pytest.raises(OtherCache, match=r'payload.classes.3 is "birds d", wanted "wren"'):
        open_role("teacher", logits, renamed, works["logits"])
    with pytest.raises(OtherCache, match=r'payload.template is "a photo of a \{\}\."'):
        open_role("teacher", logits, replace(plan, template="{}."), works["logits"])
    top = changed(params, cache={"payload": "top2"})
    with pytest.raises(OtherCache, match=r"payload.learned.1 is 1, wanted 2"):
        open_role("teacher", top, replace(plan, base=(0, 2)), works["top2"])


def test_a_method_that_needs_features_says_so_before_it_trains(made) -> None:
    params, works = made
    logits = changed(params, cache={"payload": "logits"})
    with pytest.raises(UserError, match=r"cache.payload is 'logits', but method 'fdbpl' learns.*"):
        train_student(logits, "birds", works["logits"])


def test_prompts_learned_from_logits_are_those_learned_from_features(
    made, make_model: MakeModel
) -> None:
    params, works = made
    clip = make_model()
    found = {}
    for payload in PAYLOADS:
        chosen = changed(params, cache={"payload": payload})
        plan = Plan.load(works[payload].plan("birds"))
        rng = np.random.default_rng(0)
        vectors = unit(rng, len(plan.class_names), 32)
        student = Source(
            unit(rng, len(plan.regions), 32),
            vectors,
            vectors[list(plan.base)],
            10.0,
            "drawn",
        )
        teacher = teacher_source(chosen, plan, works[payload])
        task = task_of(chosen, plan, clip, student, teacher)
        task["params"] = task["params"].model_copy(update={"lr": 0.1})
        for method in ("kdpl", "paper"):
            contexts = learn(clip, **task, method=method)[1].contexts.numpy()
            found[payload, method] = contexts
    for method in ("kdpl", "paper"):
        exact = found["float16", method]
        moved = np.linalg.norm(exact - found["int8", method])
        for payload in ("logits", "top1", "top2"):  # two classes: the rest of top1 is one class
            assert np.linalg.norm(found[payload, method] - exact) < 1e-5
        assert 1e-5 < moved < 0.1
