"""link: a line that is slow, narrow, lossy or confused (tc-netem(8)), for all traffic or for some of it.

The words and their meaning are netem's. Without netem in the kernel a seeded emulator behind NFQUEUE does the same; which
of the two it was is in the record. `labctl.agent.linkspec` holds what both share and the exact arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from labctl.agent.linkclass import LinkFault, Match, classes
from labctl.agent.linkport import Where
from labctl.agent.linkqueue import explain as nfqueue_commands
from labctl.agent.linkspec import Contradiction, Slot, Spec
from labctl.agent.linktree import after, ingress, teardown, tree
from labctl.agent.linktree import commands as tc_commands
from labctl.faults.base import Change, Family, Fault, FaultPlan, Impossible, Site
from labctl.faults.match import HostNames, Port
from labctl.units import Duration, Percent, Rate, Size

LARGEST_FRAME = 1514  # an Ethernet frame of 1500 bytes: a bucket that holds less lets no full packet through in time
LONGEST_S = 240.0  # netem counts ticks of 64 ns in 32 bits: 274 s
Distribution = Literal["uniform", "normal", "pareto", "paretonormal"]
Delay = Annotated[Duration, Field(le=LONGEST_S)]
Chance = Annotated[Percent, Field(ge=0, le=100)]


class _Part(BaseModel):
    """Base of what is nested in a link fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class GilbertElliott(_Part):
    """Loss in bursts (Gilbert-Elliott): a good and a bad state, each with its own loss; tc-netem(8), loss gemodel."""

    p: Chance = Field(description="From good to bad, at each packet.")
    r: Chance = Field(description="From bad to good, at each packet; bursts last 1/r packets.")
    bad: Chance = Field(default=100.0, alias="1-h", description="Loss in the bad state.")
    good: Chance = Field(default=0.0, alias="1-k", description="Loss in the good state.")

    @property
    def numbers(self) -> tuple[float, ...]:
        """In tc's order."""
        return (self.p, self.r, self.bad, self.good)


class FourStates(_Part):
    """Loss by a Markov chain: 1 received, 2 received in a burst, 3 lost in a burst, 4 lost alone; tc-netem(8), loss state."""

    p13: Chance = Field(description="From received to a burst of losses.")
    p31: Chance = Field(description="From a burst of losses back to received.")
    p32: Chance = Field(default=0.0, description="From lost to received within a burst.")
    p23: Chance = Field(default=100.0, description="From received to lost within a burst.")
    p14: Chance = Field(default=0.0, description="From received to a single loss.")

    @model_validator(mode="after")
    def _leaves_each_state_at_most_once(self) -> FourStates:
        for a, b in (("p13", "p14"), ("p31", "p32")):
            if getattr(self, a) + getattr(self, b) > 100:
                raise ValueError(f"{a} and {b} lead out of the same state, so together they are at most 100%")
        return self

    @property
    def numbers(self) -> tuple[float, ...]:
        """In tc's order."""
        return (self.p13, self.p31, self.p32, self.p23, self.p14)


class SlotTimes(_Part):
    """Delivery in bursts, as radio links do: packets wait for the next slot; tc-netem(8), slot."""

    min: Duration | None = Field(default=None, description="Shortest time from slot to slot.")
    max: Duration | None = Field(default=None, description="Longest time from slot to slot; the shortest when not given.")
    distribution: Literal["normal", "pareto", "paretonormal"] | None = Field(
        default=None, description="Instead of min and max."
    )
    delay: Duration | None = Field(default=None, description="The distribution's mean.")
    jitter: Duration | None = Field(default=None, description="The distribution's width.")
    packets: Annotated[StrictInt, Field(ge=1)] | None = Field(default=None, description="At most so many in a slot.")
    bytes: Annotated[Size, Field(ge=1)] | None = Field(default=None, description="At most so many bytes in a slot.")

    @model_validator(mode="after")
    def _has_one_kind_of_time(self) -> SlotTimes:
        if self.distribution:
            if self.min is not None or self.max is not None or not self.delay or not self.jitter:
                raise ValueError("a slot with a distribution has delay: and jitter:, and neither min: nor max:")
        elif self.min is None or self.delay is not None or self.jitter is not None:
            raise ValueError("a slot has min: (and max:), or distribution: with delay: and jitter:")
        elif self.max is not None and self.max < self.min:
            raise ValueError("the slot's min: is more than its max:; swap them")
        return self

    def as_slot(self) -> Slot:
        """For the agent."""
        low = self.min or 0.0
        high = low if self.max is None else self.max
        return Slot(
            low, high, self.distribution or "", self.delay or 0.0, self.jitter or 0.0, self.packets or 0, self.bytes or 0
        )


