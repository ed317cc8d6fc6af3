"""What the stages ask of the caches they open, and what they read from each payload."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MakeModel, unit
from kinds import contexts
from workspaces import draw, prepare, workspace_params

from fdbpl.cache import manifest as manifests
from fdbpl.cache import open_cache
from fdbpl.cache.manifest import OtherCache
from fdbpl.data.splits import halve
from fdbpl.evaluation.logits import log_softmax
from fdbpl.methods.registry import find_method
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import caches
from fdbpl.stages.caches import open_role
from fdbpl.stages.sides import Side, teacher_side
from fdbpl.stages.tasks import tasks_of
from fdbpl.stages.train_student import data_of
from fdbpl.system.errors import UserError
from fdbpl.system.workspace import Workspace
from fdbpl.training.learning import learn_method

PAYLOADS = ("float32", "float16", "int8")


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
    vectors = teacher.text("template")[list(halve(plan.labels)[0])]
    return log_softmax(scale * teacher.features("train").astype(np.float64) @ vectors.T)


@pytest.mark.parametrize("payload", PAYLOADS[1:])
def test_the_teacher_says_the_same_whatever_is_kept(made, payload: str) -> None:
    params, works = made
    plan = Plan.load(works[payload].plan("birds"))
    exact = teacher_log_p(changed(params, cache={"payload": "float32"}), plan, works["float32"])
    found = teacher_log_p(changed(params, cache={"payload": payload}), plan, works[payload])
    assert 0 < np.abs(found - exact).max() < (0.1 if payload == "int8" else 0.01)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"cache": {"payload": "int8"}}, r'payload.name is "float16", wanted "int8"'),
        ({"teacher": {"architecture": "huge"}}, r'encoder.architecture is "large"'),
        ({"teacher": {"precision": "bf16"}}, r'encoder.precision is "fp32"'),
        ({"teacher": {"weights": "openai"}}, r'model.source is "tiny"'),
        ({"teacher": {"activation": "gelu"}}, r"encoder.activation is absent"),
    ],
)
def test_another_teacher_or_payload_is_named(made, changes, field) -> None:
    params, works = made
    plan = Plan.load(works["float16"].plan("birds"))
    open_role("teacher", params, plan, works["float16"])
    with pytest.raises(OtherCache, match=f"teacher/manifest.json.*{field}"):
        open_role("teacher", changed(params, **changes), plan, works["float16"])


def test_a_cache_of_logits_is_refused(made, tmp_path: Path) -> None:
    params, works = made
    work = Workspace(tmp_path / "work")
    shutil.copytree(works["float16"].root, work.root)
    plan, folder = Plan.load(work.plan("birds")), work.cache("birds", "teacher")
    manifest = open_cache(folder).manifest
    logits = {"name": "logits", "template": plan.template, "classes": list(plan.class_names)}
    identity = manifest.identity.model_copy(update={"payload": logits})
    manifest = manifest.model_copy(update={"identity": identity})
    (folder / "manifest.json").write_bytes(manifests.render(manifest))
    with pytest.raises(OtherCache, match=r'payload.name is "logits", wanted "float16"; build'):
        open_role("teacher", params, plan, work)
    with pytest.raises(UserError, match=r"manifest.json: payload is 'logits', wanted one of flo"):
        open_cache(folder).features("train")


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


def test_another_template_generator_or_decoder_is_named(made, monkeypatch) -> None:
    params, works = made
    plan = Plan.load(works["float16"].plan("birds"))
    with pytest.raises(OtherCache, match="plan is "):
        open_role("teacher", params, replace(plan, template="{}."), works["float16"])
    with monkeypatch.context() as patch:
        patch.setitem(plan.policy, "generator", "philox-2")
        with pytest.raises(OtherCache, match=r'policy.generator is "philox-1", wanted "philox-2"'):
            open_role("teacher", params, plan, works["float16"])
    monkeypatch.setattr(caches, "DECODER", "fdbpl-2/pillow-99")
    with pytest.raises(OtherCache, match=r'decoder is "fdbpl-.*, wanted "fdbpl-2/pillow-99"'):
        open_role("teacher", params, plan, works["float16"])


def test_prompts_learned_from_int8_are_near_those_of_float16(made, make_model: MakeModel) -> None:
    params, works = made
    clip, found = make_model(), {}
    for payload in ("float16", "int8"):
        chosen = changed(params, cache={"payload": payload}, train={"lr": 0.1})
        plan = Plan.load(works[payload].plan("birds"))
        rng = np.random.default_rng(0)
        vectors = unit(rng, len(plan.class_names), 32)
        regions = unit(rng, len(plan.regions), 32)
        student = Side(lambda found=regions: found, {"template": vectors}, 10.0, "drawn")
        teacher = teacher_side(chosen, plan, works[payload])
        task = tasks_of(chosen, plan)[0]
        data = data_of(chosen, task, clip, student, teacher)
        found[payload] = contexts(learn_method(find_method("kdpl"), data, chosen.train)[1])
    assert 1e-5 < np.linalg.norm(found["float16"] - found["int8"]) < 0.1
