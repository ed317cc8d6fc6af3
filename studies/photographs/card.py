"""The card of the small models, docs/small.md: what they recognise, and what they do not know."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from fdbpl.data.dataset import GENERIC_TEMPLATE
from fdbpl.evaluation.statistics import Interval
from fdbpl.reporting.tables import markdown, number
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.machine import commit, machine
from studies.photographs.accuracies import QUALITY, SEEDS, SHORT_SIDE, SHOTS
from studies.photographs.measured import ROLES, Say, measured
from studies.photographs.plots import accuracies_picture
from studies.photographs.unheard import DRAWS

PICTURE = "small/accuracy.png"
COMMAND = "python -m studies.photographs --photos DIR --real DIR --step card"

Measured = Mapping[str, Any]
"""What the page is written from, as `measured` returns it and docs/small.json holds it."""


def write_card(photos: Path, real: Path | None, out: Path, docs: Path, say: Say) -> list[Path]:
    """Measure the packaged small models, and write small.md, small.json and the picture.

    Args:
        photos: where the tar files lie.
        real: holds photographs in full size in CoOp's layout; None to measure nothing on them.
        out: holds what was encoded before, and what is encoded now.
        docs: the folder to write into.
        say: told what was encoded.

    Returns:
        The paths written.

    Raises:
        UserError: the models' weights are not there; a tar file or a photograph is missing or
            damaged; or a caption holds a name of `studies.photographs.unheard.UNHEARD`.
    """
    found = measured(photos, real, out, say)
    about = f"commit {commit('fdbpl', 'studies') or 'unknown'}, on {', '.join(machine())}"
    contents = {
        "small.md": page(found, about).encode(),
        "small.json": readable_json(found),
        PICTURE: accuracies_picture(found["zero_shot"]),
    }
    for name, content in contents.items():
        write_whole(docs / name, content)
    return [docs / name for name in contents]


USE = """\
A pair of small CLIP-like models for photographs comes with fdbpl: nothing is downloaded. They know
the classes of eleven datasets and ImageNet's thousand by name, at 160 pixels, and little beyond.

```yaml
student: {architecture: fdbpl-small-student, weights: small}
teacher: {architecture: fdbpl-small-teacher, weights: small}
```

In Python: `api.load("fdbpl-small-student", "small")`.