class Ramp(_Part):
    """Where the link is going: each value is reached in a straight line, from what the fault begins with."""

    over: Duration = Field(gt=0, le=3600, description="How long it takes.")
    delay: Delay | None = Field(default=None, description="The delay it ends with.")
    jitter: Delay | None = Field(default=None, description="The jitter it ends with.")
    loss: Chance | None = Field(default=None, description="The loss it ends with.")
    duplicate: Chance | None = Field(default=None, description="The duplication it ends with.")
    corrupt: Chance | None = Field(default=None, description="The corruption it ends with.")
    rate: Annotated[Rate, Field(ge=8)] | None = Field(default=None, description="The rate it ends with.")

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Ramp:
        if not self.goal():
            raise ValueError("a ramp needs a value to go to, like rate: 100kbit")
        return self

    def goal(self) -> dict[str, float]:
        """The values at its end, by the names of Spec."""
        names = {"delay": "delay_s", "jitter": "jitter_s", "rate": "rate_bps"}
        asked = ("delay", "jitter", "loss", "duplicate", "corrupt", "rate")
        return {names.get(n, n): value for n in asked if (value := getattr(self, n)) is not None}


# (this, needs one of these, what to write)
_NEEDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("jitter", ("delay",), "jitter: varies a delay; write delay: as well"),
    ("distribution", ("jitter",), "distribution: says how a jitter varies; write jitter: as well"),
    ("delay_correlation", ("jitter",), "delay_correlation: is between jittered delays; write jitter: as well"),
    ("loss_correlation", ("loss",), "loss_correlation: needs loss:"),
    ("duplicate_correlation", ("duplicate",), "duplicate_correlation: needs duplicate:"),
    ("corrupt_correlation", ("corrupt",), "corrupt_correlation: needs corrupt:"),
    ("reorder", ("delay",), "reorder: sends some packets ahead of those that are delayed; write delay: as well"),
    ("reorder_correlation", ("reorder",), "reorder_correlation: needs reorder:"),
    ("gap", ("reorder",), "gap: says which packets are reordered; write reorder: as well (100% for every gap-th)"),
    ("burst", ("rate",), "burst: is what a rate lets through at once; write rate: as well"),
    ("overhead", ("rate",), "overhead: is counted by a rate; write rate: as well"),
    ("cell", ("rate",), "cell: is counted by a rate; write rate: as well"),
    ("cell_overhead", ("cell",), "cell_overhead: is that of each cell; write cell: as well"),
    ("limit", ("delay", "rate", "slot"), "limit: bounds what waits, and nothing does; write delay:, rate: or slot: as well"),
    (
        "seed",
        ("jitter", "loss", "loss_gemodel", "loss_state", "duplicate", "corrupt", "reorder", "slot"),
        "seed: repeats what is left to chance, and nothing is; write jitter:, loss:, … as well",
    ),
)


