"""Pings: how many were answered and how soon, and what was in the way."""

from __future__ import annotations

from labctl.verdict.explain.case import Case, Flow, as_number, brief
from labctl.verdict.explain.faults import SILENT, blame_all, damage

SLOW_S = 0.05


def explain(case: Case) -> str | None:
    """How many echo requests were answered, and in what time; with a fault to blame for what is missing or late."""
    if case.errno is not None or case.outcome.get("verb") != "ping":
        return None
    asked, answered, times = (case.outcome.get(key) for key in ("asked", "answered", "rtt_ms"))
    peer = case.outcome.get("peer")
    if (
        not isinstance(asked, int)
        or not isinstance(answered, int)
        or not isinstance(times, list)
        or not isinstance(peer, str)
    ):
        return None
    flow = Flow(0, peer, 0)
    rtts = [as_number(t) for t in times]
    lost = asked - answered
    slow = bool(rtts) and max(rtts) >= SLOW_S * 1000
    why = blame_all(case, flow, ("delay", "loss", *SILENT)) if lost or slow else ""
    if lost and (thrown := damage(case, flow, "icmp")):
        why = f"{thrown}, and {why}"
    if lost:
        parts = [f"{answered} of {asked} echo requests were answered", *([f"the answers took {_range(rtts)}"] if rtts else [])]
    else:
        whole = f"all {asked} echo requests were answered" if asked > 1 else "the echo request was answered"
        parts = [f"{whole}, in {_range(rtts)}" if rtts else whole]
    went, came = _seen(case, peer)
    if not lost and went == asked and came > answered:
        parts.append(f"{came - answered} of the answers came twice")
        why = why or blame_all(case, flow, ("duplicate",))
    return ", ".join(parts) + (f": {why}." if why else ".")


def _range(rtts: list[float]) -> str:
    """The shortest and the longest of some times in milliseconds: `0.2 to 85 ms`."""
    low, high = (brief(rtt / 1000) for rtt in (min(rtts), max(rtts)))
    return high if low == high else f"{low.removesuffix(' ms') if high.endswith(' ms') else low} to {high}"


def _seen(case: Case, peer: str) -> tuple[int, int]:
    """How many echo requests to the peer and replies of the peer's were captured (RFC 792; RFC 4443, 4.1 and 4.2)."""
    went = sum(p.destination == peer and (p.icmp == (8, 0) or p.icmpv6 == (128, 0)) for p in case.packets)
    came = sum(p.source == peer and (p.icmp == (0, 0) or p.icmpv6 == (129, 0)) for p in case.packets)
    return went, came
