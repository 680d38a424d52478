"""Success that took its time, or was not whole: what was sent again, what was waited for, which address was tried first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from labctl.evidence.packets import ACK, RST, SYN, Packet
from labctl.verdict.explain.case import Case, Flow, as_number, count, endpoint, lasting, numbers
from labctl.verdict.explain.connect import neighbours
from labctl.verdict.explain.faults import SILENT, blame, blame_all, clause, guilty
from labctl.verdict.explain.names import SLOW_S, late


def explain(case: Case) -> str | None:
    """Why a program that had no error was slow, from what can be seen to have taken the time; None when nothing did."""
    if case.errno is not None or case.in_vain:
        return None
    said = list(_reasons(case))
    return "; ".join(said[:2]) + "." if said else None


def _reasons(case: Case) -> Iterator[str]:
    parts: tuple[Callable[[Case], str | None], ...] = (late, _addresses, _together)
    yield from (said for part in parts if (said := part(case)) is not None)
    flow = case.flow
    if flow is not None and any(p.is_tcp for p in case.talk):
        on_flow: tuple[Callable[[Case, Flow], str | None], ...] = (_handshake, _zero_window, _again)
        yield from (said for one in on_flow if (said := one(case, flow)) is not None)


def _addresses(case: Case) -> str | None:
    """The addresses that were tried in vain before the one that answered."""
    attempts = case.outcome.get("attempts")
    if not isinstance(attempts, list) or len(attempts) < 2:
        return None
    failed = [a for a in attempts[:-1] if isinstance(a, dict) and (a.get("errno") or a.get("timed_out"))]
    seconds = sum(as_number(a.get("ms")) for a in failed) / 1000
    if not failed:
        return None
    first = failed[0]
    tried = endpoint(first.get("address"))
    if tried is None:
        return None
    asked, answered = neighbours(case, tried[0])
    first_name = case.name(tried[0])
    arp = f", as nobody answered the ARP requests for it ({numbers(asked)})" if asked and not answered else ""
    how = str(first["errno"]) if first.get("errno") else "no answer"
    address = tried[0] if first_name == tried[0] else f"{first_name}'s address {tried[0]}"
    given_up = f"{address} was tried first and given up after {lasting(seconds)} ({how})"
    return f"{given_up}{arp}; the next address answered"


def _handshake(case: Case, flow: Flow) -> str | None:
    """A SYN that had to be sent again, or an answer to it that came late."""
    syns = [p for p in case.talk if flow.sent(p) and p.has(SYN) and not p.has(ACK)]
    answers = [p for p in case.talk if flow.heard(p) and p.has(SYN | ACK)]
    if not syns or not answers:
        return None
    first, answer = syns[0], answers[0]
    wait = answer.t - first.t
    if len(syns) > 1 and syns[1].t < answer.t:
        why = blame_all(case, flow, SILENT)
        return (
            f"the first SYN (#{first.number}) got no answer, so it was sent again ({numbers(syns[1:])}) and answered after "
            f"{lasting(wait)} (#{answer.number}){f': {why}' if why else ''}"
        )
    if wait < SLOW_S:
        return _held_up(case, flow, first, answer)
    why = blame_all(case, flow, ("delay",))
    return f"the SYN (#{first.number}) was answered after {lasting(wait)} (#{answer.number}){f': {why}' if why else ''}"


def _held_up(case: Case, flow: Flow, syn: Packet, answer: Packet) -> str | None:
    """A connect() that took longer than its packets did: they were held back on their way to the wire."""
    attempts = case.outcome.get("attempts")
    last = attempts[-1] if isinstance(attempts, list) and attempts and isinstance(attempts[-1], dict) else {}
    seconds, wire = as_number(last.get("ms")) / 1000, answer.t - syn.t
    own = [f for f in guilty(case, flow, ("delay",)) if f.host == case.host]
    if seconds - wire < SLOW_S or not own:
        return None
    why = " and ".join(clause(case, f) for f in own)
    return (
        f"connect() took {lasting(seconds)}, of which {wire * 1000:.1f} ms passed on the wire (SYN #{syn.number}, answer "
        f"#{answer.number}): {why}"
    )


def _zero_window(case: Case, flow: Flow) -> str | None:
    """A time in which the peer had no room, with the probes that asked whether it has again (RFC 9293, 3.8.6.1)."""
    heard = [p for p in case.talk if flow.heard(p) and p.is_tcp and not p.has(RST)]
    spells: list[tuple[Packet, Packet]] = []
    shut: Packet | None = None
    for p in heard:
        if p.window == 0 and shut is None:
            shut = p
        elif p.window and shut is not None:
            spells.append((shut, p))
            shut = None
    if not spells:
        return None
    seconds = sum(b.t - a.t for a, b in spells)
    if seconds < SLOW_S:
        return None
    probes = [p for p in case.talk if flow.sent(p) and "[TCP ZeroWindowProbe]" in p.info]
    asked = f", {count(probes, 'probe')} asked ({numbers(probes)})" if probes else ""
    first, again = spells[0][0], spells[-1][1]
    return (
        f"{case.name(flow.remote)} had no room for {lasting(seconds)} in all (window 0 from #{first.number}, "
        f"open again with #{again.number}){asked}"
    )


def _together(case: Case) -> str | None:
    """Many connections of one program (its last call is none of one connection): what had to be sent again on all of them."""
    if case.op != "load":
        return None
    again = [
        p
        for p in case.packets
        if p.retransmission and p.is_tcp and (p.source in case.own or p.destination in case.own)
    ]
    if not again:
        return None
    one = again[0]
    mine = one.source in case.own
    ends = (one.sport, one.destination, one.dport) if mine else (one.dport, one.source, one.sport)
    flow = Flow(ends[0] or 0, ends[1], ends[2] or 0)
    why = blame_all(case, flow, (*SILENT, "delay"))
    return f"{count(again, 'segment')} had to be sent again ({numbers(again)}){f': {why}' if why else ''}"


def _again(case: Case, flow: Flow) -> str | None:
    """Data that had to be sent again."""
    again = [p for p in case.talk if p.retransmission and p.payload]
    if not again:
        return None
    why = blame(case, flow, (*SILENT, "mtu", "delay"))
    return f"{count(again, 'segment')} had to be sent again ({numbers(again)}){f': {why}' if why else ''}"
