"""What faults of an interface have in common: the request to the agent, which reads what it changes and restores it exactly."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from labctl.faults.base import Change, FaultPlan, Site
from labctl.faults.chain import Chains

NO_CHAINS = Chains((), (), (), 0)


def interface_plan(
    kind: str, name: str, site: Site, device: str, mtu: int | None, rules: Chains, kernel: tuple[str, ...]
) -> FaultPlan:
    """A plan that takes the interface down (`mtu` None) or gives it an MTU, with rules and kernel counters as its proof."""
    link = ("ip", "link", "set", "dev", device)
    if mtu is None:
        change = Change((*link, "down"), (*link, "up"))
    else:
        change = Change((*link, "mtu", str(mtu)), (*link, "mtu", "(as before)"))
    action: dict[str, Any] = {
        "type": "interface",
        "device": device,
        "mtu": mtu,
        "kernel": list(kernel),
        "changes": [{"do": list(c.do), "undo": list(c.undo)} for c in rules.changes],
        "counters": [asdict(counter) for counter in rules.counters],
    }
    return FaultPlan(name, kind, site.host, "iproute2", (*rules.changes, change), rules.counters, action=action)
