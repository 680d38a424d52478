"""ttl: packets begin or go on with a time to live so small that a router takes them out and says so.

Targets TTL and HL of iptables-extensions(8), in mangle, where a router has not yet looked at it; a packet that has the wanted
value already is not touched, and so not counted. The router that takes it to
zero answers ICMP time exceeded (11/0, RFC 792; ICMPv6 3/0, RFC 4443 3.3), and connect() gives EHOSTUNREACH (icmp_err_convert).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, StrictInt, model_validator

from labctl.faults.base import Family, FaultPlan, Impossible, Site
from labctl.faults.chain import Chain, Match, chains
from labctl.faults.match import Packets

MODULES: dict[Family, tuple[str, str]] = {4: ("TTL", "--ttl"), 6: ("HL", "--hl")}


class Ttl(Packets):
    kind: ClassVar[str] = "ttl"
    summary: ClassVar[str] = "Packets get a time to live (IPv6: hop limit) that runs out on the way."

    set: StrictInt | None = Field(
        default=None, ge=1, le=255, description="The time to live that packets get: 1 ends at the next router."
    )
    decrement: StrictInt | None = Field(default=None, ge=1, le=254, description="By how much it is made less.")

    @model_validator(mode="after")
    def _changes_it_in_one_way(self) -> Ttl:
        if (self.set is None) == (self.decrement is None):
            raise ValueError("ttl needs set: or decrement:, and not both; write set: 1 for packets that end at the next router")
        return self

    def plan(self, site: Site, name: str) -> FaultPlan:
        """In OUTPUT of a host (what it sends), in PREROUTING of a router (what it is to forward)."""
        here = (site.host,)
        if not site.is_router and self.source and site.host not in self.source:
            raise Impossible(f"the time to live of what arrives at {site.host} is not looked at; put the fault at "
                             f"{', '.join(self.source)} or at a router")  # fmt: skip
        if self.destination == here:
            raise Impossible(f"what {site.host} gets has arrived, whatever its time to live; put the fault at the sender "
                             "or at a router on the way")  # fmt: skip
        if site.is_router and self.source == here:
            raise Impossible(f"at a router ttl is about what is forwarded, and what {site.host} sends itself is not; "
                             "name another host in from:, or leave it out")  # fmt: skip
        site.check_seen(self.source if site.is_router else here, self.destination)
        hook = "PREROUTING" if site.is_router else "OUTPUT"
        wanted = [
            Chain(family, (self._target(family),), ((hook, match),), "mangle")
            for family in self.families(site)
            if (match := self.match(site, family)) is not None
        ]
        if not wanted:
            raise self.nobody(site)
        made = chains(name, wanted)
        return FaultPlan(
            name, self.kind, site.host, "iptables", made.changes, made.counters, made.quench, made.ahead
        )

    def _target(self, family: Family) -> Match:
        target, option = MODULES[family]
        if self.set is None:
            return ("-j", target, f"{option}-dec", str(self.decrement))
        changed = ("-m", target.lower(), "!", f"{option}-eq", str(self.set))
        return (*changed, "-j", target, f"{option}-set", str(self.set))
