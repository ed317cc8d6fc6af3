"""Everything MLflow: the one package that imports it, and late, because that takes seconds."""

from fdbpl.tracking.models import REGISTERED
from fdbpl.tracking.runs import EXPERIMENT, Counts, record
from fdbpl.tracking.uris import FOLDER, SETTING, artifacts_uri, store_uri

__all__ = [
    "EXPERIMENT",
    "FOLDER",
    "REGISTERED",
    "SETTING",
    "Counts",
    "artifacts_uri",
    "record",
    "store_uri",
]
