"""No answer and no error, until the program's own limit: who owes whom a packet."""

from __future__ import annotations

from labctl.evidence.packets import ACK, FIN, RST, Packet
from labctl.verdict.explain import icmp
from labctl.verdict.explain.case import Case, Flow, as_number, count, endpoint, numbers
from labctl.verdict.explain.datagram import flow_of
from labctl.verdict.explain.faults import SILENT, blame, clause, damage, guilty
from labctl.verdict.explain.stream import acknowledged, unanswered


def explain(case: Case) -> str | None:
    """Why a program waited in vain."""
    if not case.in_vain:
        return None
    flow = case.flow
    if case.op in ("recv", "send") and flow is not None and any(p.is_tcp for p in case.talk):
        return _stream(case, flow)
    if case.op == "recv" and (flow := flow_of(case)) is not None and flow.port:
        return _datagram(case, flow)
    if case.op == "recvfrom" and (bound := endpoint(case.outcome.get("local"))) is not None:
        return _bound(case, bound[1])
    if case.op == "accept" and (bound := endpoint(case.outcome.get("local"))) is not None:
        came = [p for p in case.packets if p.dport == bound[1] and p.destination in case.own and p.is_tcp]
        return None if came else f"no SYN to port {bound[1]} arrived at {case.host}{_limit(case)}."
    return None


def _limit(case: Case) -> str:
    return f"; {case.ended}"


def _stream(case: Case, flow: Flow) -> str | None:
    who = case.name(flow.remote)
    if (said := unanswered(case, flow, case.ended)) is not None:
        return said
    coming = _on_the_way(case, flow)
    if coming is not None:
        return coming
    done = acknowledged(flow, case.talk)
    came = [p for p in case.talk if flow.heard(p) and p.payload and (done is None or p.t >= done[0].t)]
    if came:
        own_end = min((p.t for p in case.talk if flow.sent(p) and p.has(FIN)), default=case.end)
        if any(flow.heard(p) and p.has(FIN) and p.t < own_end for p in case.talk):
            return None
        began = f"the last data from {who} was #{came[-1].number}; after that it sent neither more nor a FIN"
    elif done is not None:
        sent, answer = done
        began = f"{who}'s kernel acknowledged what was sent (#{sent.number}) with #{answer.number}, and nothing more came"
    elif not any(p.payload and not _is_probe(p) for p in case.talk):
        last = max(case.talk, key=lambda p: p.t)
        began = f"on this connection nothing went and nothing came after #{_open(flow, case.talk, last).number}"
    else:
        return None
    found = [f for f in guilty(case, flow, ("pause",)) if f.host == who]
    forgot = blame(case, flow, ("expire",))
    why = f": {clause(case, found[0])}" if len(found) == 1 else (f": {forgot}" if forgot else "")
    return f"{began}{_alive(case)}{why}{_limit(case)}."


def _is_probe(packet: Packet) -> bool:
    """Whether a packet only asks whether the other end is still there, or says so (RFC 9293, 3.8.4), as tshark tells them."""
    return "[TCP Keep-Alive" in packet.info


def _alive(case: Case) -> str:
    """The keepalive probes on a connection that is otherwise silent, and their answers."""
    probes = [p for p in case.talk if "[TCP Keep-Alive]" in p.info]
    if not probes:
        return ""
    until = [p.t for p in probes[1:]] + [case.end]
    bare = [p for p in case.talk if p.has(ACK) and not p.has(RST) and not p.has(FIN) and not p.payload]
    heard_after = ([a for a in bare if a.sport == p.dport and p.t <= a.t < end] for p, end in zip(probes, until, strict=True))
    answers = [found[0] for found in heard_after if found]
    asked = f"{count(probes, 'keepalive probe')} ({numbers(probes)})"
    if not answers:
        return f" but {asked} that nobody answered"
    each = "each " if len(probes) > 1 else ""
    if len(answers) < len(probes):
        return f" but {asked}, of which {len(answers)} {'was' if len(answers) == 1 else 'were'} answered ({numbers(answers)})"
    return f" but {asked}, {each}answered ({numbers(answers)})"


def _open(flow: Flow, talk: tuple[Packet, ...], last: Packet) -> Packet:
    """The last packet of the handshake: the first bare acknowledgement, or the last packet there is."""
    return next((p for p in talk if flow.has(p) and p.flags == 0x10), last)


