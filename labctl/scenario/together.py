"""Link faults that cannot be on one interface together (two rates, two distributions, …), seen before anything runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from labctl.agent.linkclass import LinkFault, classes
from labctl.agent.linkspec import Contradiction
from labctl.agent.linktree import tree
from labctl.faults.base import FaultPlan
from labctl.faults.lines import Place, place
from labctl.lab import Lab


@dataclass
class LinksInPlace:
    """The link faults that are in place at one point of a scenario, by host, network and direction."""

    lab: Lab
    _on: dict[Place, dict[str, LinkFault]] = field(default_factory=dict)

    def put(self, plan: FaultPlan) -> str | None:
        """Add a fault; what contradicts it there, anywhere on a ramp, or None. What does is added as well: it is said once."""
        said = None
        action = plan.action or {}
        goal = action.get("ramp", {}).get("spec", {})
        for part in action.get("parts", ()):
            there = self._on.setdefault(place(plan.host, part, self.lab.way), {})
            fault = LinkFault.from_json(plan.name, part)
            there[plan.name] = replace(fault, spec=fault.spec.reaching(goal))
            if len(there) > 1:
                said = said or self._contradiction(there)
        return said

    def _contradiction(self, faults: dict[str, LinkFault]) -> str | None:
        try:
            divided = classes(faults.values())
            tree("", divided, {one.key: number for number, one in enumerate(reversed(divided))})
        except Contradiction as error:
            return str(error)
        return None

    def take(self, name: str) -> None:
        """A fault is healed."""
        for there in self._on.values():
            there.pop(name, None)
