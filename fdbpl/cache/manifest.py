"""The manifest: the JSON file that says what a cache holds and who made it."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import fdbpl
from fdbpl.cache.format import UnknownVersion
from fdbpl.system.difference import difference, short
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json, readable_json, sha256

NAME = "manifest.json"
FORMAT = 2


class DamagedManifest(UserError):  # noqa: N818 - a state of the file
    """A manifest whose bytes are not those that were written."""


class OtherCache(UserError):  # noqa: N818 - a state of the folder
    """A whole cache that was made by another teacher, plan, policy or payload."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardEntry(_Record):
    """One shard."""

    name: str
    rows: int
    bytes: int
    head_crc: int  # covers all of it
    sha256: str


class ColumnEntry(_Record):
    """One column: the numpy type of its items and the shape of a row."""

    dtype: str
    shape: tuple[int, ...]


class Table(_Record):
    """Columns of equal rows, cut into shards that follow one another."""

    rows: int
    columns: dict[str, ColumnEntry]
    shards: tuple[ShardEntry, ...]

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(shard.bytes for shard in self.shards)


Kind = Literal["teacher", "student", "hidden", "activations", "pixels"]
"""Whose features; or what the student's image tower is given at a layer, or at its start."""


class Identity(_Record):
    """What a cache is of. Two caches of one identity hold the same bytes."""

    kind: Kind
    model: dict[str, Any]  # where its weights came from, and its logit scale
    encoder: dict[str, Any]  # its fingerprint: architecture, weights, pre-processing, precision ...
    decoder: str  # the rules that make pixels of files
    dataset: str  # its name
    images: str  # digest of the list of images, contents and paths
    policy: dict[str, Any]  # the crop law, its generator, seed and count
    payload: dict[str, Any]  # how features are kept
    plan: str  # digest of images, splits, shots and regions


class Manifest(_Record):
    """The whole file; `tables` are "train", "test" and the named arrays of `text/<name>`."""

    format: int = FORMAT
    tool: str = f"fdbpl {fdbpl.__version__}"
    identity: Identity
    tables: dict[str, Table]

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(table.size for table in self.tables.values())

    @property
    def digest(self) -> str:
        """SHA-256 of the fields' canonical JSON, as the file itself says it."""
        return sha256(canonical_json(self.model_dump(mode="json")))


def render(manifest: Manifest) -> bytes:
    """Return the manifest's one spelling, its own digest included."""
    return readable_json({**manifest.model_dump(mode="json"), "digest": manifest.digest})


def parse(data: bytes, name: str) -> Manifest:
    """Check and return a manifest; any changed byte is found.

    Raises DamagedManifest or UnknownVersion naming the file `name`.
    """
    try:
        fields = json.loads(data)
        version = fields["format"]
        digest = fields.pop("digest")
        whole = digest == sha256(canonical_json(fields))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(name, f"no manifest ({error})") from error
    if version != FORMAT:
        raise UnknownVersion(
            f"{name}: cache format version {version!r}, this fdbpl reads {FORMAT}: "
            "read it with the fdbpl that wrote it, or build the cache again"
        )
    if not whole:
        raise _damaged(name, "its digest does not fit its content")
    try:
        manifest = Manifest.model_validate(fields)
    except ValidationError as error:
        raise _damaged(name, f"unexpected fields ({error.error_count()})") from error
    if render(manifest) != data:  # a changed space or letter case leaves the values as they were
        raise _damaged(name, "it is not spelled as fdbpl spells it")
    return manifest


def require_identity(found: Identity, expected: Mapping[str, Any], name: str) -> None:
    """Raise OtherCache naming the first field in which the cache `name` is not as expected.

    expected: fields of Identity, any subset, in the order they are compared in; nested mappings
    are subsets too.
    """
    wanted = json.loads(canonical_json(dict(expected)))
    actual = found.model_dump(mode="json")
    differs = difference(actual, {field: wanted[field] for field in expected})
    if differs:
        path, have, want = differs
        field = path.partition(".")[0]
        noun = "list of images" if field == "images" else field
        raise OtherCache(
            f"{name}: this cache is of another {noun}: {path} is "
            f"{short(have)}, wanted {short(want)}; build the cache again, or restore the "
            "parameters, weights and images that it was made with"
        )


def _damaged(name: str, what: str) -> DamagedManifest:
    return DamagedManifest(f"{name}: damaged manifest: {what}; build the cache again")
