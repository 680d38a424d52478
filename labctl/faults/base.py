"""What a fault is: a small frozen value that validates itself and plans its changes as data.

A fault touches nothing. It is told where it stands (`Site`) and answers with a `FaultPlan`: argv tuples to do and
to undo, and the counters that will prove that it happened. Agents execute plans; nothing here imports an engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

Family = Literal[4, 6]


@dataclass(frozen=True)
class Change:
    """One `do` with its `undo`, both argv tuples. `{dev:NETWORK}` stands for the interface on that network.

    What an action does once and for all has an empty undo; among plain commands there is none such.
    """

    do: tuple[str, ...]
    undo: tuple[str, ...]


@dataclass(frozen=True)
class Counter:
    """Where the packets that a fault touched are counted: an iptables chain of ours, whole.

    `tool` is `iptables` or `ip6tables`; the packets of the chain's rules are summed, but for those that only RETURN: what they
    let pass was not touched.
    """

    tool: str
    table: str
    chain: str


class Place(Protocol):
    """Where a host of the lab is."""

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that it is on."""


class Topology(Protocol):
    """Who is reached by which way, in a lab with its routes set."""

    @property
    def hosts(self) -> Mapping[str, Place]:
        """Every host by its name."""

    def between(self, source: str, destination: str) -> tuple[str, ...] | None:
        """The routers between two hosts, in order; None when there is no path."""

    def way(self, host: str, peer: str) -> str | None:
        """The network by which packets from a host to a peer leave; None when there is no path."""


@dataclass(frozen=True)
class Site:
    """Where a fault is put, as far as planning needs to know.

    `addresses` maps every host name of the lab to its addresses; `networks` are those the site's host is on. `seed` is the
    run's, for what a fault leaves to chance.
    """

    host: str
    is_router: bool
    networks: tuple[str, ...]
    addresses: dict[str, tuple[str, ...]]
    families: tuple[Family, ...] = (4,)
    topology: Topology | None = field(default=None, compare=False)
    seed: int = 0

    def peers(self, names: tuple[str, ...], family: Family) -> tuple[str, ...]:
        """All addresses of the named hosts in one family; empty when they have none there."""
        return tuple(
            address
            for name in names
            for address in self.addresses[name]
            if (":" in address) == (family == 6)
        )

    def sees(self, sources: Sequence[str], destinations: Sequence[str]) -> bool:
        """Whether packets from one of the sources to one of the destinations come by here; empty is any host.

        They do where the site's host is an end of a path, or a router on it. Without a topology nobody knows, so they may.
        """
        if self.topology is None:
            return True
        pairs = (
            (a, b) for a in sources or self.addresses for b in destinations or self.addresses if a != b
        )
        return any(
            (path := self.topology.between(a, b)) is not None and self.host in (a, *path, b) for a, b in pairs
        )

    def check_seen(self, sources: Sequence[str], destinations: Sequence[str]) -> None:
        """Raises Impossible when no such packet comes by here, and says where it goes instead."""
        if self.sees(sources, destinations):
            return
        instead = self._instead(sources, destinations)
        raise Impossible(f"no packet {_ends(sources, destinations)} comes by {self.host}: {instead}")

    def _instead(self, sources: Sequence[str], destinations: Sequence[str]) -> str:
        assert self.topology is not None
        paths = {
            (a, b): self.topology.between(a, b)
            for a in sources or self.addresses
            for b in destinations or self.addresses
            if a != b
        }
        if all(path is None for path in paths.values()):
            return f"there is no path between {'the two' if len(paths) == 1 else 'them'}"
        if len(paths) != 1:
            return "put the fault at one of them"
        (a, b), path = paths.popitem()
        way = f"they pass {', '.join(path)}" if path else "the two are on one network"
        return f"{way}; put the fault at {', '.join(dict.fromkeys((a, *(path or ()), b)))}"

    def check_crosses(
        self, sources: Sequence[str], destinations: Sequence[str], direction: str, networks: Sequence[str], instead: str = ""
    ) -> None:
        """Whether such packets leave here (direction `egress`) or arrive (`ingress`), by the interface on one of the networks.

        Empty is any host or network; `instead` is what a network named in its place makes needless. Raises Impossible, and says
        which way they go.
        """
        if self._crosses(sources, destinations, direction, networks):
            return
        verb, other = ("leave", "ingress") if direction == "egress" else ("arrive", "egress")
        where = f"leaves {self.host}" if direction == "egress" else f"arrives at {self.host}"
        by = f" by {' or '.join(networks)}" if networks else ""
        ways = [network for network in self.networks if self._crosses(sources, destinations, direction, (network,))]
        if networks and ways:
            right = f"they {verb} by {' and '.join(ways)}; write network: {ways[0]}{instead}"
        elif self._crosses(sources, destinations, other, networks):
            right = f"write direction: {other}"
        else:
            right = "put the fault at the other end"
        raise Impossible(f"no packet {_ends(sources, destinations)} {where}{by}: {right}")

    def _crosses(self, sources: Sequence[str], destinations: Sequence[str], direction: str, networks: Sequence[str]) -> bool:
        """As `check_crosses`. One who is on several networks may have an address to which another way leads: nobody knows."""
        if self.topology is None:
            return True
        hosts = self.topology.hosts
        for a, b in ((a, b) for a in sources or self.addresses for b in destinations or self.addresses if a != b):
            path = self.topology.between(a, b)
            if path is None or self.host not in (nodes := (a, *path, b)):
                continue
            beside = nodes.index(self.host) + (1 if direction == "egress" else -1)
            if 0 <= beside < len(nodes):
                end = hosts[b if direction == "egress" else a]
                if not networks or len(end.networks) > 1 or set(networks) & set(hosts[nodes[beside]].networks):
                    return True
        return False

    def check_leads(self, network: str, peers: Sequence[str]) -> None:
        """Whether the interface on a network leads to one of these peers. Raises Impossible."""
        ways = {peer: self.topology.way(self.host, peer) for peer in peers} if self.topology else {}
        if self.topology and any(len(self.topology.hosts[peer].networks) > 1 for peer in peers):
            return  # it may have an address to which another way leads
        if ways and network not in ways.values():
            peer, way = next(iter(ways.items()))
            right = f"write network: {way}, or leave it out" if way else f"no interface of {self.host} does"
            raise Impossible(f"the interface on {network} does not lead to {peer}; {right}")

    def device(self, network: str | None) -> str:
        """What stands for the interface on one of the host's networks; its only one when None. Raises Impossible."""
        if network is None and len(self.networks) != 1:
            named = ", ".join(self.networks)
            raise Impossible(f"{self.host} is on {named}; write which, like network: {self.networks[0]}")
        if network is not None and network not in self.networks:
            raise Impossible(f"{self.host} is not on {network}; write network: {' or '.join(self.networks)}")
        return f"{{dev:{network or self.networks[0]}}}"


