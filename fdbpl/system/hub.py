"""A hub of repositories, Hugging Face's or the one that HF_ENDPOINT names, and what goes wrong."""

import hashlib
import io
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    DeviceCodeError,
    HfHubHTTPError,
    HFValidationError,
    OIDCError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import DatasetInfo, ModelInfo, RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from fdbpl.system.address import require_no_password
from fdbpl.system.errors import UserError

Kind = Literal["model", "dataset"]

WAIT = 60
"""Seconds for an answer about a repository."""

# The hub's own errors, and the HTTP library's from which they come: which one, its version decides.
_FAILURES: tuple[type[Exception], ...] = (
    *(HfHubHTTPError, *HfHubHTTPError.__bases__),
    *(OIDCError, DeviceCodeError, RuntimeError),
)
# What reading an answer raises that is no hub's: a page in place of JSON, fields that lack.
_STRANGE = (ValueError, KeyError, TypeError, AttributeError)

CHECK = "Check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT, then try again."
_DIGEST = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Hub:
    """Where repositories are, and as whom they are asked for.

    Attributes:
        endpoint: its address.
        token: of the user, None where nobody is logged in. It is sent to the hub alone, and stands
            in no message.
    """

    endpoint: str
    token: str | None = field(repr=False)

    @property
    def api(self) -> HfApi:
        """What asks it."""
        return HfApi(endpoint=self.endpoint, token=self.token or False)

    @contextmanager
    def asked(self, what: str, remedy: str = CHECK) -> Iterator[None]:
        """Turn what goes wrong on the way to the hub while the block runs into one line.

        Args:
            what: was tried: an address.
            remedy: what to do next, where the failure itself says nothing better.

        Raises:
            UserError: the hub cannot be reached, refuses, or answers as none does.
        """
        try:
            yield
        except HFValidationError as error:
            raise UserError(f"{what}: {error}. Wanted OWNER/NAME.") from None
        except _FAILURES as error:
            # of a large file's upload huggingface_hub says which one failed, and in the cause why
            wrapped = error.__cause__ if isinstance(error, RuntimeError) else None
            why = wrapped or error
            raise UserError(f"{what}: {self._why(why)}. {_remedy(why) or remedy}") from None
        except ImportError as error:  # of the HTTP library: a SOCKS proxy takes another package
            raise UserError(
                f"{what}: {self._why(error)}. Install it, or unset ALL_PROXY and HTTPS_PROXY."
            ) from None
        except _STRANGE as error:
            raise UserError(
                f"{what}: not what a hub answers ({self._why(error)}). {CHECK}"
            ) from None

    def _why(self, error: BaseException) -> str:
        text = " ".join(str(error).split())
        if self.token is not None:
            text = text.replace(self.token, "***")
        return f"{type(error).__name__}: {text[:300].rstrip('.')}"


def _remedy(error: BaseException) -> str | None:
    """Return what to do next after an answer that says so by its status."""
    if isinstance(error, RepositoryNotFoundError):
        return "Check its name; if it is private or gated, log in (hf auth login, or HF_TOKEN)."
    if isinstance(error, RevisionNotFoundError):
        return "Name a branch, tag or commit that it has."
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status in (401, 403):
        return "Log in by hf auth login, or set HF_TOKEN, as somebody who may do this."
    return None


def open_hub() -> Hub:
    """Return the hub that HF_ENDPOINT names, as the user that HF_TOKEN or a login says.

    Raises:
        UserError: the address is none, or the token cannot be one.
    """
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    require_no_password(endpoint, "Leave it out of HF_ENDPOINT, and set HF_TOKEN.")
    if not re.fullmatch(r"https?://[\w.:\[\]-]+(/\S*)?", endpoint) or not _host(endpoint):
        raise UserError(f"HF_ENDPOINT is {endpoint!r}, wanted an address such as https://HOST.")
    nobody = Hub(endpoint, None)
    with nobody.asked("the login for the hub", "Log in again: hf auth login."):
        header = build_hf_headers().get("authorization", "")
    token = header.removeprefix("Bearer ") or None
    if token is not None and not re.fullmatch("[!-~]+", token):
        # the HTTP library would refuse it too, and repeat it
        raise UserError(
            "The token in HF_TOKEN, or of the login, has a space or a character that no token has. "
            "Set it again."
        )
    return Hub(endpoint, token)


def _host(endpoint: str) -> str | None:
    try:
        return urlsplit(endpoint).hostname
    except ValueError:
        return None


