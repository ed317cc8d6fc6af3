"""An S3 of one's own: moto's server on the loopback, for tests of caches and stores at s3:// URLs.

`from s3 import s3, s3_server` gives a test module the fixture `s3`; in conftest.py they stand
already. What a test starts finds the server by the same variables of the environment.
"""

import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SECONDS = 60  # for the server to start, on a busy machine


@dataclass(frozen=True)
class S3:
    """An empty bucket.

    Attributes:
        endpoint: URL of the server, which is in AWS_ENDPOINT_URL too.
        bucket: its name.
    """

    endpoint: str
    bucket: str

    @property
    def url(self) -> str:
        """The bucket, as fsspec and DVC name it."""
        return f"s3://{self.bucket}"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a running moto_server on a free port of 127.0.0.1."""
    pytest.importorskip("moto")
    program = Path(sys.executable).with_name("moto_server")
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [str(program), "-H", "127.0.0.1", "-p", "0"], stdout=log, stderr=subprocess.STDOUT
        ) as server,
    ):
        try:
            yield _address(server, log)
        finally:
            server.kill()


def _address(server: "subprocess.Popen[bytes]", log: "tempfile._TemporaryFileWrapper[str]") -> str:
    """Wait for the server to say where it listens."""
    for _ in range(SECONDS * 10):
        log.seek(0)
        said = log.read()
        if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", said):
            return found[1]
        assert server.poll() is None, said
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(0.1)
    raise AssertionError(f"moto_server did not start in {SECONDS} s: {said}")


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    """A new bucket; the environment names the endpoint and credentials that mean nothing."""
    from s3fs import S3FileSystem

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key-of-tests",
        "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # they keep the environment they were made in
    made = S3(s3_server, f"bucket-{secrets.token_hex(6)}")
    S3FileSystem().mkdir(made.bucket)
    yield made
    S3FileSystem.clear_instance_cache()
