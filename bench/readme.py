"""Put into README.md what was measured: `python -m bench.readme`, after `make demo`.

Photographs are read from docs/photographs.json, drawings and the picture from the demo's records.
With step=FILE end_to_end=FILE, what `bench.step` and `bench.end_to_end` wrote, the speeds too.
"""

import io
import json
from pathlib import Path
from typing import Any

import click

from bench import finding
from bench.end_to_end import RUNS
from bench.overview import overview
from fdbpl.cli.options import Command
from fdbpl.methods.registry import title_of
from fdbpl.reporting.tables import averages_table
from fdbpl.settings.params import DEFAULT_PATH, read_params
from fdbpl.stages.summary import read_summary
from fdbpl.system.files import write_whole
from fdbpl.system.workspace import Workspace
from studies.contrasts import BARE, OURS, OWN, TEMPLATE
from studies.measures import Measures
from studies.records import few_shot_measures, read_measures, read_photographs
from studies.results import PHOTOGRAPHS

CROPS = (1, 10, 50)
PARTS = {
    "learned contexts: ours, less the same without any": (OURS, BARE),
    "the source's regions: that, less the same without these": (BARE, OWN),
    "the bridge of own regions: that, less the template": (OWN, TEMPLATE),
    "ours, less the template": (OURS, TEMPLATE),
    "ours, less KDPL": (OURS, "kdpl"),
}
"""What is told of the parts that the result has: whose difference from whom."""
BY_LABELS = "ours, less GDA told by labels"

SHOWN = (
    *("zero_shot", "zero_shot_ensemble", "teacher", "linear_probe", "gda", "coop", "kgcoop"),
    *(
        "kdpl",
        "paper",
        "fdbpl_prompts",
        "coop_bridge",
        "template_own_bridge",
        "template_bridge",
        "fdbpl",
    ),
)
"""Methods whose averages a first reader needs; docs/photographs.md has them all."""

BY_SHOTS = ("zero_shot", "linear_probe", "gda", "template_bridge", "fdbpl", "teacher")
"""Likewise, of accuracies over shots."""


@click.command(cls=Command)
@click.argument("words", nargs=-1, metavar="[step=FILE end_to_end=FILE]")
def main(words: tuple[str, ...]) -> None:
    """Put into README.md what was measured, and its picture; of benchmarks the speeds too."""
    page = Path("README.md")
    files = dict(word.partition("=")[::2] for word in words)
    params = read_params(DEFAULT_PATH)
    measures = read_measures(Workspace(Path()), params)
    evidence = measures.only(lambda name: name not in params.development)
    if PHOTOGRAPHS.exists():
        photographed = read_photographs(PHOTOGRAPHS)[0]
        record = _read(PHOTOGRAPHS)
        shown = averages(record["evidence"], photographed.datasets())
        if "few_shot" in record:
            shown += f"\n{by_shots(few_shot_measures(record['few_shot']))}"
        finding.put("photographs", f"{parts(photographed)}\n{shown}", page)
    comparison, picture = read_summary(Workspace(Path()).comparison, "dvc repro"), io.BytesIO()
    finding.put("parts", parts(evidence), page)
    overview(comparison, evidence.datasets()).savefig(picture, metadata={"Software": None})
    write_whole(Path("docs/overview.png"), picture.getvalue())
    if files:
        steps, whole = (_read(Path(files[name])) for name in ("step", "end_to_end"))
        finding.put("speed", speed(steps, whole), page)


def parts(measured: Measures) -> str:
    """Return what each part of the method earns, in points with intervals over datasets."""
    heads = {"part": "points", "H": "H, each half by itself", "joint H": "H, all classes compete",
             "shifted": "accuracy, shifted pictures"}  # fmt: skip
    rows = [
        {"part": title}
        | {one: str(measured.difference((one, ours), (one, theirs))) for one in [*heads][1:]}
        for title, (ours, theirs) in PARTS.items()
    ]
    by_labels = str(measured.difference(("H", OURS), ("H", "gda")))
    rows.append({"part": BY_LABELS, "H": by_labels, "joint H": "-", "shifted": "-"})
    return f"{finding.rows(heads, rows)}\n"


def averages(comparison: dict[str, Any], datasets: list[str]) -> str:
    """Return the table of averages over datasets of photographs, of the methods `SHOWN`."""
    methods = {name: comparison["methods"][name] for name in SHOWN}
    seeds = methods[SHOWN[0]]["datasets"][datasets[0]]["seeds"]
    return (
        f"Averages over the {len(datasets)} datasets of photographs on which no choice was made "
        f"and {len(seeds)} seeds, per cent;\n[photographs](docs/photographs.md) has those of all "
        f"{len(comparison['methods'])} methods:\n\n"
        f"{averages_table({'methods': methods}, datasets)}\n"
    )


def by_shots(measured: Measures) -> str:
    """Return the averages by shots of each class, all learned, of the methods `BY_SHOTS`."""
    shots = sorted(measured.found, key=lambda name: int(name.split()[0]))
    heads = {"method": "method", **{name: name for name in shots}}
    rows = [
        {"method": title_of(method)} | {name: measured.mean(name, method) for name in shots}
        for method in BY_SHOTS
    ]
    return (
        "All classes learned, all competing, from few pictures of each. GDA and the linear probe "
        "read their\nlabels, the bridge and ours none:\n\n"
        f"{finding.rows(heads, rows)}\n"
    )


def speed(steps: dict[str, Any], whole: dict[str, Any]) -> str:
    """Return what a step costs three ways, and beside it what runs from nothing cost."""
    about = steps["options"]
    heads = {"classes": "classes", "a": "teacher and student online, s",
             "b": "teacher cached, s", "c": "fdbpl, s", "online_over_engine": "online / fdbpl",
             "teacher_cached_over_engine": "teacher cached / fdbpl"}  # fmt: skip
    ways = {"a": "online_ms", "b": "teacher_cached_ms", "c": "engine_ms"}
    rows = [{**row, **{key: row[ms] / 1000 for key, ms in ways.items()}} for row in steps["rows"]]
    ends = {"classes": "classes", "crops": "crops an image", "first_ratio": "first run",
            "runs_ratio": f"{RUNS} runs on one cache",
            "all_ratio": "all methods x 3 seeds"}  # fmt: skip
    off = max(max(row["loss_rel"], row["grad_rel"]) for row in steps["rows"])
    most = max(row["classes"] for row in whole["units"] if row["classes"] <= 100)
    units = [row for row in whole["units"] if row["classes"] == most and row["crops"] in CROPS]
    return (
        f"A training step of {about['student']} taught by {about['teacher']}, batch "
        f"{about['batch']}, {about['threads']} CPU thread, loss and\ngradient equal to {off:.0e}:"
        "\n\n"
        f"{finding.rows(heads, rows)}\n\n"
        "A step is not a run: the cache has to be built first. Times less than online from nothing "
        "to\nlearned prompts, counted from measured units:\n\n"
        f"{finding.rows(ends, units)}\n"
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
