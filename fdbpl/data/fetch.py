"""From a dataset's name to its folder in CoOp's layout, from a mirror on the Hugging Face hub."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from fdbpl.data.archives import archive_suffix, unpack
from fdbpl.data.registry import LAYOUTS
from fdbpl.system.errors import UserError
from fdbpl.system.progress import progress

DEFAULT = "zhengli97/prompt_learning_dataset"
"""Of PromptKD's authors: all but ImageNet, with CoOp's split files."""

SHOWN = 20

Kind = Literal["model", "dataset"]
KINDS: tuple[Kind, ...] = ("model", "dataset")
"""Of repositories: data lie in both."""

# The hub's own error, and the HTTP library's from which it comes: which one, its version decides.
_FAILURES: tuple[type[Exception], ...] = (HfHubHTTPError, *HfHubHTTPError.__bases__)


@dataclass(frozen=True)
class Offer:
    """What a mirror has of a dataset, at one commit; its licence where its card gives one."""

    dataset: str
    endpoint: str
    mirror: str
    kind: Kind
    commit: str
    licence: str | None
    files: tuple[RepoFile, ...]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)

    def lines(self) -> list[str]:
        """Say what it is, and whose terms hold."""
        names = [file.path for file in self.files]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return [
            f"{self.dataset}: {', '.join(names[:3])}{more}, {self.size:,} bytes",
            f"  from {self.endpoint}/{self.mirror}, commit {self.commit[:12]}",
            f"  licence on the mirror's card: {self.licence or 'none stated'}",
            "  It cannot give more than the dataset's authors do. Read their terms before you use",
            f"  the pictures: {LAYOUTS[self.dataset].page}",
        ]


def offer(dataset: str, mirror: str) -> Offer:
    """Look up what a mirror has of a dataset: archives or a folder of its name.

    Names are compared by letters and digits alone: food101.zip is of food-101. HF_ENDPOINT says on
    which hub the mirror is.

    Raises:
        UserError: the dataset is none of the field's, the mirror cannot be reached, or has nothing
            of this name; the message lists what it has.
    """
    if dataset not in LAYOUTS:
        raise UserError(
            f"dataset {dataset!r} is none to fetch. Wanted one of {', '.join(LAYOUTS)}."
        )
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
    where, api = f"{endpoint}/{mirror}", HfApi(endpoint=endpoint)
    with _told(where):
        for kind in KINDS:
            try:
                about = api.repo_info(mirror, repo_type=kind)
                break
            except RepositoryNotFoundError:
                continue
        else:
            raise UserError(f"{where}: no such repository, or none that is public.")
        commit, card = str(about.sha), getattr(about, "card_data", None)
        tree = api.list_repo_tree(mirror, recursive=True, revision=commit, repo_type=kind)
        found = [one for one in tree if isinstance(one, RepoFile)]
    files = tuple(file for file in found if _below(file.path, dataset) is not None)
    if not files:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"{where}: nothing in it is called {dataset}; found "
            f"{', '.join(file.path for file in found[:SHOWN])}{more}. "
            f"Its authors have it: {LAYOUTS[dataset].page}"
        )
    licence = None if card is None else _text(card.get("license"))
    return Offer(dataset, endpoint, mirror, kind, commit, licence, files)


def fetch(wanted: Offer, root: Path) -> Path:
    """Download, verify and unpack a dataset; return its folder, `root / name`.

    Everything is done in `root / ".fetch"`, and moved into place when the dataset reads as its
    layout says. What was downloaded stays there until then, so that a second call goes on.

    Raises:
        UserError: a download or archive is at fault, there is no room, or what was unpacked is
            not in the layout.
    """
    name = wanted.dataset
    aside = root / ".fetch" / name
    unpacked, ready = aside / "unpacked", aside / "ready"
    aside.mkdir(parents=True, exist_ok=True)
    for made_anew in (unpacked, ready):
        shutil.rmtree(made_anew, ignore_errors=True)
    for file in wanted.files:
        below = PurePosixPath(str(_below(file.path, name)))
        got = download(wanted, file, aside / "downloads" / below.parent)
        folder = unpacked / below.parent
        if archive_suffix(file.path) is None:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(got, folder / below.name)
        else:
            with progress(f"{name}: unpacking {got.name}") as report:
                unpack(got, folder, report)
    ready.mkdir()
    os.replace(_dataset_folder(name, unpacked), ready / name)
    LAYOUTS[name].read(name, ready)
    os.replace(ready / name, root / name)
    shutil.rmtree(aside, ignore_errors=True)
    return root / name


def download(wanted: Offer, file: RepoFile, folder: Path) -> Path:
    """Download a file into `folder` and return where it lies, verified.

    hf_hub_download would begin anew where a killed call left off, and looks at sizes alone. What is
    not verified yet is named by its digest, so a file that changed on the hub begins anew.

    Raises:
        UserError: there is no room, the hub cannot be reached, or it sent something other than it
            announced.
    """
    # of a small file git's digest of its blob: no defence against malice, the hub has no other
    announced = file.lfs.sha256 if file.lfs else file.blob_id
    whole, partial = folder / Path(file.path).name, folder / f"{announced}.part"
    if whole.is_file() and _digest(whole, file) == announced:
        return whole
    folder.mkdir(parents=True, exist_ok=True)
    url = hf_hub_url(
        wanted.mirror,
        file.path,
        repo_type=wanted.kind,
        revision=wanted.commit,
        endpoint=wanted.endpoint,
    )
    with partial.open("ab") as data, _told(url):
        if data.tell() > file.size:
            data.truncate(0)
        have, free = partial.stat().st_size, shutil.disk_usage(folder).free
        if file.size - have > free:
            raise UserError(
                f"{folder}: {file.size - have:,} bytes to fetch, {free:,} are free. Make room."
            )
        http_get(url, data, resume_size=have, headers=build_hf_headers(), expected_size=file.size)
    found = _digest(partial, file)
    if found != announced:
        partial.unlink()
        raise UserError(
            f"{url}: the content's digest is {found}, wanted {announced}. What was downloaded is "
            "deleted. Fetch it again."
        )
    os.replace(partial, whole)
    return whole


def _digest(path: Path, file: RepoFile) -> str:
    with path.open("rb") as data:
        if file.lfs:
            return hashlib.file_digest(data, "sha256").hexdigest()
        blob = f"blob {path.stat().st_size}\0".encode() + data.read()
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest()


def _text(value: object) -> str | None:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or None
    return str(value) if value else None


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


def _below(path: str, dataset: str) -> str | None:
    """Return a file's path from the part that is called as the dataset on, or None."""
    parts = PurePosixPath(path).parts
    if ".." in parts:
        return None
    for place, part in enumerate(parts):
        suffix = archive_suffix(part) if place == len(parts) - 1 else None
        if _plain(part.lower().removesuffix(suffix or "")) == _plain(dataset):
            return "/".join(parts[place:])
    return None


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def _dataset_folder(name: str, unpacked: Path) -> Path:
    """Return the folder with the dataset's list, the highest where there are several."""
    wanted = LAYOUTS[name].lists
    lists = sorted(unpacked.rglob(wanted), key=lambda path: (len(path.parts), path))
    if not lists:
        top = sorted(path.relative_to(unpacked).as_posix() for path in unpacked.glob("*/*"))
        raise UserError(
            f"{unpacked}: no {wanted} was unpacked; found {', '.join(top[:SHOWN])}. "
            f"Move what there is to CoOp's layout by hand (docs/datasets.md)."
        )
    return lists[0].parent
