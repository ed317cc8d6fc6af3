"""Models on a hub: uploaded in one commit, downloaded at one, and checked before either."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd
from huggingface_hub.hf_api import RepoFile

import fdbpl
from fdbpl.serving.model_folder import ABOUT, ModelFolder, open_model, open_unread, require_place
from fdbpl.system.errors import UserError
from fdbpl.system.files import whole_folder
from fdbpl.system.hub import CHECK, Hub, Repository, find_repository, open_hub

LARGEST_ABOUT = 16_000_000
"""Bytes of a `model.json` that is downloaded."""

_XET = "Where the hub is one without Xet storage, set HF_HUB_DISABLE_XET=1."
_ADDRESS = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class Address:
    """Where a model is on a hub.

    Attributes:
        name: OWNER/NAME of its repository.
        revision: a branch, tag or commit; None for the main branch.
    """

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.name}" + (f"@{self.revision}" if self.revision else "")

    @classmethod
    def of(cls, text: str) -> "Address":
        """Read `hf://OWNER/NAME[@REVISION]`. Raises UserError where it is anything else."""
        found = _ADDRESS.fullmatch(text)
        if found is None:
            raise UserError(
                f"{text!r} is no address of a model on a hub. Wanted hf://OWNER/NAME, or "
                "hf://OWNER/NAME@REVISION."
            )
        return cls(found["name"], found["revision"])


@dataclass(frozen=True)
class Upload:
    """A model that was checked, and where it goes.

    Attributes:
        model: was opened.
        files: the bytes that were checked, by name.
        address: where it goes.
        hub: the same, as the user who is logged in.
        is_new: whether there is no such repository yet.
        is_private: whether it is, or becomes, private.
    """

    model: ModelFolder
    files: Mapping[str, bytes]
    address: Address
    hub: Hub
    is_new: bool
    is_private: bool

    @property
    def url(self) -> str:
        """Where people will see it."""
        branch = f"/tree/{self.address.revision}" if self.address.revision else ""
        return f"{self.hub.endpoint}/{self.address.name}{branch}"

    def lines(self) -> list[str]:
        """Say what is uploaded, and where to."""
        kind = "private" if self.is_private else "public"
        where = f"a new {kind} repository" if self.is_new else f"which is there, and {kind}"
        size = sum(map(len, self.files.values()))
        return [
            f"{self.model.path}: {len(self.files)} files, {size:,} bytes",
            *(f"  {name}: {len(data):,} bytes" for name, data in self.files.items()),
            f"  to {self.url}, {where}",
        ]

    def send(self) -> str:
        """Upload it in one commit, which is returned; make the repository or branch that lacks.

        Raises:
            UserError: the hub cannot be reached, or refuses.
        """
        api, name, branch = self.hub.api, self.address.name, self.address.revision
        with self.hub.asked(self.url, f"{CHECK} {_XET}"):
            if self.is_new:
                api.create_repo(name, private=self.is_private)
            if branch is not None:
                api.create_branch(name, branch=branch, exist_ok=True)
            done = api.create_commit(
                name,
                [CommitOperationAdd(one, data) for one, data in self.files.items()],
                commit_message=f"{self.model.about.name}, by fdbpl {fdbpl.__version__}",
                revision=branch,
            )
            return str(done.oid)


def upload_of(path: Path, address: Address, *, public: bool) -> Upload:
    """Check a model and look up where it goes; nothing is uploaded yet.

    Args:
        path: the model's folder.
        address: its revision is a branch, which is made where there is none.
        public: whether everybody may see it.

    Raises:
        UserError: see `open_model`; nobody is logged in; the hub cannot be reached; or the
            repository is there and public, and `public` is false.
    """
    model = open_model(path)
    # a folder that another takes the place of meanwhile is refused by the digests of `model`
    files = {ABOUT: (path / ABOUT).read_bytes()}
    files.update((name, model.read(name)) for name in model.files)
    hub = open_hub()
    if hub.token is None:
        raise UserError(
            f"{hub.endpoint}: nobody is logged in. Log in by hf auth login, or set HF_TOKEN to a "
            "token that may write."
        )
    found = find_repository(hub, address.name, ["model"])
    if found is not None and not found.is_private and not public:
        raise UserError(
            f"{found.url}: is there, and public: everybody would see the model. Give --public to "
            "agree, name another repository, or make this one private."
        )
    is_private = not public if found is None else found.is_private
    return Upload(model, files, address, hub, found is None, is_private)


@dataclass(frozen=True)
class Pulled:
    """A model that was downloaded: from which commit, and how many bytes."""

    commit: str
    size: int


def pull(address: Address, path: Path) -> Pulled:
    """Download a model whole, in the place of one that may be at `path`, and check it.

    Only what its `model.json` names is downloaded.

    Raises:
        UserError: there is something else at `path`, the hub cannot be reached, or what it has is
            no sound model. Then what was at `path` is as it was.
    """
    require_place(path)
    hub = open_hub()
    found = find_repository(hub, address.name, ["model"], address.revision)
    if found is None:
        raise UserError(
            f"{hub.endpoint}/{address.name}: no such repository, or none that you may see. Check "
            "its name; if it is private, log in by hf auth login, or set HF_TOKEN."
        )
    offered = {file.path: file for file in found.files()}
    with whole_folder(path) as folder, _told_of(address, folder):
        _require_about(found, offered)
        found.download(offered[ABOUT], folder)
        names = open_unread(folder).files
        for name in names:
            if name not in offered:
                raise UserError(
                    f"{name}: not in {found.url}, and its {ABOUT} names it. Ask its owner for a "
                    "whole model, or name another revision."
                )
            found.download(offered[name], folder)
        open_model(folder)
    return Pulled(found.commit, sum(offered[name].size for name in (ABOUT, *names)))


def _require_about(found: Repository, offered: Mapping[str, RepoFile]) -> None:
    if ABOUT not in offered:
        raise UserError(
            f"no model of fdbpl: no {ABOUT} in {found.url}. Wanted what fdbpl push uploaded."
        )
    size = offered[ABOUT].size
    if size > LARGEST_ABOUT:
        raise UserError(
            f"{ABOUT}: {size:,} bytes, wanted at most {LARGEST_ABOUT:,}. Do not trust this model."
        )


@contextmanager
def _told_of(address: Address, folder: Path) -> Iterator[None]:
    """Say of what is wrong with a model where it is from, and not where it lay for a while."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{address}: {str(error).replace(f'{folder}/', '')}") from None
