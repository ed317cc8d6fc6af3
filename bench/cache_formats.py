"""Ways to keep features on disk, each as its own makers would have it used for them.

Every format keeps R regions' features (R, D), `crops` of each image one after the other. What is
compared is written and read by each format's own library in this process; where a format can
compress and check, it does.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = NDArray[np.int64]

SHARD_BYTES = 64 << 20


class Reader(NamedTuple):
    """Features that were built, open for reading.

    whole: returns all features (R, D) in memory, in stored order. batches: yields features (B, D)
    of the rows (B,) of each step.
    """

    whole: Callable[[], Array]
    batches: Callable[[Sequence[Rows]], Iterator[Array]]


class Format(Protocol):
    """One way of keeping features. `how` says its settings in the table's words."""

    name: str
    how: str

    def build(self, features: Array, crops: int, folder: Path) -> None:
        """Write the features below the empty `folder`."""

    def open(self, folder: Path, memory: int) -> Reader:
        """Open what was built; `memory`: bytes of features that may be held to read ahead."""


def by_image(features: Array, crops: int) -> Iterator[tuple[int, Array]]:
    """Yield each image's number and features (crops, D)."""
    return enumerate(features.reshape(-1, crops, features.shape[1]))


class Fdbpl:
    name = "fdbpl"
    how = "this cache: byte planes, zstd 1, CRC-32 a block"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        from fdbpl.cache.cache import CacheWriter
        from fdbpl.cache.manifest import Identity

        empty = {
            name: "" if field.annotation is str else {}
            for name, field in Identity.model_fields.items()
        }
        payload = {"name": str(features.dtype)}
        writer = CacheWriter(folder, Identity(**{**empty, "kind": "teacher", "payload": payload}))
        rows = SHARD_BYTES // features[0].nbytes
        for start in range(0, len(features), rows):
            writer.add("train", {"feature": features[start : start + rows]})
        writer.finish()

    def open(self, folder: Path, memory: int) -> Reader:
        from fdbpl.cache.cache import open_cache
        from fdbpl.cache.stream import FeatureStream

        cache = open_cache(folder)
        stream = FeatureStream(cache, "train", memory=memory)
        return Reader(lambda: cache.features("train"), stream.in_order)


class TorchSave:
    name = "torch.save"
    how = "a file per image, as FKD and FDBPL do; weights_only=True"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        import torch

        for number, image in by_image(features, crops):
            torch.save(torch.from_numpy(image).clone(), folder / f"{number:07d}.pt")

    def open(self, folder: Path, memory: int) -> Reader:
        import torch

        def load(path: Path) -> Array:
            return torch.load(path, weights_only=True).numpy()

        crops = len(load(folder / "0000000.pt"))

        def batches(steps: Sequence[Rows]) -> Iterator[Array]:
            for rows in steps:
                places = (divmod(row, crops) for row in rows.tolist())
                yield np.stack([load(folder / f"{i:07d}.pt")[k] for i, k in places])

        return Reader(lambda: np.concatenate([*map(load, sorted(folder.iterdir()))]), batches)


class Zarr:
    """Blosc's shuffle and zstd, then zarr's CRC-32C; random rows by the windows that ours reads."""

    def __init__(self, chunk_kib: int, shuffle: str, level: int) -> None:
        self._chunk_bytes, self._shuffle, self._level = chunk_kib << 10, shuffle, level
        self.name = f"zarr, {shuffle}, {chunk_kib} KiB"
        self.how = f"v3, chunks of {chunk_kib} KiB: blosc {shuffle}, zstd {level}, CRC-32C"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        import zarr
        from zarr.codecs import BloscCodec, Crc32cCodec

        rows = min(max(1, self._chunk_bytes // features[0].nbytes), len(features))
        blosc = BloscCodec(
            cname="zstd",
            clevel=self._level,
            shuffle=self._shuffle,
            typesize=features.itemsize,
        )
        array = zarr.create_array(
            store=folder / "features",
            shape=features.shape,
            chunks=(rows, features.shape[1]),
            dtype=features.dtype,
            compressors=[blosc, Crc32cCodec()],
        )
        array[:] = features

    def open(self, folder: Path, memory: int) -> Reader:
        import zarr

        from fdbpl.cache.stream import windows

        array: Any = zarr.open_array(folder / "features", mode="r")
        limit = memory // (array.shape[1] * array.dtype.itemsize)

        def batches(steps: Sequence[Rows]) -> Iterator[Array]:
            for part in windows([rows.size for rows in steps], limit):
                distinct = np.unique(np.concatenate(steps[part]))
                features = array.oindex[distinct]
                for rows in steps[part]:
                    yield features[np.searchsorted(distinct, rows)]

        return Reader(lambda: array[:], batches)


class Memmap:
    name = "memmap"
    how = "a limit: raw numbers, mapped"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        np.save(folder / "features.npy", features)

    def open(self, folder: Path, memory: int) -> Reader:
        mapped = np.load(folder / "features.npy", mmap_mode="r")
        return Reader(
            lambda: np.array(mapped), lambda steps: (np.asarray(mapped[rows]) for rows in steps)
        )


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Fdbpl(),
        TorchSave(),
        Zarr(2048, "shuffle", 3),
        Zarr(128, "bitshuffle", 3),
        Zarr(2048, "bitshuffle", 3),
        Memmap(),
    )
}
