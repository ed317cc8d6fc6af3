"""Everything MLflow: the one package that imports it, and late, because that takes seconds."""

from fdbpl.tracking.models import REGISTERED
from fdbpl.tracking.runs import EXPERIMENT, Counts, artifacts_uri, record, store_uri

__all__ = ["EXPERIMENT", "REGISTERED", "Counts", "artifacts_uri", "record", "store_uri"]
