"""The section `data` of the parameters, and the user's own datasets in it."""

import re
from collections.abc import Iterable
from typing import Self

from pydantic import Field, field_validator, model_validator

from fdbpl.system.section import PathText, Section

TEMPLATE = "a template with one {} for the class name, and no other braces"


def has_one_gap(text: str) -> bool:
    """Tell whether a text is what TEMPLATE says."""
    around = text.split("{}")
    return len(around) == 2 and not any(brace in "".join(around) for brace in "{}")


def require_plain(names: Iterable[str]) -> None:
    """Refuse names of datasets that could not name files and DVC's stages."""
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"names of letters, digits and _ . -; not {name!r}")


class OwnDataset(Section):
    """A dataset of the user's own, in exactly one of three forms.

    `folder` of class folders, with or without train/ and test/; `table` of images and classes; or
    `images`, a folder of images without classes, with `names`, a file of class names, or under
    `data.vocabulary` without. Beside `images`, `test` is a folder of class folders to test on.
    """

    folder: PathText | None = None
    table: PathText | None = None
    images: PathText | None = None
    names: PathText | None = None
    test: PathText | None = None
    template: str = "a photo of a {}."

    @field_validator("template")
    @classmethod
    def _one_gap(cls, template: str) -> str:
        if not has_one_gap(template):
            raise ValueError(TEMPLATE)
        return template

    @model_validator(mode="after")
    def _one_form(self) -> "OwnDataset":
        forms = [form is not None for form in (self.folder, self.table, self.images)]
        beside = self.names is not None or self.test is not None
        if sum(forms) != 1 or (beside and self.images is None):
            raise ValueError("one of three: folder; table; images and names, perhaps with test")
        return self


class DataParams(Section):
    """Where datasets lie.

    `root` holds CoOp's dataset folders; the playground draws itself below it. `world` is the
    playground's: 1 is the one all packaged results are of, any other draws every image anew.
    `picks` names, for a dataset, a table of the images that each seed learns from.
    `vocabulary`, "imagenet" or a file of names, makes training class-agnostic.
    """

    root: PathText = "data"
    world: int = Field(1, ge=1)
    own: dict[str, OwnDataset] = Field(default_factory=dict)
    picks: dict[str, PathText] = Field(default_factory=dict)
    vocabulary: PathText | None = None
    allow_unreadable_test_images: bool = False

    @model_validator(mode="after")
    def _named(self) -> Self:
        for name, own in self.own.items():
            if own.images is not None and own.names is None and self.vocabulary is None:
                raise ValueError(f"names beside the images of own.{name}, or a vocabulary")
        return self

    @field_validator("own")
    @classmethod
    def _plain_names(cls, own: dict[str, OwnDataset]) -> dict[str, OwnDataset]:
        require_plain(own)
        return own
