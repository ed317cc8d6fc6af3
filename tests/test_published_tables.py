"""Published numbers beside ours: of the same student alone, transductive ones apart."""

from pathlib import Path
from typing import Any

import pytest
from kinds import FITTED
from test_reporting import run, run_of
from workspaces import evaluated_workspace, workspace_params

from fdbpl.data.published import PUBLISHED, TEST, TEST_BASE, TEST_NEW
from fdbpl.data.registry import SHIFTED as VERSIONS
from fdbpl.evaluation.accuracy import harmonic_mean
from fdbpl.evaluation.record import Cell, DatasetRecord, Run, write_record
from fdbpl.protocols.transfer import TRANSFER
from fdbpl.reporting.published_results import (
    ALL_CLASSES,
    AVERAGES,
    AWESOME,
    BASE_TO_NEW,
    CLIP_SVD,
    CROSS_DATASET,
    KDPL,
    PROMPTKD,
    SHIFTED,
    TRANSDUCTIVE,
)
from fdbpl.reporting.published_tables import SOURCE, TARGETS, backbone_of, published_tables
from fdbpl.reporting.tables import compare
from fdbpl.settings.params import Params, check_params
from fdbpl.stages import run_stage
from fdbpl.stages.evaluated import read_record
from fdbpl.stages.made_with import of_evaluation
from fdbpl.system.sealed import sealed_json, unsealed_json
from fdbpl.system.workspace import Workspace

B16, B32 = "ViT-B/16", "ViT-B/32"
ELEVEN = [SOURCE, *sorted(TARGETS)]
METHODS = ["zero_shot", "teacher", "linear_probe", "coop", "fdbpl"]
ROUNDED = 0.011
SLIPS = {  # published so: H is not that of the base and the new beside it
    ("PromptKD", "stanford_cars"): 0.046,
    ("PromptKD", "ucf101"): 0.271,
    ("HPT", "average"): -0.187,
}


def test_the_names_are_those_of_our_datasets() -> None:
    versions = VERSIONS["imagenet"]
    assert set(ELEVEN) == set(PUBLISHED) - set(versions)
    for methods in BASE_TO_NEW.values():
        assert all(set(by_dataset) == {*ELEVEN, "average"} for by_dataset in methods.values())
    for methods in SHIFTED.values():
        assert all(set(cells) == {SOURCE, *versions, "average"} for cells in methods.values())
    named = {m for t in (BASE_TO_NEW, AVERAGES, CROSS_DATASET, SHIFTED) for b in t for m in t[b]}
    assert named > TRANSDUCTIVE


def test_the_published_numbers_agree_with_one_another() -> None:
    """A slip of the pen would break the arithmetic that the papers did."""
    for method, by_dataset in BASE_TO_NEW[B16].items():
        for name, (base, new, h) in by_dataset.items():
            slip = SLIPS.get((method, name), 0)
            assert h - harmonic_mean(base, new) == pytest.approx(slip, abs=ROUNDED)
        for half in (0, 1):
            mean = sum(by_dataset[name][half] for name in ELEVEN) / 11
            assert by_dataset["average"][half] == pytest.approx(mean, abs=ROUNDED)
    for method, (base, new, h) in AVERAGES[B16].items():
        slip = SLIPS.get((method, "average"), 0)
        assert h - harmonic_mean(base, new) == pytest.approx(slip, abs=ROUNDED)
        if method in BASE_TO_NEW[B16]:
            assert BASE_TO_NEW[B16][method]["average"] == (base, new, h)
    for cells in SHIFTED[B32].values():
        mean = sum(cells[name] for name in VERSIONS["imagenet"]) / 4
        assert cells["average"] == pytest.approx(mean, abs=ROUNDED)


def test_they_are_those_of_the_projects_notes(real: Path) -> None:
    notes = real.parent / "METHOD.md"
    if not notes.is_file():
        pytest.skip("no notes beside the real photographs")
    text = notes.read_text()
    for by_dataset in BASE_TO_NEW[B16].values():
        for base, new, h in by_dataset.values():
            assert f"{base:.2f}/{new:.2f}/{h:.2f}" in text
    for method, average in CROSS_DATASET[B16].items():
        assert f"{method} {average:.2f}" in text
    for method, by_shots in ALL_CLASSES[B16].items():
        assert f"{method} {'/'.join(f'{one:.2f}' for one in by_shots.values())}" in text


