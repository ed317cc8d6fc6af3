"""What code of the installed package each stage depends on, as files that DVC can watch.

A clone's `dvc.yaml` names the package's own files as dependencies. A project of one's own has none
of them: there a stage depends on `code/<stage>.txt`, which holds a digest of each place that the
clone names. So a new version of the package makes those stages stale whose code it changes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import fdbpl
from fdbpl.settings.yaml_text import load_yaml
from fdbpl.system.files import canonical_json, sha256, write_whole

INSTALLED = Path(fdbpl.__file__).parents[1]
COMMAND = "python -m flows.code"
"""What the stage `code` of a project runs."""

_PACKAGE = "fdbpl/"


def write_code(project: Path, installed: Path = INSTALLED) -> list[str]:
    """Write a project's `code/<stage>.txt` where they differ from the code; return their stages.

    Args:
        project: the folder of the project.
        installed: the folder that holds the package.

    Raises:
        OSError: a place that a stage depends on is not there, or a file cannot be written.
    """
    digests: dict[str, str] = {}
    written = []
    for stage, places in code_of_stages(shipped_stages(installed)).items():
        for place in places:
            if place not in digests:
                digests[place] = digest(installed / place)
        lines = "".join(f"{digests[place]}  {place}\n" for place in places).encode()
        path = project / code_file(stage)
        if not path.is_file() or path.read_bytes() != lines:
            write_whole(path, lines)
            written.append(stage)
    return written


def code_file(stage: str) -> str:
    """Return the place of a stage's digests in a project."""
    return f"code/{stage}.txt"


def shipped_stages(installed: Path = INSTALLED) -> dict[str, Any]:
    """Return the stages as the package holds them: those of the clone's `dvc.yaml`.

    The copy has another name, since DVC takes every `dvc.yaml` below a project for its own, that of
    an environment with this package included.
    """
    path = installed / "fdbpl" / "settings" / "project" / "stages.yaml"
    # of the package's own every stage asks, so by the quick reader
    stages: dict[str, Any] = YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"]
    return stages


def stages_of(definitions: str) -> dict[str, Any]:
    """Return the stages that the text of a `dvc.yaml` defines."""
    stages: dict[str, Any] = load_yaml(definitions)["stages"]
    return stages


def code_of_stages(stages: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the files and folders of the package that each stage depends on."""
    return {name: list(filter(is_code, stage["deps"])) for name, stage in stages.items()}


def is_code(place: str) -> bool:
    """Tell whether a dependency is of the package, and no output of another stage."""
    return place.startswith(_PACKAGE)


def digest(place: Path) -> str:
    """Return a digest of a file, or of names and contents of all files below a folder.

    Raises:
        OSError: the place is not there.
    """
    if not place.is_dir():
        return sha256(place.read_bytes())
    files = [
        [file.relative_to(place).as_posix(), sha256(file.read_bytes())] for file in files_in(place)
    ]
    return sha256(canonical_json(sorted(files)))


def files_in(place: Path) -> Iterator[Path]:
    """Yield a file, or those below a folder but what Python writes there when it imports."""
    for path in (place, *place.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path
