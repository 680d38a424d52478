"""Datagrams and pings that ended in an error: what an ICMP error said, or what the sender's own kernel refused."""

from __future__ import annotations

from labctl.evidence.packets import Packet
from labctl.units import parse_bytes
from labctl.verdict.explain import icmp
from labctl.verdict.explain.case import Case, Flow, endpoint, numbers
from labctl.verdict.explain.connect import asked_in_vain
from labctl.verdict.explain.faults import blame, clause, guilty

CALLS = frozenset({"send", "sendto", "recv", "recvfrom", "connect"})


MOST = {4: 65507, 6: 65527}  # 65,535 less the headers of IPv4 (20) and UDP (8); RFC 768, RFC 791, RFC 8200


def explain(case: Case) -> str | None:
    """Why a call on a datagram or ping socket ended in this errno."""
    flow = flow_of(case)
    if case.op not in CALLS or case.errno is None or flow is None or any(p.is_tcp for p in case.talk):
        return None
    sent = [p for p in case.packets if _sent(case, flow, p)]
    if case.errno in ("EPERM", "EACCES") and not sent:
        return _refused_here(case, flow)
    told = icmp.answers(case, case.errno, flow if flow.port else None)
    if case.errno == "EMSGSIZE" and case.op in ("send", "sendto"):
        return _too_long(case, flow, told)
    if told and sent:
        return _told(case, flow, sent, told)
    if case.errno == "EHOSTUNREACH" and (said := asked_in_vain(case, flow)) is not None:
        return f"{said}."
    if case.errno == "ENETUNREACH" and not sent and not told:
        down = [f for f in guilty(case, flow, ("down",)) if f.host == case.host]
        why = f": {clause(case, down[0])}" if len(down) == 1 else ""
        return f"{case.host}'s own kernel had no route to {case.name(flow.remote)}, so nothing was sent{why}."
    return None


def flow_of(case: Case) -> Flow | None:
    """The socket and its peer; without ports for a ping, whose peer is an address alone."""
    peer = case.outcome.get("peer")
    if "--unconnected" in case.program.argv and case.flow is None:
        return _unconnected(case)
    if endpoint(peer) is None and isinstance(peer, str) and case.outcome.get("verb") == "ping":
        return Flow(0, peer, 0)
    return case.flow


def _unconnected(case: Case) -> Flow | None:
    """A socket without a peer: whom its last datagram went to, by the packets and the program's arguments."""
    ports = {word for word in case.program.argv if word.isdecimal()}
    sent = [p for p in case.packets if p.source in case.own and not p.is_tcp and str(p.dport) in ports]
    if not sent or sent[-1].sport is None or sent[-1].dport is None:
        return None
    return Flow(sent[-1].sport, sent[-1].destination, sent[-1].dport, sent[-1].source)


def _sent(case: Case, flow: Flow, packet: Packet) -> bool:
    if flow.port:
        return flow.sent(packet)
    asks = packet.icmp == (8, 0) or packet.icmpv6 == (128, 0)
    return asks and packet.source in case.own and packet.destination == flow.remote


def _refused_here(case: Case, flow: Flow) -> str | None:
    """A firewall on the sender's own output makes the send itself fail (netfilter, NF_DROP_ERR(-EPERM))."""
    own = [f for f in guilty(case, flow, ("drop", "reject")) if f.host == case.host]
    if len(own) != 1:
        return None
    return f"{clause(case, own[0])} on its way out, and {case.host}'s kernel tells the sender; nothing reached the wire."


def _too_long(case: Case, flow: Flow, told: list[Packet]) -> str | None:
    """Longer than the way allows, and not to be cut (ip(7), IP_MTU_DISCOVER)."""
    if told:
        who = blame(case, flow, ("mtu",))
        sender = case.name(told[0].source)
        said = f"{sender} answered ICMP {icmp.words(told[0])} (#{told[0].number})"
        return f"{said}, and the kernel remembers{f': {who}' if who else ''}."
    most = MOST[6 if ":" in flow.remote else 4]
    if (size := _size(case)) is not None and size > most:
        return f"a datagram carries at most {most} bytes, and this one has {size}: {case.host}'s own kernel refused it."
    own = [f for f in guilty(case, flow, ("mtu",)) if f.host == case.host]
    if len(own) != 1:
        return None
    refused = f"{case.host}'s own kernel refused it, and nothing was sent"
    return f"{clause(case, own[0])}, and this datagram must not be cut; {refused}."


def _size(case: Case) -> int | None:
    """How many bytes the program was told to send at once."""
    word = case.argument("--size") or ""
    try:
        return int(word) if word.isdecimal() else parse_bytes(word)
    except ValueError:
        return None


def _told(case: Case, flow: Flow, sent: list[Packet], told: list[Packet]) -> str:
    last = told[-1]
    before = [p for p in sent if p.t <= last.t] or sent
    where = f"{case.name(flow.remote)} port {flow.peer}" if flow.port else case.name(flow.remote)
    what = "echo request" if not flow.port else "datagram"
    kinds = ("ttl",) if icmp.words(last) == "time exceeded" else ("reject", "down")
    why = blame(case, flow, kinds, "icmp")
    if not why and icmp.words(last) == "port unreachable" and not guilty(case, flow, kinds):
        why = f"nothing is bound to port {flow.peer} there"
    answer = f"{case.name(last.source)} answered ICMP {icmp.words(last)} (#{last.number})"
    return f"the {what} to {where} ({numbers(before[-1:])}) did not get there: {answer}{f': {why}' if why else ''}."