def student(architecture: str, weights: str = "tag openai") -> dict[str, str]:
    return {"architecture": architecture, "weights": weights}


def parameters(datasets: list[str], **changes: Any) -> Params:
    model = {"architecture": "ViT-B-16", "weights": "openai"}
    raw = {
        "datasets": datasets,
        "protocols": ["base-to-new", "transfer"],
        "source": SOURCE,
        "shifted": [name for name in datasets if name in VERSIONS["imagenet"]],
        "methods": METHODS,
        "seeds": [1, 2],
        "student": model,
        "teacher": model,
        **changes,
    }
    return check_params(raw)


def write_records(root: Path, params: Params, known: dict[str, str]) -> Workspace:
    """Write made-up accuracies that say they are of this student."""
    work = Workspace(root)
    halved = [name for name in params.datasets if name not in params.shifted]
    targets = [SOURCE, *(name for name in params.datasets if name != SOURCE)]
    for name in params.datasets:
        published = PUBLISHED[name]
        kind = TRANSFER.kind(params, name)
        moved: dict[str, dict[str, Cell]] = {
            method: {
                str(seed): Cell(measures={"accuracy": 40.0 + targets.index(name) + index + seed})
                for seed in (1, 2)
            }
            for index, method in enumerate(m for m in METHODS if m not in FITTED)
        }
        images = {"all": published[TEST]}
        about = {"left_out": list(FITTED), "kind": kind, "classes": {"all": 9}}
        protocols = {"transfer": {"16": run_of(moved, images, **about)}}
        if name in halved:
            index = halved.index(name)
            both = (published[TEST_BASE], published[TEST_NEW])
            protocols["base-to-new"] = {"16": run(60 + index, 50 + index, 1, both)}
            protocols["all-classes"] = {
                str(shots): every_class(30.0 + index + int(shots), published[TEST])
                for shots in params.counts
            }
        made_with = of_evaluation(params, name)
        record = DatasetRecord(
            dataset=name, plan="p", student=known, protocols=protocols, made_with=made_with
        )
        work.metrics(name).parent.mkdir(parents=True, exist_ok=True)
        write_record(work.metrics(name), record)
    return work


def every_class(accuracy: float, images: int) -> Run:
    """What is measured where all classes are learned; each method one point better."""
    cells = {
        method: {str(seed): Cell(measures={"accuracy": accuracy + i + seed}) for seed in (1, 2)}
        for i, method in enumerate(METHODS)
    }
    return run_of(cells, {"all": images})


def compared(root: Path, datasets: list[str], known, **changes: Any) -> str:
    """What the stage writes for made-up accuracies of this student."""
    params = parameters(datasets, **changes)
    work = write_records(root, params, known)
    said = "\n".join(run_stage("compare", params, work, None))
    text = work.comparison("md").read_text()
    assert text in said
    return text


def table(text: str, first: str, nth: int = 0) -> list[list[str]]:
    """The cells of the nth table whose first cell is `first`."""
    blocks = [block for block in text.split("\n\n") if block.startswith(f"| {first} ")]
    return [[c.strip() for c in row.strip("|").split("|")] for row in blocks[nth].splitlines()]


EVERYTHING = [*ELEVEN, *VERSIONS["imagenet"]]


