"""masquerade: a router hides what is behind it, as home and cloud gateways do (iptables-extensions(8), MASQUERADE).

Its conntrack table then holds what belongs to whom; `expire` makes it forget. Only the first packet of a connection passes the
nat table, so what is counted are connections.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from labctl.faults.base import Fault, FaultPlan, Impossible, Site
from labctl.faults.chain import Chain, chains


class Masquerade(Fault):
    kind: ClassVar[str] = "masquerade"
    summary: ClassVar[str] = "A router gives its own address to what it sends into one network (NAT)."

    network: str = Field(description="The network that sees the router's address in the place of the sender's.")

    def plan(self, site: Site, name: str) -> FaultPlan:
        if not site.is_router:
            raise Impossible(f"{site.host} forwards nothing, so there is nothing to hide; put masquerade at a router")
        device = site.device(self.network)
        rules = (("-j", "MASQUERADE"),)
        made = chains(name, [Chain(family, rules, (("POSTROUTING", ("-o", device)),), "nat") for family in site.families])
        return FaultPlan(
            name, self.kind, site.host, "iptables", made.changes, made.counters, made.quench, made.ahead
        )