def _on_the_way(case: Case, flow: Flow) -> str | None:
    """Data that the peer sent and that never arrived, by both captures."""
    who = case.name(flow.remote)
    there = [
        p
        for p in case.at(who)
        if (p.sport, p.dport) == (flow.peer, flow.port) and p.payload and p.destination in case.own
    ]
    here = {p.raw_seq for p in case.talk if flow.heard(p) and p.payload}
    lost = [p for p in there if p.raw_seq not in here]
    if who == case.host or not lost or here:
        return None
    why = blame(case, flow, SILENT)
    return f"{who} sent data ({numbers(lost)} in its capture), and none of it arrived{f': {why}' if why else ''}{_limit(case)}."


def _bound(case: Case, port: int) -> str:
    """A socket that waited for datagrams: what arrived and was given to it, what arrived and was not, what never did."""
    came = [
        p for p in case.packets
        if p.dport == port and p.destination in case.own and not p.is_tcp and not p.icmp and not p.icmpv6 and p.t <= case.last
    ]  # fmt: skip
    # A program that counts no datagrams has got what came when it has received anything at all.
    counted = case.outcome.get("datagrams")
    given = len(came) if counted is None and as_number(case.outcome.get("received")) else int(as_number(counted))
    sent = [(host, _to(case, host, port)) for host in case.evidence.captures if host != case.host]
    senders = [(host, packets) for host, packets in sent if packets]
    before = f"{case.host} waited for datagrams to port {port}"
    if given and len(came) <= given:
        before, arrived = f"{count(given, 'datagram')} came ({numbers(came)})", "then nothing more"
    elif came:
        arrived = f"{len(came)} arrived ({numbers(came)})" + (f", of which it got {given}" if given else "")
    else:
        arrived = "none arrived"
    told = ""
    if len(senders) == 1 and len(senders[0][1]) > len(came):
        host, packets = senders[0]
        told = f" of {len(packets)} that {host} had sent ({numbers(packets)} in its capture)"
    one = came[-1] if came else senders[0][1][-1] if len(senders) == 1 else None
    flow = Flow(port, one.source, one.sport or 0) if one is not None else None
    why = ", and ".join(part for part in (damage(case, flow, "udp"), blame(case, flow, SILENT)) if part) if flow else ""
    return f"{before}, and {arrived}{told}{f': {why}' if why else ''}{_limit(case)}."


def _to(case: Case, host: str, port: int) -> list[Packet]:
    """The datagrams to a port of the program's host that another host sent, by that one's capture."""
    own = case.evidence.addresses.get(host, ())
    return [p for p in case.at(host) if p.dport == port and p.destination in case.own and not p.is_tcp and p.source in own]


def _untold(case: Case, flow: Flow) -> str | None:
    """An ICMP error that the kernel keeps to itself (udp(7), IP_RECVERR; icmp_err_convert in net/ipv4/icmp.c says which)."""
    told = [
        p
        for p in case.packets
        if icmp.words(p) and p.destination in case.own and p.quoted == (flow.port, flow.peer)
    ]
    if not told or "--recverr" in case.program.argv:
        return None
    who = blame(case, flow, ("reject", "down", "ttl"))
    answer = f"{case.name(told[0].source)} answered ICMP {icmp.words(told[0])} (#{told[0].number}){f': {who}' if who else ''}"
    if case.flow is None:
        return f"{answer}; without IP_RECVERR a socket that has no peer is not told"
    if icmp.errno_of(told[0]) == "ECONNREFUSED":
        return None
    return f"{answer}; without IP_RECVERR a datagram socket is not told of what may pass"


def _datagram(case: Case, flow: Flow) -> str | None:
    who = case.name(flow.remote)
    sent = [p for p in case.packets if flow.sent(p)]
    if not sent or any(flow.heard(p) for p in case.packets):
        return None
    if (untold := _untold(case, flow)) is not None:
        return f"a datagram went to {who} port {flow.peer} ({numbers(sent)}), and {untold}{_limit(case)}."
    there = case.evidence.captures.get(who)
    arrived = [p for p in case.at(who) if (p.sport, p.dport) == (flow.port, flow.peer)]
    far = ""
    if who != case.host and there is not None and there.complete:
        back = [p for p in case.at(who) if (p.sport, p.dport) == (flow.peer, flow.port)]
        answered = (
            f" and answered ({numbers(back)} in its capture), and no answer came back"
            if back
            else " and sent no answer"
        )
        far = (
            f"; {who} got {numbers(arrived)} (in its capture){answered}"
            if arrived
            else f"; it never reached {who}"
        )
    why = blame(case, flow, SILENT) or blame(case, flow, ("pause",))
    went = f"a datagram went to {who} port {flow.peer} ({numbers(sent)}) and nothing came back"
    return f"{went}{far}{f'; {why}' if why else ''}{_limit(case)}."