def _ends(sources: Sequence[str], destinations: Sequence[str]) -> str:
    return f"from {', '.join(sources) or 'any host'} to {', '.join(destinations) or 'any host'}"


@dataclass(frozen=True)
class FaultPlan:
    """What a fault will do at one host: changes in order, and how to prove that it fired.

    `quench` ends the effect at once where the undo itself is slow: nf_tables takes 10 to 25 ms to delete a rule and 3 ms to
    insert one, so a RETURN in front of a chain heals sooner than unhooking it. `ahead` is how many changes have no effect
    yet and can be made before the fault's time; all but the last when not given.

    A fault that is more than commands has an `action` instead: a request that the agent's table of actions understands
    ({"type": ..., ...}, JSON all through, `{dev:NETWORK}` allowed in any string); its `changes` then say for people what it
    amounts to, and `alternatives` what it does instead by another backend ({"nfqueue": commands}). One that no agent can make
    names in `engine` what is to be done with the whole host, or with a program on it, and in `action` what else it takes.
    """

    name: str
    kind: str
    host: str
    backend: str
    changes: tuple[Change, ...]
    counters: tuple[Counter, ...] = ()
    quench: tuple[Change, ...] = ()
    ahead: int | None = None
    interface: str | None = None
    action: dict[str, Any] | None = None
    engine: str | None = None
    alternatives: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)

    def request(self) -> dict[str, Any]:
        """What the agent is asked to do."""
        if self.engine is not None:
            return {"type": "engine", "what": self.engine, "name": self.name, **(self.action or {})}
        return self.action or {
            "type": "commands",
            "changes": [{"do": list(c.do), "undo": list(c.undo)} for c in self.changes],
            "counters": [asdict(counter) for counter in self.counters],
            "quench": [{"do": list(c.do), "undo": list(c.undo)} for c in self.quench],
            **({} if self.ahead is None else {"ahead": self.ahead}),
        }


class Impossible(ValueError):
    """This fault cannot be at this place in this lab; the message says why and what would be possible."""


class Fault(BaseModel):
    """Base of every fault. `kind` is its one word: file name, registry key and key in a scenario."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)

    kind: ClassVar[str]
    summary: ClassVar[str]

    def hosts(self) -> tuple[str, ...]:
        """Host names this fault mentions (its peers), to be checked against the lab."""
        return ()

    def check_places(self, sites: Sequence[Site]) -> None:
        """Whether the hosts at which it is put are together the right ones. Raises Impossible."""

    def plan(self, site: Site, name: str) -> FaultPlan:
        """The changes that make this fault at `site`. Raises Impossible."""
        raise NotImplementedError
