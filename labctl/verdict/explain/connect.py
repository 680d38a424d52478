"""connect() that failed, or that its program gave up: which SYNs went, what came back, which rule ate what."""

from __future__ import annotations

from labctl.evidence.packets import ACK, RST, SYN, Packet
from labctl.verdict.explain import icmp
from labctl.verdict.explain.case import Case, Flow, count, endpoint, numbers
from labctl.verdict.explain.faults import SILENT, blame, clause, guilty, is_outgoing, why_absent

NO_ANSWER = " and did not answer"
ANY_ADDRESS = ("0.0.0.0", "::", "*")


def explain(case: Case) -> str | None:
    """Why connect() ended in this errno, or in nothing within the program's own limit."""
    if case.op != "connect" or not (case.errno or case.in_vain):
        return None
    if case.errno == "EADDRNOTAVAIL":
        return _no_port(case)
    syns = _last_attempt(case)
    if not syns:
        return _without_syn(case)
    last = syns[-1]
    assert last.sport is not None
    assert last.dport is not None
    flow = Flow(last.sport, last.destination, last.dport, last.source)
    went = f"{count(syns, 'SYN')} to {case.name(last.destination)} port {last.dport} ({numbers(syns)})"
    answers = [p for p in case.packets if flow.heard(p)]
    resets = [p for p in answers if p.has(RST)]
    if case.errno == "ECONNREFUSED" and resets:
        return f"{went}; {_refused(case, flow, resets[-1])}."
    if case.errno == "ECONNABORTED" and resets:  # inet_stream_connect, net/ipv4/af_inet.c
        reset = f"{case.name(flow.remote)} had answered with a reset (#{resets[-1].number})"
        return f"{went}; {reset} and that error had been told: to connect() again the kernel only says ECONNABORTED."
    if case.errno == "EINPROGRESS":
        return _in_progress(went, answers)
    # An ICMP error that the kernel turns into this errno, while we try, is the answer to us.
    told = [p for p in icmp.answers(case, case.errno, flow) if p.t >= syns[0].t] if case.errno else []
    if told:
        return f"{went}; {_told(case, flow, told)}."
    if answers and not resets and (case.errno == "ETIMEDOUT" or case.in_vain):
        return _deaf(case, flow, went, answers)
    silent = not answers and not any(icmp.words(p) for p in case.packets if p.destination in case.own)
    if silent and (case.errno == "ETIMEDOUT" or case.in_vain):
        return f"{went}, no answer, no reset, no ICMP: {case.ended}{_why_silent(case, flow, syns)}."
    return None


def _last_attempt(case: Case) -> list[Packet]:
    """The SYNs of the last connection that was tried; none when they went to another address than the program says."""
    syns = [p for p in case.packets if p.has(SYN) and not p.has(ACK) and p.source in case.own]
    if (asked := endpoint(case.outcome.get("peer"))) is not None:
        syns = [p for p in syns if (p.destination, p.dport) == asked]
    return [
        p
        for p in syns
        if (p.sport, p.destination, p.dport) == (syns[-1].sport, syns[-1].destination, syns[-1].dport)
    ]


def _no_port(case: Case) -> str | None:
    """No local port is left (connect(2)); with an address of its own choice it may be that one's."""
    peer = endpoint(case.outcome.get("peer"))
    if peer is None or case.argument("--source") is not None:
        return None
    where = f"{case.name(peer[0])} port {peer[1]}"
    return (
        f"{case.host} has no local port left for one more connection to {where} (ip(7), ip_local_port_range)."
    )


def _refused(case: Case, flow: Flow, reset: Packet) -> str:
    who = case.name(flow.remote)
    answer = f"{who} answered with a reset (#{reset.number})"
    found = guilty(case, flow, ("reject",), "tcp-reset")
    if len(found) == 1 and found[0].host != who:  # REJECT writes the sender's address that was asked for (ipt_REJECT)
        return f"a reset came in {who}'s name (#{reset.number}): {clause(case, found[0])}"
    if found:
        return f"{answer}: {clause(case, found[0])}" if len(found) == 1 else answer
    why = _nothing_listens(case, who, flow)
    return f"{answer}: {why}" if why else answer


def _nothing_listens(case: Case, host: str, flow: Flow) -> str:
    """That no socket listened there, if the samples of that host say so; else nothing."""
    samples = case.samples(host)
    listening = [
        s for sample in samples for s in sample.sockets if s["state"] == "LISTEN" and s["port"] == flow.peer
    ]
    elsewhere = {str(s.get("local", flow.remote)) for s in listening}
    covering = {flow.remote, *ANY_ADDRESS} - ({"0.0.0.0"} if ":" in flow.remote else set())
    if listening and not elsewhere & covering:
        return f"there something listens on port {flow.peer}, but on {', '.join(sorted(elsewhere))} only"
    return f"nothing listens on port {flow.peer} there" if samples and not listening else ""


def _in_progress(went: str, answers: list[Packet]) -> str:
    later = f"; the answer came later ({numbers(answers[:1])})" if answers else ""
    return f"{went}, and the call did not wait for what would come of it{later}."


