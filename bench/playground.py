"""Judge the playground by criteria that know nothing of the method: `python -m bench.playground`.

Writes docs/playground.md and its contact sheets. CoOp and a memory of looks are written out plainly
here, with open_clip alone, so that the playground is not judged by the code that it later serves to
test. Before EDITION is raised, the figures of the old drawings move into a file of RECORD's name.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from bench.plain_clip import Model, Pixels
from fdbpl.data.dataset import GENERIC_TEMPLATE
from fdbpl.playground import datasets, tiny
from fdbpl.system.files import write_whole

HERE = Path(__file__).parent
RECORD = "playground-edition-{}.md"  # in HERE: the figures of an edition that was withdrawn
LEARNED_FROM = datasets.DATASETS[0]  # what the shifted versions are versions of
SEEDS = (1, 2, 3)
SHOTS, CROPS, EPOCHS, BATCH = 16, 10, 50, 32


@dataclass(frozen=True)
class Sample:
    """A drawn dataset in memory: pixels and labels of its training and test images."""

    drawn: datasets.Drawn
    train: Pixels
    train_labels: NDArray[np.intp]
    test: Pixels
    test_labels: NDArray[np.intp]

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.drawn.sorted_classes]

    @property
    def halves(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        labels = np.arange(len(self.drawn.classes))
        base = (len(labels) + 1) // 2
        return labels[:base], labels[base:]


def load(name: str) -> Sample:
    drawn = datasets.definition(name)
    train, test = (datasets.pixels(name, split)[0] for split in ("train", "test"))
    labels = [np.arange(len(images)) % len(drawn.classes) for images in (train, test)]
    return Sample(drawn, train, labels[0], test, labels[1])


Pair = tuple[float, float]  # accuracy on base and on new, per cent


def accuracies(
    sample: Sample, features: Tensor, classifier: Callable[[Sequence[str]], Tensor]
) -> Pair:
    """Test each half in the label space of that half only."""
    result = []
    for half in sample.halves:
        rows = np.isin(sample.test_labels, half)
        vectors = classifier([sample.names[k] for k in half])
        found = (features[torch.from_numpy(rows)] @ vectors.T).argmax(1).numpy() + half[0]
        result.append(100 * float((found == sample.test_labels[rows]).mean()))
    return result[0], result[1]


def crop_boxes(rng: np.random.Generator, n: int, side: int) -> list[tuple[int, ...]]:
    """Draw boxes by the law of torchvision's RandomResizedCrop, scale 0.08 to 1."""
    boxes = []
    for _ in range(n):
        for _ in range(10):
            area = rng.uniform(0.08, 1.0) * side * side
            ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if w <= side and h <= side:
                break
        else:
            w = h = side
        x, y = int(rng.integers(0, side - w + 1)), int(rng.integers(0, side - h + 1))
        boxes.append((x, y, x + w, y + h))
    return boxes


