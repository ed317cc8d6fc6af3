"""Workers: chunks of views, encoded elsewhere by whoever is free.

A worker is stateless. It takes a chunk with all that is needed to encode it, and writes one segment
into the store, whole or not at all; killed, it loses the chunk that it had in work, which another
worker then takes. Where and how workers run is a pool's business.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fdbpl.cache.encode import Chunk, ChunkEncoder, Encoder
from fdbpl.cache.store import RegionStore
from fdbpl.data.images import DECODER
from fdbpl.system.errors import UserError

TRIES = 5  # of one chunk, each ended by the death of the worker that had it

Encode = Callable[[Chunk], str]


class Pool(Protocol):
    """Runs functions somewhere.

    Attributes:
        count: how many at once.
        shares_memory: whether they run in this process, so that nothing is sent.
    """

    count: int
    shares_memory: bool

    def submit(self, function: Callable[..., str], *inputs: Any) -> Future[str]:
        """Start function(*inputs). Its future raises BrokenExecutor when its worker died."""


@dataclass(frozen=True)
class Crew:
    """Where a build's chunks are encoded, and how the same encoder is made there.

    make_encoder: called once in each process; it is sent there, as are its own arguments.
    """

    pool: Pool
    make_encoder: Callable[[], Encoder]


@dataclass(frozen=True)
class Job:
    """What all chunks of a build have in common, as it is sent to workers.

    home: the folder in which relative paths of make_encoder's arguments begin; folder: holds the
    images; store: URL of the region store; digest and about: of encoder and payload, as the store
    knows them; fingerprint: the encoder's fields; threads: for decoding, in each worker.
    """

    home: Path
    folder: Path
    store: str
    digest: str
    about: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    dtype: str
    threads: int
    make_encoder: Callable[[], Encoder]


def encode_chunk(job: Job, chunk: Chunk) -> str:
    """Encode a chunk, write its features into the store, and return the new segment's name.

    Raises UserError as ChunkEncoder.run does, and when this worker's encoder or image decoder is
    not the one that the build was planned with: its features would be others.
    """
    encode = ChunkEncoder(_encoder(job), job.folder, job.threads)
    return encode_and_store(
        encode, RegionStore(job.store), job.digest, job.about, np.dtype(job.dtype), chunk
    )


def encode_and_store(
    encode: ChunkEncoder,
    store: RegionStore,
    digest: str,
    about: Mapping[str, Any],
    dtype: np.dtype[Any],
    chunk: Chunk,
) -> str:
    """Encode a chunk, write its features into the store, and return the new segment's name."""
    names: list[str] = []
    encode.run(
        [chunk],
        lambda keys, features: names.append(store.add(digest, about, keys, features.astype(dtype))),
        lambda _: None,
    )
    return names[0]


def encoded_by(pool: Pool, encode: Encode, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, str]]:
    """Yield each chunk and its segment's name as they are done; two a worker are under way.

    Raises what a chunk raised, and UserError when workers died again and again.
    """
    source = iter(chunks)
    under_way: dict[Future[str], tuple[Chunk, int]] = {}

    def start(chunk: Chunk, tries: int) -> None:
        under_way[pool.submit(encode, chunk)] = chunk, tries

    try:
        while True:
            for chunk in itertools.islice(source, 2 * pool.count - len(under_way)):
                start(chunk, 1)
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                chunk, tries = under_way.pop(future)
                try:
                    name = future.result()
                except BrokenExecutor as error:
                    if tries == TRIES:
                        raise UserError(
                            f"the worker that encoded {chunk.paths[0]} and {len(chunk.paths) - 1} "
                            f"other images died {TRIES} times ({error}): look for what ends it "
                            "(memory, most often: fewer workers need less), then run again: what "
                            "was finished is kept"
                        ) from error
                    start(chunk, tries + 1)
                else:
                    yield chunk, name
    finally:
        for future in under_way:  # those that run already end by themselves, and are kept
            future.cancel()


_made: dict[str, Encoder] = {}
_making = threading.Lock()


def _encoder(job: Job) -> Encoder:
    """Return this process's encoder, made when the first chunk of a build comes."""
    with _making:
        if job.digest not in _made:
            _made.clear()  # the model of an earlier build makes room
            with contextlib.chdir(job.home) if job.home.is_dir() else contextlib.nullcontext():
                encoder = job.make_encoder()
            _require(encoder, job)
            _made[job.digest] = encoder
        return _made[job.digest]


def _require(encoder: Encoder, job: Job) -> None:
    found = {**encoder.fingerprint.fields, "decoder": DECODER}
    wanted = {**job.fingerprint, "decoder": job.about["decoder"]}
    for field in sorted({*found, *wanted}):
        if found.get(field) != wanted.get(field):
            raise UserError(
                f"workers: {field} is {found.get(field)!r} on a worker, wanted "
                f"{wanted.get(field)!r}, as where the build was started; use machines of one kind, "
                "with the same packages and weights"
            )
