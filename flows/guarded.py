"""Prefect's and MLflow's servers behind a guard: python -m flows.guarded NAME HOST PORT.

`fdbpl up` starts them. Both ask for the secret in this process's environment, which no other user
of the machine can read.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn

from fdbpl.serving.guard import ALL_ADDRESSES, Access, Guard, hosts_of

SECRET = "FDBPL_SECRET"
LAST_ANSWERS = 3
"""Seconds that a server which is ended gives to open connections."""


def prefect(hosts: Sequence[str], secret: str) -> Guard:
    """Return Prefect's server, which asks for the secret itself, of websockets too."""
    os.environ |= {
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_UI_API_URL": "/api",  # under whatever name the page was asked for
        "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",  # for --watch to say why a run failed
        "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
    }
    from prefect.server.api.server import create_app

    return Guard(create_app(final=True), Access(hosts))


def mlflow(hosts: Sequence[str], secret: str) -> Guard:
    """Return MLflow's server over the project's runs; a browser asks its user for the secret."""
    os.environ |= {
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",  # the guard knows them
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    from mlflow.server import constants, handlers

    from fdbpl.tracking import FOLDER, artifacts_uri, database, store_uri

    database.prepare(FOLDER)
    root = "mlflow-artifacts:/"
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: store_uri(),
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        constants.ARTIFACTS_DESTINATION_ENV_VAR: artifacts_uri(),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    handlers.initialize_backend_stores(store_uri(), store_uri(), root)  # or fail here and now
    from mlflow.server.fastapi_app import app

    return Guard(app, Access(hosts, secret, scheme="Basic"))


SERVERS: dict[str, Any] = {"prefect": prefect, "mlflow": mlflow}


def main(words: Sequence[str]) -> None:
    """Serve until ended."""
    name, host, port = words
    hosts = ("*",) if host in ALL_ADDRESSES else hosts_of(host)  # the secret keeps others out
    app = SERVERS[name](hosts, os.environ.pop(SECRET))
    uvicorn.run(
        app,
        host=host,
        port=int(port),
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=LAST_ANSWERS,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
