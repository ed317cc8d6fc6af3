"""What code each stage depends on: python -m flows.code, as the stage `code` of a project calls it.

Whoever calls DVC from here has that done before: then no DVC has to write what others read.
"""

import sys
from pathlib import Path

from fdbpl import __version__
from fdbpl.settings.project.code import COMMAND, stages_of, write_code
from fdbpl.settings.project.project import changed_definitions
from fdbpl.system.errors import exit_code

DVC_YAML = Path("dvc.yaml")


def bring_code_up_to_date() -> None:
    """Write `code/` in a project that has the stage; a clone's stages name the code itself."""
    if has_stage(COMMAND):
        write_code(Path())


def has_stage(command: str) -> bool:
    """Tell whether the project's `dvc.yaml` runs a command: those of other versions may not."""
    return DVC_YAML.is_file() and command in DVC_YAML.read_text(encoding="utf-8")


def main() -> None:
    """Write `code/`, and say where stages are not those of this version."""
    write_code(Path())
    changed = changed_definitions(stages_of(DVC_YAML.read_text(encoding="utf-8")))
    if changed:
        print(
            f"{DVC_YAML}: fdbpl {__version__} defines otherwise: {', '.join(changed)}. If you "
            f"did not change them, take {DVC_YAML} from a new project: fdbpl init ELSEWHERE"
        )


if __name__ == "__main__":
    sys.exit(exit_code(main))
