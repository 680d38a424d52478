"""Success: what went each way and by which packets, who ended it, and whatever took its time or was not whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

from labctl.evidence.packets import ACK, FIN, RST, SYN, Packet
from labctl.verdict.explain import names
from labctl.verdict.explain.case import Case, Flow, brief, count, numbers, span
from labctl.verdict.explain.datagram import flow_of
from labctl.verdict.explain.faults import SILENT, blame_all
from labctl.verdict.explain.slow import reasons
from labctl.verdict.explain.stream import killed


def explain(case: Case) -> str | None:
    """What a program that had no error did, and why it was slow, if it was; None when nothing is known of it."""
    if case.errno is not None or case.in_vain:
        return None
    why = list(reasons(case))[:2]
    said = [part for part in (_summary(case, bool(why)), *why) if part]
    if said and case.outcome.get("stopped"):
        said.append(f"{case.outcome['stopped']} ended the program later")
    return "; ".join(said) + "." if said else None


def _summary(case: Case, has_more: bool) -> str | None:
    """What was done; `has_more` when what took its time follows."""
    if case.op == "load":
        return _load(case)
    if case.op == "getaddrinfo":
        return names.found(case, not has_more)
    if isinstance(case.outcome.get("connections"), int) and case.flow is None:
        return _many(case)
    flow = case.flow
    if flow is not None and any(p.is_tcp for p in case.talk):
        return _stream(case, flow, has_more)
    flow = flow_of(case)
    if flow is None or not flow.port:
        return None
    return _received(case, flow) if isinstance(case.outcome.get("datagrams"), int) else _sent(case, flow)


def _amounts(case: Case, where: str = "") -> str:
    """Bytes each way, as the program counted them, and with whom; empty when there were none."""
    sent, received = int(case.outcome.get("sent", 0)), int(case.outcome.get("received", 0))
    to, from_ = (f" {word} {where}" if where else "" for word in ("to", "from"))
    if sent:
        return f"sent {count(sent, 'byte')}{to}" + (f" and received {received}" if received else "")
    return f"received {count(received, 'byte')}{from_}" if received else ""


def _several(case: Case, number: int, where: str, took: str) -> str:
    said = _amounts(case)
    return f"{count(number, 'connection')} to {where}{f': {said}' if said else ''} {took}"


def _stream(case: Case, flow: Flow, has_more: bool) -> str | None:
    """One connection, or several to the same port one after the other."""
    who = case.name(flow.remote)
    opening = [p for p in case.packets if _opens(case, flow, p)]
    opened_by_us = bool(opening)
    others = {p.sport for p in opening}
    where = f"{who} port {flow.peer}" if opened_by_us else who
    talk = case.talk
    if (len(others) > 1 or _served(case) > 1) and not _is_all(case, flow):
        if len(others) < 2 or _has_company(case, flow):
            return _amounts(case, where) or None  # on connections of which the program does not tell the ports
        talk = tuple(p for p in case.packets if p.t <= case.last and _is_one_of(p, flow, others))
        return _several(case, len(others), where, _took(talk))
    took = _took(talk)
    if said := _amounts(case, where):
        return f"{said} {took}{_ending(case, flow)}"
    answer = next((p for p in talk if flow.heard(p) and p.has(SYN | ACK)), None)
    if opened_by_us and answer is not None:
        first = next(p for p in talk if flow.sent(p) and p.has(SYN))
        took = f" in {brief(answer.t - first.t)} (SYN #{first.number}, answer #{answer.number})"
        return f"connected to {where}{'' if has_more else took}{_ending(case, flow)}"
    syn = next((p for p in talk if flow.heard(p) and p.has(SYN) and not p.has(ACK)), None)
    return f"accepted a connection from {who} (SYN #{syn.number}){_ending(case, flow)}" if syn else None


def _took(talk: Sequence[Packet]) -> str:
    return f"({span(talk)}, {brief(talk[-1].t - talk[0].t)})"


def _served(case: Case) -> int:
    """How many connections the program says that it had; 1 where it says nothing."""
    said = case.outcome.get("connections")
    return said if isinstance(said, int) else 1


def _is_all(case: Case, flow: Flow) -> bool:
    """Whether the bytes of the program's last connection are all that it sent and received: then it had no other."""
    ways = (p for p in case.talk if p.payload)
    reach = {True: 0, False: 0}
    for p in ways:
        reach[flow.sent(p)] = max(reach[flow.sent(p)], (p.seq or 0) + (p.payload or 0) - 1)
    sent, received = int(case.outcome.get("sent", 0)), int(case.outcome.get("received", 0))
    return bool(sent or received) and (reach[True], reach[False]) == (sent, received)


def _has_company(case: Case, flow: Flow) -> bool:
    """Whether another program ran on the same host meanwhile that was given the same port: connections may be its own."""
    return any(
        p is not case.program and p.host == case.host and str(flow.peer) in p.argv and p.started < case.end
        and (p.ended is None or p.ended > case.start)
        for p in case.evidence.programs.values()
    )  # fmt: skip


def _opens(case: Case, flow: Flow, p: Packet) -> bool:
    ours = p.source in case.own and (p.destination, p.dport) == (flow.remote, flow.peer)
    return ours and p.has(SYN) and not p.has(ACK)


