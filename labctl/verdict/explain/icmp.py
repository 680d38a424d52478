"""ICMP errors: what they say, and the errno that the kernel makes of each."""

from __future__ import annotations

from labctl.evidence.packets import Packet
from labctl.verdict.explain.case import Case, Flow

UNREACHABLE = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
    4: "fragmentation needed", 9: "network prohibited", 10: "host prohibited", 13: "administratively prohibited",
}  # fmt: skip
UNREACHABLE_V6 = {
    0: "no route", 1: "administratively prohibited", 3: "address unreachable", 4: "port unreachable",
    5: "source address failed a policy", 6: "reject route",
}  # fmt: skip
# icmp_err_convert, net/ipv4/icmp.c; tcp_v4_err, net/ipv4/tcp_ipv4.c; tab_unreach, net/ipv6/icmp.c
ERRNO = {
    (3, 0): "ENETUNREACH", (3, 1): "EHOSTUNREACH", (3, 2): "ENOPROTOOPT", (3, 3): "ECONNREFUSED", (3, 4): "EMSGSIZE",
    (3, 9): "ENETUNREACH", (3, 10): "EHOSTUNREACH", (3, 13): "EHOSTUNREACH", (11, 0): "EHOSTUNREACH",
}  # fmt: skip
ERRNO_V6 = {
    (1, 0): "ENETUNREACH", (1, 1): "EACCES", (1, 3): "EHOSTUNREACH", (1, 4): "ECONNREFUSED", (1, 5): "EACCES",
    (1, 6): "EACCES", (2, 0): "EMSGSIZE", (3, 0): "EHOSTUNREACH",
}  # fmt: skip


def errno_of(packet: Packet) -> str | None:
    """The errno that the kernel makes of an ICMP error; None for any other packet."""
    if packet.icmp is not None:
        return ERRNO.get(packet.icmp)
    return ERRNO_V6.get(packet.icmpv6) if packet.icmpv6 is not None else None


def words(packet: Packet) -> str | None:
    """What an ICMP error says, in the RFCs' words; None for any other packet."""
    if packet.icmp is not None:
        kind, code = packet.icmp
        if kind == 3:
            return UNREACHABLE.get(code, f"unreachable, code {code}")
        return "time exceeded" if kind == 11 else None
    if packet.icmpv6 is not None:
        kind, code = packet.icmpv6
        if kind == 1:
            return UNREACHABLE_V6.get(code, f"unreachable, code {code}")
        return {2: "packet too big", 3: "time exceeded"}.get(kind)
    return None


def answers(case: Case, errno: str, flow: Flow | None = None) -> list[Packet]:
    """The ICMP errors that told the program's host so; with a flow, only those that quote a packet of it."""
    told = [p for p in case.packets if p.destination in case.own and errno_of(p) == errno]
    return told if flow is None else [p for p in told if p.quoted in (None, (flow.port, flow.peer))]
