"""down: an interface is taken down, as when its cable is pulled (ip-link(8), `ip link set dev X down`).

Its routes go with it, so what the host itself sends ends at once in ENETUNREACH; who sends to it hears at most of a router that
asked for its address in vain: EHOSTUNREACH. The agent puts back every route and address afterwards.

Proof: datagrams for which the host had no route any more (RFC 4293: ipSystemStatsOutNoRoutes, InNoRoutes).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from labctl.faults.base import Fault, FaultPlan, Site
from labctl.faults.interface import NO_CHAINS, interface_plan

NO_ROUTE = ("Ip.OutNoRoutes", "IpExt.InNoRoutes", "Ip6OutNoRoutes", "Ip6InNoRoutes")


class Down(Fault):
    kind: ClassVar[str] = "down"
    summary: ClassVar[str] = "An interface goes down, and its routes with it."

    network: str | None = Field(default=None, description="Whose interface; the host's only network when not given.")

    def plan(self, site: Site, name: str) -> FaultPlan:
        return interface_plan(self.kind, name, site, site.device(self.network), None, NO_CHAINS, NO_ROUTE)
