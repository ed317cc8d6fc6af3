"""Making, choosing and refusing a general bridge, on caches of random features."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from workspaces import DIM, draw, prepare, workspace_params

from bench import general_bridge as packaged
from fdbpl.artifact import GENERAL, Artifact
from fdbpl.benchmarks.playground import datasets, world
from fdbpl.benchmarks.playground.general import draw_general
from fdbpl.cache.cache import open_cache
from fdbpl.cli import main
from fdbpl.clip.model import load_model
from fdbpl.errors import UserError
from fdbpl.methods.bridge import Moments
from fdbpl.params import Params, read_params
from fdbpl.regions.plan import Plan
from fdbpl.stages import general_bridge as stage
from fdbpl.stages.general_bridge import TINY, covariances_of, general_bridge, make_general_bridge
from fdbpl.workspace import Workspace

NAMES = ["birds", "boats"]
STUDENT, TEACHER = (
    {"architecture": name, "weights": 64 * name[0], "activation": "gelu", "precision": "fp32"}
    for name in ("small", "large")
)


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return workspace_params(tmp_path_factory.mktemp("general"), NAMES)


@pytest.fixture(scope="module")
def work(params: Params) -> Workspace:
    made = Workspace(Path(params.data.own["birds"].folder).parents[1])
    for name in NAMES:
        draw(params, name)
        prepare(params, name, made)
    return made


def covariances(work: Workspace, name: str) -> np.ndarray:
    """Those of all the regions of a dataset, at once."""
    plan = Plan.load(work.plan(name))
    student, teacher = (
        open_cache(work.cache(name, role)).features("train") for role in ("student", "teacher")
    )
    return Moments.of(student, teacher, plan.areas(np.arange(len(student)))).bridge()[:, 1:]


@pytest.mark.parametrize("at_once", [3, 1 << 16])
def test_every_dataset_counts_the_same_whatever_is_read_at_once(
    params, work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(stage, "REGIONS_AT_ONCE", at_once)
    lines = make_general_bridge(params, NAMES, work, tmp_path / "bridge")
    found = Artifact.load(tmp_path / "bridge", GENERAL)
    wanted = np.mean([covariances(work, name) for name in NAMES], axis=0)
    assert wanted.shape == (DIM, 2 * DIM)
    np.testing.assert_allclose(covariances_of(found), wanted, atol=1e-6)
    regions = sum(len(Plan.load(work.plan(name)).regions) for name in NAMES)
    assert found.about["regions"] == regions
    assert lines == [f"{tmp_path / 'bridge'}: a bridge from {regions} regions of birds, boats"]


def test_the_command_makes_one(
    params, work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work.root)
    Path("params.yaml").write_text(params.model_dump_json())
    run = CliRunner().invoke(main, ["bridge", *NAMES, "--out", str(tmp_path / "bridge")])
    assert run.exit_code == 0, run.output
    make_general_bridge(params, NAMES, work, tmp_path / "again")
    assert (tmp_path / "bridge").read_bytes() == (tmp_path / "again").read_bytes()
    none = CliRunner().invoke(main, ["bridge", "cats", "--out", str(tmp_path / "none")])
    assert none.exit_code == 2
    assert not (tmp_path / "none").exists()


def test_caches_of_logits_make_none(params, work, tmp_path: Path) -> None:
    cache = params.cache.model_copy(update={"payload": "logits"})
    with pytest.raises(UserError, match=r"payload is 'logits'.*Wanted float16, float32 or int8"):
        make_general_bridge(params.model_copy(update={"cache": cache}), NAMES, work, tmp_path / "b")


def file_of(path: Path, **changes: dict[str, str]) -> str:
    about = {"kind": GENERAL, "student": STUDENT, "teacher": TEACHER, **changes}
    decides = {
        role: {key: about[role][key] for key in stage.DECIDES} for role in ("student", "teacher")
    }
    Artifact({stage.COVARIANCES: np.ones((4, 9), np.float32)}, {**about, **decides}).save(path)
    return str(path)


def test_a_file_serves_its_own_models_alone(tmp_path: Path) -> None:
    chosen = file_of(tmp_path / "bridge")
    elsewhere = {**STUDENT, "precision": "bf16", "numerics": "another machine's"}
    found = general_bridge(chosen, elsewhere, TEACHER)
    assert found is not None
    assert found.arrays[stage.COVARIANCES].shape == (4, 9)
    for role, pair in (
        ("student", ({**STUDENT, "weights": 64 * "x"}, TEACHER)),
        ("teacher", (STUDENT, {**TEACHER, "activation": "quickgelu"})),
    ):
        with pytest.raises(UserError, match=f"its {role} is .*fdbpl bridge, or set bridge: none"):
            general_bridge(chosen, *pair)


def test_none_is_none_and_what_is_no_bridge_is_refused(tmp_path: Path) -> None:
    assert general_bridge("none", STUDENT, TEACHER) is None
    assert covariances_of(None) is None
    assert general_bridge("auto", STUDENT, TEACHER) is None  # the packaged one is of other models
    with pytest.raises(UserError, match=r"no general bridge of fdbpl.*a file that fdbpl bridge"):
        general_bridge(str(tmp_path / "missing"), STUDENT, TEACHER)


def test_the_packaged_bridge_is_the_packaged_models() -> None:
    params = read_params(Path(__file__).parents[1] / "params.yaml")
    models = (load_model(params.student, "student"), load_model(params.teacher, "teacher"))
    found = general_bridge("auto", *(model.identity for model in models))
    assert found is not None
    rows, columns = found.arrays[stage.COVARIANCES].shape
    assert (rows, columns) == (128, 256)
    assert np.trace(found.arrays[stage.COVARIANCES][:, :rows]) == pytest.approx(1, abs=1e-5)
    assert TINY.stat().st_size < 1 << 20


def test_general_pictures_are_of_all_kinds_and_the_same_again(tmp_path: Path) -> None:
    for name, of_world in (("one", 1), ("again", 1), ("other", 2)):
        draw_general(tmp_path / name, of_world, pictures=22)
    pictures = sorted((tmp_path / "one" / "pictures").iterdir())
    assert {path.name.split("-")[0] for path in pictures} == set(world.KINDS)
    assert len(pictures) == 22
    for path in pictures:
        assert Image.open(path).size == (datasets.SIZE, datasets.SIZE)
        assert path.read_bytes() == (tmp_path / "again" / "pictures" / path.name).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / "pictures" / path.name).read_bytes()
    nouns = (tmp_path / "one" / "names.txt").read_text().split("\n")[:-1]
    assert set(nouns) == {noun for kind in world.KINDS for noun in world.NOUNS[kind]}


def test_the_packaged_one_is_built_by_one_function(tmp_path: Path) -> None:
    params = read_params(Path(__file__).parents[1] / "params.yaml")
    for name in ("one", "two"):
        lines = packaged.build(params, Workspace(tmp_path / name), tmp_path / f"{name}.b", 44)
        assert "general: student encoded" in lines[1]
    assert (tmp_path / "one.b").read_bytes() == (tmp_path / "two.b").read_bytes()
    found = Artifact.load(tmp_path / "one.b", GENERAL)
    assert {role: found.about[role] for role in ("student", "teacher")} == {
        role: Artifact.load(TINY, GENERAL).about[role] for role in ("student", "teacher")
    }
