"""Workers: chunks of views, encoded elsewhere by whoever is free.

A worker is stateless. It takes a chunk with all that is needed to encode it, and writes one segment
into the store, whole or not at all; killed, it loses the chunk that it had in work, which another
worker then takes. Here are pools of threads and of processes; flows have others.
"""

import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, chdir, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdbpl.cache.encode import Chunk, ChunkEncoder, Encoder
from fdbpl.cache.keys import Keys
from fdbpl.cache.store import RegionStore
from fdbpl.data.images import DECODER
from fdbpl.system.difference import difference, short
from fdbpl.system.errors import UserError
from fdbpl.system.processes import WORKER, cores

TRIES = 5  # of one chunk, each ended by the death of the worker that had it


class Pool(Protocol):
    """Runs functions somewhere."""

    count: int  # how many at once
    shares_memory: bool  # whether they run in this process, so that nothing is sent

    def submit(self, function: Callable[..., str], /, *inputs: Any) -> Future[str]:
        """Start function(*inputs). Its future raises BrokenExecutor when its worker died."""


class _Threads(ThreadPoolExecutor):
    shares_memory = True

    def __init__(self, count: int) -> None:
        super().__init__(count, thread_name_prefix="worker")
        self.count = count


class _Processes:
    shares_memory = False

    def __init__(self, count: int) -> None:
        self.count = count
        self.executor = self._start()

    def submit(self, function: Callable[..., str], /, *inputs: Any) -> Future[str]:
        try:
            return self.executor.submit(function, *inputs)
        except BrokenProcessPool:
            self.executor = self._start()
            return self.executor.submit(function, *inputs)

    def _start(self) -> ProcessPoolExecutor:
        # spawn: a forked child of a process with threads may find their locks held for ever
        spawn = multiprocessing.get_context("spawn")
        share = max(1, cores() // self.count)
        begin = share, spawn.Value("i", 0)
        return ProcessPoolExecutor(self.count, spawn, initializer=_begin, initargs=begin)


def thread_pool(count: int) -> AbstractContextManager[Pool]:
    """Open a pool of threads, which share the encoder."""
    return _Threads(count)


@contextmanager
def process_pool(count: int) -> Iterator[Pool]:
    """Open a pool of processes, started when they are needed, each with an encoder of its own.

    When one is killed, those that work beside it end too, and new ones take their places. Each
    knows its number (`fdbpl.system.processes.WORKER`), so that several GPUs are shared out
    among them.
    """
    pool = _Processes(count)
    try:
        yield pool
    finally:
        pool.executor.shutdown(cancel_futures=True)


def _begin(threads: int, numbers: Any) -> None:
    """Begin a worker process: its share of processors and GPUs, and no life without its parent."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    with numbers.get_lock():
        os.environ[WORKER] = str(numbers.value)
        numbers.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends its workers
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


@dataclass(frozen=True)
class Crew:
    """Where a build's chunks are encoded, and how the same encoder is made there.

    make_encoder: called once in each process; it is sent there, as are its own arguments.
    """

    pool: Pool
    make_encoder: Callable[[], Encoder]


@dataclass(frozen=True)
class Job:
    """What all chunks of a build have in common, as it is sent to workers."""

    home: Path  # in which relative paths of make_encoder's arguments begin
    folder: Path  # of the images
    store: str  # URL of the region store
    digest: str  # by which the store knows encoder, decoder and type of the features
    about: Mapping[str, Any]  # the same in words
    threads: int  # for decoding, in each worker
    make_encoder: Callable[[], Encoder]
    encoder: Encoder | None = None  # that all workers share, where they run in this process


def encode_chunk(job: Job, chunk: Chunk) -> str:
    """Encode a chunk, write its features into the store, and return the new segment's name.

    Raises UserError as ChunkEncoder.run does, and when this worker's encoder or image decoder is
    not the one that the build was planned with: its features would be others.
    """
    store, names = RegionStore(job.store), list[str]()

    def keep(keys: Keys, features: NDArray[np.float32]) -> None:
        stored = features.astype(job.about["dtype"])
        names.append(store.add(job.digest, job.about, keys, stored))

    ChunkEncoder(job.encoder or _encoder(job), job.folder, job.threads).run([chunk], keep)
    return names[0]


def encoded_by(
    pool: Pool, encode: Callable[[Chunk], str], chunks: Iterable[Chunk]
) -> Iterator[tuple[Chunk, str]]:
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
            with chdir(job.home) if job.home.is_dir() else nullcontext():
                encoder = job.make_encoder()
            _require(encoder, job)
            _made[job.digest] = encoder
        return _made[job.digest]


def _require(encoder: Encoder, job: Job) -> None:
    found = {**encoder.fingerprint, "decoder": DECODER}
    wanted = {**dict.fromkeys(found), **job.about["encoder"], "decoder": job.about["decoder"]}
    differs = difference(found, wanted)
    if differs:
        field, have, want = differs
        raise UserError(
            f"workers: {field} is {short(have)} on a worker, wanted {short(want)}, as where the "
            "build was started; use machines of one kind, with the same packages and weights"
        )
