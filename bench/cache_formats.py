"""Ways to keep features on disk, each as its own makers would have it used for them.

Every format keeps R regions' features (R, D), `crops` of each image one after the other. What is
compared is written and read by each format's own library in this process; where a format can
compress and check, it does.
"""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = NDArray[np.int64]

SHARD_BYTES = 64 << 20


class Reader(Protocol):
    """Features that were built, open for reading."""

    def whole(self) -> Array:
        """Return all features (R, D) in memory, in stored order."""

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        """Yield features (B, D) of the rows (B,) of each step; formats without access to single
        rows yield as many of their own shuffled order."""


class Format(Protocol):
    """One way of keeping features. `how` says its settings in the table's words."""

    name: str
    how: str

    def build(self, features: Array, crops: int, folder: Path) -> None:
        """Write the features below the empty `folder`."""

    def open(self, folder: Path, memory: int) -> Reader:
        """Open what was built; `memory`: bytes of features that may be held to read ahead."""


class Fdbpl:
    name = "fdbpl"
    how = "this cache: byte planes, zstd 1, CRC-32 a block"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        from fdbpl.cache.cache import CacheWriter
        from fdbpl.cache.manifest import Identity

        known = {
            name: "" for name, field in Identity.model_fields.items() if field.annotation is str
        }
        other = {
            name: {} for name, field in Identity.model_fields.items() if field.annotation is not str
        }
        payload = {"name": str(features.dtype)}
        identity = Identity(**{**other, **known, "kind": "teacher", "payload": payload})
        writer = CacheWriter(folder, identity)
        rows = SHARD_BYTES // features[0].nbytes
        for start in range(0, len(features), rows):
            writer.add("train", {"feature": features[start : start + rows]})
        writer.finish()

    def open(self, folder: Path, memory: int) -> "FdbplReader":
        return FdbplReader(folder, memory)


class FdbplReader:
    def __init__(self, folder: Path, memory: int) -> None:
        from fdbpl.cache.cache import open_cache
        from fdbpl.cache.stream import FeatureStream

        self._cache = open_cache(folder)
        self._stream = FeatureStream(self._cache, "train", memory=memory)

    def whole(self) -> Array:
        return self._cache.features("train")

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        yield from self._stream.in_order(steps)


class TorchSave:
    name = "torch.save"
    how = "a file per image, as FKD and FDBPL do; weights_only=True"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        import torch

        for number, image in enumerate(features.reshape(-1, crops, features.shape[1])):
            torch.save(torch.from_numpy(image).clone(), folder / f"{number:07d}.pt")

    def open(self, folder: Path, memory: int) -> "TorchReader":
        return TorchReader(folder)


class TorchReader:
    def __init__(self, folder: Path) -> None:
        import torch

        self._load = lambda path: torch.load(path, weights_only=True).numpy()
        self._folder = folder
        self._crops = len(self._load(folder / "0000000.pt"))

    def whole(self) -> Array:
        return np.concatenate([self._load(path) for path in sorted(self._folder.iterdir())])

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        for rows in steps:
            places = (divmod(row, self._crops) for row in rows.tolist())
            yield np.stack([self._load(self._folder / f"{i:07d}.pt")[k] for i, k in places])


