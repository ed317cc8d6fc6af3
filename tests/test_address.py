import re
import socket

import pytest

from fdbpl.system.address import free_port, require_no_password, url_of
from fdbpl.system.errors import UserError


@pytest.mark.parametrize(
    "url",
    [
        "sftp://me:hush@host/x",
        "simplecache::ftp://me:hush@host/x",
        "ftp://:hush@host",
        "http://me:hu@sh@host:5000/a@b",
    ],
)
def test_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match=r":\*\*\*@host.* without\. Use a key\.") as error:
        require_no_password(url, "Use a key.")
    assert "hu" not in str(error.value)
    assert "sh@" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["s3://bucket/a:b@c", "sftp://me@host/x", "http://host:5000", "memory://", "a:b@c"]
)
def test_any_other_url_passes(url: str) -> None:
    require_no_password(url, "Use a key.")


def test_a_taken_port_is_left_alone() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert free_port("127.0.0.1", taken) > taken


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_where_nobody_can_listen_no_port_is_called_taken(host: str) -> None:
    with pytest.raises(UserError, match=rf"^{re.escape(host)}, port 4200: (?!.*taken)"):
        free_port(host, 4200)


def test_the_last_port_is_the_last_one_tried() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 65535))
        other.listen()
        with pytest.raises(UserError, match=r"^ports 65535 to 65535 of 127\.0\.0\.1 are all taken"):
            free_port("127.0.0.1", 65535)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.2", "http://127.0.0.2:1"), ("0.0.0.0", "http://127.0.0.1:1"),
     ("::1", "http://[::1]:1"), ("::", "http://[::1]:1"), ("box", "http://box:1")],
)  # fmt: skip
def test_an_address_is_one_that_this_machine_reaches(host: str, url: str) -> None:
    assert url_of(host, 1) == url
