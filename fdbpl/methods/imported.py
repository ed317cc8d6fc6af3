"""Contexts that another program learned, from checkpoints of the CoOp family."""

from fdbpl.methods.prompts import PromptMethod


class Imported(PromptMethod):
    """One context that is read (`fdbpl.stages.imported`), not learned."""

    @property
    def takes_steps(self) -> bool:
        """None of ours."""
        return False

    @property
    def learns(self) -> bool:
        """Whoever made the checkpoint did."""
        return True
