"""Parameters, checked and written for all stages: python -m flows.parameters, as DVC calls it."""

import sys

from fdbpl.settings.params import DEFAULT_PATH, read_params
from fdbpl.settings.resolved import RESOLVED, resolved
from fdbpl.system.errors import exit_code
from fdbpl.system.files import write_whole

COMMAND = "python -m flows.parameters"


def write_resolved() -> None:
    """Write what `params.yaml` says."""
    write_whole(RESOLVED, resolved(read_params(DEFAULT_PATH)))


if __name__ == "__main__":
    sys.exit(exit_code(write_resolved))
