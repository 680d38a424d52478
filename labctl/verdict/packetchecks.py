"""Expectations about packets, held against captures: filters, order, times, ICMP, retransmissions, the same at two hosts."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from labctl.evidence.packets import Packet
from labctl.evidence.record import Evidence
from labctl.faults import icmp
from labctl.scenario.model import (
    CountRange,
    Expectation,
    IcmpExpectation,
    PacketExpectation,
    RetransmissionExpectation,
    SameExpectation,
    Scenario,
)
from labctl.units import format_duration
from labctl.verdict.finding import Finding, Verdict
from labctl.verdict.ranges import describe_range, in_range
from labctl.verdict.strangers import strange_port, strangers

SHOWN = 8


class _CannotTell(Exception):
    """Why a capture cannot be asked."""


def packet_checks(
    expect: Expectation, evidence: Evidence, step: int, scenario: Scenario | None = None
) -> Iterator[Finding]:
    """All findings about packets. Without a complete capture nobody can tell: error, even where 0 was asked for."""
    for wanted in expect.packets:
        yield from _packets(wanted, evidence, step, scenario)
    for message in expect.icmp:
        yield _icmp(message, evidence, step)
    for again in expect.retransmissions:
        yield _retransmissions(again, evidence, step, scenario)
    for pair in expect.same:
        yield from _same(pair, evidence, step)


def _captured(evidence: Evidence, host: str, step: int) -> list[Packet]:
    capture = evidence.captures.get(host)
    if capture is None:
        raise _CannotTell(f"no capture of {host}")
    if not capture.complete:
        raise _CannotTell(f"an incomplete capture: {capture.reason}")
    start, end = evidence.covered(step)
    return [p for p in evidence.packets[host] if start <= p.t < end]


def _selected(evidence: Evidence, host: str, filter_: str, step: int) -> list[Packet]:
    capture = evidence.captures.get(host)
    if capture is not None and filter_ in capture.refused:
        why = capture.refused[filter_]
        raise _CannotTell(f"Wireshark refuses this filter{why and f': {why}'}")
    captured = _captured(evidence, host, step)
    position = _position(evidence, host, filter_)
    return [p for p in captured if position in p.selected]


def _position(evidence: Evidence, host: str, filter_: str) -> int:
    try:
        return evidence.captures[host].filters.index(filter_)
    except ValueError:
        raise _CannotTell("this filter was never tried") from None


def _packets(
    wanted: PacketExpectation, evidence: Evidence, step: int, scenario: Scenario | None
) -> Iterator[Finding]:
    name = f"packets at {wanted.at}: {wanted.filter}"
    try:
        selected = _selected(evidence, wanted.at, wanted.filter, step)
    except _CannotTell as error:
        expected = "a display filter" if "refuses" in str(error) else describe_range(wanted.count, str)
        yield Finding(name, expected, str(error), "error")
        return
    counted = _counted(name, wanted.count, selected)
    yield _quoting(counted, selected) if selected else _with(counted, strangers(wanted.filter, evidence, scenario))
    try:
        yield from _times(wanted, selected, evidence, step)
    except _CannotTell as error:
        yield Finding(f"{name}, after {wanted.after}", "a display filter", str(error), "error")


def _counted(name: str, wanted: int | CountRange, selected: Sequence[Packet]) -> Finding:
    finding = in_range(name, wanted, len(selected), str)
    return replace(finding, actual=finding.actual + (f" ({_numbers(selected)})" if selected else ""))


def _quoting(finding: Finding, selected: Sequence[Packet]) -> Finding:
    """A wrong count, with which of it an error may have brought in: Wireshark's fields are those of the quoted packet too."""
    errors = [packet for packet in selected if packet.is_icmp_error]
    if finding.verdict == "pass" or len(errors) in (0, len(selected)):
        return finding
    are = "is an ICMP error" if len(errors) == 1 else "are ICMP errors"
    those = f"{_numbers(errors)} {are} that may only quote such a packet"
    return replace(finding, actual=f"{finding.actual}, of which {those}")


