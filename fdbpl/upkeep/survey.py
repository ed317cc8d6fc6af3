"""What lies below a URL: caches and region stores, and whether their files are sound."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fdbpl.cache import manifest as manifests
from fdbpl.cache.cache import Cache, open_cache
from fdbpl.cache.codec import Shard
from fdbpl.cache.keys import Keys
from fdbpl.cache.layout import DamagedShard, damaged
from fdbpl.cache.manifest import DamagedManifest
from fdbpl.cache.place import LEFT_SECONDS, Place
from fdbpl.cache.store import ABOUT, SUFFIX, segment_columns
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256


@dataclass(frozen=True)
class Verdict:
    """What verifying found.

    Attributes:
        caches: how many were read.
        segments: how many of region stores were read.
        bytes: of all shards and segments.
        faults: one line for each damaged file.
    """

    caches: int
    segments: int
    bytes: int
    faults: tuple[str, ...]


def cache_urls(url: str | Path) -> list[str]:
    """Return the URLs of all caches at and below `url`, sorted."""
    return Place(url).holders(manifests.NAME)


def store_urls(url: str | Path) -> list[str]:
    """Return the URLs of all folders of segments at and below `url`, sorted."""
    return Place(url).holders(ABOUT)


def segment_names(place: Place) -> list[str]:
    """Return the names of the segments directly in a folder, sorted."""
    return [n for n in place.names() if n.endswith(SUFFIX) and not n.startswith(".")]


def leftovers(place: Place) -> list[str]:
    """Return the names of what killed writers of a store left half-written in a folder, sorted.

    What is younger than a day may be another build's that is still at it.
    """
    names = [n for n in place.names() if n.startswith(".") and (SUFFIX in n or ABOUT in n)]
    found = []
    for name in names:
        with suppress(FileNotFoundError):  # finished since it was listed
            if place.age(name) > LEFT_SECONDS:
                found.append(name)
    return found


def verify(url: str | Path) -> Verdict:
    """Read every byte of the cache at `url`, or else of all caches and region stores below it.

    Raises UserError when there is none, or one is of an unknown version or cannot be read.
    """
    # a cache is read without listing, which not every store allows
    whole = [str(url)] if Place(url).exists(manifests.NAME) else cache_urls(url)
    stores = [] if str(url) in whole else store_urls(url)
    if not whole and not stores:
        raise UserError(
            f"{Place(url).url()}: neither a cache nor a region store here or below; wanted a "
            "folder or URL such as caches/NAME/teacher, with its manifest.json"
        )
    faults: list[str] = []
    size = segments = 0
    for one in whole:
        try:
            cache = open_cache(one)
        except DamagedManifest as error:
            faults.append(str(error))
            continue
        faults += cache.verify()
        size += cache_bytes(cache)
    for one in stores:
        place = Place(one)
        for name in segment_names(place):
            segments += 1
            try:
                size += checked_segment(place, name)[0]
            except DamagedShard as error:
                faults.append(str(error))
            except FileNotFoundError:
                continue  # tidied away since it was listed
    return Verdict(len(whole), segments, size, tuple(faults))


def cache_bytes(cache: Cache) -> int:
    """Return the bytes of all shards of a cache, as its manifest says."""
    return sum(s.bytes for table in cache.manifest.tables.values() for s in table.shards)


def checked_segment(place: Place, name: str) -> tuple[int, Keys]:
    """Check a segment's name, which is its digest, and all blocks; return its bytes and keys.

    Raises DamagedShard, FileNotFoundError, and UserError when it is of an unknown version or
    cannot be read.
    """
    data = place.read(name)
    if sha256(data)[: len(name) - len(SUFFIX)] != name.removesuffix(SUFFIX):
        raise damaged(place.url(name), "its SHA-256 is not the one that it is named by")
    shard = Shard(data, place.url(name))
    keys, _ = segment_columns(shard)
    shard.read(["feature"])
    return len(data), keys


def summaries(url: str | Path) -> Iterator[dict[str, str]]:
    """Yield a line for each cache at and below `url`: what it is of, its rows and bytes."""
    for one in cache_urls(url):
        try:
            cache = open_cache(one)
        except UserError as error:
            yield {"where": one, "fault": str(error)}
            continue
        identity, tables = cache.manifest.identity, cache.manifest.tables
        yield {
            "dataset": identity.dataset,
            "kind": identity.kind,
            "regions": f"{tables['train'].rows:,}",
            "tests": f"{tables['test'].rows:,}",
            "bytes": f"{cache_bytes(cache):,}",
            "payload": str(identity.payload.get("name")),
            "model": f"{identity.encoder.get('architecture')} ({identity.model.get('source')})",
            "where": one,
        }
