"""Where runs are kept: in the project's own MLflow, or at the server that FDBPL_MLFLOW names.

MLflow's own variables may be those of other work, and lead to no place where this project writes.
"""

import os
from pathlib import Path

from fdbpl.system.address import require_no_password
from fdbpl.system.errors import UserError

FOLDER = Path(".fdbpl/mlflow")
SETTING = "FDBPL_MLFLOW"
OF_OTHERS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
"""Variables of MLflow's, which a project does not follow."""


def store_uri(folder: Path = FOLDER) -> str:
    """Return where runs are kept: the server that FDBPL_MLFLOW names, else SQLite in `folder`.

    Raises:
        UserError: FDBPL_MLFLOW is no address, or one with a password.
    """
    address = os.environ.get(SETTING)
    if not address:
        return sqlite_uri(folder / "mlflow.db")
    require_no_password(
        address, "Put it into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    )
    if not address.startswith(("http://", "https://")):
        raise UserError(
            f"{SETTING} is {address!r}, wanted the address of an MLflow server, http://HOST:PORT. "
            "Unset it to keep runs in the project."
        )
    return address


def sqlite_uri(path: Path) -> str:
    """Return the address of a database, whatever its folder is called."""
    from sqlalchemy import URL

    # where no driver is named, MLflow makes a folder of the address as it is spelled
    return URL.create("sqlite+pysqlite", database=str(path.absolute())).render_as_string()


def artifacts_uri(folder: Path = FOLDER) -> str:
    """Return where runs keep their files, unless a tracking server decides."""
    return (folder / "artifacts").absolute().as_uri()


def unused() -> list[str]:
    """Say in a line, if so, that a variable of MLflow's leads nowhere here."""
    named = [name for name in OF_OTHERS if name in os.environ]
    return [f"{name} is not used: {SETTING} says where a project records." for name in named]
