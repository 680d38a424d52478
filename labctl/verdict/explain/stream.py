"""A TCP connection that ended in an error: who sent the reset and why, or which data was never acknowledged."""

from __future__ import annotations

from labctl.evidence.packets import ACK, FIN, RST, SYN, Packet
from labctl.faults.kill import Kill
from labctl.verdict.explain import icmp
from labctl.verdict.explain.case import Case, Flow, as_number, count, endpoint, lasting, numbers
from labctl.verdict.explain.faults import SILENT, blame, clause, guilty

CALLS = frozenset({"recv", "send", "sendall", "shutdown", "close", "select"})
KILLED = 137  # 128 + SIGKILL, as a shell and Docker report it
SEEN_LATE_S = 2.0


def explain(case: Case) -> str | None:
    """Why a call on a connection ended in this errno."""
    flow = case.flow
    if flow is None or not any(p.is_tcp for p in case.talk):
        return None
    if case.errno == "ENOTCONN":
        resets = [p for p in case.talk if flow.heard(p) and p.has(RST)]
        return (
            f"{case.name(flow.remote)} had reset the connection before (#{resets[0].number})."
            if resets
            else None
        )
    if case.op not in CALLS:
        return None
    if case.errno in ("ECONNRESET", "EPIPE"):
        return _reset(case, flow)
    if case.errno == "ETIMEDOUT":
        return unanswered(case, flow, f"the kernel gave up{_timer(case)}")
    if case.errno in ("EHOSTUNREACH", "ENETUNREACH"):
        told = icmp.answers(case, case.errno, flow)
        if told:
            who = blame(case, flow, ("reject", "down", "ttl", "kill"))
            answer = f"{case.name(told[-1].source)} answered ICMP {icmp.words(told[-1])} ({numbers(told)}){_after(who)}"
            return f"{answer}{_noted(case, flow, told)}."
    return None


def _noted(case: Case, flow: Flow, told: list[Packet]) -> str:
    """That an error on an open connection is only noted (RFC 1122, 4.2.3.9; tcp_v4_err), and told when it is given up."""
    again = [p for p in case.talk if flow.sent(p) and p.retransmission and p.t > told[0].t]
    if "--recverr" in case.program.argv or not again:
        return ""
    went_on = f"sent again {count(again, 'time')} ({numbers(again)})"
    return f"; as the connection was open the kernel only noted that, {went_on}, and told it when it gave up{_timer(case)}"


def _after(text: str, before: str = ": ") -> str:
    return before + text if text else ""


def _reset(case: Case, flow: Flow) -> str | None:
    resets = [p for p in case.talk if flow.heard(p) and p.has(RST)]
    if not resets:
        return _own_end(case, flow)
    reset = resets[0]
    why = _why_reset(case, flow, reset)
    if why is None:
        return None
    later = "; send() came after that" if case.errno == "EPIPE" else ""
    return f"{why}{later}."


def _own_end(case: Case, flow: Flow) -> str | None:
    """EPIPE without a reset: the program had shut its own sending side down (send(2))."""
    ends = [p for p in case.talk if flow.sent(p) and p.has(FIN)]
    if case.errno == "EPIPE" and ends:
        return f"{case.host} had itself closed its sending side (FIN #{ends[0].number}), so there was nothing to send on."
    return None


