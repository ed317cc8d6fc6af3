"""Addresses of servers: none may hold a password, which would stand in files and messages."""

import re

from fdbpl.system.errors import UserError

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
