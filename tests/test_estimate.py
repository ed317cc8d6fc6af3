"""An estimate against the build it is of; how long things take is never judged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import draw_folder

from fdbpl.cli import main
from fdbpl.errors import UserError
from fdbpl.estimate.estimate import estimate
from fdbpl.estimate.needs import needs_of
from fdbpl.estimate.table import duration, lines_of, size
from fdbpl.params import Params, check_params
from fdbpl.stages import run_stage
from fdbpl.workspace import Workspace

TINY = {
    "student": {"architecture": "fdbpl-tiny-student", "weights": "tiny"},
    "teacher": {"architecture": "fdbpl-tiny-teacher", "weights": "tiny"},
}
CLASSES = dict.fromkeys(("cat", "owl", "sea", "sky"), (4, 2))


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., Params]:
    """A function that returns parameters of two small datasets, one learned from and one not."""
    own = {}
    for name, shade in (("mine", 0), ("other", 7)):
        classes = {f"{one}{shade}": counts for one, counts in CLASSES.items()}
        own[name] = {"folder": str(draw_folder(tmp_path / name, classes))}

    def params(**changes: Any) -> Params:
        raw = {
            "datasets": ["mine"],
            "methods": ["zero_shot", "kdpl", "paper"],
            "seeds": [1, 2],
            "shots": 2,
            "regions": {"per_image": 3},
            "data": {"own": own},
            "cache": {"store": str(tmp_path / "store"), "batch": 4},
            "train": {"epochs": 2, "batch": 2},
            "transfer": {"source": "mine", "targets": ["other"]},
            "device": "cpu",
            **TINY,
        }
        return check_params({**raw, **changes})

    return params


def test_counts_without_a_plan_are_those_of_the_plan(given, tmp_path: Path) -> None:
    params, work = given(), Workspace(tmp_path / "work")
    before = needs_of(params, work)
    run_stage("prepare_crops", params, work, "mine")
    run_stage("prepare_transfer", params, work, None)
    after = needs_of(params, work)
    assert [need.plan for need in before] == [None] * 3
    for one, other in zip(before, after, strict=True):
        assert other.plan is not None
        for field in ("dataset", "protocol", "names", "images", "regions", "tests"):
            assert getattr(one, field) == getattr(other, field)


def test_what_a_build_has_encoded_is_found(given, tmp_path: Path) -> None:
    params, work = given(transfer=None), Workspace(tmp_path / "work")
    before = estimate(params, work)
    run_stage("prepare_crops", params, work, "mine")
    lines = run_stage("cache_teacher", params, work, "mine")
    after = estimate(params, work)
    assert (before.planned, after.planned, after.caches) == (0, 1, 1)
    for role in ("teacher", "student"):
        first, last = before.encoding[role], after.encoding[role]
        assert (first.stored, first.seconds > 0) == (0, True)
        assert f"mine: {role} encoded {first.views}, reused 0" in lines
        assert (last.stored, last.seconds) == (last.views, 0.0)
        assert last.bytes < first.bytes  # the store gains nothing more
        on_disk = sum(f.stat().st_size for f in work.cache("mine", role).rglob("*"))
        assert on_disk > first.regions_only["float16"] / 2  # the same order
    assert after.train_seconds > 0
    (run,) = after.training
    assert (run.classes, run.methods, run.steps) == (2, 2, 4)  # two epochs, four images in twos


def test_more_seeds_are_counted_before_they_are_planned(given, tmp_path: Path) -> None:
    params, work = given(transfer=None), Workspace(tmp_path / "work")
    run_stage("prepare_crops", params, work, "mine")
    run_stage("cache_teacher", params, work, "mine")
    more = given(transfer=None, seeds=[1, 2, 3, 4, 5])
    run_stage("prepare_crops", more, work, "mine")
    found = estimate(more, work).encoding["teacher"]
    assert found.stored is not None
    assert 0 < found.stored < found.views


def test_weights_that_are_not_here_are_not_fetched(
    given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = {"hf_hub": "nobody/nothing/"}
    monkeypatch.setattr(
        "open_clip.pretrained.get_pretrained_cfg",
        lambda _, weights: tag if weights == "elsewhere" else {},
    )
    params = given(
        transfer=None, teacher={"architecture": "fdbpl-tiny-teacher", "weights": "elsewhere"}
    )
    found = estimate(params, Workspace(tmp_path / "work"))
    assert not found.encoding["teacher"].own_weights
    assert found.encoding["teacher"].stored is None
    assert found.encoding["student"].own_weights
    assert any("elsewhere is not on this machine" in line for line in lines_of(found))


def test_a_weights_file_that_is_not_there_is_a_mistake(given, tmp_path: Path) -> None:
    params = given(teacher={"architecture": "fdbpl-tiny-teacher", "weights": "lost.safetensors"})
    with pytest.raises(UserError, match=r"lost\.safetensors"):
        estimate(params, Workspace(tmp_path / "work"))


def test_the_command_prints_a_table_or_json(given, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(given().model_dump_json())
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(main, ["estimate", "--params", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "in all:" in shown.output
    assert "mine, source" in shown.output
    raw = CliRunner().invoke(main, ["estimate", "--params", str(path), "--json"])
    assert raw.exit_code == 0, raw.output
    found = json.loads(raw.stdout)
    assert {"encoding", "training", "encode_seconds", "train_seconds", "bytes", "peak_mb"} <= set(
        found
    )


@pytest.mark.parametrize(
    ("seconds", "says"), [(1.26, "1.3 s"), (119, "119.0 s"), (120, "2.0 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, says: str) -> None:
    assert duration(seconds) == says


@pytest.mark.parametrize(("count", "says"), [(0, "0 B"), (2500, "2.5 kB"), (3e9, "3.0 GB")])
def test_sizes(count: float, says: str) -> None:
    assert size(count) == says
