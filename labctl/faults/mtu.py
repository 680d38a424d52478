"""mtu: an interface carries only small packets (ip-link(8), `ip link set dev X mtu N`; RFC 791, 3.1: at least 68).

A host behind it sends small segments and says so in its SYN (RFC 9293, 3.7.1); UDP is fragmented, or ends in EMSGSIZE when it
must not be. A router sends "fragmentation needed" for what it cannot pass on (RFC 1191), and the sender learns.

Proof: packets sent through it that are as long as the limit or longer (they were cut to it, or are about to be), and those that
were too long to be forwarded (RFC 4293: ipSystemStatsOutFragFails).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from labctl.faults.base import Fault, FaultPlan, Impossible, Site
from labctl.faults.chain import Chain, chains
from labctl.faults.interface import interface_plan
from labctl.units import Size

LEAST = 68
LEAST_V6 = 1280
TOO_LONG = ("Ip.FragFails", "Ip6FragFails", "rx_dropped")


def device_for(site: Site, network: str | None, size_bytes: int) -> str:
    """The interface that gets this MTU. Raises Impossible when there is none, or IPv6 would end."""
    if 6 in site.families and size_bytes < LEAST_V6:
        raise Impossible(f"this lab has IPv6, which needs {LEAST_V6} bytes (RFC 8200, 5); write size: {LEAST_V6}B or more")
    return site.device(network)


class Mtu(Fault):
    kind: ClassVar[str] = "mtu"
    summary: ClassVar[str] = "An interface carries only small packets."

    size: Size = Field(ge=LEAST, lt=1500, description="The longest IP packet that it carries, 68B to 1499B.")
    network: str | None = Field(default=None, description="Whose interface; the host's only network when not given.")

    def plan(self, site: Site, name: str) -> FaultPlan:
        device = device_for(site, self.network, self.size)
        long = ("-o", device, "-m", "length", "--length", f"{self.size}:65535")
        rules = chains(name, [Chain(family, ((),), (("POSTROUTING", long),), "mangle") for family in site.families])
        return interface_plan(self.kind, name, site, device, self.size, rules, TOO_LONG)