def _is_one_of(p: Packet, flow: Flow, ports: set[int | None]) -> bool:
    """Whether a packet is of one of several connections to the same port, by the own ports of them."""
    out = (p.destination, p.dport) == (flow.remote, flow.peer) and p.sport in ports
    return out or ((p.source, p.sport) == (flow.remote, flow.peer) and p.dport in ports)


def _ending(case: Case, flow: Flow) -> str:
    """Who ended the connection, where that is what the program saw: the end of the stream, or its own reset."""
    who = case.name(flow.remote)
    resets = [p for p in case.talk if flow.sent(p) and p.has(RST)]
    came = next((p for p in case.talk if flow.heard(p) and p.has(FIN)), None)
    went = next((p for p in case.talk if flow.sent(p) and p.has(FIN)), None)
    if case.outcome.get("eof") is True and came is not None:
        if went is not None and went.t < came.t:
            first = f"{case.host} had said that it sends no more (FIN #{went.number}), then {who} closed its end"
            return f"; {first} (FIN #{came.number}): recv() returned nothing, a clean end of the stream"
        dead = killed(case, flow, who, came.t - 1.0, came.t)
        return f"; {who} closed its end (FIN #{came.number}){dead}: recv() returned nothing, a clean end of the stream"
    if resets and came is None and case.op == "close":
        return f"; {case.host} ended it with a reset (#{resets[0].number})"
    return ""


def _many(case: Case) -> str | None:
    """Connections side by side, by their SYNs to a port that the program was given."""
    ports = {int(word) for word in case.program.argv if re.fullmatch("[0-9]{1,5}", word)}
    syns = [p for p in case.packets if p.source in case.own and p.dport in ports and p.has(SYN) and not p.has(ACK)]
    ends = {(p.destination, p.dport) for p in syns}
    if len(ends) != 1:
        return None
    ((remote, port),) = ends
    where = f"{case.name(remote)} port {port}"
    ours = {p.sport for p in syns}
    if len(ours) != _served(case):
        return None
    talk = [p for p in case.packets if _is_one_of(p, Flow(0, remote, port or 0), ours)]
    return _several(case, len(ours), where, _took(talk))


def _load(case: Case) -> str | None:
    completed, rate = case.outcome.get("completed"), case.outcome.get("per_second")
    if not isinstance(completed, int) or not isinstance(rate, int | float):
        return None
    return f"{count(completed, 'exchange')}, each on a connection of its own, in {brief(case.seconds)}: {rate:g} a second"


def _sent(case: Case, flow: Flow) -> str | None:
    """Datagrams that were sent, whether they arrived as far as the other end's capture says, and what came back."""
    sent = [p for p in case.packets if flow.sent(p)]
    heard = [p for p in case.packets if flow.heard(p)]
    if not sent:
        return None
    who = case.name(flow.remote)
    said = f"{count(sent, 'datagram')} sent to {who} port {flow.peer} ({span(sent)}){_arrived(case, flow, sent)}"
    if heard:
        wait = heard[0].t - sent[0].t
        first = "" if len(heard) == 1 else ", the first"
        back = f"{count(heard, 'answer')} came back ({span(heard)}){first} after {brief(wait)}"
        why = blame_all(case, flow, ("delay",)) if wait >= names.SLOW_S else ""
        return f"{said}; {back}{f': {why}' if why else ''}"
    return said


def _arrived(case: Case, flow: Flow, sent: list[Packet]) -> str:
    """How many of the datagrams the other end's capture has, at whatever time, and what was in their way."""
    who = case.name(flow.remote)
    there = case.evidence.captures.get(who)
    if who == case.host or there is None or not there.complete or any(f.kind == "masquerade" for f in case.evidence.faults):
        return ""
    ids = {p.ip_id for p in sent}
    came = [
        p for p in case.evidence.packets[who]
        if p.t >= case.start and (p.sport, p.dport) == (flow.port, flow.peer) and p.source in case.own and p.ip_id in ids
    ]  # fmt: skip
    why = blame_all(case, flow, (*SILENT, "duplicate"))
    if len(came) == len(sent):
        return f", and {'it' if len(sent) == 1 else 'all'} arrived there{f'; {why}' if why else ''}"
    many = f", and {len(came) or 'none'} {'of them ' if len(came) < len(sent) else ''}arrived there"
    return f"{many}{f': {why}' if why else ''}"


def _received(case: Case, flow: Flow) -> str | None:
    """Datagrams that were received, and how many the other end had sent by then."""
    who = case.name(flow.remote)
    to_us = [p for p in case.packets if not p.is_tcp and p.dport == flow.port and p.destination in case.own]
    came = [p for p in to_us if p.t <= case.last]
    if not came:
        return None
    number = int(case.outcome["datagrams"])
    amount = f"{count(number, 'datagram')}, {count(int(case.outcome.get('received', 0)), 'byte')} in all"
    if len({(p.source, p.sport) for p in came}) > 1:
        return f"received {amount} ({span(came)})"
    said = f"received {amount}, from {who} ({span(came)})"
    sent = [p for p in case.at(who) if (p.sport, p.dport) == (flow.peer, flow.port)]
    if who == case.host or len(sent) == number or not sent:
        return said
    why = blame_all(case, flow, (*SILENT, "duplicate"))
    return f"{said}, of {len(sent)} that it had sent ({numbers(sent)} in its capture){f': {why}' if why else ''}"
