"""Which packets a firewall fault is about, and the iptables(8) arguments that say so."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from labctl.faults.base import Change, Counter, Family, Fault, FaultPlan, Impossible, Site

Direction = Literal["in", "out", "forward"]
HOOKS: dict[str, str] = {"in": "INPUT", "out": "OUTPUT", "forward": "FORWARD"}
TOOLS: dict[Family, str] = {4: "iptables", 6: "ip6tables"}


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _port(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a port is a number from 1 to 65535 or a range like 8000-8010")
    first, _, last = str(value).partition("-")
    numbers = [first, last] if last else [first]
    if not all(number.isdecimal() and 1 <= int(number) <= 65535 for number in numbers):
        raise ValueError(f"{value!r} is no port; write a number from 1 to 65535 or a range like 8000-8010")
    if last and int(first) > int(last):
        raise ValueError(f"the port range {value} runs backwards; write {last}-{first}")
    return ":".join(numbers)


HostNames = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Port = Annotated[str, BeforeValidator(_port), Field(json_schema_extra={"type": ["integer", "string"]})]


class Firewall(Fault):
    """A rule in a chain of our own, hooked in front of the host's own rules.

    At a host it stands in INPUT (packets that arrive) or OUTPUT (packets it sends); on a router in FORWARD.
    """

    protocol: Literal["tcp", "udp", "icmp", "icmpv6", "all"] = "all"
    source: HostNames = Field(default=(), alias="from", description="Only packets from these hosts.")
    destination: HostNames = Field(default=(), alias="to", description="Only packets to these hosts.")
    sport: Port | None = Field(default=None, description="Source port or range, TCP and UDP only.")
    dport: Port | None = Field(default=None, description="Destination port or range, TCP and UDP only.")
    direction: Direction | None = Field(
        default=None, description="in or out at a host (default: in, or out when `to` names another host); forward on a router."
    )

    @model_validator(mode="after")
    def _ports_need_a_protocol_that_has_them(self) -> Firewall:
        if (self.sport or self.dport) and self.protocol not in ("tcp", "udp"):
            raise ValueError(f"protocol {self.protocol} has no ports; write protocol: tcp or protocol: udp")
        return self

    def hosts(self) -> tuple[str, ...]:
        return self.source + self.destination

    def target(self, family: Family) -> tuple[str, ...]:
        """The jump, as iptables arguments. Raises Impossible when the family has no such target."""
        raise NotImplementedError

    def plan(self, site: Site, name: str) -> FaultPlan:
        """One chain per address family: created, filled, and hooked last, so that it starts whole."""
        hook = HOOKS[self._direction(site)]
        chain = f"LABCTL-{name}"
        changes: list[Change] = []
        counters: list[Counter] = []
        quench: list[Change] = []
        for family in self._families(site):
            tool = (TOOLS[family], "-w", "5")
            rules = [(*match, *self.target(family)) for match in self._matches(site, family)]
            if not rules:
                continue
            changes.append(Change((*tool, "-N", chain), (*tool, "-X", chain)))
            changes += [Change((*tool, "-A", chain, *rule), (*tool, "-D", chain, *rule)) for rule in rules]
            changes.append(Change((*tool, "-I", hook, "-j", chain), (*tool, "-D", hook, "-j", chain)))
            counters.append(Counter(TOOLS[family], "filter", chain))
            quench.append(Change((*tool, "-I", chain, "1", "-j", "RETURN"), (*tool, "-D", chain, "-j", "RETURN")))
        if not changes:
            named = ", ".join(self.hosts())
            raise Impossible(f"{named} and {site.host} have no address family in common, so no packet could match")
        return FaultPlan(name, self.kind, site.host, "iptables", tuple(changes), tuple(counters), tuple(quench))

    def _direction(self, site: Site) -> Direction:
        if self.direction is not None:
            return self.direction
        if site.is_router:
            return "forward"
        return "out" if any(peer != site.host for peer in self.destination) else "in"

    def _families(self, site: Site) -> tuple[Family, ...]:
        wanted: tuple[Family, ...] = {"icmp": (4,), "icmpv6": (6,)}.get(self.protocol, site.families)  # type: ignore[assignment]
        usable = tuple(family for family in wanted if family in site.families)
        if not usable:
            raise Impossible(f"protocol {self.protocol} needs IPv6, and this lab has only IPv4")
        return usable

    def _matches(self, site: Site, family: Family) -> list[tuple[str, ...]]:
        sources = site.peers(self.source, family) if self.source else ("",)
        destinations = site.peers(self.destination, family) if self.destination else ("",)
        ports: tuple[str, ...] = ()
        if self.sport:
            ports += ("--sport", self.sport)
        if self.dport:
            ports += ("--dport", self.dport)
        return [
            (
                *(("-s", source) if source else ()),
                *(("-d", destination) if destination else ()),
                *(("-p", self.protocol) if self.protocol != "all" else ()),
                *ports,
            )
            for source in sources
            for destination in destinations
        ]
