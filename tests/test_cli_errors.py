"""Every bad input by the command line: one line, exit code 2, nothing touched."""

import errno
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from projects import STAGES, Project
from safetensors.torch import save_file

CLASSIFIER = "coop-seed1.classifier.safetensors"


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/tmp/x", "../up"])
def test_a_run_is_a_plain_name(project: Project, name: str) -> None:
    assert "wanted a plain name" in project.fails("prepare-crops", "mine", "--run", name)


def own(**about: str) -> dict[str, Any]:
    return {"data": {"own": {"mine": {"folder": "photos", **about}}}}


DIVERGED = (
    "method 'coop', seed 1: the training diverged in epoch 2 of 2, at a rate of 1e+30. Lower "
    "train.lr (1e+30)"
)
IN_EVERY_STAGE = (*(f"{stage} mine" for stage in STAGES), "compare")
MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prepare-crops mien", "dataset 'mien' is unknown"),
    ({}, "train-student mien", "Run fdbpl prepare-crops mien first"),
    ({}, "compare --params gone.yaml", "gone.yaml: no such file"),
    *(({"methods": ["copo"]}, words, "'methods' is ['copo'], wanted") for words in IN_EVERY_STAGE),
    ({"train": {"lr": -1}}, "evaluate mine", "'train.lr' is -1, wanted a number greater than 0"),
    ({"cache": {"payload": "logits"}}, "cache-teacher mine", "'cache.payload' is 'logits', wanted"),
    (own(folder="gone"), "prepare-crops mine", "gone: no such folder"),
    (own(folder="empty"), "prepare-crops mine", "empty: no class folders in it"),
    ({"train": {"lr": 1e30}}, "train-student mine", DIVERGED),
    ({"datasets": ["mine", "dtd"]}, "compare", "Run fdbpl evaluate dtd first"),
    ({"seeds": [1, 2, 3]}, "compare", "mine.json: made with seeds [1, 2], wanted 3 too. Run fdbpl"),
]
for changes, says in (
    ({"shots": 1}, "made with shots 2, wanted 1"),
    (own(template="{}!"), 'made with data.own.mine.template "a photo of a {}.", wanted "{}!"'),
):
    planned = f"default/plans/mine: {says}. Run fdbpl prepare-crops mine again."
    evaluated = f"datasets/mine.json: {says}. Run fdbpl evaluate mine again."
    MISTAKES += [(changes, words, planned) for words in IN_EVERY_STAGE[1:4]]
    MISTAKES += [(changes, "compare", evaluated)]


def test_a_mistake_is_told_in_one_line_and_touches_nothing(done: Project) -> None:
    sound = deepcopy(done.params)
    Path("empty").mkdir()
    for changes, words, says in MISTAKES:
        done.params = deepcopy(sound)
        done.change(**changes)
        assert says in done.fails(*words.split()), (changes, words)


def test_a_comparison_needs_no_seed_that_is_not_asked_for(done: Project) -> None:
    done.change(seeds=[2])
    assert done("compare").exit_code == 0


def test_what_is_damaged_is_named(done: Project) -> None:
    for place, words, says in (
        ("metrics/datasets/mine.json", "compare", "damaged"),
        (f"prompts/mine/base-to-new/{CLASSIFIER}", "evaluate mine", CLASSIFIER),
        ("plans/mine/images.npy", "train-student mine", "a damaged plan"),
    ):
        (Path("runs/default") / place).write_bytes(b"[")
        assert says in done.fails(*words.split())


def test_a_file_where_a_folder_is_wanted(project: Project) -> None:
    Path("runs").mkdir()
    Path("runs/default").write_text("")
    said = project.fails("prepare-crops", "mine")
    assert "runs/default/plans: Not a directory. Move away the file" in said


