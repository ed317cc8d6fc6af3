"""The report of a model: one HTML file with what was measured, and mistakes as pictures."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fdbpl.data.images import UnreadableImage, decode
from fdbpl.evaluation.confusion import Confusion
from fdbpl.html.dataset import judged_parts, mistakes_part
from fdbpl.html.element import Html, element, joined
from fdbpl.html.mistakes import MistakeCard
from fdbpl.html.page import page, part
from fdbpl.html.picture import thumbnail
from fdbpl.html.table import table
from fdbpl.methods.registry import title_of
from fdbpl.serving.card import origin
from fdbpl.serving.figures import HELD_OUT
from fdbpl.serving.mistakes import Looked, look
from fdbpl.serving.model_folder import About, open_model
from fdbpl.system.files import write_whole

MISTAKES = 12


def report_model(path: Path, out: Path, pictures: Path | None = None) -> str:
    """Write the report of a model as one HTML file; return what to tell the user.

    Args:
        path: of the model.
        out: the file.
        pictures: a folder of class folders whose surest mistakes are shown.

    Raises:
        UserError: there is no such model, or it is damaged; or no picture of its classes.
    """
    model = open_model(path)
    about = model.about
    confusion = Confusion.of_names(about.class_names, about.measured["classes"])
    sections = [
        ("How good it is", joined(_accuracy(about), *judged_parts(confusion))),
        ("Pictures of something else", _thresholds(about)),
        ("How it was learned", _making(about)),
    ]
    if pictures is not None:
        looked = look(model, pictures, MISTAKES, os.cpu_count() or 1)
        sections.insert(1, (f"Its mistakes in {pictures.name or pictures}", _mistakes(looked)))
    lines = [f"Tells {len(about.class_names):,} classes of pictures apart. Method: {about.title}."]
    data = page(f"The model {about.name}", lines, sections)
    write_whole(out, data)
    return f"{about.name}, {len(data) / 1e6:.1f} MB: {out}"


def _accuracy(about: About) -> Html:
    measured = about.measured
    what = "Accuracy" if measured["labels"] == "told" else "Agreement with the teacher"
    whence = origin(about)
    if measured.get("chosen_by_test") or not measured["own_test"]:
        whence += " The method was chosen on these pictures: on new ones it may do a little worse."
    number = element("b", f"{measured['accuracy']:.1f} %")
    interval = f" ({measured['low']:.1f} to {measured['high']:.1f}, 95 % interval)"
    tried = sorted(measured["tried"].items(), key=lambda pair: -pair[1])
    rows = [
        [
            joined(title_of(name), element("small", " taken") if name == about.method else ""),
            f"{value:.1f}",
        ]
        for name, value in tried
    ]
    return joined(
        element("p", number, interval, class_="figure"),
        element(
            "p",
            f"{what} on {measured['pictures']:,} {_seen(about)}, all "
            f"{len(about.class_names):,} classes competing. {whence}",
        ),
        part("Methods tried", table(["method", "per cent"], rows)),
    )


def _seen(about: About) -> str:
    return str(about.made.get("calibrated_on", HELD_OUT))


def _thresholds(about: About) -> Html:
    """Return what each threshold keeps and refuses."""
    measured = about.measured
    unknown = measured.get("unknown")
    head = ["threshold for", "score", "held-out kept, %", "own class off the list, refused, %"]
    if unknown:
        head.append(f"{unknown['pictures']:,} of none of the classes, refused, %")

    def share(found: Mapping[str, Any], kept: int) -> str:
        return f"{found[str(kept)]:.1f}"

    rows = [
        [
            f"{kept} %",
            f"{score:.2f}",
            share(measured["kept"], kept),
            share(measured["refused"], kept),
            *([share(unknown["refused"], kept)] if unknown else []),
        ]
        for kept, score in about.thresholds.items()
    ]
    line = (
        'fdbpl predict --none says "none of these" of a picture whose score is below the '
        "threshold. Refused should be many of those whose own class is not on the list."
    )
    sure = f"Probabilities are softmax(logits / {about.temperature:.3g}), fitted on {_seen(about)}."
    return joined(element("p", line), table(head, rows), element("p", sure))


def _making(about: About) -> Html:
    made = about.made
    shots = "all" if made["shots"] == "all" else f"at most {made['shots']} of each class"
    told = made["labels"] == "told"
    rows = [
        ["pictures", f"{made['pictures']:,} ({shots})"],
        ["their classes", "told by people" if told else "told by the teacher"],
        ["regions of each picture", str(made["crops"])],
        ["seed", str(made["seed"])],
        ["student", f"{about.student['architecture']}, weights {about.weights}"],
        ["teacher", f"{about.teacher['architecture']}, weights {about.teacher['weights']}"],
        ["prompt", about.template],
        ["fdbpl", about.fdbpl],
    ]
    return table(["what", ""], rows, "facts")


def _mistakes(looked: Looked) -> Html:
    lines = _lines(looked)
    wrong = looked.surest.mistakes
    if not wrong:
        return joined(*(element("p", line) for line in [*lines, "No picture is taken wrongly."]))
    names = looked.confusion.names
    examples = looked.surest.examples
    shown = [
        MistakeCard(
            picture=_thumb(looked.folder, one.key.path),
            example=_thumb(looked.folder, examples[one.taken].key.path)
            if one.taken in examples
            else None,
            shown=names[one.shown],
            taken=names[one.taken],
            probability=one.probability,
            path=one.key.path,
            note="learned from" if one.key.learned else "",
        )
        for one in wrong
    ]
    return joined(*(element("p", line) for line in lines), mistakes_part(shown))


def _lines(looked: Looked) -> list[str]:
    """Say how many pictures are taken rightly, and whether the model was learned from them."""
    count = int(looked.confusion.pictures.sum())
    classes = int((looked.confusion.pictures > 0).sum())
    lines = [
        f"{count:,} pictures of {classes:,} of its {len(looked.confusion.names):,} classes: the "
        f"class of {looked.confusion.accuracy:.1f} % is found."
    ]
    if looked.learned is None:
        lines.append(
            "The model does not say which pictures it was learned from. If these are among them, "
            "this says little about new pictures."
        )
    elif looked.learned:
        lines.append(
            f"The model was learned from {_all_or(looked.learned, count)} of these pictures: this "
            "says little about new ones. What it was measured on above was held out."
        )
    else:
        lines.append("The model was learned from none of these pictures.")
    if looked.unread:
        lines.append(f"{looked.unread:,} more cannot be read.")
    if looked.others:
        named = ", ".join(looked.others[:5]) + (", ..." if len(looked.others) > 5 else "")
        lines.append(f"Left out, since they are called as none of its classes: {named}.")
    return lines


def _all_or(learned: int, count: int) -> str:
    return "all" if learned == count else f"{learned:,}"


def _thumb(folder: Path, path: str) -> str | None:
    try:
        return thumbnail(decode(folder / path))
    except UnreadableImage:
        return None
