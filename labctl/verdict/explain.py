"""Why a program saw what it saw, drawn from packets, faults and sockets. Right or silent."""

from __future__ import annotations

import itertools

from labctl.evidence.packets import ACK, RST, SYN, Packet
from labctl.evidence.record import Evidence, FaultRecord, ProgramRecord
from labctl.verdict.checks import samples_of

ICMP_UNREACHABLE = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
    4: "fragmentation needed", 9: "network prohibited", 10: "host prohibited", 13: "administratively prohibited",
}  # fmt: skip
ICMPV6_UNREACHABLE = {
    0: "no route", 1: "administratively prohibited", 3: "address unreachable", 4: "port unreachable",
}  # fmt: skip

ICMP_ERRNO = {
    0: "ENETUNREACH", 1: "EHOSTUNREACH", 2: "ENOPROTOOPT", 3: "ECONNREFUSED", 9: "ENETUNREACH", 10: "EHOSTUNREACH",
    13: "EHOSTUNREACH",
}  # fmt: skip
ICMPV6_ERRNO = {0: "ENETUNREACH", 1: "EACCES", 3: "EHOSTUNREACH", 4: "ECONNREFUSED"}


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
    own = set(evidence.addresses.get(program.host, ())) | {"127.0.0.1", "::1"}
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
    # An ICMP error that the kernel turns into this errno, while we try, is the answer to us.
    icmp = [p for p in mine if p.destination in own and p.t >= syns[0].t and _errno_of(p) == errno]
    went = (
        f"{_count(syns, 'SYN')} to {_name(evidence, last.destination)} port {last.dport} ({_numbers(syns)})"
    )
    if errno == "ECONNREFUSED" and resets:
        guilty = _faults_that(evidence, step, "reject", last, "tcp-reset")
        refused = _clause(guilty) or ("" if guilty else _nothing_listens(evidence, step, last))
        answer = f"{_name(evidence, last.destination)} answered with a reset (#{resets[-1].number})"
        return f"{went}; {answer}" + (f": {refused}." if refused else ".")
    if icmp:
        who = _clause(_faults_that(evidence, step, "reject", last, "icmp"))
        answer = (
            f"{_name(evidence, icmp[-1].source)} answered ICMP {_unreachable(icmp[-1])} (#{icmp[-1].number})"
        )
        # net/ipv4/tcp_ipv4.c, tcp_v4_err: an error that comes while the caller holds the socket is only noted.
        held = f". connect() still held its socket when #{icmp[0].number} came, so the repeated SYN's answer ended it"
        return f"{went}; {answer}" + (f": {who}" if who else "") + (held if len(icmp) > 1 else "") + "."
    if errno == "ETIMEDOUT" and not answers and not any(_unreachable(p) for p in mine if p.destination in own):
        who = _clause(_faults_that(evidence, step, "drop", last))
        gave_up = f"{went}, no answer, no reset, no ICMP: the kernel gave up after {ms / 1000:.1f} s"
        return gave_up + (f"; {who}." if who else ".")
    return None


def _name(evidence: Evidence, address: str) -> str:
    """A host's name for its address; the address itself when it is nobody's."""
    return next((name for name, addresses in evidence.addresses.items() if address in addresses), address)


def _in_step(evidence: Evidence, step: int, host: str) -> list[Packet]:
    start, end = evidence.window(step)
    return [p for p in evidence.packets[host] if start <= p.t < end]


def _faults_that(
    evidence: Evidence, step: int, kind: str, syn: Packet, answer: str = ""
) -> list[FaultRecord]:
    """The faults of a kind that touched packets while the step ran and whose rules are about this SYN (or its answers)."""
    start, end = evidence.window(step)
    return [
        f
        for f in evidence.faults
        if f.kind == kind and f.packets and f.in_place(start, end) and _is_about(f.commands, syn, answer)
    ]


def _is_about(commands: list[list[str]], syn: Packet, answer: str) -> bool:
    """Whether iptables rules can have touched a SYN, or what answers it, and answered as they would."""
    ends = (syn.source, syn.sport, syn.destination, syn.dport)
    rules = [argv for argv in commands if "-j" in argv]
    if not any(answer in word for argv in rules for word in argv):
        return False
    return any(all(_admits(argv, *way) for argv in rules) for way in (ends, ends[2:] + ends[:2]))


def _admits(argv: list[str], source: str, sport: int | None, destination: str, dport: int | None) -> bool:
    """Whether a rule lets a TCP packet through to its target; what cannot be told from addresses and ports counts as yes."""
    for option, value in itertools.pairwise(argv):
        if "!" in argv:
            return True
        if option in ("-s", "-d"):
            address = source if option == "-s" else destination
            if address not in [part.partition("/")[0] for part in value.split(",")]:
                return False
        elif option == "-p" and value not in ("tcp", "all"):
            return False
        elif option in ("--sport", "--dport"):
            first, _, last = value.partition(":")
            port = sport if option == "--sport" else dport
            if port is None or not int(first) <= port <= int(last or first):
                return False
    return True


def _nothing_listens(evidence: Evidence, step: int, syn: Packet) -> str:
    """That no socket listened there, if the samples of that host say so; else nothing."""
    samples = samples_of(evidence, step, _name(evidence, syn.destination))
    listening = any(
        s["state"] == "LISTEN" and s["port"] == syn.dport for sample in samples for s in sample.sockets
    )
    return f"nothing listens on port {syn.dport} there" if samples and not listening else ""


def _clause(faults: list[FaultRecord]) -> str:
    """What the one fault did; nothing when there is none or more than one."""
    if len(faults) != 1:
        return ""
    fault = faults[0]
    verb = {"drop": "dropped", "reject": "rejected"}[fault.kind]
    return f"the fault {fault.name} on {fault.host} {verb} {fault.packets} packet{'s' * (fault.packets != 1)}"


def _errno_of(packet: Packet) -> str | None:
    """The errno that the kernel makes of an ICMP error (icmp_err_convert, net/ipv4/icmp.c; tab_unreach, net/ipv6/icmp.c)."""
    if packet.icmp is not None and packet.icmp[0] == 3:
        return ICMP_ERRNO.get(packet.icmp[1])
    if packet.icmpv6 is not None and packet.icmpv6[0] == 1:
        return ICMPV6_ERRNO.get(packet.icmpv6[1])
    return None


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