class Link(Fault):
    """What a line does to packets on one interface and direction. Several on one interface act together."""

    kind: ClassVar[str] = "link"
    summary: ClassVar[str] = "A line that is slow, narrow, lossy, or that doubles, damages or reorders packets."

    delay: Delay | None = Field(default=None, description="How much later each packet goes on.")
    jitter: Delay | None = Field(default=None, description="By how much the delay varies; packets overtake each other.")
    delay_correlation: Chance | None = Field(default=None, description="How much each delay leans on the one before.")
    distribution: Distribution | None = Field(default=None, description="How the delays spread; uniform when not given.")
    loss: Chance | None = Field(default=None, description="Packets lost at random.")
    loss_correlation: Chance | None = Field(default=None, description="How much each loss leans on the one before.")
    loss_gemodel: GilbertElliott | None = Field(default=None, description="Packets lost in bursts, by two states.")
    loss_state: FourStates | None = Field(default=None, description="Packets lost in bursts, by four states.")
    duplicate: Chance | None = Field(default=None, description="Packets that go on twice.")
    duplicate_correlation: Chance | None = Field(default=None, description="How much each leans on the one before.")
    corrupt: Chance | None = Field(default=None, description="Packets in which one bit is flipped.")
    corrupt_correlation: Chance | None = Field(default=None, description="How much each leans on the one before.")
    reorder: Chance | None = Field(default=None, description="Packets that go on at once, ahead of those that are delayed.")
    reorder_correlation: Chance | None = Field(default=None, description="How much each leans on the one before.")
    gap: Annotated[StrictInt, Field(ge=1)] | None = Field(
        default=None, description="Only every gap-th packet may be reordered."
    )
    rate: Annotated[Rate, Field(ge=8)] | None = Field(default=None, description="How much passes in a second.")
    burst: Annotated[Size, Field(ge=LARGEST_FRAME)] | None = Field(
        default=None, description="How much may pass at once (token bucket), a frame at least; packet by packet when not given."
    )
    overhead: Annotated[Size, Field(ge=1)] | None = Field(
        default=None, description="Bytes the rate counts more for each packet."
    )
    cell: Annotated[Size, Field(ge=1)] | None = Field(
        default=None, description="The rate counts whole cells of this size (ATM: 48B)."
    )
    cell_overhead: Annotated[Size, Field(ge=1)] | None = Field(
        default=None, description="Bytes more for each cell (ATM: 5B)."
    )
    limit: Annotated[StrictInt, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="How many packets may wait; more are dropped. 1000 when not given."
    )
    slot: SlotTimes | None = Field(default=None, description="Delivery in bursts.")
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] | None = Field(
        default=None, description="The same seed, the same packets lost; from the run's seed when not given."
    )
    ramp: Ramp | None = Field(default=None, description="Values that it reaches while it is in place.")

    source: HostNames = Field(default=(), alias="from", description="Only packets from these hosts.")
    destination: HostNames = Field(default=(), alias="to", description="Only packets to these hosts.")
    protocol: Literal["tcp", "udp", "icmp", "icmpv6", "all"] = Field(default="all", description="Only this protocol.")
    sport: Port | None = Field(default=None, description="Source port or range, TCP and UDP only.")
    dport: Port | None = Field(default=None, description="Destination port or range, TCP and UDP only.")
    direction: Literal["egress", "ingress", "both"] | None = Field(
        default=None, description="What leaves (egress, the default; ingress when only from: is given), what arrives, or both."
    )
    network: str | None = Field(default=None, description="The interface on this network; all when not given and no peer is.")
    toward: HostNames = Field(default=(), description="The interface that leads to this host, for all traffic on it.")

    @model_validator(mode="after")
    def _is_one_link(self) -> Link:
        for name, needed, message in _NEEDS:
            if getattr(self, name) is not None and not any(map(self._has, needed)):
                raise ValueError(message)
        losses = [n for n in ("loss", "loss_gemodel", "loss_state") if getattr(self, n) is not None]
        if len(losses) > 1:
            raise ValueError(f"{' and '.join(losses)} are different models of loss; keep one")
        if self.burst is not None and self.cell is not None:
            raise ValueError("burst: and cell: exclude each other: netem's rate has cells and no burst, htb's the reverse")
        if (self.sport or self.dport) and self.protocol not in ("tcp", "udp"):
            raise ValueError(f"protocol {self.protocol} has no ports; write protocol: tcp or protocol: udp")
        if self.network and self.toward:
            raise ValueError("network: and toward: both say which interface; keep one")
        self._ramps_what_it_has()
        if self.spec().reaching(self.ramp.goal() if self.ramp else {}).is_neutral:
            raise ValueError("this link does nothing to a packet; write delay:, loss:, rate: or another")
        return self

    def _has(self, name: str) -> bool:
        """Whether it begins with this key or reaches it."""
        return getattr(self, name) is not None or getattr(self.ramp, name, None) is not None

    def _ramps_what_it_has(self) -> None:
        if self.ramp is None:
            return
        if self.ramp.rate is not None and self.rate is None:
            raise ValueError("ramp: reaches a rate from one; write rate: as well")
        if self.ramp.jitter and not (self.delay or self.ramp.delay):
            raise ValueError("ramp: jitter varies a delay; write delay: as well")
        if self.ramp.loss is not None and (self.loss_gemodel or self.loss_state):
            raise ValueError("ramp: loss is random loss, and this link has another model of loss; keep one")

    def hosts(self) -> tuple[str, ...]:
        return self.source + self.destination + self.toward

    def spec(self) -> Spec:
        """What it does to packets, as agents have it."""
        return Spec(
            delay_s=self.delay or 0.0,
            jitter_s=self.jitter or 0.0,
            delay_correlation=self.delay_correlation or 0.0,
            distribution=self.distribution or "",
            loss=self.loss or 0.0,
            loss_correlation=self.loss_correlation or 0.0,
            loss_gemodel=self.loss_gemodel.numbers if self.loss_gemodel else (),
            loss_state=self.loss_state.numbers if self.loss_state else (),
            duplicate=self.duplicate or 0.0,
            duplicate_correlation=self.duplicate_correlation or 0.0,
            corrupt=self.corrupt or 0.0,
            corrupt_correlation=self.corrupt_correlation or 0.0,
            reorder=self.reorder or 0.0,
            reorder_correlation=self.reorder_correlation or 0.0,
            gap=self.gap or 0,
            rate_bps=self.rate or 0,
            burst_bytes=self.burst or 0,
            overhead_bytes=self.overhead or 0,
            cell_bytes=self.cell or 0,
            cell_overhead_bytes=self.cell_overhead or 0,
            limit=self.limit or 0,
            slot=self.slot.as_slot() if self.slot else None,
            seed=self.seed,
        )

    def plan(self, site: Site, name: str) -> FaultPlan:
        """One part for each interface and direction; the agent merges it with what else is on them."""
        parts = [
            {**where, "direction": direction, **LinkFault(name, self.spec(), self._target(site, direction)).as_json()}
            for direction in self._directions(site)
            for where in self._interfaces(site, direction)
        ]
        action: dict[str, Any] = {
            "type": "link", "name": name, "backend": "auto", "seed": 0, "families": list(site.families), "parts": parts,
        }  # fmt: skip
        if self.ramp:
            action["ramp"] = {"over_s": self.ramp.over, "spec": self.ramp.goal()}
        shown = [alone(part, name, site.families) for part in parts]
        return FaultPlan(
            name, self.kind, site.host, "auto",
            tuple(change for netem, _ in shown for change in netem),
            action=action,
            alternatives={"nfqueue": tuple(argv for _, nfqueue in shown for argv in nfqueue)},
        )  # fmt: skip

    def _directions(self, site: Site) -> tuple[str, ...]:
        if self.direction == "both":
            return ("egress", "ingress")
        if self.direction:
            return (self.direction,)
        others = any(peer != site.host for peer in self.source)
        return ("ingress",) if others and not self.destination else ("egress",)

    def _interfaces(self, site: Site, direction: str) -> list[dict[str, Any]]:
        """Which interfaces: by name of the network, or, for the agent to find out, by who is behind it."""
        if self.network:
            if self.network not in site.networks:
                known = ", ".join(site.networks)
                raise Impossible(f"{site.host} is on no network {self.network!r}; it is on {known}")
            peers = tuple(name for name in self.source + self.destination if name != site.host)
            site.check_leads(self.network, peers)
            self._pass_here(site, direction)
            return [{"device": f"{{dev:{self.network}}}"}]
        far = self.source if direction == "ingress" and self.direction != "both" else self.destination
        peers = self.toward or far
        if site.host in peers:
            raise Impossible(f"no interface of {site.host} leads to {site.host} itself; name the other end")
        for peer in peers:
            if not site.sees((peer,), (site.host,)):
                raise Impossible(f"no interface of {site.host} leads to {peer}: there is no path between the two")
        self._pass_here(site, direction)
        if not peers or len(site.networks) == 1:
            return [{"device": f"{{dev:{network}}}"} for network in site.networks]
        return [
            {"device": None, "peer": peer, "toward": [a for f in site.families for a in site.peers((peer,), f)]}
            for peer in peers
        ]

    def _pass_here(self, site: Site, direction: str) -> None:
        """Whether packets between the named ends come by, in this direction and by this interface. Raises Impossible."""
        mirrored = self.direction == "both" and direction == "ingress"
        source, destination = (self.destination, self.source) if mirrored else (self.source, self.destination)
        here = (site.host,)
        if site.is_router:
            site.check_seen(source, destination)
        elif direction == "egress":
            site.check_seen(source or here, destination)
        else:
            site.check_seen(source, destination or here)
        if source or destination:
            ways = [way for peer in self.toward if site.topology and (way := site.topology.way(site.host, peer))]
            networks = (self.network,) if self.network else tuple(ways)
            site.check_crosses(source, destination, direction, networks, " instead of toward:" if ways else "")

    def _target(self, site: Site, direction: str) -> tuple[Match, ...]:
        """Which packets; for the ingress half of `both` the other way round."""
        source, destination, sport, dport = self.source, self.destination, self.sport or "", self.dport or ""
        if self.direction == "both" and direction == "ingress":
            source, destination, sport, dport = destination, source, dport, sport
        protocol = "" if self.protocol == "all" else self.protocol
        if not (source or destination or protocol or sport or dport):
            return ()
        wanted = {"icmp": (4,), "icmpv6": (6,)}.get(protocol, site.families)
        found = tuple(
            Match(family, a, b, protocol, sport, dport)
            for family in wanted
            if family in site.families
            for a in (_addresses(site, source, family) if source else ("",))
            for b in (_addresses(site, destination, family) if destination else ("",))
        )
        if not found:
            raise Impossible(f"protocol {self.protocol} needs IPv6, and this lab has only IPv4")
        return found


