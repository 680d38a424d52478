"""A firewall rule in a chain of its own, hooked in front of the host's own rules (iptables(8))."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from labctl.faults.base import Family, FaultPlan, Impossible, Site
from labctl.faults.chain import Chain, Match, chains
from labctl.faults.select import Selection

Direction = Literal["in", "out", "forward", "both"]
HOOKS: dict[str, str] = {"in": "INPUT", "out": "OUTPUT", "forward": "FORWARD"}
NO_MASK: dict[Family, str] = {4: "0.0.0.0", 6: "::"}


class Firewall(Selection):
    """Base of drop and reject.

    At a host it stands in INPUT (packets that arrive) or OUTPUT (packets it sends); on a router in FORWARD. The hook says which
    packets go into the chain, the chain what becomes of them: so `both` and several peers share one selection.
    """

    direction: Direction | None = Field(
        default=None,
        description="in or out at a host (default: in, or out when `to` names another host); forward on a router; "
        "both: these packets and those that answer them.",
    )

    @model_validator(mode="after")
    def _answers_are_alike(self) -> Firewall:
        if self.direction == "both" and self.icmp_type is not None:
            raise ValueError("direction: both means packets and their answers, and those have another icmp_type; "
                             "write one direction, or two faults")  # fmt: skip
        return self

    def target(self, family: Family) -> Match:
        """The jump, as iptables arguments. Raises Impossible when the family has no such target."""
        raise NotImplementedError

    def plan(self, site: Site, name: str) -> FaultPlan:
        """One chain per address family."""
        wanted = [
            Chain(family, self._rules(f"LABCTL-{name}", family, f"{site.seed}/{site.host}/{name}"), hooks)
            for family in self.families(site)
            if (hooks := self._hooks(site, family))
        ]
        if not wanted:
            raise self.nobody(site)
        made = chains(name, wanted)
        return FaultPlan(
            name, self.kind, site.host, "iptables", made.changes, made.counters, made.quench, made.ahead
        )

    def _rules(self, chain: str, family: Family, seed: str) -> tuple[Match, ...]:
        """The chain's rules; those that have no jump of their own get the fault's."""
        found = []
        for pick in self.picks(chain, seed):
            words = tuple(NO_MASK[family] if word == "{none}" else word for word in pick)
            found.append(words if "-j" in words else (*words, *self.target(family)))
        return tuple(found)

    def _hooks(self, site: Site, family: Family) -> tuple[tuple[str, Match], ...]:
        """(chain of the kernel, match) for the packets and, with `both`, for their answers."""
        direction = self._direction(site)
        match = self.match(site, family)
        if match is None:
            return ()
        hooks = [(HOOKS[direction], match)]
        if self.direction == "both":
            answers = self.match(site, family, answers=True)
            assert answers is not None
            back = {"in": "out", "out": "in", "forward": "forward"}[direction]
            if (HOOKS[back], answers) not in hooks:
                hooks.append((HOOKS[back], answers))
        return tuple(hooks)

    def _direction(self, site: Site) -> str:
        given = self.direction if self.direction != "both" else None
        default = "out" if any(peer != site.host for peer in self.destination) else "in"
        direction = given or ("forward" if site.is_router else default)
        if direction == "forward" and not site.is_router:
            raise Impossible(f"{site.host} forwards nothing; write direction: in or out, or put the fault at a router")
        here = (site.host,)
        wrong = {
            "in": ("to", self.destination) if self.destination and site.host not in self.destination else None,
            "out": ("from", self.source) if self.source and site.host not in self.source else None,
            "forward": next((x for x in (("from", self.source), ("to", self.destination)) if x[1] == here), None),
        }[direction]
        if wrong:
            raise Impossible(_no_such_packets(direction, site, *wrong))
        here_only = {"in": (self.source, here), "out": (here, self.destination)}
        site.check_seen(*here_only.get(direction, (self.source, self.destination)))
        return direction


def _no_such_packets(direction: str, site: Site, key: str, names: tuple[str, ...]) -> str:
    who = ", ".join(names)
    if direction == "forward":
        end = "sends itself" if key == "from" else "gets itself"
        right = "out" if key == "from" else "in"
        return f"what {who} {end} is not forwarded; write direction: {right}"
    if direction == "in":
        return f"packets to {who} do not arrive at {site.host}; write direction: out, or put the fault at {who} or at a router"
    return f"packets from {who} are not sent by {site.host}; write direction: in, or put the fault at {who} or at a router"
