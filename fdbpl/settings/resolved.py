"""Parameters as DVC's stages take them: those of `params.yaml`, checked, every default filled in.

The stage `parameters` writes them, and all others depend on what it writes. So no name is a path
before it was checked, a key with a default may be left out, and what is edited during a run is the
next run's.
"""

import json
from pathlib import Path

from fdbpl.settings.params import Params, check_params
from fdbpl.system.errors import UserError
from fdbpl.system.files import readable_json

RESOLVED = Path("params.resolved.json")


def resolved(params: Params) -> bytes:
    """Return the content of the file."""
    return readable_json(params.model_dump(mode="json"))


def read_resolved(path: Path = RESOLVED) -> Params:
    """Read the file.

    Raises:
        UserError: it is missing, damaged, or of another version of fdbpl.
    """
    try:
        return check_params(json.loads(path.read_bytes()), source=str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Run dvc repro parameters first.") from None
    except (ValueError, UserError) as error:
        why = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path}: {why} Run dvc repro --force parameters.") from None