def coop(student: Model, sample: Sample, seed: int, lr: float) -> Tensor:
    """Return the context that CoOp learns on the base half, from cached crops."""
    rng = np.random.default_rng(seed)
    base = sample.halves[0]
    shots = [rng.permutation(np.flatnonzero(sample.train_labels == c))[:SHOTS] for c in base]
    chosen = np.concatenate(shots)
    pixels = np.repeat(sample.train[chosen], CROPS, 0)
    flipped = rng.random(len(pixels)) < 0.5
    pixels[flipped] = pixels[flipped, :, ::-1]
    features = student.images(pixels, crop_boxes(rng, len(pixels), datasets.SIZE))
    features = features.view(len(chosen), CROPS, -1)
    labels = torch.from_numpy(sample.train_labels[chosen])

    context, classifier = student.prompted([sample.names[k] for k in base])
    context.requires_grad_(True)
    optimiser = torch.optim.SGD([context], lr, momentum=0.9, weight_decay=5e-4)
    draws = torch.Generator().manual_seed(seed)
    for epoch in range(EPOCHS):
        warm_up = epoch == 0
        rate = 1e-5 if warm_up else lr * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        for group in optimiser.param_groups:
            group["lr"] = rate
        for rows in torch.randperm(len(chosen), generator=draws).split(BATCH):
            crops = torch.randint(0, CROPS, (len(rows),), generator=draws)
            logits = student.scale * features[rows, crops] @ classifier(context).T
            loss = functional.cross_entropy(logits, labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return context.detach()


def class_means(features: Tensor, labels: NDArray[np.intp], classes: NDArray[np.intp]) -> Tensor:
    """Return the normalised mean (classes, dim) of each class's features (n, dim)."""
    means = [features[torch.from_numpy(labels == label)].mean(0) for label in classes]
    return functional.normalize(torch.stack(means), dim=1)


def remembered(student: Model, sample: Sample, features: Tensor) -> float:
    """Test base classes by how they looked where they were learned: by class means, no text."""
    learned = sample if sample.drawn.name in datasets.DATASETS else load(LEARNED_FROM)
    means = class_means(student.images(learned.train), learned.train_labels, learned.halves[0])
    rows = np.isin(sample.test_labels, sample.halves[0])
    found = (features[torch.from_numpy(rows)] @ means.T).argmax(1).numpy()
    return 100 * float((found == sample.test_labels[rows]).mean())


@dataclass
class Figures:
    """What was measured on one dataset, (base, new) in per cent."""

    classes: int
    generic: Pair
    template: Pair
    teacher: Pair
    looks: float  # of class means, on base alone
    coop: list[Pair] = field(default_factory=list)

    @property
    def looks_gain(self) -> float:
        """Points on base that class means are above the dataset's template."""
        return self.looks - self.template[0]

    @property
    def coop_mean(self) -> Pair:
        base, new = np.mean(self.coop, axis=0)
        return float(base), float(new)


def measure(student: Model, teacher: Model, name: str, lr: float) -> Figures:
    sample = load(name)
    features = student.images(sample.test)

    def with_template(model: Model, template: str) -> Callable[[Sequence[str]], Tensor]:
        return lambda names: model.names(template, names)

    template = sample.drawn.template
    figures = Figures(
        classes=len(sample.names),
        generic=accuracies(sample, features, with_template(student, GENERIC_TEMPLATE)),
        template=accuracies(sample, features, with_template(student, template)),
        teacher=accuracies(sample, teacher.images(sample.test), with_template(teacher, template)),
        looks=remembered(student, sample, features),
    )
    for seed in SEEDS if name in datasets.DATASETS else ():
        context = coop(student, sample, seed, lr)
        pair = accuracies(sample, features, lambda names: student.prompted(names)[1](context))  # noqa: B023
        figures.coop.append(pair)
    return figures


def _average(pairs: Sequence[Pair]) -> Pair:
    base, new = np.mean(pairs, axis=0)
    return float(base), float(new)


def verdicts(found: dict[str, Figures]) -> list[tuple[str, str, bool]]:
    """Return each criterion in words, what was found, and whether it holds."""
    eleven = [found[name] for name in datasets.DATASETS]
    student = [sum(f.template) / 2 for f in eleven]
    lead = np.mean([np.subtract(f.teacher, f.template) for f in eleven])
    better = sum(f.teacher[0] > f.template[0] and f.teacher[1] > f.template[1] for f in eleven)
    gains = sum(f.coop_mean[0] >= f.generic[0] + 5 for f in eleven)
    loses = sum(f.coop_mean[1] < f.generic[1] for f in eleven)
    at_home = found[LEARNED_FROM].looks_gain
    shifted = [found[name].looks_gain for name in datasets.SHIFTED]
    within = sum(35 <= value <= 85 for value in student)
    return [
        ("(a) the student's zero-shot accuracy lies between 35 and 85 %, averaged over the eleven",
         f"{np.mean(student):.1f} %; {within} of eleven by themselves",
         35 <= np.mean(student) <= 85),
        ("(b) the teacher is at least 8 points better on average", f"{lead:.1f} points", lead >= 8),
        ("(b) and better on base and on new on nine of eleven", f"{better} of eleven", better >= 9),
        ("(c) CoOp gains at least 5 points on base over the generic prompt on eight of eleven",
         f"{gains} of eleven", gains >= 8),
        ("(c) and loses on new against it on at least six", f"{loses} of eleven", loses >= 6),
        (f"(d) on {LEARNED_FROM}, class means gain at least 5 points on base over the template",
         f"{at_home:+.1f} points", at_home >= 5),
        (f"(e) and class means of {LEARNED_FROM} gain nothing on base over the template on the four"
         " shifted versions, on average",
         f"{np.mean(shifted):+.1f} points; gains on {sum(g > 0 for g in shifted)} of four",
         np.mean(shifted) <= 0),
    ]  # fmt: skip


def contact_sheet(name: str, columns: int = 12, tile: int = 40) -> Image.Image:
    """Return two test images of each of twelve classes spread over the dataset."""
    drawn = datasets.definition(name)
    images = datasets.pixels(name, "test")[0]
    count = len(drawn.classes)
    shown = np.linspace(0, count - 1, columns).round().astype(int)
    rows = [
        np.hstack(
            [
                np.asarray(Image.fromarray(images[k + row * count]).resize((tile, tile)))
                for k in shown
            ]
        )
        for row in range(2)
    ]
    return Image.fromarray(np.vstack(rows)).quantize(48, dither=Image.Dither.NONE)


def _cell(pair: Pair) -> str:
    return f"{pair[0]:.1f} / {pair[1]:.1f}"


def tables(found: dict[str, Figures]) -> list[str]:
    """Return the lines of what was measured, and of what the criteria say to it."""
    heads = "dataset | classes | generic prompt | dataset's template | teacher | CoOp"
    lines = [f"| {heads} | class means, base |", "|---|---|---|---|---|---|---|"]
    for name, f in found.items():
        learned = _cell(f.coop_mean) if f.coop else ""
        cells = [name, str(f.classes), *map(_cell, (f.generic, f.template, f.teacher)), learned]
        lines.append(f"| {' | '.join(cells)} | {f.looks:.1f} |")
    eleven = [found[name] for name in datasets.DATASETS]
    means = [[f.generic for f in eleven], [f.template for f in eleven], [f.teacher for f in eleven],
             [f.coop_mean for f in eleven]]  # fmt: skip
    lines.append(
        "| **average of eleven** | | "
        + " | ".join(_cell(_average(m)) for m in means)
        + f" | {np.mean([f.looks for f in eleven]):.1f} |"
    )
    lines += ["", "| criterion | found | holds |", "|---|---|---|"]
    judged = ((text, value, "yes" if holds else "no") for text, value, holds in verdicts(found))
    return lines + [f"| {' | '.join(cells)} |" for cells in judged]


def withdrawn() -> list[str]:
    """Return the records of all editions before this one."""
    return [(HERE / RECORD.format(n)).read_text() for n in range(1, datasets.EDITION)]


def page(found: dict[str, Figures], lr: float) -> str:
    """Return docs/playground.md."""
    about = (HERE / "playground.md").read_text()
    lines = [about.format(lr=lr, edition=datasets.EDITION), *tables(found), "", *withdrawn()]
    lines += ["## The datasets", ""]
    for name in found:
        drawn = datasets.definition(name)
        names = ", ".join(c.name for c in drawn.sorted_classes)
        lines += [f"### {name}", "", f"`{drawn.template}` {names}.", ""]
        lines += [f"![{name}](playground/{name}.png)", ""]
    return "\n".join(lines)


@click.command()
@click.option("--lr", default=0.02, show_default=True, help="CoOp's learning rate.")
@click.option(
    "--weights", type=click.Path(path_type=Path), default=tiny.HERE, help="Folder of the weights."
)
def main(lr: float, weights: Path) -> None:
    """Measure all fifteen datasets (minutes on one core) and write docs/playground.md."""
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.ERROR)
    student, teacher = (Model(name, weights / f"{name}.safetensors") for name in tiny.MODELS)
    names = datasets.DATASETS + datasets.SHIFTED
    found = {name: measure(student, teacher, name, lr) for name in track(names, "judging")}
    docs = HERE.parent / "docs"
    (docs / "playground").mkdir(parents=True, exist_ok=True)
    for name in names:
        contact_sheet(name).save(docs / "playground" / f"{name}.png", optimize=True)
    write_whole(docs / "playground.md", page(found, lr).encode())
    for text, value, holds in verdicts(found):
        click.echo(f"{'holds' if holds else 'FAILS'}  {text}: {value}")


if __name__ == "__main__":
    main()
