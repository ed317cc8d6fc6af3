"""The sections `cache` and `workers` of the parameters."""

from typing import Literal, Self

from pydantic import Field, model_validator

from fdbpl.system.section import Section


class CacheParams(Section):
    """The teacher-knowledge cache.

    `payload` is the precision at which a dataset's cache keeps every region's features;
    `store` (any fsspec URL) keeps every region ever encoded, outside DVC's control; `memory_mb`,
    in MiB, is for the features that training holds, half for each model: larger caches are
    streamed, to the same results. Pixels of regions, where a method reads them, take as much again.
    """

    payload: Literal["float32", "float16", "int8"] = "float16"
    store: str = Field(".fdbpl/store", min_length=1)
    batch: int = Field(64, ge=1, le=4096)
    memory_mb: int = Field(4096, ge=0)


class WorkerParams(Section):
    """Who encodes: this process alone (one thread), or so many workers. No result depends on it.

    `address` is of a running Dask or Ray cluster, whose machines see the same folders; without it
    one is started on this machine.
    """

    kind: Literal["threads", "processes", "dask", "ray"] = "threads"
    count: int = Field(1, ge=1, le=4096)
    address: str | None = None

    @model_validator(mode="after")
    def _address_of_a_cluster(self) -> Self:
        if self.address and self.kind not in ("dask", "ray"):
            raise ValueError(f"an address only of dask and ray, not of {self.kind}")
        return self
