"""Which packets a link fault is about, and how faults with different targets divide one link into classes. Pure.

A target is a list of matches, any of which selects a packet; no match at all means every packet. Faults whose targets
overlap act together on what they share: `delay` for all and `loss` for one peer make two classes, {delay, loss} for
that peer and {delay} for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from typing import Any

from .linkspec import Contradiction, Spec, merge

MOST_TARGETS = 4
ALL = "all"
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}


@dataclass(frozen=True)
class Match:
    """One conjunction of header fields. `source` and `destination` are addresses; ports are `80` or `8000:8010`."""

    family: int
    source: str = ""
    destination: str = ""
    protocol: str = ""
    sport: str = ""
    dport: str = ""

    def both(self, other: Match) -> Match | None:
        """What satisfies both; None when nothing can."""
        if self.family != other.family:
            return None
        joined: dict[str, Any] = {}
        for name in ("source", "destination", "protocol"):
            mine, its = getattr(self, name), getattr(other, name)
            if mine and its and mine != its:
                return None
            joined[name] = mine or its
        for name in ("sport", "dport"):
            span = _shared(getattr(self, name), getattr(other, name))
            if span is None:
                return None
            joined[name] = span
        return replace(self, **joined)

    def iptables(self) -> tuple[str, ...]:
        """The match as iptables(8) arguments."""
        pairs = (
            ("-s", self.source),
            ("-d", self.destination),
            ("-p", self.protocol),
            ("--sport", self.sport),
            ("--dport", self.dport),
        )
        return tuple(word for flag, value in pairs if value for word in (flag, value))

    def u32(self) -> list[tuple[str, ...]]:
        """The match as tc-u32(8) arguments, one tuple for each filter it takes: u32 knows masks, not ranges.

        u32 looks for ports where a header without options ends, so IPv4 options or IPv6 extension headers hide them.
        """
        ip = "ip" if self.family == 4 else "ip6"
        whole = "32" if self.family == 4 else "128"
        base: list[str] = []
        if self.source:
            base += ["match", ip, "src", f"{self.source}/{whole}"]
        if self.destination:
            base += ["match", ip, "dst", f"{self.destination}/{whole}"]
        if self.protocol:
            base += ["match", ip, "protocol", str(_PROTOCOLS[self.protocol]), "0xff"]
        spans = (("sport", self.sport), ("dport", self.dport))
        ports = [[("match", ip, name, str(v), hex(m)) for v, m in masks(span)] for name, span in spans if span]
        found = [(*base, *(word for clause in chosen for word in clause)) for chosen in product(*ports)]
        return [args or ("match", "u32", "0", "0") for args in found]


def _shared(a: str, b: str) -> str | None:
    if not a or not b or a == b:
        return a or b
    (a1, a2), (b1, b2) = _span(a), _span(b)
    low, high = max(a1, b1), min(a2, b2)
    return None if low > high else str(low) if low == high else f"{low}:{high}"


def _span(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    return int(low), int(high or low)


def masks(span: str) -> list[tuple[int, int]]:
    """A port or range as (value, mask) pairs that cover it exactly."""
    low, high = _span(span)
    found = []
    while low <= high:
        size = low & -low or 1 << 16
        while low + size - 1 > high:
            size >>= 1
        found.append((low, 0xFFFF & ~(size - 1)))
        low += size
    return found


Target = tuple[Match, ...]


@dataclass(frozen=True)
class LinkFault:
    """One fault on one interface and direction."""

    name: str
    spec: Spec
    target: Target = ()

    @classmethod
    def from_json(cls, name: str, request: Mapping[str, Any]) -> LinkFault:
        """From what a plan sends: {"spec": {...}, "target": [{...}, ...]}. Raises TypeError for unknown fields."""
        return cls(name, Spec.from_json(request["spec"]), tuple(Match(**m) for m in request.get("target", ())))

    def as_json(self) -> dict[str, Any]:
        """The inverse of from_json."""
        return {"spec": self.spec.as_json(), "target": [asdict(match) for match in self.target]}


@dataclass(frozen=True)
class LinkClass:
    """Packets that meet the same faults. `key` names them for as long as their matches stay; `depth` is how many targets
    they are in, so that of two classes that overlap the deeper one comes first. `shares_rate`: its rate is the link's."""

    key: str
    target: Target
    spec: Spec
    faults: tuple[str, ...]
    depth: int = 0
    shares_rate: bool = False


def classes(faults: Iterable[LinkFault]) -> tuple[LinkClass, ...]:
    """The classes that faults on one link make, the most specific first, the one for everything else last.

    Raises Contradiction when faults that meet on some packet cannot be merged, or when there are too many targets.
    """
    faults = tuple(faults)
    base = [f for f in faults if not f.target]
    targets = list(dict.fromkeys(f.target for f in faults if f.target))
    if len(targets) > MOST_TARGETS:
        raise Contradiction(f"{len(targets)} different targets on one link are too many; at most {MOST_TARGETS} work")
    found: list[LinkClass] = []
    for depth in range(len(targets), 0, -1):
        for chosen in combinations(targets, depth):
            shared = _intersection(chosen)
            if shared:
                members = [f for f in faults if not f.target or f.target in chosen]
                found.append(LinkClass(_key(shared), shared, _merged(members), tuple(f.name for f in members), depth))
    found.append(LinkClass(ALL, (), _merged(base), tuple(f.name for f in base)))
    return _rates(found, base)


def _merged(faults: list[LinkFault]) -> Spec:
    try:
        return merge(f.spec for f in faults)
    except Contradiction as error:
        raise Contradiction(f"{' and '.join(f.name for f in faults)}: {error}") from None


def _rates(found: list[LinkClass], base: list[LinkFault]) -> tuple[LinkClass, ...]:
    """A rate of the whole link is one wire for all classes; a rate of one target must not be split again."""
    if any(f.spec.rate_bps for f in base):
        return tuple(replace(c, shares_rate=len(found) > 1) for c in found)
    limited = [c for c in found if c.spec.rate_bps]
    for one, other in combinations(limited, 2):
        both = set(one.faults) & set(other.faults)
        if both:
            raise Contradiction(
                f"the rate of {', '.join(sorted(both))} is for part of the traffic, and another fault is for a part of "
                "that part; give them the same target, or the rate none"
            )
    return tuple(found)


def _intersection(targets: Iterable[Target]) -> Target:
    shared: Target | None = None
    for target in targets:
        shared = target if shared is None else tuple(
            dict.fromkeys(both for a in shared for b in target if (both := a.both(b)) is not None)
        )
    return shared or ()


def _key(target: Target) -> str:
    return " or ".join(f"{'ip' if m.family == 4 else 'ip6'} {' '.join(m.iptables())}".strip() for m in target)
