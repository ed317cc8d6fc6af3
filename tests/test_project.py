"""`fdbpl init`: what a project of one's own holds, and that nothing of anybody's is overwritten."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fdbpl.cli import main
from fdbpl.settings.presets.preset import preset, shipped
from fdbpl.settings.project import project
from fdbpl.settings.project.project import changed_definitions, definitions, project_files

CLONE = Path(__file__).resolve().parents[1]
COPIES = {"dvc.yaml": "stages.yaml", "prefect.yaml": "deployments.yaml"}
FILES = [
    *(".dvc-state/repo/.gitignore", ".dvc/.gitignore", ".dvc/config", ".dvcignore", ".gitignore"),
    *("dvc.yaml", "params.yaml", "prefect.yaml"),
]
TAKEN = [*FILES, ".dvc", "dvc.lock", "plans", "caches", "prompts", "metrics", "code"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str) -> Result:
    return CliRunner().invoke(main, ["init", *words])


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def stages_of(text: str) -> dict[str, Any]:
    stages: dict[str, Any] = yaml.safe_load(text)["stages"]
    return stages


@pytest.mark.parametrize("name", COPIES)
def test_the_package_holds_the_clones_file_byte_for_byte(name: str) -> None:
    """After a change: cp dvc.yaml fdbpl/settings/project/stages.yaml, or so prefect.yaml."""
    copy = Path(project.__file__).with_name(COPIES[name])
    assert copy.read_bytes() == (CLONE / name).read_bytes()


def test_a_projects_stages_are_the_clones_but_for_the_code() -> None:
    clone = (CLONE / "dvc.yaml").read_text()
    wanted, found = stages_of(clone), stages_of(definitions(clone))
    code = found.pop("code")
    for name, stage in wanted.items():
        other = [dep for dep in stage["deps"] if not dep.startswith("fdbpl/")]
        assert len(other) < len(stage["deps"])
        stage["deps"] = [*other, f"code/{name}.txt"]
    assert found == wanted
    assert code["cmd"] == "python -m flows.code"
    assert code["always_changed"] is True
    assert [next(iter(out)) for out in code["outs"]] == [f"code/{name}.txt" for name in wanted]
    assert all(out[place]["persist"] for out in code["outs"] for place in out)


def test_a_projects_stages_read_as_the_clones_do() -> None:
    clone = (CLONE / "dvc.yaml").read_text()
    text = definitions(clone)
    assert not re.search(r"fdbpl/|tests/| $", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 100
    kept = [line for line in text.splitlines() if line in clone.splitlines()]
    assert len(kept) > 0.6 * len(text.splitlines())


def test_dvc_and_git_look_past_what_they_look_past_in_a_clone() -> None:
    made = project_files("")
    for name in (".dvcignore", ".dvc/config", ".dvc/.gitignore", ".dvc-state/repo/.gitignore"):
        assert made[name] == (CLONE / name).read_text()
    assert set(made[".gitignore"].splitlines()) <= set((CLONE / ".gitignore").read_text().split())
    assert sorted(made) == FILES


def test_definitions_that_are_not_this_versions_are_named() -> None:
    stages = stages_of(definitions((CLONE / "dvc.yaml").read_text()))
    stages["report"] = {"cmd": "echo of the user's own"}
    assert changed_definitions(stages) == []
    stages["evaluate"]["deps"].remove("prompts/${source}")
    del stages["ood"]
    assert changed_definitions(stages) == ["evaluate", "ood"]


def test_a_project_holds_what_the_preset_says_and_the_next_steps_are_three_lines(
    elsewhere: Path,
) -> None:
    done = init("a new one")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "cd 'a new one'"
    assert len(done.stdout.splitlines()) == 3
    assert (elsewhere / "a new one" / ".git").is_dir()
    found = files(elsewhere / "a new one")
    assert sorted(found) == FILES
    assert found["params.yaml"].decode() == shipped("playground")
    assert found["prefect.yaml"] == (CLONE / "prefect.yaml").read_bytes()


def test_presets_are_limited_as_fdbpl_preset_limits_them(elsewhere: Path) -> None:
    assert init("far/few", "--preset", "eleven", "--only", "dtd eurosat").exit_code == 0
    text = (elsewhere / "far" / "few" / "params.yaml").read_text()
    assert text == preset("eleven", ["dtd", "eurosat"])
    assert init("mine", "--preset", "folder", "--root", "pictures").exit_code == 0
    own = yaml.safe_load((elsewhere / "mine" / "params.yaml").read_text())["data"]["own"]
    assert own == {"mine": {"folder": str(elsewhere / "pictures")}}  # not below the project


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--preset", "nope"), "preset 'nope' is unknown, wanted one of playground"),
        (("--only", "moons"), "--only names 'moons', which preset playground has not"),
        (("--only", " "), "--only is ' ', wanted names of datasets"),
    ],
)
def test_wrong_options_make_nothing(elsewhere: Path, words: tuple[str, ...], says: str) -> None:
    done = init("new", *words)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {says}")
    assert done.stderr.count("\n") == 1
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("place", TAKEN)
def test_what_a_project_would_overwrite_is_left_alone(elsewhere: Path, place: str) -> None:
    path = elsewhere / "mine" / place
    path.parent.mkdir(parents=True)
    path.write_text("of the user's own")
    done = init("mine")
    assert done.exit_code == 2
    assert re.match(r"error: mine/\S+: is there already, and fdbpl init overwrites", done.stderr)
    assert done.stderr.count("\n") == 1
    assert files(elsewhere) == {f"mine/{place}": b"of the user's own"}


def test_a_dangling_link_is_something_too(elsewhere: Path) -> None:
    (elsewhere / "params.yaml").symlink_to("nowhere")
    assert init(".").exit_code == 2
    assert [path.name for path in elsewhere.iterdir()] == ["params.yaml"]


def test_other_files_of_a_folder_stay(elsewhere: Path) -> None:
    (elsewhere / "mine.py").write_text("of the user's own")
    assert init(".").exit_code == 0
    found = files(elsewhere)
    assert found.pop("mine.py") == b"of the user's own"
    assert sorted(found) == FILES


def test_a_folder_in_a_git_repository_becomes_none_of_its_own(elsewhere: Path) -> None:
    assert init("outer").exit_code == 0
    assert init("outer/inner").exit_code == 0
    assert (elsewhere / "outer" / ".git").is_dir()
    assert not (elsewhere / "outer" / "inner" / ".git").exists()


def test_a_folder_that_a_git_repository_ignores_becomes_one_of_its_own(elsewhere: Path) -> None:
    assert init("outer").exit_code == 0
    (elsewhere / "outer" / ".gitignore").write_text("/tries/\n")
    assert init("outer/tries/one").exit_code == 0
    assert (elsewhere / "outer" / "tries" / "one" / ".git").is_dir()


def test_a_missing_or_failing_git_is_one_line(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(elsewhere / "bin"))
    done = init("one")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: git: not found, and DVC needs it. Install it")
    (elsewhere / "bin").mkdir()
    (elsewhere / "bin" / "git").write_text("#!/bin/sh\necho no >&2\necho luck >&2\nexit 1\n")
    (elsewhere / "bin" / "git").chmod(0o755)
    done = init("one")
    assert (done.exit_code, done.stderr) == (2, "error: one: git init failed: no luck\n")
    assert files(elsewhere / "one") == {}  # and a third try may succeed


def test_a_file_where_the_folder_is_wanted_is_one_line(elsewhere: Path) -> None:
    (elsewhere / "taken").write_text("")
    done = init("taken")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: taken: File exists. Move away the file")