@pytest.mark.parametrize("architecture", ["ViT-B-16", "ViT-B-16-quickgelu"])
def test_a_student_of_vit_b_16_stands_beside_the_published(tmp_path, architecture) -> None:
    text = compared(tmp_path, EVERYTHING, student(architecture))
    head, *rows = (row for row in table(text, "H", 1) if not set(row[0]) <= set("-"))
    assert head == [
        *("H", "zero-shot, here", "CoOp, here", "FDBPL, ours, here"),
        *(f"{m}, published" for m in ("CLIP", "CoOp", "CoCoOp", "MaPLe", "PromptSRC")),
        "PromptKD, published, transductive",
    ]
    by_dataset = {row[0]: row[1:] for row in rows}
    assert list(by_dataset) == [*ELEVEN, "average of 11"]
    assert by_dataset["dtd"][3:] == ["56.37", "54.24", "64.85", "68.16", "71.75", "77.94"]
    assert by_dataset["average of 11"][3:] == ["71.70", "71.66", "75.83", "78.55", "79.97", "83.73"]
    methods = compare(
        {name: run(60 + i, 50 + i, 1) for i, name in enumerate(ELEVEN)}, METHODS, [1, 2]
    )["methods"]
    assert by_dataset["average of 11"][1] == f"{methods['coop']['avg']['h']:.2f}"

    averages = {row[0]: row[1:] for row in table(text, "method", 2)}
    apart = {row[0]: row[1:] for row in table(text, "method", 3)}
    assert averages["CoOp, here"][2] == by_dataset["average of 11"][1]
    assert averages["MMRL, published"] == ["85.68", "77.16", "81.20"]
    assert {name.split(",")[0] for name in apart} - {"method"} >= TRANSDUCTIVE
    assert not any("transductive" in name for name in averages)
    assert all("transductive" in name or "-" in name[:4] for name in list(apart)[1:])

    cross = {row[0]: row[1:] for row in table(text, "method", 4)}
    assert cross["CoOp, published"] == ["63.88", "-"]
    assert cross["PromptKD, published, transductive"] == ["-", "71.33"]
    assert cross["CoOp, here"] == [f"{40 + 2 + 1.5 + 5.5:.2f}", "-"]
    assert PROMPTKD in text
    assert AWESOME in text
    assert KDPL not in text  # of another backbone
    assert "(ours: 16 shots, 2 seeds)" in text


def test_a_student_of_vit_b_32_stands_beside_its_own_table_alone(tmp_path: Path) -> None:
    text = compared(tmp_path, EVERYTHING, student("ViT-B-32-quickgelu"))
    shifted = {row[0]: row[1:] for row in table(text, "method", 2)}
    assert shifted["method"] == [SOURCE, *VERSIONS["imagenet"], "average"]
    assert shifted["CoOp+KDPL, published"] == ["65.97", "58.10", "42.50", "31.63", "67.37", "49.90"]
    assert shifted["ViT-H/14 DFN5B, teacher, published"][-1] == "77.53"
    assert shifted["CoOp, here"][0] == "43.50"
    assert shifted["CoOp, here"][-1] == f"{sum(40 + 2 + 1.5 + p for p in range(11, 15)) / 4:.2f}"
    assert KDPL in text
    assert "PromptKD" not in text
    assert text.count("published of") == 1


CURVE = {"protocols": ["all-classes"], "shifted": [], "shots": [1, 3, 16]}


def test_curves_over_shots_stand_beside_the_published_at_the_shots_of_both(tmp_path: Path) -> None:
    text = compared(tmp_path, ELEVEN, student("ViT-B-16"), **CURVE)
    head, *rows = table(text, "shots of each class")
    assert head == ["shots of each class", "1", "16"]
    found = {row[0]: row[1:] for row in rows}
    # the mean over datasets 30 + 5, shots, the fourth method 3 and the mean over seeds 1.5
    assert found["CoOp, here"] == [f"{35 + 1 + 3 + 1.5:.2f}", f"{35 + 16 + 3 + 1.5:.2f}"]
    assert "linear probe, here" in found
    assert "teacher, here" not in found  # of another backbone
    assert found["CoOp, published"] == ["68.09", "79.01"]
    assert found["CLIP-SVD, published"] == ["73.20", "82.97"]
    assert CLIP_SVD in text


@pytest.mark.parametrize(
    ("datasets", "architecture", "changes"),
    [
        (ELEVEN[:10], "ViT-B-16", {}),
        (ELEVEN, "ViT-B-32", {}),
        (ELEVEN, "ViT-B-16", {"shots": 3}),
        (ELEVEN, "ViT-B-16", {"data": {"own": {"dtd": {"folder": "x"}}}}),
    ],
)
def test_no_curve_stands_beside_those_of_other_datasets_students_or_shots(
    tmp_path: Path, datasets: list[str], architecture: str, changes: dict[str, Any]
) -> None:
    text = compared(tmp_path, datasets, student(architecture), **{**CURVE, **changes})
    assert CLIP_SVD not in text