def _told(case: Case, flow: Flow, told: list[Packet]) -> str:
    last = told[-1]
    sender = case.name(last.source)
    who = blame(case, flow, ("ttl",) if icmp.words(last) == "time exceeded" else ("reject", "down"), "icmp")
    if sender == case.host:
        answer = f"{sender}'s own kernel said ICMP {icmp.words(last)} (#{last.number})"
    else:
        answer = f"{sender} answered ICMP {icmp.words(last)} (#{last.number})"
    # net/ipv4/tcp_ipv4.c, tcp_v4_err: an error that comes while the caller holds the socket is only noted.
    held = f". connect() still held its socket when #{told[0].number} came, so the repeated SYN's answer ended it"
    return answer + (f": {who}" if who else "") + (held if len(told) > 1 else "")


def _deaf(case: Case, flow: Flow, went: str, answers: list[Packet]) -> str | None:
    """Answers that reached the interface and were taken away behind the capture, before TCP saw them."""
    own = [f for f in guilty(case, flow, ("drop", "partition", "loss")) if f.host == case.host]
    if len(own) != 1:
        return None
    who = case.name(flow.remote)
    ate = f"{clause(case, own[0])} before {case.host}'s TCP saw them"
    return f"{went}; {who} answered ({numbers(answers)}), and {ate}: {case.ended}."


def _why_silent(case: Case, flow: Flow, syns: list[Packet]) -> str:
    """How far the SYNs got, as far as the other end's capture says, and the fault, if it is one."""
    found = guilty(case, flow, SILENT)
    who = clause(case, found[0]) if len(found) == 1 else ""
    far = _at_the_other_end(case, flow, syns)
    if len(found) == 1 and far.endswith(NO_ANSWER) and found[0].host == case.name(flow.remote) and is_outgoing(found[0]):
        return f"; {far.removesuffix(NO_ANSWER)}, and {who} on their way out: its answers"
    return "".join(f"; {part}" for part in (far, who) if part)


def _at_the_other_end(case: Case, flow: Flow, syns: list[Packet]) -> str:
    host = case.name(flow.remote)
    capture = case.evidence.captures.get(host)
    if host == case.host or capture is None or not capture.complete:
        return ""
    if any(f.kind == "masquerade" for f in case.evidence.faults):
        return ""  # there the same packets have other addresses
    there = [
        p
        for p in case.at(host)
        if (p.destination, p.dport) == (flow.remote, flow.peer) and p.source == syns[0].source
    ]
    arrived = [p for p in there if p.sport == flow.port]
    if not arrived:
        return f"none of them reached {host}"
    back = [p for p in case.at(host) if (p.source, p.sport, p.dport) == (flow.remote, flow.peer, flow.port)]
    answered = [p for p in back if p.has(SYN | ACK)]
    got = f"{host} got {'all' if len(arrived) >= len(syns) else len(arrived)} of them"
    if answered:
        return f"{got} and answered ({numbers(answered)} in its capture), and no answer came back"
    if back:
        return ""
    return f"{got}{NO_ANSWER}{_queue_full(case, host, flow)}"


def _queue_full(case: Case, host: str, flow: Flow) -> str:
    """That the accept queue was full: a listening socket's Recv-Q is over its Send-Q (net/sock.h, sk_acceptq_is_full)."""
    for sample in reversed(case.samples(host)):
        for s in sample.sockets:
            if s["state"] == "LISTEN" and s["port"] == flow.peer and s["recv_q"] > s["send_q"]:
                return f": its accept queue was full ({s['recv_q']} waiting, of {s['send_q']} allowed)"
    return ""


def _without_syn(case: Case) -> str | None:
    """Nothing of it in the host's own capture: no route, no neighbour, or taken away before the wire."""
    peer = endpoint(case.outcome.get("peer"))
    if peer is None or "--udp" in case.program.argv:
        return None
    flow = Flow(0, peer[0], peer[1])
    target = case.name(peer[0])
    if case.errno == "ENETUNREACH" and not icmp.answers(case, "ENETUNREACH"):
        down = [f for f in guilty(case, flow, ("down",)) if f.host == case.host]
        why = f": {clause(case, down[0])}" if len(down) == 1 else ""
        return f"{case.host}'s own kernel had no route to {target}, so no SYN was sent{why}."
    if case.errno == "EHOSTUNREACH" or case.in_vain:
        said = asked_in_vain(case, flow)
        if said is not None:
            return f"{said}: no SYN was ever sent, and {case.ended if case.in_vain else 'the kernel gave up'}."
    if case.errno == "ETIMEDOUT" or case.in_vain:
        own = [f for f in guilty(case, flow, ("drop", "loss")) if f.host == case.host]
        if len(own) == 1:
            return (
                f"no SYN to {target} port {peer[1]} reached the wire: {clause(case, own[0])}, and connect() was not told; "
                f"{case.ended}."
            )
    return None


def asked_in_vain(case: Case, flow: Flow) -> str | None:
    """That the host asked for the owner of the peer's address and heard nothing; None where it did not, or was answered."""
    asked, answered = neighbours(case, flow.remote)
    if not asked or answered:
        return None
    what = count(asked, "ARP request" if "Who has" in asked[0].info else "neighbour solicitation")
    requests = f"{what} for {case.name(flow.remote)} ({numbers(asked)})"
    return f"{requests}, and nobody has that address{why_absent(case, flow)}"


def neighbours(case: Case, address: str) -> tuple[list[Packet], list[Packet]]:
    """Who-has requests for an address in the program's capture, and what answered them."""
    asked = [p for p in case.packets if p.asks_for(address)]
    answered = [
        p
        for p in case.packets
        if p.info.startswith(f"{address} is at") or f"Neighbor Advertisement {address} " in p.info
    ]
    return asked, answered
