"""From a dataset's name to its folder in CoOp's layout, by way of a mirror's archives."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fdbpl.data.archives import archive_suffix, unpack
from fdbpl.data.hub import RemoteFile, Repository, download, downloaded, open_repository
from fdbpl.data.readers import aircraft, coop, imagenet
from fdbpl.data.registry import LAYOUTS
from fdbpl.data.terms import PAGES
from fdbpl.system.errors import UserError
from fdbpl.system.progress import progress

DEFAULT = "zhengli97/prompt_learning_dataset"
"""Of PromptKD's authors: all but ImageNet, with CoOp's split files."""

SHOWN = 20


@dataclass(frozen=True)
class Offer:
    """What a repository has of a dataset."""

    dataset: str
    repository: Repository
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)

    def lines(self) -> list[str]:
        """Say what it is, and whose terms hold."""
        repository, names = self.repository, [file.path for file in self.files]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return [
            f"{self.dataset}: {', '.join(names[:3])}{more}, {self.size:,} bytes",
            f"  from {repository.endpoint}/{repository.name}, commit {repository.commit[:12]}",
            f"  licence on the mirror's card: {repository.licence or 'none stated'}",
            "  It cannot give more than the dataset's authors do. Read their terms before you use",
            f"  the pictures: {PAGES[self.dataset]}",
        ]


def offer(dataset: str, mirror: str) -> Offer:
    """Look up what a mirror has of a dataset: archives or a folder of its name.

    Names are compared by letters and digits alone: food101.zip is of food-101.

    Raises:
        UserError: the dataset is none of the field's, the mirror cannot be reached, or has nothing
            of this name; the message lists what it has.
    """
    if dataset not in LAYOUTS:
        raise UserError(
            f"dataset {dataset!r} is none to fetch. Wanted one of {', '.join(LAYOUTS)}."
        )
    repository = open_repository(mirror)
    files = tuple(file for file in repository.files if _below(file.path, dataset) is not None)
    if not files:
        paths = [file.path for file in repository.files]
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        raise UserError(
            f"{repository.endpoint}/{mirror}: nothing in it is called {dataset}; found "
            f"{', '.join(paths[:SHOWN])}{more}. Its authors have it: {PAGES[dataset]}"
        )
    return Offer(dataset, repository, files)


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
    aside.mkdir(parents=True, exist_ok=True)
    unpacked = aside / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    belows = [PurePosixPath(str(_below(file.path, name))) for file in wanted.files]
    folders = [aside / "downloads" / below.parent for below in belows]
    there = sum(map(downloaded, wanted.files, folders))
    left, free = wanted.size - there, shutil.disk_usage(aside).free
    if left > free:
        raise UserError(f"{root}: {left:,} bytes to fetch, {free:,} are free. Make room.")
    for file, below, folder in zip(wanted.files, belows, folders, strict=True):
        place = unpacked / below.parent
        got = download(wanted.repository, file, folder)
        if archive_suffix(file.path) is None:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(got, place / below.name)
        else:
            with progress(f"{name}: unpacking {got.name}") as report:
                unpack(got, place, report)
    found = _dataset_folder(name, unpacked)
    ready = aside / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir()
    os.replace(found, ready / name)
    LAYOUTS[name](name, ready)
    os.replace(ready / name, root / name)
    shutil.rmtree(aside, ignore_errors=True)
    return root / name


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


def _list_file(name: str) -> str:
    """Return the file that lies in the dataset's folder itself, and tells where that is."""
    if name in coop.LAYOUTS:
        return coop.LAYOUTS[name].split
    return aircraft.VARIANTS if name == aircraft.NAME else imagenet.CLASS_NAMES


def _dataset_folder(name: str, unpacked: Path) -> Path:
    """Return the folder with the dataset's list, the highest where there are several."""
    lists = sorted(unpacked.rglob(_list_file(name)), key=lambda path: (len(path.parts), path))
    if not lists:
        top = sorted(path.relative_to(unpacked).as_posix() for path in unpacked.glob("*/*"))
        raise UserError(
            f"{unpacked}: no {_list_file(name)} was unpacked; found {', '.join(top[:SHOWN])}. "
            f"Move what there is to CoOp's layout by hand (docs/datasets.md)."
        )
    return lists[0].parent
