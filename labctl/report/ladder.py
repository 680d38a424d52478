"""The pure model behind the page's diagram and the terminal's: lifelines, rows, fault bands, step marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from labctl.evidence.packets import ACK, FIN, PSH, RST, SYN, Packet
from labctl.evidence.record import Evidence
from labctl.report.bursts import MAX_ROWS, Burst, Row, rows
from labctl.report.passages import Passage, passages
from labctl.report.plain import one_line, plural, shorten, size
from labctl.report.series import Throughput, throughput
from labctl.verdict.explain.icmp import UNREACHABLE, UNREACHABLE_V6

_FLAGS = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (PSH, "PSH"), (ACK, "ACK"))
# Up to so many hosts every split into left and right is tried.
_SPLIT_ALL = 9
_TROUBLE = {
    "lost": "lost",
    "rst": "reset",
    "icmp": "ICMP error",
    "retransmission": "retransmission",
    "zero-window": "zero window",
    "forged": "forged",
    "duplicate": "duplicate",
}


@dataclass(frozen=True, slots=True)
class Band:
    """One time that a fault was in place: where, from when to when (None: until the end), how many packets it touched.

    `fault` counts the run's faults from 0: the bands of one fault on a timeline share it.
    """

    fault: int
    name: str
    kind: str
    host: str
    start: float
    end: float | None
    packets: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a step began and, if it did, ended."""

    index: int
    t: float
    end: float | None


@dataclass(frozen=True)
class Ladder:
    """Everything a sequence diagram of one run shows.

    `hosts` are the lifelines from left to right, routers in the middle; `rows` are in order of time; `packets` counts the
    passages they tell, `noise` those of them that are neighbour discovery and multicast.
    """

    hosts: tuple[str, ...]
    routers: frozenset[str]
    rows: tuple[Row, ...]
    bands: tuple[Band, ...]
    marks: tuple[Mark, ...]
    problems: Counter[str]
    packets: int
    noise: int
    end: float
    throughput: Throughput


def ladder(evidence: Evidence, limit: int = MAX_ROWS) -> Ladder:
    """The ladder of a run, of at most about `limit` rows. Raises EvidenceError when a capture cannot be read."""
    found = passages(evidence)
    problems: Counter[str] = Counter()
    for passage in found:
        problems.update(passage.traits)
    routers = frozenset(_routers(evidence))
    bands = tuple(
        Band(number, f.name, f.kind, f.host, span.applied, span.removed, span.packets)
        for number, f in enumerate(evidence.faults)
        for span in f.spans
    )
    marks = tuple(Mark(s.index, s.started, s.ended) for s in sorted(evidence.steps.values(), key=lambda s: s.started))
    ends = [t for m in marks for t in (m.t, m.end or 0.0)] + [p.end for p in found[-64:]]
    end = max(ends, default=evidence.seconds or 0.0)
    return Ladder(
        hosts=_order(evidence, found, routers),
        routers=routers,
        rows=tuple(rows(found, limit)),
        bands=bands,
        marks=marks,
        problems=Counter({k: n for k, n in problems.items() if k in _TROUBLE}),
        packets=len(found),
        noise=sum(p.noise for p in found),
        end=end,
        throughput=throughput(found, end),
    )


def _routers(evidence: Evidence) -> list[str]:
    """Hosts that stand on several networks: more than one address of one family."""
    return [
        host
        for host, addresses in evidence.addresses.items()
        if sum(":" not in a for a in addresses) > 1
        or sum(":" in a and not a.startswith("fe80") for a in addresses) > 1
    ]


def _order(evidence: Evidence, found: Sequence[Passage], routers: frozenset[str]) -> tuple[str, ...]:
    """The lifelines: who speaks first stands left, routers in the middle, so that what they pass on crosses them.

    A host that neither spoke nor was spoken to nor has a fault is left out.
    """
    spoke: dict[str, None] = {}
    pairs: Counter[tuple[str, str]] = Counter()
    for passage in found:
        if not passage.noise:
            for host in (passage.source, passage.target, *(hop.host for hop in passage.hops)):
                if host is not None:
                    spoke.setdefault(host)
            pairs[passage.source or "", passage.target or ""] += 1
    for fault in evidence.faults:
        spoke.setdefault(fault.host)
    names = list(spoke) or list(evidence.addresses) or list(evidence.captures)
    ends = [host for host in names if host not in routers]
    left = _left_side(ends, pairs) if routers else set(ends)
    return (
        *(h for h in ends if h in left),
        *(h for h in names if h in routers),
        *(h for h in ends if h not in left),
    )


def _left_side(ends: Sequence[str], pairs: Mapping[tuple[str, str], int]) -> set[str]:
    """Which hosts stand left of the router so that as many packets as possible cross it; the first always does."""
    if len(ends) > _SPLIT_ALL:
        return set(ends[: len(ends) // 2])
    best, most = set(ends[:1]), -1
    for size_ in range(len(ends)):
        for others in combinations(ends[1:], size_):
            left = {*ends[:1], *others}
            crossing = sum(n for (a, b), n in pairs.items() if (a in left) != (b in left))
            if crossing > most:
                best, most = left, crossing
    return best


def label(row: Row) -> str:
    """A row in a few words: `SYN`, `PSH, ACK 12 B`, `ICMP port unreachable`, `214 segments, 310 kB`."""
    return _burst_label(row) if isinstance(row, Burst) else packet_label(row.packet)


def packet_label(packet: Packet) -> str:
    """What one packet is, in a few words."""
    if packet.flags is not None:
        flags = ", ".join(name for bit, name in _FLAGS if packet.flags & bit) or "no flags"
        return flags + (f" {size(packet.payload)}" if packet.payload else "")
    if packet.icmp is not None and packet.icmp[0] == 3:
        return f"ICMP {UNREACHABLE.get(packet.icmp[1], 'unreachable')}"
    if packet.icmpv6 is not None and packet.icmpv6[0] == 1:
        return f"ICMPv6 {UNREACHABLE_V6.get(packet.icmpv6[1], 'unreachable')}"
    return f"{one_line(packet.protocol)} {shorten(one_line(packet.info), 60)}"


def ports(packet: Packet) -> str:
    """`40106 → 65432`, or nothing."""
    return f"{packet.sport} → {packet.dport}" if packet.sport is not None else ""


def trouble(row: Row) -> list[str]:
    """What is wrong with a row, in words, most telling first."""
    if isinstance(row, Burst):
        return [f"{row.problems[trait]} {word}" for trait, word in _TROUBLE.items() if row.problems[trait]]
    return [word for trait, word in _TROUBLE.items() if trait in row.traits]


def _burst_label(burst: Burst) -> str:
    def half(count: int, payload: int) -> str:
        if burst.mixed:
            return plural(count, "packet") + (f", {size(payload)}" if payload else "")
        if burst.first.packet.flags is None:
            return plural(count, "datagram")
        return f"{plural(count, 'segment')}, {size(payload)}" if payload else plural(count, "ACK")

    there = half(burst.there, burst.there_bytes)
    return f"{there}; back {half(burst.back, burst.back_bytes)}" if burst.back else there