def _with(finding: Finding, strange: str | None) -> Finding:
    """A finding of nothing, with what nobody in the run has: it proves nothing then."""
    if strange is None:
        return finding
    verdict: Verdict = "error" if finding.verdict == "pass" else finding.verdict
    return replace(finding, actual=f"{finding.actual}; {strange}", verdict=verdict)


def _times(
    wanted: PacketExpectation, selected: list[Packet], evidence: Evidence, step: int
) -> Iterator[Finding]:
    """The order and the times that are asked for, each in a finding of its own."""
    ordered = sorted(selected, key=lambda p: p.t)
    name = f"packets at {wanted.at}: {wanted.filter}"
    if wanted.after is not None:
        others = sorted(_selected(evidence, wanted.at, wanted.after, step), key=lambda p: p.t)
        order = f"{name}, after {wanted.after}"
        if not ordered or not others:
            yield Finding.of(order, "one of each", f"{len(others)} and {len(ordered)}", False)
            return
        first, then = others[0], ordered[0]
        yield Finding.of(order, f"after #{first.number}", f"#{then.number}", then.t > first.t)
        if wanted.delay is not None:
            found = in_range(f"{order}, delay", wanted.delay, then.t - first.t, format_duration)
            yield replace(found, actual=f"{found.actual} (#{first.number} to #{then.number})")
    if wanted.apart is not None:
        gaps = [(b.t - a.t, a, b) for a, b in pairwise(ordered)]
        if not gaps:
            yield Finding.of(
                f"{name}, apart",
                describe_range(wanted.apart, format_duration),
                f"{len(ordered)} of them",
                False,
            )
            return
        found_all = [
            (in_range(f"{name}, apart", wanted.apart, gap, format_duration), a, b) for gap, a, b in gaps
        ]
        worst, a, b = next((f for f in found_all if f[0].verdict != "pass"), found_all[0])
        yield replace(worst, actual=f"{worst.actual} (#{a.number} to #{b.number})")


def _icmp(wanted: IcmpExpectation, evidence: Evidence, step: int) -> Finding:
    sender = f" from {wanted.source}" if wanted.source else ""
    name = f"icmp at {wanted.at}: {wanted.type}{sender}"
    try:
        captured = _captured(evidence, wanted.at, step)
    except _CannotTell as error:
        return Finding(name, describe_range(wanted.count, str), str(error), "error")
    senders = evidence.addresses.get(wanted.source, ()) if wanted.source else None
    found = [p for p in captured if _is_type(p, wanted.type) and (senders is None or p.source in senders)]
    return _counted(name, wanted.count, found)


def _is_type(packet: Packet, word: str) -> bool:
    """Whether a packet is an ICMP message of a type: a name of either family, or numbers of IPv4's."""
    four = None if word in icmp.V6 and word not in icmp.V4 else icmp.number(word, "icmp")
    for message, number in ((packet.icmp, four), (packet.icmpv6, icmp.V6.get(word))):
        if message is not None and number is not None:
            kind, _, code = number.partition("/")
            if message[0] == int(kind) and (not code or message[1] == int(code)):
                return True
    return False


def _retransmissions(
    wanted: RetransmissionExpectation, evidence: Evidence, step: int, scenario: Scenario | None
) -> Finding:
    name = f"retransmissions at {wanted.at}" + (f" port {wanted.port}" if wanted.port else "")
    try:
        captured = _captured(evidence, wanted.at, step)
    except _CannotTell as error:
        return Finding(name, describe_range(wanted.count, str), str(error), "error")
    found = [p for p in captured if p.retransmission and wanted.port in (None, p.sport, p.dport)]
    counted = _counted(name, wanted.count, found)
    if found or wanted.port is None:
        return counted
    return _with(counted, strange_port(wanted.port, evidence, scenario))


