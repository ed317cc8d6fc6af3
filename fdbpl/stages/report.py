"""The report of a run: one HTML file with the comparison, and each dataset looked at closely."""

from pathlib import Path

from fdbpl.evaluation.record import DatasetRecord
from fdbpl.html.dataset import dataset_part
from fdbpl.html.element import Html, joined
from fdbpl.html.page import page
from fdbpl.html.plot import plot
from fdbpl.html.table import of_markdown
from fdbpl.reporting.section import WIDTH, Section
from fdbpl.settings.params import Params
from fdbpl.stages.carried import text_tower
from fdbpl.stages.compare import compared
from fdbpl.stages.dataset_report import dataset_report
from fdbpl.stages.evaluated import read_record
from fdbpl.system.errors import UserError
from fdbpl.system.files import write_whole
from fdbpl.system.progress import progress
from fdbpl.system.workspace import Workspace

DEFAULT = "fdbpl"
"""The method that is looked at closely where nobody names one."""


def report(
    params: Params, work: Workspace, out: Path, method: str | None = None, seed: int | None = None
) -> str:
    """Write the report of a run as one HTML file; return what to tell the user.

    Args:
        params: that the workspace was made with.
        work: in which every dataset of the parameters has been evaluated.
        out: the file.
        method: that is looked at closely; by default `fdbpl`, or else the last of the parameters.
        seed: of its training; by default the first of the parameters.

    Raises:
        UserError: no such method or seed, or something is missing, damaged or of other parameters.
    """
    method = method or (DEFAULT if DEFAULT in params.methods else params.methods[-1])
    seed = params.seeds[0] if seed is None else seed
    _require("method", method, params.methods)
    _require("seed", seed, params.seeds)
    found, _, published = compared(params, work)
    sections = [("Comparison", _comparison(found, published))]
    carry = text_tower(params, work)
    with progress("looking at mistakes") as tell:
        for done, name in enumerate(params.datasets):
            tell(done, len(params.datasets))
            record: DatasetRecord = read_record(params, name, work)
            shown = dataset_report(params, record, work, method, seed, carry)
            sections.append((name, dataset_part(shown)))
    count, seeds = len(params.methods), len(params.seeds)
    lines = [
        f"{len(params.datasets)} datasets, {count} methods, {seeds} seeds. Student: "
        f"{params.student.architecture}, weights {params.student.weights}. Teacher: "
        f"{params.teacher.architecture}, weights {params.teacher.weights}.",
        f"Each dataset is looked at closely for one method and seed: "
        f"{params.method(method).title}, seed {seed}.",
    ]
    data = page("Report of a run of fdbpl", lines, sections)
    write_whole(out, data)
    return f"{len(params.datasets)} datasets, {len(data) / 1e6:.1f} MB: {out}"


def _require(option: str, value: object, known: list[str] | list[int]) -> None:
    if value not in known:
        raise UserError(
            f"--{option} is {value!r}, wanted one of params.yaml's: {', '.join(map(str, known))}."
        )


def _comparison(sections: list[Section], published: list[str]) -> Html:
    """Return each protocol's tables and its plot, then published numbers."""
    parts: list[Html] = []
    for number, one in enumerate(sections):
        parts += map(of_markdown, one.tables)
        if one.draw is not None:
            words = "Accuracies of methods, as in the tables"
            parts.append(plot(one.draw, WIDTH, one.height, f"{words} ({number + 1})"))
    return joined(*parts, *map(of_markdown, published))