def test_some_of_the_datasets_are_compared_on_those_alone(tmp_path: Path) -> None:
    text = compared(tmp_path, [SOURCE, "dtd", "imagenetv2"], student("ViT-B-16"))
    rows = {row[0]: row[1:] for row in table(text, "H", 1)}
    base, new = (79.44 + 76.47) / 2, (41.18 + 67.88) / 2
    assert rows["average of 2"][4] == f"{harmonic_mean(base, new):.2f}"
    assert AWESOME not in text  # averages of eleven say nothing beside averages of two
    assert "Cross-dataset, learned on imagenet" not in text
    text = compared(tmp_path, [SOURCE, "dtd", "imagenetv2"], student("ViT-B-32"))
    assert table(text, "method", 2)[0] == ["method", SOURCE, "imagenetv2"]


@pytest.mark.parametrize(
    "known",
    [
        student("ViT-B-16", "tag laion2b_s34b_b88k"),
        student("ViT-B-16", "file 12ab"),
        student("ViT-L-14", "tag openai"),
        student("ViT-B-16-plus-240", "tag openai"),
        student("fdbpl-tiny-student", "tiny"),
        {},
    ],
)
def test_other_students_have_no_published_numbers(tmp_path: Path, known: dict[str, str]) -> None:
    text = compared(tmp_path, EVERYTHING, known)
    assert "published" not in text
    assert backbone_of([known]) is None


def test_records_of_two_students_are_never_beside_published_ones(tmp_path: Path) -> None:
    students = [student("ViT-B-16"), student("ViT-B-32")]
    assert backbone_of(students) is None
    assert backbone_of([*students[:1], {}]) is None
    assert backbone_of(students[:1]) == B16
    assert backbone_of([]) is None
    params = parameters([SOURCE, "dtd"])
    work = write_records(tmp_path, params, student("ViT-B-16"))
    path = work.metrics("dtd")
    record = unsealed_json(path.read_bytes())
    record["student"]["architecture"] = "ViT-B-32"
    path.write_bytes(sealed_json(record))
    run_stage("compare", params, work, None)
    assert "published" not in work.comparison("md").read_text()


def test_a_dataset_of_ones_own_that_is_called_like_a_benchmark_is_none(tmp_path: Path) -> None:
    own = {"dtd": {"folder": "x"}}
    text = compared(tmp_path, [SOURCE, "dtd", "imagenetv2"], student("ViT-B-16"), data={"own": own})
    assert [row[0] for row in table(text, "H", 1)][2:] == [SOURCE, "average of 1"]
    comparison = compare({"dtd": run(60, 50, 1)}, METHODS, [1, 2])
    assert published_tables(comparison, B16, without=own, protocol="") == []


def test_a_benchmark_that_was_cut_has_no_published_numbers(tmp_path: Path) -> None:
    params = parameters([SOURCE, "dtd", "eurosat", "food-101"])
    work = write_records(tmp_path, params, student("ViT-B-16"))
    path = work.metrics("dtd")
    record = unsealed_json(path.read_bytes())
    record["protocols"]["base-to-new"]["16"]["test_images"]["base"] = 160
    path.write_bytes(sealed_json(record))
    run_stage("compare", params, work, None)
    text = work.comparison("md").read_text()
    wanted = [SOURCE, "eurosat", "food-101", "average of 3"]
    assert [row[0] for row in table(text, "H", 1)][2:] == wanted
    assert "No published numbers beside dtd: not as many test images" in text


def test_the_playground_shows_none_and_its_records_say_the_student(tmp_path: Path) -> None:
    params = workspace_params(tmp_path, ["birds", "cats"], protocols=["base-to-new", "transfer"])
    work = evaluated_workspace(tmp_path, params)
    assert "published" not in work.comparison("md").read_text()
    for name in params.datasets:
        assert read_record(params, name, work).student == {
            "architecture": "small",
            "weights": "tiny",
        }