class Zarr:
    """Blosc's shuffle and zstd, then zarr's CRC-32C; random rows by the windows that ours reads."""

    def __init__(self, chunk_kib: int, shuffle: str, level: int) -> None:
        self._chunk_bytes, self._shuffle, self._level = chunk_kib << 10, shuffle, level
        self.name = f"zarr, {shuffle}, {chunk_kib} KiB"
        self.how = f"v3, chunks of {chunk_kib} KiB: blosc {shuffle}, zstd {level}, CRC-32C"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        import zarr
        from zarr.codecs import BloscCodec, Crc32cCodec

        rows = max(1, self._chunk_bytes // features[0].nbytes)
        width = features.itemsize
        array = zarr.create_array(
            store=folder / "features",
            shape=features.shape,
            chunks=(min(rows, len(features)), features.shape[1]),
            dtype=features.dtype,
            compressors=[
                BloscCodec(cname="zstd", clevel=self._level, shuffle=self._shuffle, typesize=width),
                Crc32cCodec(),
            ],
        )
        array[:] = features

    def open(self, folder: Path, memory: int) -> "ZarrReader":
        return ZarrReader(folder, memory)


class ZarrReader:
    def __init__(self, folder: Path, memory: int) -> None:
        import zarr

        self._array: Any = zarr.open_array(folder / "features", mode="r")
        self._limit = memory // (self._array.shape[1] * self._array.dtype.itemsize)

    def whole(self) -> Array:
        return self._array[:]

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        from fdbpl.cache.stream import windows

        for part in windows([rows.size for rows in steps], self._limit):
            distinct = np.unique(np.concatenate(steps[part]))
            features = self._array.oindex[distinct]
            for rows in steps[part]:
                yield features[np.searchsorted(distinct, rows)]


class WebDataset:
    name = "WebDataset"
    how = "tar shards of an .npy per image; its own shuffle of that many images"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        from webdataset import ShardWriter

        with ShardWriter(str(folder / "%05d.tar"), maxsize=SHARD_BYTES, verbose=0) as sink:
            for number, image in enumerate(features.reshape(-1, crops, features.shape[1])):
                sink.write({"__key__": f"{number:07d}", "npy": image})

    def open(self, folder: Path, memory: int) -> "WebReader":
        return WebReader(folder, memory)


class WebReader:
    def __init__(self, folder: Path, memory: int) -> None:
        self._urls = [str(path) for path in sorted(folder.glob("*.tar"))]
        with tarfile.open(self._urls[0]) as tar:
            first = tar.extractfile(tar.next())  # type: ignore[arg-type]
            self._image_bytes = np.load(io.BytesIO(first.read())).nbytes  # type: ignore[union-attr]
        self._memory = memory

    def _samples(self, shuffled: int) -> Iterator[Array]:
        import webdataset

        found = webdataset.WebDataset(self._urls, shardshuffle=100 if shuffled else False, seed=0)
        for sample in found.shuffle(shuffled, initial=min(shuffled, 100)).decode():
            yield sample["npy"]

    def whole(self) -> Array:
        return np.concatenate(list(self._samples(0)))

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        samples = self._samples(self._memory // self._image_bytes)
        for rows in steps:
            yield np.stack([next(samples)[row % 2] for row in rows])


class Mosaic:
    name = "MosaicML streaming"
    how = "MDS, zstd 1 and xxh64 a shard, unpacked on disk at the first reading"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        from streaming import MDSWriter

        kind = f"ndarray:{features.dtype}:{crops},{features.shape[1]}"
        with MDSWriter(
            out=str(folder / "remote"), columns={"x": kind}, compression="zstd:1", hashes=["xxh64"],
            size_limit=SHARD_BYTES,
        ) as sink:  # fmt: skip
            for image in features.reshape(-1, crops, features.shape[1]):
                sink.write({"x": image})

    def open(self, folder: Path, memory: int) -> "MosaicReader":
        import shutil

        from streaming import StreamingDataset
        from streaming.base.util import clean_stale_shared_memory

        clean_stale_shared_memory()
        local = folder / "local"
        shutil.rmtree(local, ignore_errors=True)
        data = StreamingDataset(
            remote=str(folder / "remote"), local=str(local), validate_hash="xxh64", batch_size=32
        )
        return MosaicReader(data)


class LitData:
    name = "LitData"
    how = "chunks of zstd frames, one an image; its own shuffle of chunks and items"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        from litdata.streaming import Cache

        cache = Cache(
            str(folder), compression="zstd:1", compression_level="sample", chunk_bytes=SHARD_BYTES
        )
        for number, image in enumerate(features.reshape(-1, crops, features.shape[1])):
            cache[number] = {"x": image}
        cache.done()
        cache.merge()

    def open(self, folder: Path, memory: int) -> "LitReader":
        return LitReader(folder)


class LitReader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _samples(self, *, shuffle: bool) -> Iterator[Array]:
        from litdata import StreamingDataset

        for sample in StreamingDataset(str(self._folder), shuffle=shuffle):
            yield np.asarray(sample["x"])

    def whole(self) -> Array:
        return np.concatenate(list(self._samples(shuffle=False)))

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        samples = self._samples(shuffle=True)
        for rows in steps:
            yield np.stack([next(samples)[row % 2] for row in rows])


class MosaicReader:
    def __init__(self, data: Any) -> None:
        self._data = data

    def whole(self) -> Array:
        return np.concatenate([sample["x"] for sample in self._data])

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        crops = len(self._data[0]["x"])
        for rows in steps:
            places = (divmod(row, crops) for row in rows.tolist())
            yield np.stack([self._data[i]["x"][k] for i, k in places])


class Npz:
    name = "npz"
    how = "a limit: one uncompressed file, read whole before any row"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        np.savez(folder / "features.npz", features=features)

    def open(self, folder: Path, memory: int) -> "NpzReader":
        return NpzReader(folder)


class NpzReader:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "features.npz"

    def whole(self) -> Array:
        with np.load(self._path, allow_pickle=False) as file:
            return file["features"]

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        features = self.whole()
        for rows in steps:
            yield features[rows]


class Memmap:
    name = "memmap"
    how = "a limit: raw numbers, mapped"

    def build(self, features: Array, crops: int, folder: Path) -> None:
        np.save(folder / "features.npy", features)

    def open(self, folder: Path, memory: int) -> "MemmapReader":
        return MemmapReader(folder)


class MemmapReader:
    def __init__(self, folder: Path) -> None:
        self._mapped = np.load(folder / "features.npy", mmap_mode="r")

    def whole(self) -> Array:
        return np.array(self._mapped)

    def batches(self, steps: Sequence[Rows]) -> Iterator[Array]:
        for rows in steps:
            yield np.asarray(self._mapped[rows])


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Fdbpl(),
        TorchSave(),
        Zarr(2048, "shuffle", 3),
        Zarr(128, "bitshuffle", 3),
        Zarr(2048, "bitshuffle", 3),
        WebDataset(),
        Mosaic(),
        LitData(),
        Npz(),
        Memmap(),
    )
}
