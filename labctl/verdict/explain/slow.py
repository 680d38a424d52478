"""What took its time in a success: what was sent again, what was waited for, which address was tried first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from labctl.evidence.packets import ACK, RST, SYN, Packet
from labctl.verdict.explain.again import needless, sent_again, told_twice
from labctl.verdict.explain.case import Case, Flow, as_number, count, endpoint, lasting, numbers
from labctl.verdict.explain.connect import neighbours
from labctl.verdict.explain.faults import SILENT, blame_all, clause, guilty
from labctl.verdict.explain.names import SLOW_S, late


def reasons(case: Case) -> Iterator[str]:
    """What took a program its time that had no error, or had to be done twice, as far as it can be seen."""
    parts: tuple[Callable[[Case], str | None], ...] = (late, _addresses, _together)
    yield from (said for part in parts if (said := part(case)) is not None)
    flow = case.flow
    if flow is not None and any(p.is_tcp for p in case.talk):
        on_flow: tuple[Callable[[Case, Flow], str | None], ...] = (_handshake, _zero_window)
        yield from (said for one in on_flow if (said := one(case, flow)) is not None)
        yield from sent_again(case, flow, case.talk)


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
    """A time in which one end had no room, with the probes that asked whether it has again (RFC 9293, 3.8.6.1)."""
    return _shut(case, case.name(flow.remote), flow.heard, flow.sent) or _shut(case, case.host, flow.sent, flow.heard)


def _shut(case: Case, who: str, told: Callable[[Packet], bool], asked: Callable[[Packet], bool]) -> str | None:
    """How long an end had no room, by what it told, and who asked meanwhile."""
    spells: list[tuple[Packet, Packet]] = []
    shut: Packet | None = None
    for p in (p for p in case.talk if told(p) and p.is_tcp and not p.has(RST)):
        if p.window == 0 and shut is None:
            shut = p
        elif p.window and shut is not None:
            spells.append((shut, p))
            shut = None
    seconds = sum(b.t - a.t for a, b in spells)
    if not spells or seconds < SLOW_S:
        return None
    probes = [p for p in case.talk if asked(p) and "[TCP ZeroWindowProbe]" in p.info]
    how = f", {count(probes, 'probe')} asked ({numbers(probes)})" if probes else ""
    first, again = spells[0][0], spells[-1][1]
    return (
        f"{who} had no room for {lasting(seconds)} in all (window 0 from #{first.number}, open again with #{again.number}){how}"
    )


def _together(case: Case) -> str | None:
    """Many connections of one program (its last call is none of one connection): what had to be sent again on all of them."""
    if case.op != "load":
        return None
    own = [p for p in case.packets if p.is_tcp and (p.source in case.own or p.destination in case.own)]
    told = told_twice(own)
    again = [p for p in own if p.retransmission and needless(p, told) is None]
    if not again:
        return None
    one = again[0]
    mine = one.source in case.own
    ends = (one.sport, one.destination, one.dport) if mine else (one.dport, one.source, one.sport)
    flow = Flow(ends[0] or 0, ends[1], ends[2] or 0)
    why = blame_all(case, flow, (*SILENT, "delay"))
    return f"{count(again, 'segment')} had to be sent again ({numbers(again)}){f': {why}' if why else ''}"