A third, `fdbpl-small-vit`, has the student's text tower and a Vision Transformer of 64 pixels, for
methods that [prompt both towers](methods.md#prompts-in-both-towers). It knows less:
[both towers](both_towers.md) says how much."""

ZERO_SHOT = """\
Top-1 accuracy on the test part of each dataset, all its classes competing, in per cent, each name
under the dataset's template; chance is that of a guess. The text towers were trained on other
pictures of these very classes, under these very names: this says how well they know what they were
taught, and not what they make of classes that they were never told."""

UNHEARD = """\
Fifty everyday names of which no word stood in any caption, though pieces of it may have stood in
other words, each with its like: the class that it is most like. The classes of all datasets,
{classes} names, are ordered by how near the mean of their test pictures is to the name's text;
"nearest 5" is the share of names whose like is among the first five, with its exact 95 % interval.
In the templates of the likes' own datasets, such as "a photo of {{}}, a type of food.", the kind is
told as well, which narrows the choice; in "a photo of a {{}}." nothing is.

The p-values are of {draws} draws in which likes were handed out at random, among all names and
among those of one dataset only: how often the mean rank was as low, {least:.4f} being the least
that so many draws can show. The second asks for more than that the dataset was found."""

LIMITS = """\
- **Anything but what a picture shows as a whole.** Who people are and what they do, text, how many
  there are of a thing, and what stands where: captions named one class, and said nothing of these.
- **Fine names that they were not told.** Animals, plants, food and dishes are known only as far as
  ImageNet or one of the eleven datasets names them, cars by nine kinds of body and not by make.
- **Names outside ImageNet and the eleven datasets** are guesses by word vectors, as good and as bad
  as [the list](#names-that-no-caption-held) shows.
- **Detail.** The pictures that the text towers were trained on are {side} pixels on the short side
  at most, and the models look at 160.
- **tiny_imagenet is no evidence of new knowledge.** Its pictures were in the training part of
  ImageNet, on which both image towers were trained: the towers have seen them.
- **Fairness and safety** were not measured. They are for research, teaching and tests."""

ORIGINS = """\
- **Image towers**: EfficientNet-lite0 and -lite2 as trained on ImageNet, unchanged, read from
  packages of the Python index; Apache-2.0.
- **Words**: GloVe (Pennington et al. 2014, 6B, 50 dimensions); PDDL, the Public Domain Dedication
  and License.
- **Text towers and projections**: trained by `python -m studies.photographs --step models`.
- **Pictures**: tiny_imagenet (100 of 200 classes), caltech101, dtd (ten textures), cifar10,
  oxford_flowers, stanford_cars (kinds of body), grocery, clothing, rsscn7, scenes15 and
  intel_scenes, from public git repositories. Clothing may be "freely used for any purpose" and
  intel_scenes is CC0, as stated there; for the others nothing is stated, and their authors' terms
  hold. No picture is shipped."""


def page(found: Measured, about: str) -> str:
    """Return docs/small.md.

    Args:
        found: what was measured.
        about: commit and machine.
    """
    parts = [
        "# The small models",
        USE,
        _models(found["models"]),
        f"Written by `{COMMAND}` at {about}. No number in a table was typed by hand; "
        "[small.json](small.json) holds them all, and more digits.",
        "## What they recognise",
        ZERO_SHOT,
        _zero_shot_table(found["zero_shot"]),
        f"![Zero-shot accuracy by dataset, both models, and chance]({PICTURE})",
        f"## With {SHOTS} pictures of each class",
        *_probe_told(found["probe"]),
        "## On full-size photographs",
        *_full_size_told(found["full_size"]),
        "## Names that no caption held",
        *_unheard_told(found["unheard"]),
        "## What they do not know",
        LIMITS.format(side=SHORT_SIDE),
        "## What they are made of",
        ORIGINS,
    ]
    return "\n\n".join(parts) + "\n"


def _models(models: Measured) -> str:
    rows: list[tuple[str, ...]] = [
        ("", "architecture", "image tower", "pixels", "its parameters", "text parameters")
    ]
    for role, one in models.items():
        sizes = (f"{one[f'{tower}_parameters'] / 1e6:.1f} M" for tower in ("image", "text"))
        names = (one["architecture"], one["image_tower"], str(one["image_size"]))
        rows.append((role, *names, *sizes))
    return markdown(rows)


def _zero_shot_table(found: Measured) -> str:
    rows = [("dataset", "classes", "pictures", "chance", *ROLES)]
    for dataset, one in found.items():
        counts = (f"{one[key]:,}" for key in ("classes", "pictures"))
        rows.append((dataset, *counts, *(number(one[key]) for key in ("chance", *ROLES))))
    averages = (mean(one[key] for one in found.values()) for key in ("chance", *ROLES))
    return markdown([*rows, ("**average**", "", "", *map(number, averages))])


def _probe_told(found: Measured) -> Iterator[str]:
    yield (
        f"A linear probe, the method `linear_probe`, on the student's features of {SHOTS} whole "
        "pictures of each base class, the first half of the classes; accuracy on the test pictures "
        f"of base classes, in per cent, mean of seeds {', '.join(map(str, SEEDS))}."
    )
    means = {dataset: mean(one["seeds"].values()) for dataset, one in found.items()}
    rows = [
        (dataset, str(found[dataset]["base_classes"]), number(value))
        for dataset, value in means.items()
    ]
    average = ("**average**", "", number(mean(means.values())))
    yield markdown([("dataset", "base classes", "linear probe"), *rows, average])


def _full_size_told(found: Measured | None) -> Iterator[str]:
    if found is None:
        yield "This was not measured: no folder of photographs in full size was named by `--real`."
        return
    yield (
        "Zero-shot top-1 accuracy on photographs as they were published, and on the same ones made "
        f"{SHORT_SIDE} pixels on the short side (bicubic, JPEG quality {QUALITY}) first, over the "
        "classes that are there, with a 95 % interval of the difference over pictures. Some of "
        "these pictures stand in the pretrain parts as well, so only the two are to be compared: "
        "neither is an accuracy on pictures that were never seen."
    )
    rows: list[tuple[str, ...]] = [
        ("dataset", "classes", "pictures", "model", "full size", "made small", "difference")
    ]
    for dataset, one in found.items():
        counts = (f"{one[key]:,}" for key in ("classes", "pictures"))
        head = (dataset, *counts)
        for role in ROLES:
            values = (number(one[role][key]) for key in ("full_size", "small"))
            rows.append((*head, role, *values, str(Interval(**one[role]["gain"]))))
    yield markdown(rows)
    gains = [
        (f"{role} on {dataset}", Interval(**one[role]["gain"]).sign)
        for dataset, one in found.items()
        for role in ROLES
    ]
    told = {1: "Full size is better", 0: "no difference can be told", -1: "full size is worse"}
    said = (
        f"{text} for {', '.join(of) or 'none'}"
        for sign, text in told.items()
        for of in [[name for name, own in gains if own == sign]]
    )
    yield f"{'; '.join(said)}."


TEMPLATES = {"own": "own", "generic": f'"{GENERIC_TEMPLATE}"'}


def _unheard_told(found: Measured) -> Iterator[str]:
    first = next(iter(found["summaries"].values()))["own"]
    yield UNHEARD.format(classes=found["classes"], draws=f"{DRAWS:,}", least=1 / (1 + DRAWS))
    titles = (f"nearest {one['nearest']}" for one in first["shares"])
    rows = [("model, template", "median rank", *titles, "p", "p within datasets")]
    for role, by_template in found["summaries"].items():
        for template, one in by_template.items():
            shares = (
                f"{100 * s['share']:.0f} % ({100 * s['low']:.0f} to {100 * s['high']:.0f})"
                for s in one["shares"]
            )
            ps = (f"{one[key]:.4f}" for key in ("p", "p_within"))
            title = f"{role}, {TEMPLATES[template]}"
            rows.append((title, f"{one['median']:g}", *shares, *ps))
    chances = (f"{100 * one['chance']:.1f} %" for one in first["shares"])
    rows.append(("chance", f"{(found['classes'] + 1) / 2:g}", *chances, "", ""))
    yield markdown(rows)
    yield "Every name in its like's template: the rank of its like, and what stood nearest instead."
    names = [("name", "like", "dataset", *(f"{role}: rank" for role in ROLES), "student: nearest")]
    for one in found["names"]:
        held = (str(one[role]["rank"]) for role in ROLES)
        nearest = one["student"]["nearest"] if one["student"]["rank"] > 1 else ""
        names.append((one["name"], one["like"], one["dataset"], *held, nearest))
    yield markdown(names)
