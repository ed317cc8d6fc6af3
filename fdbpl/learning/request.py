"""What somebody wants learned, and the parameters of the stages that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fdbpl.clip import small
from fdbpl.clip.params import ModelParams
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.protocols.protocol import Shots
from fdbpl.serving.model_folder import NO_MODEL
from fdbpl.settings.params import Params, check_params
from fdbpl.system.errors import UserError

STUDENT = ModelParams(architecture=small.PAIR[0], weights="small")
TEACHER = ModelParams(architecture=small.PAIR[1], weights="small")

LABELLED = (
    "zero_shot",
    "zero_shot_ensemble",
    "gda",
    "gda_teacher",
    "template_bridge",
    "template_memory",
    "linear_probe_text",
)
"""Methods tried where pictures have classes, simple ones first: the first of equals is taken.

All follow in closed form, or nearly so, in seconds. Those that learn contexts take minutes, and
have not been seen to do better than these by more than chance (docs/photographs.md).
"""

UNLABELLED = (
    "zero_shot",
    "zero_shot_ensemble",
    "gda_teacher",
    "template_bridge",
    "template_memory",
)
"""Methods tried where nobody has told what pictures show."""

FOLDS = 5

NAME = "pictures"
"""Of the dataset in the workspace."""


@dataclass(frozen=True)
class Request:
    """What to learn from, and how.

    Attributes:
        pictures: a folder of class folders, perhaps below train/ and test/; a table; or, with
            `names`, a folder of pictures whose classes nobody has told.
        names: a file of class names, one a line.
        test: beside `names`, a folder of class folders to measure on.
        template: the sentence around a class name.
        student: whose image tower the model has.
        teacher: who tells what is in a picture.
        methods: to choose from; by default `LABELLED` or `UNLABELLED`.
        shots: pictures of each class to learn from.
        crops: regions of each picture.
        class_names: in place of the names of class folders, in their order.
        seed: of shots and training.
        device: auto, cpu or cuda.
        store: where regions' features are kept; any fsspec URL.
    """

    pictures: Path
    names: Path | None = None
    test: Path | None = None
    template: str = "a photo of a {}."
    student: ModelParams = STUDENT
    teacher: ModelParams = TEACHER
    methods: Sequence[str] = ()
    shots: Shots = "all"
    crops: int = 4
    class_names: Sequence[str] = ()
    seed: int = 1
    device: str = "auto"
    store: str = ".fdbpl/store"

    @property
    def keys(self) -> list[int]:
        """The seeds of the stages: of the training on all shots, then of one without each fold."""
        return [self.seed + place for place in range(FOLDS + 1)]

    def require_there(self) -> None:
        """Raise UserError when a file or folder that is named is not there, or is for nothing."""
        for what, path in (("pictures", self.pictures), ("names", self.names), ("test", self.test)):
            if path is not None and not path.exists():
                raise UserError(f"{path}: no such file or folder, wanted the {what}. Correct it.")
        if self.test is not None and self.names is None:
            raise UserError(
                f"{self.test}: a test beside pictures that have classes, which was not looked at. "
                "Put both as train/ and test/ into one folder, and name that."
            )

    def params(self, *, labelled: bool) -> Params:
        """Return the parameters of the stages.

        Raises:
            UserError: a value that is not allowed, or a method that judges features which the
                model will not have.
        """
        methods = list(self.methods or (LABELLED if labelled else UNLABELLED))
        found = check_params(
            {
                "datasets": [NAME],
                "protocols": [ALL_CLASSES.name],
                "methods": methods,
                "seeds": self.keys,
                "shots": self.shots,
                "data": {"own": {NAME: self._own()}, "allow_unreadable_test_images": True},
                "regions": {"per_image": self.crops},
                "student": self.student.model_dump(exclude_none=True),
                "teacher": self.teacher.model_dump(exclude_none=True),
                "cache": {"store": self.store, "payload": "float32", "batch": 32},
                "device": self.device,
            },
            source="learn",
        )
        for role, model in (("student", found.student), ("teacher", found.teacher)):
            if model.precision != "fp32":
                raise UserError(f"{role}.precision is {model.precision!r}, wanted fp32.")
        for method in found.chosen_methods:
            if method.sees == "teacher":
                raise UserError(
                    f"method {method.name!r} {NO_MODEL}. Take another method, or this teacher for "
                    "the student."
                )
        return found

    def _own(self) -> dict[str, str]:
        place = str(self.pictures)
        if self.names is not None:
            tests = {} if self.test is None else {"test": str(self.test)}
            form = {"images": place, "names": str(self.names), **tests}
        elif self.pictures.is_file():
            form = {"table": place}
        else:
            form = {"folder": place}
        return {**form, "template": self.template}
