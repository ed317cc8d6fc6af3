"""Everything MLflow: the one package that imports it, and late, because that takes seconds."""

from fdbpl.tracking.runs import (
    EXPERIMENT,
    Counts,
    artifacts_uri,
    record,
    store_uri,
)

__all__ = ["EXPERIMENT", "Counts", "artifacts_uri", "record", "store_uri"]
