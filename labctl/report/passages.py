"""One packet seen at several hosts is one passage: who sent it, past whom it went, and where it stopped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Literal, NamedTuple

from labctl.evidence.packets import FIN, RST, SYN, Packet
from labctl.evidence.record import Evidence

Fate = Literal["arrived", "lost", "unknown"]
# Two packets that look the same are told apart by time: an arrival belongs to the older one only while that is this young.
IN_FLIGHT_S = 0.2
# Packets without an identification of their own look alike; so many of them are looked through for each arrival.
_SAME_ID = ("", "0x0000")
_ALIKE = 24
PROBLEMS = frozenset({"lost", "rst", "icmp", "retransmission", "zero-window", "forged", "duplicate"})


class Hop(NamedTuple):
    """One sighting: where, when (seconds since the run began), and its number in that host's pcap."""

    host: str
    t: float
    number: int
    interface: str


@dataclass(slots=True)
class Passage:
    """One packet's way. `source` and `target` are hosts of the lab, or None where no host has the address.

    `packet` is the packet as its sender's capture has it, or as the first capture that saw it. Lost means: its target's
    capture is complete and does not have it. A packet that no address explains (ARP, multicast) is `noise`.
    """

    packet: Packet
    source: str | None
    target: str | None
    hops: list[Hop]
    noise: bool = False
    fate: Fate = "unknown"
    traits: frozenset[str] = frozenset()
    pieces: int = 0

    @property
    def t(self) -> float:
        return self.hops[0].t

    @property
    def end(self) -> float:
        return self.hops[-1].t

    @property
    def is_problem(self) -> bool:
        return not PROBLEMS.isdisjoint(self.traits)


@dataclass
class _Open:
    """What is being matched: passages by key, and the answer so far."""

    owner: Mapping[str, str]
    by_key: dict[object, list[Passage]] = field(default_factory=dict)
    found: list[Passage] = field(default_factory=list)


def passages(evidence: Evidence) -> list[Passage]:
    """Every packet of every capture, matched across hosts, in the order in which they were first seen."""
    owner = {address: host for host, addresses in evidence.addresses.items() for address in addresses}
    matching = _Open(owner)
    for _, host, packet in _sightings(evidence):
        _match(matching, host, packet)
    found = matching.found
    complete = {c.host for c in evidence.captures.values() if c.complete}
    for passage in found:
        _settle(passage, complete)
    found = _rejoin(found)
    kinds: dict[frozenset[str], frozenset[str]] = {}
    for passage in found:
        traits = frozenset(_traits(passage, complete))
        passage.traits = kinds.setdefault(traits, traits)
    found.sort(key=_began)
    return found


def _began(passage: Passage) -> float:
    return passage.hops[0].t


def _sightings(evidence: Evidence) -> list[tuple[float, str, Packet]]:
    seen = [(p.t, host, p) for host in evidence.captures for p in evidence.packets[host]]
    seen.sort(key=itemgetter(0))
    return seen


def _match(matching: _Open, host: str, packet: Packet) -> None:
    hop = Hop(host, packet.t, packet.number, packet.interface)
    source, target = packet.source, packet.destination
    if not source or _is_group(target):
        matching.found.append(Passage(packet, host, None, [hop], noise=True))
        return
    local = packet.interface == "lo"
    key = _key(packet, host if local else None)
    waiting = matching.by_key.setdefault(key, [])
    known = _choose(waiting, hop)
    if known is not None:
        known.hops.append(hop)
        if host == known.target and packet.ip_id in _SAME_ID:
            waiting.remove(known)
        return
    owner = matching.owner
    passage = Passage(packet, host, host, [hop]) if local else Passage(packet, owner.get(source), owner.get(target), [hop])
    if waiting and packet.ip_id not in _SAME_ID:
        passage.traits = frozenset({"duplicate"})
    waiting.append(passage)
    if len(waiting) > _ALIKE:
        del waiting[0]
    matching.found.append(passage)


def _key(packet: Packet, host: str | None) -> object:
    """What stays the same from hop to hop. The time to live and the checksum do not; numbers relative to a capture do not."""
    p = packet
    if p.flags is not None:
        return p.source, p.destination, p.sport, p.dport, p.ip_id, p.raw_seq, p.flags, p.payload, host
    return p.source, p.destination, p.sport, p.dport, p.ip_id, p.protocol, p.length, p.icmp, p.icmpv6, p.info, host


