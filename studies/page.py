"""The page of results: photographs, a summary of drawings from evidence alone, the long tables."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fdbpl.evaluation.statistics import COVERAGE
from fdbpl.methods.registry import title_of
from fdbpl.settings.params import Params
from studies.contrasts import FAILS, HOLDS, TEMPLATE, UNKNOWN, contrasts, sentences, verdicts
from studies.measures import Measures
from studies.tables import accuracies, by_dataset, folded, ood, transfer

SEVERAL = {HOLDS: "hold", FAILS: "do not hold", UNKNOWN: "were not measured"}
NO_TRANSFER = "No record. Add transfer to protocols in params.yaml, and run `dvc repro`."


def page(
    params: Params,
    measures: Measures,
    about: str,
    further: Mapping[str, str],
    photographs: Sequence[Measures] = (),
) -> str:
    """Return docs/results.md.

    Args:
        params: they say which datasets choices were made on.
        measures: of all drawn datasets.
        about: commit and machine.
        further: what else the page shows, by title.
        photographs: what `studies.records.read_photographs` returns, where there is any.
    """
    evidence = measures.only(lambda name: name not in params.development)
    developed = measures.only(lambda name: name in params.development)
    chosen = ", ".join(developed.datasets()) or "datasets that params.yaml does not name"
    development = [f"Choices were made on {chosen}: this is no evidence."]
    if developed.methods():
        development += [accuracies(developed), by_dataset(developed)]
    tables = {
        "By dataset": [by_dataset(evidence)],
        "Transfer": [*transfer(evidence)] or [NO_TRANSFER],
        "OOD detection": [*ood(evidence)] or ["No record. Run `dvc repro`, or `fdbpl ood`."],
        "Development": development,
        **{title: [text.strip()] for title, text in further.items()},
    }
    parts = [
        "# Results",
        f"Written by `python -m studies.results` at {about}. No number here was typed by hand.",
        *_photographed(evidence, photographs),
        "## In plain words, from evidence alone",
        f"{len(evidence.datasets())} datasets: {', '.join(evidence.datasets())}.",
        accuracies(evidence),
        sentences(contrasts(evidence), evidence, photographs),
        "## How it was measured",
        how(params),
        "## The tables",
        *(folded(title, shown) for title, shown in tables.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _photographed(drawn: Measures, photographs: Sequence[Measures]) -> Iterator[str]:
    """Yield a summary of photographs, and how many claims on drawings hold there."""
    if not photographs:
        return
    first = photographs[0]
    told = [verdict for one in contrasts(drawn) for verdict, _ in verdicts(one, drawn, photographs)]
    counts = Counter(told)
    tally = ", ".join(f"{counts[one]} {several}" for one, several in SEVERAL.items())
    yield "## Photographs, from evidence alone"
    yield (
        f"{len(first.datasets())} datasets: {', '.join(first.datasets())}. "
        "[Photographs](photographs.md) shows them, and says what they are evidence of; "
        "[trials](trials.md) lists what was tried on others before, each with its interval."
    )
    yield accuracies(first)
    yield (
        "All that follows is of drawn datasets. Below every sentence stands whether it holds on "
        f"photographs: of all figures {tally}. A figure holds where its interval and that of "
        "photographs lie on the same side of 0, or both about it."
    )


def how(params: Params) -> str:
    """Say by what, and of which figures, a page is."""
    regions, train = params.regions, params.train
    models = (
        f"{role} {model.architecture} ({Path(model.weights).name})"
        for role, model in (("student", params.student), ("teacher", params.teacher))
    )
    options = f"; options {params.objectives}" if params.objectives else ""
    return (
        f"Of {', '.join(models)}; {params.counts[-1]} shots, "
        f"seeds {', '.join(map(str, params.seeds))}; "
        f"{regions.per_image} regions an image of {regions.scale[0]:g} to {regions.scale[1]:g} of "
        f"its area; {train.epochs} epochs, batch {train.batch}, rate {train.lr:g}{options}.\n\n"
        "Per cent everywhere. Base and new are each tested apart, joint base and joint new where "
        "all classes compete; H is that of the averages. Of the linear probe, Tip-Adapter and GDA "
        "joint figures are those of two classifiers side by side, theirs and the template's, on "
        "whose levels nobody agreed: nothing is claimed against them. Seeds are averaged first. "
        f"A difference is paired by dataset; behind it stands its {COVERAGE} % "
        "t-interval over datasets, that of H by the delta method. Who beats, or falls behind, has "
        "one without 0: where nothing differs, one in twenty still has. Each dataset's own "
        f"hand-written template is called {title_of(TEMPLATE)}."
    )
