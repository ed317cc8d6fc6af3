"""Addresses of servers: where one may listen; and none holds a password, which files would show."""

import errno
import re
import socket
from contextlib import ExitStack, suppress

from fdbpl.system.errors import UserError

TRIED = 50
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/]*@")


def require_no_password(url: str, remedy: str) -> None:
    """Raise UserError, without repeating it, when a URL holds a password.

    Args:
        url: one, or a chain of fsspec's.
        remedy: where else it may stand.
    """
    shown = _PASSWORD.sub(r"\1:***@", url)
    if shown != url:
        raise UserError(f"{shown}: a URL with a password, wanted one without. {remedy}")


class PortTaken(UserError):  # noqa: N818 - a state of the port
    """Somebody listens there already."""


def bound(host: str, port: int) -> socket.socket:
    """Return a socket for a server that will listen at a host's port; 0 is a free one.

    Raises:
        PortTaken: somebody listens there.
        UserError: nobody can: the host is unknown or another machine's, or the port root's.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as failing:
            opened = failing.enter_context(socket.socket(family, kind))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(place)
            failing.pop_all()
            return opened
    except OSError as error:
        kind_of = PortTaken if error.errno == errno.EADDRINUSE else UserError
        raise kind_of(
            f"{host}, port {port}: {error.strerror}. Wanted an address of this machine and a free "
            "port that you may listen on, as 127.0.0.1 and 8000."
        ) from None


def free_port(host: str, first: int) -> int:
    """Return `first`, or the next port of a host on which nobody listens.

    Raises:
        UserError: nobody can listen there (see `bound`), or 50 ports are taken.
    """
    last = min(first + TRIED, 2**16) - 1
    for port in range(first, last + 1):
        with suppress(PortTaken), bound(host, port):
            return port
    raise UserError(f"ports {first} to {last} of {host} are all taken. Choose another.")


def url_of(host: str, port: int) -> str:
    """Return the address under which this machine reaches a server that listens there."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
