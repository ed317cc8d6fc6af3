"""Weights of a pretrained tag, which open_clip downloads once, and why they did not come."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from huggingface_hub import constants, get_token
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from open_clip import pretrained

from fdbpl.system.errors import UserError, told
from fdbpl.system.hub import CHECK


def download(registry: Mapping[str, Any], what: str) -> Path:
    """Return the file of a pretrained tag's weights, downloaded if it is not here yet.

    Args:
        registry: what open_clip knows of the tag.
        what: the tag, as errors call it.

    Raises:
        UserError: it could not be fetched; the message says why.
    """
    try:
        return Path(pretrained.download_pretrained(registry))
    except Exception as error:  # of open_clip, huggingface_hub, and what they stand on
        address = constants.ENDPOINT if registry.get("hf_hub") else str(registry.get("url"))
        raise UserError(
            f"{what} could not be fetched: {_why(error, address)} Or give a local file."
        ) from error


def _why(error: BaseException, address: str) -> str:
    """Return the reason and what to do next. open_clip and the hub's library wrap the cause."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any(isinstance(one, OfflineModeIsEnabled) for one in causes):
        return "HF_HUB_OFFLINE is set. Unset it once, on a machine with a network."
    unwritable = _unwritable(Path(constants.HF_HUB_CACHE))
    if unwritable is not None:
        return (
            f"{constants.HF_HUB_CACHE} cannot be written ({unwritable}). Set HF_HOME to a folder "
            "that can."
        )
    for one in causes:
        line = told(one) if isinstance(one, OSError) else None
        if line is not None:
            return line
    wrappers = (FileNotFoundError, LocalEntryNotFoundError)
    found = next((one for one in causes if not isinstance(one, wrappers)), causes[-1])
    host = urlsplit(address).hostname or address
    text = _without_secrets(" ".join(str(found).split())[:300]).rstrip(".")
    remedy = "" if isinstance(found, ImportError) else f" {CHECK}"  # it says what to install
    return f"{host}{_proxy(address, host)}: {type(found).__name__}: {text}.{remedy}"


def _unwritable(folder: Path) -> str | None:
    """Return why nothing can be kept in a folder; None where something can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None if os.access(folder, os.W_OK) else "no right to write"


def _proxy(address: str, host: str) -> str:
    """Return what says by which variable a proxy stands between."""
    for name in (f"{urlsplit(address).scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if os.environ.get(variable) and not proxy_bypass(host):
                return f", through the proxy of {variable}"
    return ""


def _without_secrets(text: str) -> str:
    token = get_token()
    return re.sub(r"//[^/@\s]*@", "//***@", text.replace(token, "***") if token else text)