def placed(part: Mapping[str, Any]) -> Where:
    """Where a part of a plan is, with the placeholder of an interface that has no name yet."""
    return Where(part["device"] or f"{{toward:{part['peer']}}}", part["direction"])


def alone(
    part: dict[str, Any], name: str, families: tuple[Family, ...]
) -> tuple[list[Change], list[tuple[str, ...]]]:
    """The commands of both backends for one part of a plan, when no other fault is on the interface. Raises Impossible."""
    where = placed(part)
    device = where.device
    try:
        divided = classes([LinkFault.from_json(name, part)])
        on = device if where.direction == "egress" else "lci0"
        first = after(None, tree(on, divided, {c.key: len(divided) - 1 - i for i, c in enumerate(divided)}))
        todo = tc_commands(None, first)
    except Contradiction as error:
        raise Impossible(str(error)) from None
    changes = [Change(argv, ()) for argv in todo]
    changes[0] = Change(todo[0], teardown(on)[0])
    if where.direction == "ingress":
        make, divert, undo = ingress(device, on)
        changes = [
            Change(make[0], ("ip", "link", "del", on)), Change(make[1], ()), *changes,
            Change(divert[0], undo[0]), Change(divert[1], ()),
        ]  # fmt: skip
    return changes, nfqueue_commands(where, families, divided)


def _addresses(site: Site, names: tuple[str, ...], family: int) -> tuple[str, ...]:
    return site.peers(names, 6 if family == 6 else 4)
