"""Everything MLflow: the one package that imports it, and late, because that takes seconds."""

from fdbpl.tracking.runs import EXPERIMENT, Counts, record, store_uri

__all__ = ["EXPERIMENT", "Counts", "record", "store_uri"]
