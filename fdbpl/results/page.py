"""The whole page, from worlds, costs, parameters and the machine it was written on."""

from collections.abc import Iterator, Sequence

from fdbpl.evaluation.statistics import COVERAGE
from fdbpl.params import ModelParams, Params
from fdbpl.reporting.tables import TITLES, markdown
from fdbpl.results import sections
from fdbpl.results.costs import REAL, Cost
from fdbpl.results.sections import Section
from fdbpl.results.together import together
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
    of_each = [
        *_sections(world, evidence, developed),
        *(
            (f"{other.title}, {title}", section)
            for other in others
            for title, section in _parts_of_other(other, params.development)
        ),
    ]
    of_all = list(_of_all([world, *others], evidence, developed)) if others else []
    of_development = list(_sections(world, developed, evidence, shifted=False))
    parts = [
        "# Results",
        f"Written by `fdbpl results` at commit {commit or 'unknown'}, on {', '.join(machine)}. "
        "No number here was typed by hand.",
        _how(params, world, 1 + len(others)),
        "## In plain words, from evidence alone",
        *_plainly(of_all or of_each, [world, *others], evidence),
        *_titled([(f"Evidence: {title}", one.body) for title, one in of_all], "##"),
        *_titled([(f"Evidence: {title}", _with_words(one)) for title, one in of_each], "##"),
        *_missing(world),
        "## Development",
        f"Choices were made on {', '.join(developed)}: what follows is no evidence."
        if developed
        else "params.yaml names no development datasets, so choices may have been made on any.",
        *_titled([(f"Development: {title}", one.body) for title, one in of_development], "###"),
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


def _of_all(
    worlds: Sequence[World], datasets: Sequence[str], apart: Sequence[str]
) -> Iterator[tuple[str, Section]]:
    """Yield the sections of what all worlds have of these datasets, taken together."""
    joined = together(worlds)
    if not joined.methods:
        return
    shared = [name for name in datasets if name in joined.datasets]
    for title, section in _sections(joined, shared, apart):
        yield f"{joined.title}, {title}", section


def _plainly(
    told: Sequence[tuple[str, Section]], worlds: Sequence[World], datasets: Sequence[str]
) -> Iterator[str]:
    """Yield what the sections say, and what each of several worlds says by itself in short."""
    lines = [f"- {title}: {line}" for title, one in told for line in one.verdicts]
    yield "\n".join(lines) or "Nothing to say yet."
    if len(worlds) == 1:
        return
    counts = [
        f"{above} of {len(shared)} in {world.title}"
        for world in worlds
        if (shared := [name for name in datasets if name in world.datasets])
        and (above := sections.above_generic(world, shared))
    ]
    yield (
        f"All worlds are {', '.join(world.title for world in worlds)} taken together: a "
        "dataset's runs are those of all. What each says by itself stands in its own sections. "
        + (f"Datasets above the generic prompt: {', '.join(counts)}." if counts else "")
    ).strip()


def _with_words(section: Section) -> str:
    """Return what a section says and then its body."""
    words = "\n".join(f"- {line}" for line in section.verdicts)
    return f"{words}\n\n{section.body}" if words else section.body


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


def _titled(found: Sequence[tuple[str, str]], level: str) -> Iterator[str]:
    """Yield titles and bodies; a title that repeats stands once."""
    before = ""
    for title, body in found:
        if title != before:
            yield f"{level} {title[0].upper()}{title[1:]}"
        before = title
        yield body


def _missing(world: World) -> Iterator[str]:
    """Say how to make the records that are not there."""
    if world.transfer is None:
        yield "Cross-dataset and shifted: no record. Run `dvc repro`, or `fdbpl transfer`."
    if world.rejection is None:
        yield "Rejection: no record. Run `dvc repro`, or `fdbpl rejection`."


def _how(params: Params, world: World, worlds: int) -> str:
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
        "and within them seeds. "
        + (
            "Where worlds are taken together, all runs of a dataset are drawn from as one pool. "
            if worlds > 1
            else ""
        )
        + "With as few datasets as here such an interval is somewhat too narrow."
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
