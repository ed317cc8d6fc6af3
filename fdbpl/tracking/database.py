"""MLflow's own database of a project: made whole or not at all, and mended.

MLflow makes its tables one after the other, for seconds, and takes up no half-made database later.
It keeps absolute addresses of files, which are wrong once a project has been moved.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

from fdbpl.system.errors import UserError
from fdbpl.system.files import flush_folder, locked, set_aside
from fdbpl.tracking.uris import sqlite_uri

ADDRESSES = {
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}
"""Columns that hold addresses of files."""

SECONDS = 5.0
"""To wait for a process that writes."""


def prepare(folder: Path) -> None:
    """Make the database of a folder where there is none.

    It gets its name when it is whole: a kill leaves none, and the next call begins again.

    Raises:
        UserError: MLflow cannot make it, as where the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if _database(folder).exists():
        return
    with locked(folder / "database.lock"):
        if not _database(folder).exists():
            aside = folder / "new"
            shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
            aside.mkdir()
            place = _database(aside)
            _make(place, _artifacts(folder))
            os.replace(place, _database(folder))
            flush_folder(folder)
            shutil.rmtree(aside, ignore_errors=True)


def _make(path: Path, artifacts: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    try:
        store = SqlAlchemyStore(sqlite_uri(path), artifacts)  # type: ignore[no-untyped-call]
        store.engine.dispose()
    except (SQLAlchemyError, MlflowException) as error:
        raise UserError(
            f"{path}: MLflow cannot make its database: {cause(error)}. Make room on that disk, "
            "or check it, then run again."
        ) from error


def cause(error: Exception) -> str:
    """Return what an error of MLflow's or its database's says, in one line, without the SQL."""
    return " ".join(str(error).partition("[SQL:")[0].split())[:400]


def mend(folder: Path, *, thoroughly: bool = False) -> Iterator[str]:
    """Set aside a database that is damaged or half made, and rewrite addresses of another place.

    Yields a line for each thing that it did. Takes milliseconds, and no import of MLflow, unless
    it looks thoroughly, at every page.
    """
    path = _database(folder)
    if not path.is_file():
        return
    with locked(folder / "database.lock"):
        fault = _fault(path, thoroughly)
        if not fault:
            yield from _rewrite_addresses(path, _artifacts(folder))
            return
        place = set_aside(path)
        for journal in ("-journal", "-wal", "-shm"):
            if (beside := path.with_name(path.name + journal)).exists():
                os.replace(beside, place.with_name(place.name + journal))
        yield f"{path}: {fault}; it is {place} now, and fdbpl record makes another of all results"


def _fault(path: Path, thoroughly: bool) -> str | None:
    """Return what is wrong with a database; None too where another holds it, or it is unreadable.

    MLflow's last act in making one is to note its default experiment.
    """
    try:
        with closing(_opened(path)) as database:
            version = database.execute("SELECT version_num FROM alembic_version").fetchone()
            experiment = database.execute("SELECT experiment_id FROM experiments").fetchone()
            if not (version and experiment):
                return "half made"
            found = database.execute("PRAGMA integrity_check").fetchone() if thoroughly else ("ok",)
            return None if found == ("ok",) else f"damaged ({' '.join(found[0].split())[:100]})"
    except sqlite3.OperationalError as error:
        return "half made" if "no such table" in str(error) else None
    except sqlite3.DatabaseError as error:
        return f"damaged ({error})"


def _rewrite_addresses(path: Path, here: str) -> list[str]:
    """Make addresses of files, of the place that the project was moved or copied from, be here."""
    end = "/.fdbpl/mlflow/artifacts"
    lines = []
    with closing(_opened(path)) as database, suppress(sqlite3.OperationalError), database:
        rows = database.execute(
            "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?",
            (f"file:%{end}",),
        ).fetchall()
        for old in {address for (address,) in rows} - {here}:
            for table, columns in ADDRESSES.items():
                for column in columns:
                    _replace_start(database, table, column, old, here)
            was, now = (
                unquote(one.removeprefix("file://").removesuffix(end)) for one in (old, here)
            )
            database.execute(
                "UPDATE tags SET value = substr(value, 1, length(value) - length(:was)) || :now "
                "WHERE key = 'fdbpl.folder' AND substr(value, -length(:was) - 1) = ':' || :was",
                {"was": was, "now": now},
            )
            lines.append(f"{path}: its files' addresses were those of {was}, and are of here now")
    return lines


def _replace_start(
    database: sqlite3.Connection, table: str, column: str, old: str, new: str
) -> None:
    """Replace the first part of a column's addresses."""
    database.execute(
        f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1) "
        f"WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'",
        {"old": old, "new": new},
    )


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=SECONDS)


def _database(folder: Path) -> Path:
    return folder / "mlflow.db"


def _artifacts(folder: Path) -> str:
    return (folder / "artifacts").absolute().as_uri()