def _why_reset(case: Case, flow: Flow, reset: Packet) -> str | None:
    who = case.name(flow.remote)
    seems = f"#{reset.number} is a reset that seems to come from {who}"
    injected = guilty(case, flow, ("reset",))
    if len(injected) == 1 and (_names_it(injected[0].commands) or _never_sent(case, flow, reset)):
        return f"{seems}: {clause(case, injected[0])}, and neither program did anything"
    if _never_sent(case, flow, reset) and not guilty(case, flow, ("reject", "expire")):
        return f"{seems}, whose own capture has no such packet: {who} never sent it"
    before = [p for p in case.talk if p.t <= reset.t and p.number < reset.number]
    asked = [p for p in before if flow.sent(p)]
    answered = asked[-1] if asked and not reset.has(ACK) and asked[-1].ack == reset.seq else None
    to = (
        f"answered #{answered.number} with a reset (#{reset.number})"
        if answered
        else f"sent a reset (#{reset.number})"
    )
    if blamed := blame(case, flow, ("reject",), "tcp-reset"):
        return f"{seems}: {blamed}" if _never_sent(case, flow, reset) else f"{who} {to}: {blamed}"
    forgot = blame(case, flow, ("expire",))
    if forgot and (who in (f.host for f in case.evidence.faults if f.kind == "expire") or "resets" in forgot):
        return f"{who} {to}: {forgot}"
    ends = [p for p in before if flow.heard(p) and p.has(FIN)]
    if ends and answered:
        return (
            f"{who} had closed its end (FIN #{ends[0].number}); what came after that (#{answered.number}) nobody could read "
            f"any more, so its kernel answered with a reset (#{reset.number})"
        )
    if reset.has(ACK):
        return f"{who} {to}: {_aborted(case, flow, reset, who)}"
    if answered:
        return f"{who} {to}: its kernel knew no such connection{killed(case, flow, who, 0.0, reset.t)}"
    return None


def _names_it(commands: list[list[str]]) -> bool:
    """Whether the record says which connection's reset was injected; at a router it only says on which port."""
    return any(argv[:2] == ["inject-reset", "from"] for argv in commands)


def _never_sent(case: Case, flow: Flow, reset: Packet) -> bool:
    """Whether the host that a reset seems to come from has no such packet in its own, complete capture."""
    who = case.name(flow.remote)
    there = case.evidence.captures.get(who)
    if who == case.host or there is None or not there.complete:
        return False
    if any(f.kind == "masquerade" for f in case.evidence.faults):
        return False  # there the same packets have other addresses
    return not any(
        p.has(RST) and (p.sport, p.dport, p.raw_seq) == (reset.sport, reset.dport, reset.raw_seq)
        for p in case.at(who)
    )


def _aborted(case: Case, flow: Flow, reset: Packet, who: str) -> str:
    """Why a kernel sends a reset of its own accord: unread data, or SO_LINGER with 0 (tcp_close, net/ipv4/tcp.c)."""
    dead = killed(case, flow, who, reset.t - 1.0, reset.t)
    unread = _unread(case, flow, who)
    if unread:
        return f"its end was closed with {count(unread, 'byte')} unread{dead}"
    if unread == 0:
        return "its end was closed with a linger time of 0, nothing being unread"
    if dead:
        return f"its end was closed with data unread{dead}"
    return "its end was closed with data unread, or with a linger time of 0"


def _unread(case: Case, flow: Flow, who: str) -> int | None:
    """Bytes that the other end's kernel had taken and its program had not read when it closed; None when nobody knows."""
    for program in case.evidence.programs.values():
        said = program.outcome or {}
        peer = endpoint(said.get("peer"))
        if program.host == who and peer is not None and peer[1] == flow.port and peer[0] in case.own:
            taken = max((p.ack or 0 for p in case.talk if flow.heard(p) and p.has(ACK)), default=0)
            finished = any(flow.sent(p) and p.has(FIN) for p in case.talk)
            return max(0, taken - 1 - finished - int(as_number(said.get("received"))))
    return None


def killed(case: Case, flow: Flow, host: str, since: float, until: float) -> str:
    """That the peer's host, or its program with this port, was killed in that time; a program's end is seen a little late."""
    for fault in case.evidence.faults:
        if fault.kind == "kill" and fault.host == host and since <= fault.applied <= until:
            spec = case.settings(fault)
            only = spec.program if isinstance(spec, Kill) else None
            its = [p.handle for p in case.evidence.programs.values() if str(flow.peer) in p.argv]
            if only is None or only in its:
                return f", as {clause(case, fault)}"
    for program in case.evidence.programs.values():
        ended = program.ended
        if program.host != host or program.exit != KILLED or str(flow.peer) not in program.argv or ended is None:
            continue
        if since <= ended <= until + SEEN_LATE_S:
            return f", as {program.handle} had been killed"
    return ""


