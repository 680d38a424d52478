"""Segments sent again: because they were lost, or for nothing, as the peer had them already."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from labctl.evidence.packets import Packet
from labctl.faults.link import Link
from labctl.verdict.explain.case import Case, Flow, count, numbers
from labctl.verdict.explain.faults import SILENT, blame, clause, damage, guilty

Twice = list[tuple[Packet, int, int]]

# How tshark writes a block of a selective acknowledgement (packet-tcp.c): left and right edge, counted like Seq and Ack.
_BLOCK = re.compile(r"SLE=(\d+) SRE=(\d+)")
# The least time after which Linux sends again what nobody acknowledged (TCP_RTO_MIN, include/net/tcp.h).
LEAST_RTO_S = 0.2


def sent_again(case: Case, flow: Flow, packets: Sequence[Packet]) -> list[str]:
    """What is to be said of the data among `packets`, in the order of time, that was sent again; nothing when none was."""
    again = [p for p in packets if p.retransmission and p.payload]
    if not again:
        return []
    told = told_twice(packets)
    lossy = bool(guilty(case, flow, (*SILENT, "mtu")))
    arrived = Counter[tuple[int | None, int | None]]() if lossy else _arrivals(case, flow)
    idle = [p for p in again if needless(p, told) or arrived[p.sport, p.raw_seq] > 1]
    said = []
    if needed := [p for p in again if p not in idle]:
        found = (damage(case, flow, "tcp"), blame(case, flow, (*SILENT, "mtu")) or blame(case, flow, ("delay",)))
        why = ", and ".join(part for part in found if part)
        had = "had to be" if lossy or not why else "was" if len(needed) == 1 else "were"
        said.append(f"{count(needed, 'segment')} {had} sent again ({numbers(needed)}){f': {why}' if why else ''}")
    if idle:
        said.append(_for_nothing(case, idle, told) + ("" if lossy else _cause(case, flow, idle, packets)))
    return said


def told_twice(packets: Sequence[Packet]) -> Twice:
    """The acknowledgements that say that bytes came twice, with the bytes (D-SACK, RFC 2883, 4).

    Their first block is acknowledged already, or lies within the second.
    """
    found: Twice = []
    for p in packets:
        blocks = [(int(left), int(right)) for left, right in _BLOCK.findall(p.info)] if "SLE=" in p.info else []
        if not blocks:
            continue
        (left, right), *others = blocks
        if right <= (p.ack or 0) or (others and others[0][0] <= left and right <= others[0][1]):
            found.append((p, left, right))
    return found


def needless(again: Packet, told: Twice) -> Packet | None:
    """The acknowledgement that says that a segment sent again had arrived before; None when none says so."""
    start = again.seq or 0
    end = start + (again.payload or 0)
    for p, left, right in told:
        if p.t >= again.t and (p.sport, p.dport) == (again.dport, again.sport) and left < end and right > start:
            return p
    return None


def _arrivals(case: Case, flow: Flow) -> Counter[tuple[int | None, int | None]]:
    """How often data that begins at a sequence number came to its receiver, by its sender's port, as complete captures have it.

    Where nothing can have damaged it on its way, two arrivals mean that what was sent first had arrived.
    """
    found: Counter[tuple[int | None, int | None]] = Counter()
    ends = {flow.port, flow.peer}
    for host in (case.host, case.name(flow.remote)):
        capture = case.evidence.captures.get(host)
        own = set(case.evidence.addresses.get(host, ()))
        for p in case.evidence.packets[host] if capture is not None and capture.complete else ():
            if p.payload and p.destination in own and {p.sport, p.dport} == ends:
                found[p.sport, p.raw_seq] += 1
    return found


def _for_nothing(case: Case, idle: list[Packet], told: Twice) -> str:
    answers = [answer for p in idle if (answer := needless(p, told))]
    were, them = ("was", "it") if len(idle) == 1 else ("were", "them")
    who = {case.name(p.destination) for p in idle}
    said = f", and said so (D-SACK #{answers[0].number}{', …' if len(answers) > 1 else ''})" if answers else ""
    had = f"{who.pop() if len(who) == 1 else 'the other end'} had {them} already{said}"
    return f"{count(idle, 'segment')} {were} sent again for nothing ({numbers(idle)}): {had}"


def _cause(case: Case, flow: Flow, idle: list[Packet], packets: Sequence[Packet]) -> str:
    """Why TCP sent something again that was not lost."""
    mixing = [
        f for f in guilty(case, flow, ("reorder", "delay"))
        if isinstance(spec := case.settings(f), Link) and (spec.reorder or spec.jitter)
    ]  # fmt: skip
    if len(mixing) == 1:
        return f"; TCP took the new order for loss: {clause(case, mixing[0])}"
    if late := blame(case, flow, ("delay",)):
        return f"; the acknowledgement came late: {late}"
    if all(_is_tail_probe(p, packets) for p in idle):
        return "; that is how TCP asks when an acknowledgement takes long (tail loss probe, RFC 8985)"
    return ""


def _is_tail_probe(again: Packet, packets: Sequence[Packet]) -> bool:
    """Whether a segment was sent again as the last one that was out, sooner than any timer for loss would have it."""
    same = [p for p in packets if (p.sport, p.dport) == (again.sport, again.dport) and p.t < again.t and p.payload]
    if not same:
        return False
    furthest = max((p.seq or 0) + (p.payload or 0) for p in same)
    return (again.seq or 0) + (again.payload or 0) == furthest and again.t - same[-1].t < LEAST_RTO_S
