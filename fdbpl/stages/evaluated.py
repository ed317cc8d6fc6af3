"""What was measured on a dataset, sure of its shape and of the parameters it was made with."""

from functools import partial

from pydantic import ValidationError

from fdbpl.evaluation.record import DatasetRecord
from fdbpl.settings.params import Params
from fdbpl.stages.made_with import MORE_SERVES, of_evaluation, require_made_with
from fdbpl.system.errors import UserError
from fdbpl.system.sealed import unsealed_json
from fdbpl.system.workspace import Workspace


def read_record(params: Params, dataset: str, work: Workspace) -> DatasetRecord:
    """Read what was measured on a dataset, sure that it is what the parameters ask for.

    Raises:
        UserError: it was not evaluated, the file is damaged, or it is of other parameters.
    """
    path, command = work.metrics(dataset), partial(work.command, "evaluate", dataset)
    try:
        record = DatasetRecord.model_validate(unsealed_json(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. Run {command()} first, or take the dataset off the list in "
            "params.yaml."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path}: of another fdbpl ({place}: {first['msg']}). Run {command()} again."
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}). Run {command()} again.") from None
    if record.dataset != dataset:
        raise UserError(
            f"{path}: of dataset {record.dataset!r}, wanted {dataset!r}. Run {command()} again."
        )
    require_made_with(path, record.made_with, of_evaluation(params, dataset), command, MORE_SERVES)
    return record
