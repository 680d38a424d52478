"""partition: some hosts hear nothing of some others, as if the network between them had come apart.

What it amounts to is one pure map, who drops what from whom (jepsen's grudge, nemesis.clj). A router drops what it would
forward; a host drops what it hears, so without a router every host that is cut off needs the fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from labctl.faults.base import Family, Fault, FaultPlan, Impossible, Site
from labctl.faults.chain import Chain, Match, chains
from labctl.faults.match import HostNames


def _groups(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("write groups of hosts, like [[client], [server, powerpc]]")
    return tuple((group,) if isinstance(group, str) else tuple(group) for group in value)


_GROUPS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {"type": ["array", "string"], "items": {"type": "string"}, "minItems": 1},
    "minItems": 2,
}
Groups = Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_groups), Field(json_schema_extra=_GROUPS_SCHEMA)]


class Partition(Fault):
    kind: ClassVar[str] = "partition"
    summary: ClassVar[str] = "Groups of hosts hear nothing of each other, or one side nothing of the other."

    between: Groups = Field(default=(), description="Groups cut off from each other, like [[client], [server, powerpc]].")
    isolate: HostNames = Field(default=(), description="Hosts that are cut off from all others, and from each other.")
    source: HostNames = Field(default=(), alias="from", description="One way only: what these send …")
    destination: HostNames = Field(default=(), alias="to", description="… these do not hear.")

    @model_validator(mode="after")
    def _says_who_once(self) -> Partition:
        one_way = bool(self.source or self.destination)
        if bool(self.between) + bool(self.isolate) + one_way != 1:
            raise ValueError("a partition is one of between: [[a], [b]], isolate: a, or from: a with to: b")
        if one_way and not (self.source and self.destination):
            raise ValueError("one way needs both ends; write from: and to:")
        if self.between and (len(self.between) < 2 or not all(self.between)):
            raise ValueError("between: needs two groups or more, each with a host, like [[client], [server]]")
        names = self.hosts()
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} stands here twice, and nobody is cut off from itself; name each host once")
        return self

    def hosts(self) -> tuple[str, ...]:
        grouped = tuple(name for group in self.between for name in group)
        return (*grouped, *self.isolate, *self.source, *self.destination)

    def dropped(self, hosts: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Who hears nothing of whom: each host that is cut off, with the peers it drops; `hosts` are all of the lab."""
        if self.between:
            return {
                name: tuple(other for group in self.between if name not in group for other in group)
                for name in self.hosts()
            }
        if self.isolate:
            return {
                name: tuple(other for other in (hosts if name in self.isolate else self.isolate) if other != name)
                for name in hosts
            }
        return dict.fromkeys(self.destination, self.source)

    def check_places(self, sites: Sequence[Site]) -> None:
        """Hosts alone must be all that are cut off: a host can only drop what it hears."""
        if any(site.is_router for site in sites):
            return
        deaf = self.dropped(tuple(sites[0].addresses))
        left = [name for name in deaf if name not in {site.host for site in sites}]
        if left:
            raise Impossible(
                f"a host drops what it hears, and {', '.join(left)} would still hear; write at: [{', '.join(deaf)}], "
                "or put the fault at a router"
            )

    def plan(self, site: Site, name: str) -> FaultPlan:
        """One chain with the pairs that are cut off: in FORWARD of a router, in INPUT of a host."""
        deaf = self.dropped(tuple(site.addresses))
        if site.is_router:
            deaf = {host: tuple(p for p in peers if p != site.host) for host, peers in deaf.items() if host != site.host}
        elif site.host in deaf:
            deaf = {site.host: deaf[site.host]}
        else:
            right = f"{', '.join(deaf)}, or a router"
            raise Impossible(f"this partition takes nothing from {site.host}; leave it out of at: (it can be {right})")
        if not any(site.sees(peers, (host,)) for host, peers in deaf.items() if peers):
            raise Impossible(f"none of these hosts reaches another by way of {site.host}, so nothing is there to be cut")
        hook = "FORWARD" if site.is_router else "INPUT"
        rules = {family: self._rules(site, family, deaf) for family in site.families}
        wanted = [Chain(family, found, ((hook, ()),)) for family, found in rules.items() if found]
        if not wanted:
            raise Impossible("these hosts have no address family in common, so nothing is there to be cut")
        made = chains(name, wanted)
        return FaultPlan(
            name, self.kind, site.host, "iptables", made.changes, made.counters, made.quench, made.ahead
        )

    def _rules(self, site: Site, family: Family, deaf: dict[str, tuple[str, ...]]) -> tuple[Match, ...]:
        found = []
        for host, names in deaf.items():
            own, peers = site.peers((host,), family), site.peers(names, family)
            if own and peers:
                to = ("-d", ",".join(own)) if site.is_router else ()
                found.append(("-s", ",".join(peers), *to, "-j", "DROP"))
        return tuple(found)
