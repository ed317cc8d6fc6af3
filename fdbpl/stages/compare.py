"""Stage 5: one table and one picture over all datasets."""

import io
import json

from fdbpl import reporting
from fdbpl.errors import UserError
from fdbpl.files import readable_json, write_whole
from fdbpl.params import Params
from fdbpl.workspace import Workspace


def compare(params: Params, work: Workspace) -> list[str]:
    """Write metrics/compare.json, .md and .png; return the table to print.

    Raises:
        UserError: a dataset of the list has not been evaluated.
    """
    records = {}
    for dataset in params.datasets:
        path = work.metrics(dataset)
        try:
            records[dataset] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file. Run fdbpl evaluate {dataset} first, or take the dataset "
                "off the list in params.yaml."
            ) from None
        missing = set(params.methods) - set(records[dataset]["methods"])
        if missing:
            raise UserError(
                f"{path}: no results of {', '.join(sorted(missing))}. "
                f"Run fdbpl evaluate {dataset} again."
            )
    comparison = reporting.compare(records)
    text = f"{reporting.averages_table(comparison)}\n\n{reporting.datasets_table(comparison)}\n"
    picture = io.BytesIO()
    reporting.plot(comparison, picture)
    write_whole(work.comparison("json"), readable_json(comparison))
    write_whole(work.comparison("md"), text.encode())
    write_whole(work.comparison("png"), picture.getvalue())
    return [
        f"H of base and new accuracy in per cent, {len(params.seeds)} seeds, "
        f"{len(records)} datasets, average first:",
        "",
        text,
        f"Written: {work.comparison('json')}, .md, .png",
    ]
