"""Zero-shot CLIP: hand-written prompts, of the student or of the teacher; nothing is learned."""

from collections.abc import Mapping

from fdbpl.classify.decision import Decision
from fdbpl.methods.batch import Floats
from fdbpl.methods.method import Classes, Method


class ZeroShot(Method):
    """The student under one of the prompts that its cache has."""

    def __init__(self, name: str, title: str, text: str) -> None:
        """Classify by the text of this name, as `Classes.texts` has it."""
        super().__init__(name, title)
        self.text = text

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return the cosines with the class names' features."""
        return Decision(classes.text(self.text), classes.scale)


class Teacher(Method):
    """The teacher under the dataset's template, at the scale of the student's logits."""

    sees = "teacher"

    def decision(self, arrays: Mapping[str, Floats], classes: Classes) -> Decision:
        """Return the teacher's cosines."""
        if classes.teacher is None:
            raise ValueError("`classes` has no class vectors of the teacher")
        return Decision(classes.teacher, classes.scale, sees="teacher")
