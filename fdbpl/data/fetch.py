"""From a dataset's name to its folder in CoOp's layout, from a mirror on the Hugging Face hub."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub.hf_api import RepoFile

from fdbpl.data.archives import archive_suffix, unpack
from fdbpl.data.registry import LAYOUTS
from fdbpl.system.errors import UserError
from fdbpl.system.hub import Kind, Repository, find_repository, open_hub
from fdbpl.system.progress import progress

DEFAULT = "zhengli97/prompt_learning_dataset"
"""Of PromptKD's authors: all but ImageNet, with CoOp's split files."""

SHOWN = 20

KINDS: tuple[Kind, ...] = ("model", "dataset")
"""Of repositories: data lie in both."""


@dataclass(frozen=True)
class Offer:
    """What a mirror has of a dataset, at one commit; its licence where its card gives one."""

    dataset: str
    mirror: Repository
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
            f"  from {self.mirror.url}, commit {self.mirror.commit[:12]}",
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
    hub = open_hub()
    repository = find_repository(hub, mirror, KINDS)
    if repository is None:
        raise UserError(f"{hub.endpoint}/{mirror}: no such repository, or none that is public.")
    found = repository.files()
    files = tuple(file for file in found if _below(file.path, dataset) is not None)
    if not files:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"{repository.url}: nothing in it is called {dataset}; found "
            f"{', '.join(file.path for file in found[:SHOWN])}{more}. "
            f"Its authors have it: {LAYOUTS[dataset].page}"
        )
    return Offer(dataset, repository, _text(repository.licence), files)


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
        place = aside / "downloads" / below.parent
        got = wanted.mirror.download(file, place, "Try again: what is there is kept.")
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


def _text(value: object) -> str | None:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value)) or None
    return str(value) if value else None


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
