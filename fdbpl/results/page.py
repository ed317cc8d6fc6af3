"""The whole page, from worlds, costs, parameters and the machine it was written on."""

from collections.abc import Iterator, Sequence

from fdbpl.evaluation.statistics import COVERAGE
from fdbpl.params import ModelParams, Params
from fdbpl.reporting.tables import TITLES, markdown
from fdbpl.results import sections
from fdbpl.results.costs import REAL, Cost
from fdbpl.results.sections import Section
from fdbpl.results.world import World


def page(
    params: Params,
    world: World,
    others: Sequence[World],
    costs: Sequence[Cost],
    *,
    commit: str,
    machine: Sequence[str],
    ablation: str | None = None,
) -> str:
    """Return docs/results.md.

    Args:
        params: they say which datasets choices were made on.
        world: the records that the parameters describe.
        others: further worlds, in which nothing was chosen.
        costs: of the trained methods, on the first dataset.
        commit: of the code that writes the page.
        machine: processor and versions.
        ablation: the table that `fdbpl ablate` wrote, where it did.
    """
    developed = [name for name in world.datasets if name in params.development]
    evidence = [name for name in world.datasets if name not in params.development]
    of_evidence = list(_sections(world, evidence, developed))
    of_others = [
        (f"{other.title}, {title}", section)
        for other in others
        for title, section in _parts_of_other(other, params.development)
    ]
    of_development = list(_sections(world, developed, evidence, shifted=False))
    told = [(title, line) for title, one in [*of_evidence, *of_others] for line in one.verdicts]
    parts = [
        "# Results",
        f"Written by `fdbpl results` at commit {commit or 'unknown'}, on {', '.join(machine)}. "
        "No number here was typed by hand.",
        _how(params, world),
        "## In plain words, from evidence alone",
        "\n".join(f"- {title}: {line}" for title, line in told) or "Nothing to say yet.",
        *_titled([(f"Evidence: {title}", one) for title, one in of_evidence], "##"),
        *_missing(world),
        *_titled([(f"Evidence: {title}", one) for title, one in of_others], "##"),
        "## Development",
        f"Choices were made on {', '.join(developed)}: what follows is no evidence."
        if developed
        else "params.yaml names no development datasets, so choices may have been made on any.",
        *_titled([(f"Development: {title}", one) for title, one in of_development], "###"),
        *(["### Development: what was tried", ablation.strip()] if ablation else []),
        "## Costs",
        _costs(costs, params, world),
    ]
    return "\n\n".join(parts) + "\n"


def _sections(
    world: World, datasets: Sequence[str], apart: Sequence[str], *, shifted: bool = True
) -> Iterator[tuple[str, Section]]:
    """Yield titled sections of some datasets; `shifted` versions are no datasets of the list."""
    if not datasets:
        return
    yield "base to new", sections.base_to_new(world, datasets)
    for section in sections.transfer(world, None if shifted else datasets, apart):
        yield "transfer", section
    if rejected := sections.rejection(world, datasets):
        yield "rejection, AUROC", rejected


def _parts_of_other(world: World, development: Sequence[str]) -> Iterator[tuple[str, Section]]:
    """Yield the sections of a world in which nothing was chosen.

    Datasets that share a name with a development dataset stand apart: their kind is known.
    """
    fresh = [name for name in world.datasets if name not in development]
    kindred = [name for name in world.datasets if name in development]
    yield from _sections(world, fresh, kindred)
    if fresh and kindred:
        for title, section in _sections(world, kindred, fresh, shifted=False):
            yield f"{title}, kinds that development knows", section


def _titled(found: Sequence[tuple[str, Section]], level: str) -> Iterator[str]:
    """Yield titles and bodies; a title that repeats stands once."""
    before = ""
    for title, section in found:
        if title != before:
            yield f"{level} {title[0].upper()}{title[1:]}"
        before = title
        yield section.body


def _missing(world: World) -> Iterator[str]:
    """Say how to make the records that are not there."""
    if world.transfer is None:
        yield "Cross-dataset and shifted: no record. Run `dvc repro`, or `fdbpl transfer`."
    if world.rejection is None:
        yield "Rejection: no record. Run `dvc repro`, or `fdbpl rejection`."


def _how(params: Params, world: World) -> str:
    regions, train = params.regions, params.train
    objectives = "; ".join(
        f"{preset}: {', '.join(f'{name} {value}' for name, value in options.items())}"
        for preset, options in params.objectives.items()
    )
    return (
        f"Student {_model(params.student)}, teacher {_model(params.teacher)}; {params.shots} "
        f"shots, seeds {', '.join(world.seeds)}; {regions.per_image} regions an image of "
        f"{regions.scale[0]:g} to {regions.scale[1]:g} of its area; {train.epochs} epochs, batch "
        f"{train.batch}, rate {train.lr:g}"
        + (f"; options of {objectives}" if objectives else "")
        + ". Per cent everywhere. H is that of the averaged halves, as the field publishes it; "
        "mean H is the mean over datasets and seeds. Differences are paired by dataset and seed: "
        f"the mean, and its {COVERAGE} % interval by a percentile bootstrap that draws datasets, "
        "and within them seeds. With as few datasets as here such an interval is somewhat too "
        "narrow."
    )


def _model(model: ModelParams) -> str:
    return f"{model.architecture} ({model.weights})"


def _costs(costs: Sequence[Cost], params: Params, world: World) -> str:
    rows: list[tuple[str, ...]] = [
        ("method", "learned numbers", f"the same in {REAL}", "remembered numbers", "seconds")
    ]
    rows += [
        (
            TITLES[one.method],
            *(f"{count:,}" for count in (one.learned, one.learned_real, one.remembered)),
            f"{one.seconds:.1f}",
        )
        for one in costs
    ]
    return (
        f"Seconds to train one method with {len(params.seeds)} seeds on {world.datasets[0]}, from "
        f"its caches, by the stage train-student: measured once, as this page was written.\n\n"
        f"{markdown(rows)}"
    )
