"""Failures of a filesystem that pass by themselves, told from those that stay."""

import errno
from collections.abc import Iterator

ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,  # s3fs: 503, SlowDown
        getattr(errno, "EREMOTEIO", errno.EIO),  # s3fs: 500, InternalError
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ESTALE,  # NFS, after its server came back
    }
)
STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})  # of HTTP

# Errors of the clients' connections are no OSError; a name is all they have in common.
NAMES = ("Timeout", "ConnectionError", "ConnectionClosed", "Disconnected", "PayloadError")


def is_transient(error: BaseException) -> bool:
    """Tell whether the same call may succeed a moment later: errors, timeouts, busy servers."""
    return any(_passes(one) for one in _chain(error))


def _passes(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError | PermissionError):
        return False
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in ERRNOS
    return _status(error) in STATUSES or any(name in type(error).__name__ for name in NAMES)


def _status(error: BaseException) -> object:
    """Return the HTTP status of the errors of aiohttp, gcsfs, adlfs, botocore; else None."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status", "status_code", "code"):
        if isinstance(value := getattr(error, name, None), int):
            return value
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it was raised from."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
