"""Random faults in a small cache and its store: python -m bench.faults --count 20000

Each fault is put into one file of a whole cache, the manifest among them, or of a region store.
A cache with a fault must refuse to be opened or read, and `verify` must report it, both naming the
file. A store with a fault must name the segment, and give for every region either what was stored
or nothing: then it is encoded again.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.quick import QuickEncoder, quick_build, quick_plan
from fdbpl.cache import RegionStore, open_cache
from fdbpl.cache import build as building
from fdbpl.cache.place import Place
from fdbpl.system.errors import UserError

IMAGES, CROPS = 7, 5
Files = Mapping[str, bytes]


def _flipped(data: bytes, _others: list[bytes], random: np.random.Generator) -> bytes:
    bit = int(random.integers(len(data) * 8))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _overwritten(data: bytes, _others: list[bytes], random: np.random.Generator) -> bytes:
    start = int(random.integers(len(data)))
    stop = min(len(data), start + int(random.integers(1, 4096)))
    return data[:start] + bytes(stop - start) + data[stop:]


FAULTS: dict[str, Callable[[bytes, list[bytes], np.random.Generator], bytes | None]] = {
    "one bit flipped": _flipped,
    "truncated": lambda data, _, random: data[: random.integers(len(data))],
    "lengthened": lambda data, _, random: data + random.bytes(int(random.integers(1, 100))),
    "a stretch zeroed": _overwritten,
    "another file in its place": lambda _, others, random: others[random.integers(len(others))],
    "missing": lambda *_: None,
}
UNTOLD = ("another file in its place", "missing")


@dataclass
class Count:
    """Faults of one kind: put in, found when the data were used, found by `verify`."""

    put: int = 0
    used: int = 0
    verified: int = 0


@dataclass(frozen=True)
class Whole:
    """A whole cache and its store: where, the files of both, and what the cache holds.

    foreign: shards of a like cache of other images.
    """

    cache: Place
    store: Place
    digest: str
    cache_files: Files
    store_files: Files
    foreign: Files
    keys: np.ndarray
    features: np.ndarray


def make_whole(folder: Path) -> Whole:
    """Build the small cache, in memory, from images that are drawn into `folder`."""
    building.SHARD_BYTES, building.CHUNK_VIEWS = 12 * 32, 8  # some shards, some segments
    root = f"memory://faults{folder}"
    for name, images in (("one", IMAGES), ("other", IMAGES + 1)):
        plan = quick_plan(folder / name, images, CROPS)
        where = [f"{root}/{name}/store", f"{root}/{name}/cache"]
        quick_build(plan, folder / name, *where, QuickEncoder())
    cache = open_cache(f"{root}/one/cache")
    (segments,) = Place(f"{root}/one/store").holders("about.json")
    return Whole(
        cache=Place(f"{root}/one/cache"),
        store=Place(f"{root}/one/store"),
        digest=segments.rsplit("/", 1)[-1],
        cache_files=_files(Place(f"{root}/one/cache")),
        store_files=_files(Place(segments)),
        foreign=_files(Place(f"{root}/other/cache")),
        keys=cache.column("train", "key"),
        features=cache.features("train"),
    )


def _files(place: Place) -> Files:
    return {name: place.read(name) for name in place.names() if name != "about.json"}


def judge_cache(whole: Whole, count: int, random: np.random.Generator) -> dict[str, Count]:
    """Put `count` random faults into the cache, one at a time; return what was found of each."""
    foreign = [data for name, data in whole.foreign.items() if name.endswith(".shard")]
    counts = {kind: Count() for kind in FAULTS}
    for kind, name, damaged in _faults(whole.cache_files, foreign, count, random):
        _put(whole.cache, name, damaged)
        counts[kind].put += 1
        counts[kind].used += _names(name, lambda: _read_all(whole.cache))
        counts[kind].verified += _names(name, lambda: _verify(whole.cache))
        whole.cache.write(name, whole.cache_files[name])
    _read_all(whole.cache)
    return counts


def judge_store(whole: Whole, count: int, random: np.random.Generator) -> dict[str, Count]:
    """Put `count` random faults into the store, one at a time; return what was found of each.

    Found: the segment is named where it is used, and every feature is right or absent.
    """
    foreign = [data for name, data in whole.foreign.items() if name.endswith(".shard")]
    counts = {kind: Count() for kind in FAULTS}
    for kind, name, damaged in _faults(whole.store_files, foreign, count, random):
        _put(whole.store, f"{whole.digest}/{name}", damaged)
        store = RegionStore(whole.store.url())
        found, features = store.lookup(whole.digest, whole.keys).find(whole.keys)
        right = bool((features[found] == whole.features[found]).all())
        # a missing segment cannot be told from one that never was, nor another segment from a copy
        named = kind in UNTOLD or any(name in fault for fault in store.faults)
        counts[kind].put += 1
        counts[kind].used += right and named
        counts[kind].verified += right and named
        whole.store.write(f"{whole.digest}/{name}", whole.store_files[name])
    return counts


def _faults(
    files: Files, foreign: list[bytes], count: int, random: np.random.Generator
) -> Iterator[tuple[str, str, bytes | None]]:
    """Yield (kind, file, its damaged content or None) at random, kinds and files in turn."""
    kinds, names = list(FAULTS), sorted(files)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        name = names[number // len(kinds) % len(names)]
        others = foreign + [data for other, data in files.items() if other != name]
        damaged = FAULTS[kind](files[name], others, random)
        if damaged != files[name]:  # a stretch of zeros may be zeroed
            yield kind, name, damaged


def _put(place: Place, name: str, data: bytes | None) -> None:
    if data is None:
        place.remove(name)
    else:
        place.write(name, data)


def _names(name: str, action: Callable[[], None]) -> bool:
    """Tell whether the action fails with an error that names the file."""
    try:
        action()
    except UserError as error:
        return name in str(error)
    return False


def _read_all(place: Place) -> None:
    cache = open_cache(place.url())
    for table in cache.manifest.tables:
        cache.columns(table)


def _verify(place: Place) -> None:
    faults = open_cache(place.url()).verify()
    if faults:
        raise UserError(" ".join(faults))


@click.command(help=__doc__)
@click.option("--count", default=20_000, show_default=True, help="Faults in cache and store each.")
@click.option("--seed", default=0, show_default=True)
def main(count: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = make_whole(Path(folder))
        judged = {
            "cache": judge_cache(whole, count, np.random.default_rng(seed)),
            "store": judge_store(whole, count, np.random.default_rng(seed)),
        }
    table = Table("where", "fault", "put in", "found when read", "found by verify")
    for where, counts in judged.items():
        for kind, one in counts.items():
            verified = f"{one.verified:,}" if where == "cache" else "-"
            table.add_row(where, kind, f"{one.put:,}", f"{one.used:,}", verified)
    Console(width=100).print(table)
    missed = [one for counts in judged.values() for one in counts.values() if one.used < one.put]
    missed += [one for one in judged["cache"].values() if one.verified < one.put]
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