def _timer(case: Case) -> str:
    """Which limit of the socket's ended it, where the program set one."""
    user, alive = case.argument("--user-timeout"), case.argument("--keepalive")
    if user:
        return f", its user timeout of {user} over"
    return f", with keepalive {alive}" if alive else ""


def unanswered(case: Case, flow: Flow, end: str) -> str | None:
    """What was sent and never acknowledged, how often it was repeated, and who took it; None when all was acknowledged."""
    if (shut := _shut(case, flow)) is not None:
        return f"{shut}: {end}."
    if (probes := _probes(case, flow)) is not None:
        return f"{probes}: {end}{_after(blame(case, flow, SILENT), '; ')}."
    sent = [p for p in case.talk if flow.sent(p) and p.payload and not p.has(SYN)]
    heard = [p.t for p in case.talk if flow.heard(p) and not p.has(SYN)]  # a SYN that is repeated acknowledges no data
    last = max(heard, default=0.0)
    again = [p for p in sent if p.t > last and p.retransmission]
    first = [p for p in sent if not p.retransmission]
    if not again:
        return None
    lost = next((p for p in reversed(first) if p.seq == again[-1].seq), None)
    what = f"the data from #{lost.number} on" if lost else "the data"
    size = max(p.length for p in again)
    big = [f for f in guilty(case, flow, ("blackhole",)) if size > getattr(case.settings(f), "size", size)]
    who = blame(case, flow, ("blackhole",)) if big else blame(case, flow, SILENT)
    since = f" over {lasting(again[-1].t - lost.t)}" if lost else ""
    return (
        f"{case.name(flow.remote)} never acknowledged {what}, sent again {count(again, 'time')}{since} "
        f"({numbers(again)}): {end}{_after(who, '; ')}."
    )


def _shut(case: Case, flow: Flow) -> str | None:
    """That the peer answers and has no room to the end: its last word was a window of 0, and probes got the same again."""
    heard = [p for p in case.talk if flow.heard(p) and not p.has(RST)]
    if not heard or heard[-1].window != 0:
        return None
    first = heard[-1]
    for p in reversed(heard):
        if p.window:
            break
        first = p
    probes = [p for p in case.talk if flow.sent(p) and p.t > first.t and not p.has(FIN)]
    if not probes:
        return None
    who = case.name(flow.remote)
    return f"{who} had no room (window 0, #{first.number}), and {count(probes, 'probe')} ({numbers(probes)}) found none either"


def _probes(case: Case, flow: Flow) -> str | None:
    """Keepalive or window probes that nobody answered (RFC 9293, 3.8.4 and 3.8.6.1), as tshark tells them."""
    last = max((p.t for p in case.talk if flow.heard(p)), default=0.0)
    for mark, word in (("[TCP Keep-Alive]", "keepalive probe"), ("[TCP ZeroWindowProbe]", "window probe")):
        probes = [p for p in case.talk if flow.sent(p) and mark in p.info and p.t > last]
        if probes:
            return f"{count(probes, word)} to {case.name(flow.remote)} ({numbers(probes)}) and no answer"
    return None


def acknowledged(flow: Flow, talk: tuple[Packet, ...]) -> tuple[Packet, Packet] | None:
    """The last data that was sent on a connection and what acknowledged all of it; None when that did not happen."""
    sent = [p for p in talk if flow.sent(p) and p.payload]
    if not sent:
        return None
    last = max(sent, key=lambda p: (p.seq or 0) + (p.payload or 0))
    reach = (last.seq or 0) + (last.payload or 0)
    for p in talk:
        if flow.heard(p) and p.has(ACK) and p.t >= last.t and (p.ack or 0) >= reach:
            return last, p
    return None
