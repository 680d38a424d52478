"""blackhole: a router cannot pass on large packets and nobody is told: path MTU discovery fails (RFC 2923, 2.1; RFC 4821, 1).

The link behind the router has a small MTU; the router's "fragmentation needed" (ICMP 3/4, RFC 1191) or "packet too big"
(ICMPv6 2, RFC 8201) is dropped before it leaves, as by a firewall that drops all ICMP. The handshake and small messages
work, and a large one is repeated until the sender gives up: ETIMEDOUT, or a hang for ever.

Proof: the ICMP errors that were dropped, each the answer to a packet that was too large.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from labctl.faults.base import Family, Fault, FaultPlan, Impossible, Site
from labctl.faults.chain import Chain, Match, chains
from labctl.faults.interface import interface_plan
from labctl.faults.mtu import LEAST, device_for
from labctl.units import Size

TOO_BIG: dict[Family, Match] = {
    4: ("-p", "icmp", "--icmp-type", "3/4"),
    6: ("-p", "icmpv6", "--icmpv6-type", "2"),
}


class Blackhole(Fault):
    kind: ClassVar[str] = "blackhole"
    summary: ClassVar[str] = "A router drops large packets and tells nobody: path MTU discovery fails."

    size: Size = Field(ge=LEAST, lt=1500, description="The longest IP packet that gets through, 68B to 1499B.")
    network: str = Field(description="The network into which nothing longer is passed on.")

    def plan(self, site: Site, name: str) -> FaultPlan:
        if not site.is_router:
            raise Impossible(f"{site.host} forwards nothing; put the black hole at a router, or write mtu: at {site.host}")
        device = device_for(site, self.network, self.size)
        drop = (("-j", "DROP"),)
        rules = chains(name, [Chain(family, drop, (("OUTPUT", TOO_BIG[family]),)) for family in site.families])
        return interface_plan(self.kind, name, site, device, self.size, rules, ())