def _same(wanted: SameExpectation, evidence: Evidence, step: int) -> Iterator[Finding]:
    first, second = wanted.at
    name = f"the same {wanted.of} at {first} and {second}: {wanted.filter}"
    try:
        here, there = (_selected(evidence, host, wanted.filter, step) for host in wanted.at)
    except _CannotTell as error:
        yield Finding(name, f"{describe_range(wanted.lost, str)} lost", str(error), "error")
        return
    if not here and not there:
        yield Finding.of(name, "something to compare", f"nothing is selected at {first} or {second}", False)
        return
    compare = _lacking_bytes if wanted.of == "bytes" else _lacking_packets
    for word, limit, one, other in (("lost", wanted.lost, here, there), ("added", wanted.added, there, here)):
        number, which = compare(one, other)
        found = in_range(f"{name}, {word}", limit, number, str)
        shown = (
            f" ({_numbers(which)} at {first if word == 'lost' else second})"
            if which
            else f" of {len(one)} packets"
        )
        yield replace(found, actual=found.actual + shown)


def _identity(packet: Packet) -> tuple[object, ...]:
    """What a packet keeps on its way through routers and NAT: the peer's port, IP identification, sequence, ICMP type."""
    return (
        packet.sport,
        packet.dport,
        packet.ip_id,
        packet.raw_seq,
        packet.flags,
        packet.payload,
        packet.icmp,
        packet.icmpv6,
    )


def _lacking_packets(one: list[Packet], other: list[Packet]) -> tuple[int, list[Packet]]:
    left = Counter(map(_identity, other))
    lacking = []
    for packet in one:
        key = _identity(packet)
        if left[key]:
            left[key] -= 1
        else:
            lacking.append(packet)
    return len(lacking), lacking


Piece = tuple[int, int]


def _lacking_bytes(one: list[Packet], other: list[Packet]) -> tuple[int, list[Packet]]:
    """Bytes of the streams in one capture that no segment of the other holds, and the segments with such bytes."""
    base: dict[tuple[object, ...], int] = {}
    mine, theirs = _pieces(one, base), _pieces(other, base)
    number = 0
    for key, pieces in mine.items():
        number += sum(b - a - _covered((a, b), theirs.get(key, [])) for a, b in pieces)
    lacking = []
    for packet in one if number else ():
        key, piece = _piece(packet, base)
        if piece[1] > piece[0] and _covered(piece, theirs.get(key, [])) < piece[1] - piece[0]:
            lacking.append(packet)
    return number, lacking


def _piece(packet: Packet, base: dict[tuple[object, ...], int]) -> tuple[tuple[object, ...], Piece]:
    """The stream of a segment, and the bytes of it that it holds, counted from the stream's first seen sequence number."""
    key = (packet.sport, packet.dport)
    seq = packet.raw_seq or 0
    start = (seq - base.setdefault(key, seq) + 2**31) % 2**32 - 2**31
    return key, (start, start + (packet.payload or 0))


def _pieces(packets: list[Packet], base: dict[tuple[object, ...], int]) -> dict[tuple[object, ...], list[Piece]]:
    """The bytes that segments hold, by stream, as pieces in order that do not touch."""
    found: dict[tuple[object, ...], list[Piece]] = {}
    for packet in packets:
        if packet.raw_seq is not None and packet.payload:
            key, piece = _piece(packet, base)
            found.setdefault(key, []).append(piece)
    return {key: _united(pieces) for key, pieces in found.items()}


def _united(pieces: list[Piece]) -> list[Piece]:
    united: list[Piece] = []
    for a, b in sorted(pieces):
        if united and a <= united[-1][1]:
            united[-1] = (united[-1][0], max(b, united[-1][1]))
        else:
            united.append((a, b))
    return united


def _covered(piece: Piece, united: list[Piece]) -> int:
    """How many bytes of a piece lie in pieces that are in order and do not touch."""
    a, b = piece
    total = 0
    for low, high in united[max(0, bisect_right(united, (a, 0)) - 1) :]:
        if low >= b:
            break
        total += max(0, min(b, high) - max(a, low))
    return total


def _numbers(packets: Sequence[Packet]) -> str:
    return ", ".join(f"#{p.number}" for p in packets[:SHOWN]) + (", …" if len(packets) > SHOWN else "")
