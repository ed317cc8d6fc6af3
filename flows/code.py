"""What code each stage depends on: python -m flows.code, as the stage `code` of a project calls it.

Whoever calls DVC from here has that done before: then no DVC has to write what others read.
"""

import sys
from pathlib import Path

from fdbpl import __version__
from fdbpl.settings.project.code import COMMAND, stages_of, write_code
from fdbpl.settings.project.project import changed_definitions
from fdbpl.system.errors import told

DVC_YAML = Path("dvc.yaml")
USER_MISTAKE = 2


def bring_code_up_to_date() -> None:
    """Write `code/` in a project that has the stage; a clone's stages name the code itself."""
    if DVC_YAML.is_file() and COMMAND in DVC_YAML.read_text(encoding="utf-8"):
        write_code(Path())


def main() -> int:
    """Write `code/`, and say where stages are not those of this version; return the exit code."""
    try:
        write_code(Path())
        changed = changed_definitions(stages_of(DVC_YAML.read_text(encoding="utf-8")))
    except OSError as error:
        line = told(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return USER_MISTAKE
    if changed:
        print(
            f"{DVC_YAML}: fdbpl {__version__} defines otherwise: {', '.join(changed)}. If you "
            f"did not change them, take {DVC_YAML} from a new project: fdbpl init ELSEWHERE"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
