"""pause: every process of a host is frozen, and its kernel goes on (cgroups(7), the freezer).

Connections are accepted by the kernel until the accept queue is full, and data is acknowledged until the receive buffer is
full; nobody reads it. Without a time limit of its own the peer waits for ever: no error, no answer.

Proof: packets that arrived at the host while it was frozen.
"""

from __future__ import annotations

from typing import ClassVar

from labctl.faults.base import Fault, FaultPlan, Site


class Pause(Fault):
    kind: ClassVar[str] = "pause"
    summary: ClassVar[str] = "A host's processes are frozen; its kernel goes on."

    def plan(self, site: Site, name: str) -> FaultPlan:
        return FaultPlan(name, self.kind, site.host, "engine", (), engine="pause")
