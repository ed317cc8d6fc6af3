"""A project of one's own: a folder with parameters, stages and deployments, under git and DVC.

Everything works there as in a clone of fdbpl, whose code it takes from the installed package. Its
`dvc.yaml` is derived from the clone's, of which the package holds a copy.
"""

import io
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fdbpl.settings.project.code import COMMAND, code_file, is_code, shipped_stages
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole

HEADER = """\
# Written by fdbpl init. The stage `code` runs every time, for less than a second: it writes down
# which code of the installed fdbpl each other stage depends on, so that a new version of fdbpl
# reruns the stages that it changes.
"""

GITIGNORE = """\
__pycache__/
.venv
/data/
/runs/
/.fdbpl/
/mlruns/
*.db
/plans/
/caches/
/prompts/
/prefect.toml
/params.yaml.bak*
"""
DVCIGNORE = """\
__pycache__
.venv
runs
/data
.fdbpl
.dvc-state
"""
DVC_CONFIG = """\
[core]
    analytics = false
    autostage = false
    site_cache_dir = .dvc-state
[cache]
    type = "reflink,hardlink,copy"
"""
DVC_STATE = ".dvc-state/repo"
"""What DVC knows of files, kept by pickle, and else where every user of the machine may write. The
folder is there from the beginning, since DVC would make one that is open to all."""

STATE_GITIGNORE = """\
*
!.gitignore
"""
DVC_GITIGNORE = """\
/config.local
/tmp
/cache
"""


def make_project(folder: Path, params: str) -> None:
    """Make a folder a project, with this text as its `params.yaml`.

    Where it lies in no git repository, or in one that ignores it, it becomes one.

    Raises:
        UserError: something is there already that the project or its stages would overwrite, or
            git is missing or fails.
        OSError: the folder cannot be made or written.
    """
    files = project_files(params)
    for place in (*files, ".dvc", "dvc.lock", *_folders_of_outputs()):
        if os.path.lexists(folder / place):
            raise UserError(
                f"{folder / place}: is there already, and fdbpl init overwrites nothing. Move it "
                "away, or name another folder."
            )
    folder.mkdir(parents=True, exist_ok=True)
    here = folder.absolute()
    is_inside = any((one / ".git").exists() for one in (here, *here.parents))
    if not is_inside or _git(folder, "check-ignore", "--quiet", ".").returncode == 0:
        done = _git(folder, "init", "--quiet")
        if done.returncode:
            raise UserError(f"{folder}: git init failed: {' '.join(done.stderr.split())}")
    for place, text in files.items():
        write_whole(folder / place, text.encode())
    (folder / DVC_STATE).parent.chmod(0o700)


def project_files(params: str) -> dict[str, str]:
    """Return the text of every file of a new project, by its place."""
    return {
        "params.yaml": params,
        "dvc.yaml": definitions(_shipped("stages.yaml")),
        "prefect.yaml": _shipped("deployments.yaml"),
        ".gitignore": GITIGNORE,
        ".dvcignore": DVCIGNORE,
        ".dvc/.gitignore": DVC_GITIGNORE,
        ".dvc/config": DVC_CONFIG,
        f"{DVC_STATE}/.gitignore": STATE_GITIGNORE,
    }


def definitions(clone: str) -> str:
    """Return the text of a project's `dvc.yaml`, derived from the text of the clone's."""
    editor = YAML()
    editor.width, editor.preserve_quotes = 98, True  # it ends lines a little late
    editor.indent(mapping=2, sequence=4, offset=2)
    whole = editor.load(clone[clone.index("stages:") :])
    derive(whole["stages"])
    out = io.StringIO()
    editor.dump(whole, out)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    lines.insert(lines.index("  code:"), "")  # as before every stage
    return HEADER + "\n".join(lines) + "\n"


def derive(stages: dict[str, Any]) -> None:
    """Turn the clone's stages into a project's, in place, since their comments hang on them.

    Each depends on the file of its code's digests instead of the code; the stage `code`, which
    always runs, writes them, and leaves untouched those that stay as they were.
    """
    for name, stage in stages.items():
        for index in reversed(range(len(stage["deps"]))):
            if is_code(stage["deps"][index]):
                del stage["deps"][index]
        stage["deps"].append(code_file(name))
    written = {"cache": False, "persist": True}
    stages["code"] = {
        "cmd": COMMAND,
        "always_changed": True,
        "outs": [{code_file(name): dict(written)} for name in stages],
    }


def changed_definitions(stages: Mapping[str, Any]) -> list[str]:
    """Return the names of the package's stages that a project's do not define as this version."""
    wanted = shipped_stages()
    derive(wanted)
    return [name for name, stage in wanted.items() if stages.get(name) != stage]


def _shipped(name: str) -> str:
    """Return the text of a file of the clone as the package holds it."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _folders_of_outputs() -> Iterator[str]:
    """Yield the folders below which the stages of a project write, each once."""
    stages = shipped_stages()
    derive(stages)
    outputs = (
        one if isinstance(one, str) else next(iter(one))
        for stage in stages.values()
        for one in (*stage.get("outs", ()), *stage.get("metrics", ()))
    )
    yield from dict.fromkeys(place.partition("/")[0] for place in outputs)


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git in a folder.

    Raises:
        UserError: there is no git.
    """
    try:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise UserError("git: not found, and DVC needs it. Install it, then run again.") from None
