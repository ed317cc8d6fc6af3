"""The features of a plan's test images that decisions judge: from caches, or encoded for them."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from fdbpl.cache.cache import Cache
from fdbpl.classify.decision import Decision, ImagePrompts, Role
from fdbpl.regions.plan import Plan
from fdbpl.settings.params import Params
from fdbpl.system.workspace import Workspace


class JudgedFeatures:
    """Unit features (T, D) of a plan's test images; each role's are read once.

    Args:
        params: of the student.
        plan: whose test images they are.
        work: where their pixels lie.
        caches: of the plan, by role.
    """

    def __init__(
        self, params: Params, plan: Plan, work: Workspace, caches: Mapping[Role, Cache]
    ) -> None:
        """Nothing is read yet."""
        self._params, self._plan, self._work, self._caches = params, plan, work, caches
        self._held: dict[Role, NDArray[Any]] = {}

    def of_role(self, role: Role) -> NDArray[Any]:
        """Return those that a cache has."""
        if role not in self._held:
            self._held[role] = self._caches[role].features("test")
        return self._held[role]

    def judged_by(self, decision: Decision) -> NDArray[Any]:
        """Return those that a decision judges.

        Raises:
            UserError: see `PromptedTests.features`.
        """
        if decision.image_prompts is None:
            return self.of_role(decision.sees)
        return self._under_prompts(decision.image_prompts)

    @cached_property
    def _under_prompts(self) -> Callable[[ImagePrompts], NDArray[Any]]:
        from fdbpl.stages.prompted import PromptedTests  # loads torch, which others do without

        return PromptedTests(self._params, self._plan, self._work).features