@dataclass(frozen=True)
class Repository:
    """A repository at one commit.

    Attributes:
        hub: where it is.
        name: OWNER/NAME.
        kind: of repository.
        commit: that its files are of.
        licence: as its card says it.
        is_private: whether it is shown to some alone.
    """

    hub: Hub
    name: str
    kind: Kind
    commit: str
    licence: Any
    is_private: bool

    @property
    def url(self) -> str:
        """Where people see it."""
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        return f"{self.hub.endpoint}/{prefix}{self.name}"

    def files(self) -> list[RepoFile]:
        """Return its files: each has a size, and a digest that can be a file's name.

        Raises:
            UserError: see `Hub.asked`.
        """
        with self.hub.asked(self.url):
            tree = self.hub.api.list_repo_tree(
                self.name, recursive=True, revision=self.commit, repo_type=self.kind
            )
            files = [one for one in tree if isinstance(one, RepoFile)]
            for one in files:
                if not (isinstance(one.size, int) and _DIGEST.fullmatch(_announced(one))):
                    raise ValueError(f"{one.path}: {one.size!r} bytes, digest {_announced(one)!r}")
            return files

    def download(self, file: RepoFile, folder: Path, remedy: str = CHECK) -> Path:
        """Download a file into `folder` and return where it lies, verified.

        hf_hub_download would begin anew where a killed call left off, and looks at sizes alone.
        What is not verified yet is named by its digest, so a file that changed on the hub begins
        anew.

        Args:
            file: one of `files`.
            folder: where to.
            remedy: see `Hub.asked`.

        Raises:
            UserError: there is no room, the hub cannot be reached, or it sent something other than
                it announced.
        """
        announced, size = _announced(file), file.size
        whole, partial = folder / Path(file.path).name, folder / f"{announced}.part"
        if whole.is_file() and _digest(whole, file) == announced:
            return whole
        folder.mkdir(parents=True, exist_ok=True)
        url = hf_hub_url(
            self.name,
            file.path,
            repo_type=self.kind,
            revision=self.commit,
            endpoint=self.hub.endpoint,
        )
        with _AtMost(partial, size, url) as data, self.hub.asked(url, remedy):
            if data.tell() > size:
                data.truncate(0)
            have, free = partial.stat().st_size, shutil.disk_usage(folder).free
            if size - have > free:
                raise UserError(
                    f"{folder}: {size - have:,} bytes to fetch, {free:,} are free. Make room."
                )
            headers = build_hf_headers(token=self.hub.token or False)
            http_get(url, data, resume_size=have, headers=headers, expected_size=size)  # type: ignore[arg-type]
        found = _digest(partial, file)
        if found != announced:
            partial.unlink()
            raise UserError(
                f"{url}: the content's digest is {found}, wanted {announced}. What was downloaded "
                "is deleted. Fetch it again."
            )
        os.replace(partial, whole)
        return whole


class _AtMost(io.BufferedWriter):
    """A file to append to that refuses more bytes than the hub announced: they fill no disk."""

    def __init__(self, path: Path, size: int, url: str) -> None:
        super().__init__(io.FileIO(path, "a"))
        self._size, self._url = size, url

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._size:
            raise UserError(
                f"{self._url}: more than the {self._size:,} bytes that were announced. {CHECK}"
            )
        return super().write(data)


def _announced(file: RepoFile) -> str:
    """Return the digest by which the hub knows a file's content.

    Of a small file it is git's of its blob: no defence against malice, the hub has no other.
    """
    return str(file.lfs.sha256 if file.lfs else file.blob_id)


def _digest(path: Path, file: RepoFile) -> str:
    with path.open("rb") as data:
        if file.lfs:
            return hashlib.file_digest(data, "sha256").hexdigest()
        blob = f"blob {path.stat().st_size}\0".encode() + data.read()
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def find_repository(
    hub: Hub, name: str, kinds: Sequence[Kind], revision: str | None = None
) -> Repository | None:
    """Look up a repository; None where the user sees none of this name.

    Args:
        hub: where it may be.
        name: OWNER/NAME.
        kinds: to try, in this order.
        revision: a branch, tag or commit; by default the main branch.

    Raises:
        UserError: see `Hub.asked`; the repository has no such revision.
    """
    shown = f"{hub.endpoint}/{name}" + (f" at {revision}" if revision else "")
    with hub.asked(shown):
        found = _first(hub, name, kinds, revision)
    if found is None:
        return None
    kind, about = found
    if not _DIGEST.fullmatch(str(about.sha)):
        raise UserError(f"{shown}: its commit is {about.sha!r}, wanted 40 hex digits. {CHECK}")
    licence = about.card_data.get("license") if about.card_data else None
    return Repository(hub, name, kind, str(about.sha), licence, bool(about.private))


def _first(
    hub: Hub, name: str, kinds: Sequence[Kind], revision: str | None
) -> tuple[Kind, ModelInfo | DatasetInfo] | None:
    for kind in kinds:
        try:
            about = hub.api.repo_info(name, revision=revision, repo_type=kind, timeout=WAIT)
        except RepositoryNotFoundError:
            continue
        return kind, about  # type: ignore[return-value]
    return None