def _choose(waiting: list[Passage], hop: Hop) -> Passage | None:
    """Which of the passages that look like this packet it continues; None when it is a new one."""
    host, t, _, interface = hop
    free = None
    for passage in waiting:
        hops = passage.hops
        # The sender saw it already, so a second sighting there is a second packet. A router sees it coming and going.
        if any(h.host == host and (h.interface == interface or host in (passage.source, passage.target)) for h in hops):
            continue
        if host == passage.source and hops[0].t < t - IN_FLIGHT_S:
            continue
        free = passage
        if t - hops[0].t < IN_FLIGHT_S:
            break
    return free


@lru_cache(maxsize=4096)
def _is_group(address: str) -> bool:
    """Whether an address is multicast or the limited broadcast."""
    if ":" in address:
        return address.startswith("ff")
    first = address.partition(".")[0]
    return address == "255.255.255.255" or (first.isdigit() and 224 <= int(first) < 240)


def _settle(passage: Passage, complete: set[str]) -> None:
    if passage.noise or passage.target is None:
        return
    if any(hop.host == passage.target for hop in passage.hops):
        passage.fate = "arrived"
    elif passage.target in complete:
        passage.fate = "lost"


def _rejoin(found: list[Passage]) -> list[Passage]:
    """Undo what segmentation and coalescing in the kernel did: pieces of one segment are not a loss and a forgery.

    A lost segment whose bytes turn up further on in segments that nobody sent under that form has arrived in pieces.
    """
    flows: dict[object, tuple[list[Passage], list[Passage]]] = {}
    for passage in found:
        p = passage.packet
        if p.payload and p.raw_seq is not None:
            sent_here = any(hop.host == passage.source for hop in passage.hops)
            if (passage.fate == "lost") == sent_here:
                pair = flows.setdefault((p.source, p.sport, p.destination, p.dport), ([], []))
                pair[0 if sent_here else 1].append(passage)
    gone: set[int] = set()
    for whole, pieces in flows.values():
        gone |= _join(whole, pieces)
    return [p for p in found if id(p) not in gone] if gone else found


def _join(whole: list[Passage], pieces: list[Passage]) -> set[int]:
    """Attach pieces to the segments whose bytes they carry; answers with the pieces that are told by them now."""
    gone: set[int] = set()
    whole.sort(key=_first_byte)
    position = 0
    for piece in sorted(pieces, key=_first_byte):
        start = _first_byte(piece)
        end = start + (piece.packet.payload or 0)
        while position < len(whole) and _first_byte(whole[position]) + (whole[position].packet.payload or 0) <= start:
            position += 1
        for candidate in whole[position : position + 64]:
            if _first_byte(candidate) >= end:
                break
            if -0.001 <= piece.t - candidate.t < 1.0:
                candidate.fate = "arrived" if piece.fate == "arrived" else candidate.fate
                seen = {hop.host for hop in candidate.hops}
                candidate.hops += [hop for hop in piece.hops if hop.host not in seen]
                candidate.pieces += 1
                gone.add(id(piece))
    return gone


def _first_byte(passage: Passage) -> int:
    return passage.packet.raw_seq or 0


def _traits(passage: Passage, complete: set[str]) -> Iterator[str]:
    p = passage.packet
    yield from passage.traits
    if passage.noise:
        return
    if passage.fate == "lost":
        yield "lost"
    if p.icmp is not None or p.icmpv6 is not None:
        if p.is_icmp_error:
            yield "icmp"
    elif p.flags is not None:
        yield from _tcp_traits(passage)
    seen = {hop.host for hop in passage.hops}
    if passage.source in complete and passage.source not in seen and "duplicate" not in passage.traits:
        yield "forged"


def _tcp_traits(passage: Passage) -> Iterable[str]:
    p = passage.packet
    flags = p.flags or 0
    # A router's capture has every packet twice, so what tshark calls a retransmission there is none.
    if p.retransmission and passage.hops[0].host in (passage.source, passage.target):
        yield "retransmission"
    if flags & RST:
        yield "rst"
    if flags & SYN:
        yield "syn"
    if flags & FIN:
        yield "fin"
    if p.window == 0 and not flags & (SYN | FIN | RST):
        yield "zero-window"
