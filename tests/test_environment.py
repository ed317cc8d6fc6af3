"""What the servers and the worker of `fdbpl up` see of a shell that was set up for other work."""

import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from flows.environment import environment_of, foreign, leave_foreign, prefix

HOST = "127.0.0.2"
OTHERS = {
    "PREFECT_API_URL": "http://prefect.example/api",
    "PREFECT_API_AUTH_STRING": "me:hush",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://prefect.example/production",
    "PREFECT_PROFILE": "production",
    "MLFLOW_TRACKING_URI": "databricks",
    "MLFLOW_REGISTRY_URI": "databricks-uc",
}
OWN = {"PREFECT_LOGGING_LEVEL": "DEBUG", "MLFLOW_TRACKING_USERNAME": "me", "HOME": "/home/me"}


def test_another_prefect_and_mlflow_are_left_out_and_the_rest_stays() -> None:
    seen = environment_of({**OTHERS, **OWN}, HOST)
    assert foreign({**OTHERS, **OWN}) == list(OTHERS)
    assert not set(OTHERS) & set(seen)
    assert seen.items() >= OWN.items()


def test_a_process_that_leaves_them_keeps_to_the_project() -> None:
    here = {**OTHERS, **OWN}
    leave_foreign(here)
    assert not set(OTHERS) & set(here)
    assert here["PREFECT_HOME"] == str(Path(".fdbpl/prefect").absolute())


def test_a_users_own_word_on_usage_figures_goes_first() -> None:
    assert environment_of({}, HOST)["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    asked = {"PREFECT_SERVER_ANALYTICS_ENABLED": "true", "DO_NOT_TRACK": "0"}
    assert environment_of(asked, HOST).items() >= asked.items()


ASK = """
import sys, urllib.request
import httpx
client = httpx.Client()
transport = client._transport_for_url(httpx.URL(sys.argv[1]))
print(transport is client._transport, bool(urllib.request.proxy_bypass(sys.argv[2])))
"""


@pytest.mark.parametrize(
    "shell",
    [
        {"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.com"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.com"},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"all_proxy": "http://127.0.0.1:9", "no_proxy": ""},
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_no_proxy_stands_before_servers_of_this_machine(shell: dict[str, str], host: str) -> None:
    url = f"http://[{host}]:4200" if ":" in host else f"http://{host}:4200"
    seen = environment_of({**shell, "PATH": "/bin"}, host)
    done = subprocess.run(
        [sys.executable, "-c", ASK, url, host], env=seen, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True True\n", done.stderr
    assert {"127.0.0.1", "localhost", host} <= set(seen["NO_PROXY"].split(","))
    assert ("example.com" in seen["no_proxy"]) == ("example.com" in shell.values())


@pytest.mark.skipif(find_spec("socksio") is not None, reason="here SOCKS is spoken")
def test_a_shell_is_told_how_to_reach_the_projects_own() -> None:
    assert prefix(OWN, HOST) == ""
    shell = {**OTHERS, **OWN, "ALL_PROXY": "socks5://127.0.0.1:9", "http_proxy": "http://proxy:1"}
    words = shlex.split(f"{prefix(shell, HOST)}env")
    done = subprocess.run(
        words, env={**shell, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert not {name for name in seen if name.startswith("PREFECT_API_")} | {"ALL_PROXY"} & set(
        seen
    )
    assert seen["no_proxy"] == seen["NO_PROXY"] == HOST
    assert seen["http_proxy"] == "http://proxy:1"
