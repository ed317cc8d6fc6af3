"""What `fdbpl up` lets its processes see: the project's own Prefect and MLflow, and those alone.

A shell may name other ones, and a proxy that would stand before servers of this machine.
"""

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from importlib.util import find_spec
from pathlib import Path

from fdbpl.tracking.uris import OF_OTHERS

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""What keeps the three from sending usage figures; a value of the user's own goes first."""

HOME = Path(".fdbpl/prefect")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def foreign(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that name another Prefect or MLflow, or say how to work with one.

    What a project wants of Prefect stands in its `pyproject.toml` or `.env`, as Prefect reads them.
    """
    kept = (*QUIET, "PREFECT_LOGGING_")
    prefect = [name for name in environment if name.startswith("PREFECT_")]
    return [
        *(name for name in prefect if not name.startswith(kept)),
        *(name for name in OF_OTHERS if name in environment),
    ]


def own_prefect() -> dict[str, str]:
    """Return what makes Prefect's processes in this folder keep all they know below it."""
    return {
        "PREFECT_HOME": str(HOME.absolute()),
        # relative, since a folder's name may hold what means something in an address
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{HOME}/prefect.db",
    }


def leave_foreign(environment: MutableMapping[str, str]) -> None:
    """Make this process, before it imports Prefect, use the project's own."""
    for name in foreign(environment):
        del environment[name]
    environment.update(own_prefect())


def environment_of(shell: Mapping[str, str], host: str) -> dict[str, str]:
    """Return the environment of processes whose servers listen at `host`."""
    left = {*foreign(shell), *_unusable(shell)}
    own = {name: value for name, value in shell.items() if name not in left}
    passed = {shell.get("no_proxy"), shell.get("NO_PROXY"), "127.0.0.1", "localhost", host} - {None}
    direct = ",".join(sorted(filter(None, passed)))
    return {
        **QUIET,
        **own,
        **own_prefect(),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")]),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "NO_PROXY": direct,
        "no_proxy": direct,  # some look here first
    }


def prefix(shell: Mapping[str, str], host: str) -> str:
    """Return what a shell has to put before `prefect` to reach the project's own, if anything."""
    ahead = [name for name in foreign(shell) if name.startswith("PREFECT_API_")]
    words = [f"-u {name}" for name in (*ahead, *_unusable(shell))]
    if any(name.lower() in PROXIES for name in shell):
        words += [f"{name}={host}" for name in ("NO_PROXY", "no_proxy")]
    return " ".join(["env", *words, ""]) if words else ""


def _unusable(shell: Mapping[str, str]) -> Iterator[str]:
    """Yield SOCKS proxies where nothing speaks that: httpx then refuses even to pass them by."""
    if find_spec("socksio") is None:
        for name, value in shell.items():
            if name.lower() in PROXIES and value.lower().startswith("socks"):
                yield name
