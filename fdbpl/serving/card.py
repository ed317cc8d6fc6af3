"""The model card: what a model knows, how well, how it was learned, and how to use it."""

import io
import re
import shlex
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from fdbpl.methods.registry import title_of
from fdbpl.serving.figures import TEST_IMAGES, weakest
from fdbpl.serving.model_folder import CARD, About

PICTURE = "card.png"
SHOWN = 40
"""Classes drawn at most: the weakest."""
LONGEST = 40
"""Characters of a class name that are drawn."""


def card_files(about: About) -> dict[str, bytes]:
    """Return the card's files by name: Markdown, and a picture."""
    return {CARD: card(about).encode(), PICTURE: picture(about.measured["classes"])}


def card(about: About) -> str:
    """Return the card in Markdown, with the header that model hubs read."""
    measured = about.measured
    what = "accuracy" if measured["labels"] == "told" else "agreement with the teacher"
    names, seen = list(map(plain, about.class_names)), about.made["calibrated_on"]
    listed = ", ".join(names) if len(names) <= SHOWN else f"{', '.join(names[:SHOWN])}, ..."
    limits = [
        f"| {kept} | {limit:.2f} | {measured['kept'][str(kept)]:.1f} | "
        f"{measured['refused'][str(kept)]:.1f} |{_unknown(measured, kept)}"
        for kept, limit in about.thresholds.items()
    ]
    unknown = measured.get("unknown")
    head = f" of {unknown['pictures']:,} pictures of none of them |" if unknown else ""
    weak = weakest(measured["classes"])
    return f"""---
library_name: fdbpl
pipeline_tag: image-classification
tags: [fdbpl, clip, {about.method}]
---

# {plain(about.name)}

Tells {len(names)} classes of pictures apart: {listed}.

    pip install fdbpl
    fdbpl predict {shlex.quote(about.name)} PICTURES

![How often each class is found, and what it is taken for]({PICTURE})

## How good it is

{what.capitalize()} on {measured["pictures"]:,} {seen}, all {len(names)} classes \
competing: **{measured["accuracy"]:.1f} %** ({measured["low"]:.1f} to {measured["high"]:.1f}).
{origin(about)}{_by_halves(measured)}{_tried(about, what)}

{("Weakest classes: " + plain("; ".join(weak)) + ".") if weak else "No class is ever missed."}

## Pictures of something else

A picture whose score is below a threshold is told as "none of these". Of pictures whose own class
was taken off the list, so many are refused:

| threshold for | score | {seen} kept, % | own class off the list, refused, % |{head}
| ---: | ---: | ---: | ---: |{" ---: |" if unknown else ""}
{chr(10).join(limits)}

Probabilities are softmax(logits / {about.temperature:.3g}), fitted on the {seen}.

## How it was learned

{_learned(about)}, by fdbpl {about.fdbpl}.
Student: {about.student["architecture"]}, weights {about.weights}. Teacher: \
{about.teacher["architecture"]}, weights {about.teacher["weights"]}.
Prompt: "{plain(about.template)}"
"""


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line and in a table's cell."""
    return re.sub(r"([\\`*_\[\]<>#|~$&])", r"\\\1", " ".join(text.split()))


def origin(about: About) -> str:
    """Say where the pictures come from by which a model was measured and calibrated."""
    made = about.made
    if made.get("calibrated_on") == TEST_IMAGES:
        kept = made["features"]
        how = "they are encoded under the learned tokens"
        if kept:
            tower = f"{kept['precision']} tower, kept as {kept['payload']}"
            how = f"their features lie in its cache ({tower})"
        return (
            f"They are those of {made['dataset']}, as {how}. Nothing was learned from them, but "
            "the probabilities and thresholds below are fitted on them."
        )
    if about.measured.get("chosen_by_test"):
        return (
            "They were set apart by whoever gave them. Nothing was learned from them, but the "
            "method was chosen, and the probabilities and thresholds below are fitted, on them."
        )
    if about.measured["own_test"]:
        return "They were set apart by whoever gave them; nothing was learned or chosen by them."
    return (
        f"Held out by turns: {made['folds']} trainings leave a part out each; the model is of all."
    )


def _by_halves(measured: Mapping[str, Any]) -> str:
    """Tell base-to-new accuracies, where half of the classes was learned."""
    found = measured.get("protocol", {})
    if "base" not in found:
        return ""
    return (
        f"\nEach half of the classes by itself: {found['base']:.1f} % of the base half, which was "
        f"learned, {found['new']:.1f} % of the new half, H {found['h']:.1f}."
    )


def _tried(about: About, what: str) -> str:
    tried = sorted(about.measured["tried"].items(), key=lambda pair: -pair[1])
    if len(tried) == 1:
        return f"\nMethod: {plain(about.title)}."
    rows = [f"| {plain(title_of(name))} | {value:.1f} |" for name, value in tried]
    taken = plain(title_of(about.method))
    return f"""

| method tried | {what}, per cent |
| --- | ---: |
{chr(10).join(rows)}

Taken: {taken}. Chosen on these pictures, it may do a little worse on new ones."""


def _learned(about: About) -> str:
    made = about.made
    if not made["pictures"]:
        return "From no pictures: the class names alone decide"
    shots = "all" if made["shots"] == "all" else f"at most {made['shots']} of each class"
    learned, count = made.get("learned_classes"), len(about.class_names)
    classes = "" if learned in (None, count) else f" of {learned} names"
    return (
        f"From {made['pictures']:,} pictures{classes} ({shots}), {_teaching(made)}, "
        f"{made['crops']} random regions of each, seed {made['seed']}"
    )


def _teaching(made: Mapping[str, Any]) -> str:
    if made["labels"] == "told":
        return "each with its class"
    return "whose classes nobody told: the teacher taught"


def _unknown(measured: Mapping[str, Any], kept: int) -> str:
    unknown = measured.get("unknown")
    return f" {unknown['refused'][str(kept)]:.1f} |" if unknown else ""


def picture(classes: Mapping[str, Mapping[str, int]]) -> bytes:
    """Draw, as PNG, how often the weakest classes are found, and what their pictures are taken for.

    Args:
        classes: by class, how many of its pictures were taken for what.
    """
    from matplotlib.figure import Figure  # takes half a second, and only this function needs it

    found = {
        name: taken.get(name, 0) / sum(taken.values()) for name, taken in classes.items() if taken
    }
    names = sorted(found, key=lambda name: found[name])[:SHOWN]
    shown = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in names]
    side = 1.6 + 0.26 * len(names)
    figure = Figure(figsize=(4.6 + side, max(2.6, side)), layout="constrained")
    bars, matrix = figure.subplots(1, 2, width_ratios=[3, side])
    places = np.arange(len(names))
    bars.barh(places, [100 * found[name] for name in names], color="C0")
    bars.set(xlim=(0, 100), xlabel="found, %")
    bars.set_yticks(places, shown, parse_math=False)  # a $ is a $
    bars.invert_yaxis()
    shares = np.array(
        [
            [classes[true].get(other, 0) / sum(classes[true].values()) for other in names]
            for true in names
        ]
    )
    matrix.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    matrix.set(xlabel="taken for", ylabel="shows")
    matrix.set_xticks(places, shown, rotation=90, parse_math=False)
    matrix.set_yticks(places, shown, parse_math=False)
    for row, column in np.argwhere(shares >= 0.05):
        colour = "white" if shares[row, column] > 0.6 else "black"
        matrix.text(
            column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center",
            color=colour, fontsize=7,
        )  # fmt: skip
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that its font lacks
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
