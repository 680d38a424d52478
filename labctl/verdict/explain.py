"""Why a program saw what it saw, drawn from packets, faults and sockets. Right or silent."""

from __future__ import annotations

from labctl.evidence.packets import ACK, RST, SYN, Packet
from labctl.evidence.record import Evidence, FaultRecord, ProgramRecord

ICMP_UNREACHABLE = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
    4: "fragmentation needed", 9: "network prohibited", 10: "host prohibited", 13: "administratively prohibited",
}  # fmt: skip
ICMPV6_UNREACHABLE = {
    0: "no route", 1: "administratively prohibited", 3: "address unreachable", 4: "port unreachable",
}  # fmt: skip


def explain(evidence: Evidence, step: int, program: ProgramRecord) -> str | None:
    """One or two plain sentences on why the step ended as it did, naming packets by number; None when it is not known."""
    outcome = program.outcome
    if (
        outcome is None
        or program.host not in evidence.captures
        or not evidence.captures[program.host].complete
    ):
        return None
    if outcome.get("op") == "connect" and outcome.get("errno"):
        return _connect(evidence, step, program, str(outcome["errno"]), float(outcome.get("ms", 0.0)))
    return None


def _connect(evidence: Evidence, step: int, program: ProgramRecord, errno: str, ms: float) -> str | None:
    mine = _in_step(evidence, step, program.host)
    own = set(evidence.addresses[program.host]) | {"127.0.0.1", "::1"}
    syns = [p for p in mine if p.has(SYN) and not p.has(ACK) and p.source in own]
    if not syns:
        return None
    last = syns[-1]
    syns = [
        p
        for p in syns
        if (p.source, p.sport, p.destination, p.dport)
        == (last.source, last.sport, last.destination, last.dport)
    ]
    answers = [p for p in mine if (p.source, p.sport, p.dport) == (last.destination, last.dport, last.sport)]
    resets = [p for p in answers if p.has(RST)]
    # An ICMP error is an answer to us when it comes while we try; which of its senders matters is in its own address.
    icmp = [p for p in mine if p.destination in own and p.t >= syns[0].t and _unreachable(p)]
    went = f"{_count(syns, 'SYN')} to {_name(evidence, last.destination)} port {last.dport} ({_numbers(syns)})"
    if errno == "ECONNREFUSED" and resets:
        refused = _fault_that(evidence, step, "reject") or f"nothing listens on port {last.dport} there"
        return f"{went}; {_name(evidence, last.destination)} answered with a reset (#{resets[-1].number}): {refused}."
    if icmp:
        who = _fault_that(evidence, step, "reject")
        answer = f"{_name(evidence, icmp[-1].source)} answered ICMP {_unreachable(icmp[-1])} (#{icmp[-1].number})"
        # net/ipv4/tcp_ipv4.c, tcp_v4_err: an error that comes while the caller holds the socket is only noted.
        held = f". connect() still held its socket when #{icmp[0].number} came, so the repeated SYN's answer ended it"
        return f"{went}; {answer}" + (f": {who}" if who else "") + (held if len(icmp) > 1 else "") + "."
    if errno == "ETIMEDOUT" and not answers:
        who = _fault_that(evidence, step, "drop")
        gave_up = f"{went}, no answer, no reset, no ICMP: the kernel gave up after {ms / 1000:.1f} s"
        return gave_up + (f"; {who}." if who else ".")
    return None


def _name(evidence: Evidence, address: str) -> str:
    """A host's name for its address; the address itself when it is nobody's."""
    return next((name for name, addresses in evidence.addresses.items() if address in addresses), address)


def _in_step(evidence: Evidence, step: int, host: str) -> list[Packet]:
    start, end = evidence.window(step)
    return [p for p in evidence.packets[host] if start <= p.t < end]


def _fault_that(evidence: Evidence, step: int, kind: str) -> str | None:
    """The only fault of a kind that touched packets while the step ran, as a clause; None when there is none or several."""
    start, end = evidence.window(step)
    found = [f for f in evidence.faults if f.kind == kind and f.packets and f.in_place(start, end)]
    return _clause(found[0]) if len(found) == 1 else None


def _clause(fault: FaultRecord) -> str:
    verb = {"drop": "dropped", "reject": "rejected"}[fault.kind]
    return f"the fault {fault.name} on {fault.host} {verb} {fault.packets} packet{'s' * (fault.packets != 1)}"


def _unreachable(packet: Packet) -> str | None:
    if packet.icmp is not None and packet.icmp[0] == 3:
        return ICMP_UNREACHABLE.get(packet.icmp[1], f"unreachable, code {packet.icmp[1]}")
    if packet.icmpv6 is not None and packet.icmpv6[0] == 1:
        return ICMPV6_UNREACHABLE.get(packet.icmpv6[1], f"unreachable, code {packet.icmpv6[1]}")
    return None


def _count(packets: list[Packet], what: str) -> str:
    return f"{len(packets)} {what}{'s' * (len(packets) != 1)}"


def _numbers(packets: list[Packet]) -> str:
    shown = ", ".join(f"#{p.number}" for p in packets[:6])
    return shown + (", …" if len(packets) > 6 else "")
