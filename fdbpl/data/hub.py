"""A repository on the hub: what it holds, and single files of it, resumed and verified."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from fdbpl.system.errors import UserError

Kind = Literal["model", "dataset"]

BLOCK = 1 << 20

# The hub's own error, and the HTTP library's from which it comes: which one, its version decides.
_FAILURES: tuple[type[Exception], ...] = (HfHubHTTPError, *HfHubHTTPError.__bases__)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        path: in the repository.
        size: in bytes.
        digest: SHA-256 of a large file's content; of a small one git's SHA-1 of its blob.
    """

    path: str
    size: int
    digest: str


@dataclass(frozen=True)
class Repository:
    """A repository at one commit: its licence as its card gives it, if it does, and its files."""

    name: str
    kind: Kind
    endpoint: str
    commit: str
    licence: str | None
    files: tuple[RemoteFile, ...]


def open_repository(name: str) -> Repository:
    """Look a repository up, of whichever kind it is; HF_ENDPOINT says on which hub.

    Raises:
        UserError: the hub has none of this name, or cannot be reached.
    """
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    api = HfApi(endpoint=endpoint)
    with _told(f"{endpoint}/{name}"):
        for kind in _KINDS:
            try:
                about = api.repo_info(name, repo_type=kind)
            except RepositoryNotFoundError:
                continue
            commit = str(about.sha)
            tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type=kind)
            card = getattr(about, "card_data", None)
            return Repository(
                name=name,
                kind=kind,
                endpoint=endpoint,
                commit=commit,
                licence=None if card is None else _text(card.get("license")),
                files=tuple(_remote(one) for one in tree if isinstance(one, RepoFile)),
            )
    raise UserError(f"{endpoint}/{name}: no such repository, or none that is public.")


_KINDS: tuple[Kind, ...] = ("model", "dataset")  # data lie in repositories of either kind


def _text(value: object) -> str | None:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or None
    return str(value) if value else None


def _remote(file: RepoFile) -> RemoteFile:
    return RemoteFile(file.path, file.size, file.lfs.sha256 if file.lfs else file.blob_id)


def download(repository: Repository, file: RemoteFile, folder: Path) -> Path:
    """Download a file into `folder` and return where it lies, verified.

    What an earlier, interrupted call left is gone on with; a whole file is not fetched again. It
    is named by its digest until it is verified, so a file that changed on the hub begins anew.

    Raises:
        UserError: the hub cannot be reached, or sent something other than it announced.
    """
    whole, partial = _places(file, folder)
    if _size(whole) == file.size and _digest(whole, file) is None:
        return whole
    folder.mkdir(parents=True, exist_ok=True)
    have = _size(partial)
    if have > file.size:
        partial.unlink()
        have = 0
    url = hf_hub_url(
        repository.name,
        file.path,
        repo_type=repository.kind,
        revision=repository.commit,
        endpoint=repository.endpoint,
    )
    with partial.open("ab") as data, _told(url):
        http_get(
            url,
            data,
            resume_size=have,
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.path,
        )
    found = _digest(partial, file)
    if found is not None:
        partial.unlink()
        raise UserError(
            f"{url}: the content's digest is {found}, wanted {file.digest}. What was downloaded is "
            "deleted. Fetch it again."
        )
    os.replace(partial, whole)
    return whole


def downloaded(file: RemoteFile, folder: Path) -> int:
    """Return how many bytes of a file an earlier `download` into `folder` has left there."""
    return max(have for have in (0, *map(_size, _places(file, folder))) if have <= file.size)


def _places(file: RemoteFile, folder: Path) -> tuple[Path, Path]:
    """Return where a file lies when it is verified, and where until then."""
    return folder / Path(file.path).name, folder / f"{file.digest}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(path: Path, file: RemoteFile) -> str | None:
    """Return a file's digest where it is not the one announced."""
    if len(file.digest) == 64:
        digest = hashlib.sha256()
    else:  # as git names a blob: no defence against malice, the hub has no other for small files
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as data:
        while block := data.read(BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    return None if found == file.digest else found


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what goes wrong on the way to the hub into one line."""
    try:
        yield
    except HFValidationError as error:
        raise UserError(f"{what}: {error}. Wanted OWNER/NAME.") from None
    except _FAILURES as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{what}: {type(error).__name__}: {why}. Try again: what is there is kept."
        ) from None
