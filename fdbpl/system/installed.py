"""Files of the installation that hold numbers or words, read only as they were made.

A damaged program stops by itself; a damaged weight or a shorter list of words is believed.
"""

from functools import cache
from pathlib import Path

from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256

DIGESTS = Path(__file__).with_name("installed.sha256")
"""SHA-256 and name of each, a line each, as `sha256sum` writes them."""


def read_installed(path: Path, package: str = "fdbpl") -> bytes:
    """Return the content of a file that was installed.

    Args:
        path: of the file, which `DIGESTS` names.
        package: that it came with.

    Raises:
        UserError: it is missing, or holds something else than when it was made.
    """
    remedy = f"Install {package} again" + (
        ", or take the file from git in a clone." if package == "fdbpl" else "."
    )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. {remedy}") from None
    found, wanted = sha256(data), _digests().get(path.name, "none")
    if found != wanted:
        raise UserError(
            f"{path}: {len(data):,} bytes of SHA-256 {found[:16]}, wanted {wanted[:16]}: damaged "
            f"since it was made. {remedy}"
        )
    return data


@cache
def _digests() -> dict[str, str]:
    words = DIGESTS.read_bytes().decode(errors="replace").split()
    return dict(zip(words[1::2], words[::2], strict=False))