def test_a_full_disk_names_what_could_not_be_written(project: Project, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fdbpl.regions.plan.write_regions", full)
    said = project.fails("prepare-crops", "mine")
    assert "runs/default/plans/mine: No space left on device. Make room" in said


def test_an_unreadable_image(done: Project) -> None:
    Path("photos/test/ant/00.png").write_bytes(b"no image")
    said = done.fails("prepare-crops", "mine")
    assert "1 test images of 'mine' in photos are unreadable, the first: test/ant/00.png" in said
    done.change(data={"allow_unreadable_test_images": True})
    result = done("prepare-crops", "mine")
    assert "1 unreadable test images: test/ant/00.png" in result.stdout


def test_an_image_that_vanished_or_changed_since_the_plan(project: Project) -> None:
    project("prepare-crops", "mine")
    image = Path("photos/test/ant/00.png")
    data = image.read_bytes()
    image.unlink()
    assert "ant/00.png" in project.fails("cache-teacher", "mine")
    image.write_bytes(Path("photos/test/ant/01.png").read_bytes())
    assert "ant/00.png: content hash" in project.fails("cache-teacher", "mine")
    image.write_bytes(data)
    assert project("cache-teacher", "mine").exit_code == 0


def test_weights_that_do_not_fit(done: Project, random_state, architecture) -> None:
    save_file(random_state(architecture({"layers": 3})), "weights.safetensors")
    for stage in ("cache-teacher", "train-student"):
        assert "weights.safetensors has in excess" in done.fails(stage, "mine")
    Path("weights.safetensors").unlink()
    assert "no such file, and no pretrained tag" in done.fails("cache-teacher", "mine")


def test_a_cache_made_by_another_teacher_or_student(done: Project, random_state) -> None:
    name = done.params["teacher"]["architecture"]
    save_file(random_state(name, seed=1), "other.safetensors")
    done.change(teacher={"weights": "other.safetensors"})
    for stage in ("train-student", "evaluate"):
        assert "caches/mine/teacher" in done.fails(stage, "mine")
    done.change(teacher={"weights": "weights.safetensors"})
    done.change(student={"activation": "quickgelu"})
    assert "activation is " in done.fails("train-student", "mine")


def test_a_cache_and_a_classifier_of_another_plan(done: Project) -> None:
    done.change(regions={"seed": 7})
    assert done("prepare-crops", "mine").exit_code == 0
    assert "policy.seed is 0, wanted 7" in done.fails("train-student", "mine")
    assert done("cache-teacher", "mine").exit_code == 0
    said = done.fails("evaluate", "mine")
    assert "classifier.safetensors: made with regions.seed 0, wanted 7. Run" in said


@pytest.mark.parametrize(
    ("file", "role"),
    [
        ("other.safetensors", "teacher"),
        ("other.safetensors", "student"),
        ("weights.safetensors", "student"),  # of both: the student is told first
    ],
)
def test_prompts_of_another_teacher_or_student(
    done: Project, random_state, file: str, role: str
) -> None:
    save_file(random_state(done.params[role]["architecture"], seed=1), file)
    done.change(**{role: {"weights": file}})
    assert done("cache-teacher", "mine").exit_code == 0
    said = done.fails("evaluate", "mine")
    assert "mine/base-to-new/zero_shot-seed1.classifier.safetensors: made with" in said
    assert re.search(rf'made with {role}\.weights "file \w+", wanted "file \w+"', said)
    assert said.endswith(" Run fdbpl train-student mine again.\n")
    for stage in ("train-student", "evaluate"):
        assert done(stage, "mine").exit_code == 0


def test_a_gpu_that_is_not_there(project: Project, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    project.change(device="cuda")
    project("prepare-crops", "mine")
    assert "device is 'cuda', but torch finds no GPU" in project.fails("cache-teacher", "mine")


def test_an_interrupt_is_one_word_and_exit_code_130(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fdbpl.cli.stages.run_stage", interrupted)
    done = project("evaluate", "mine")
    assert (done.exit_code, done.stderr) == (130, "interrupted\n")
