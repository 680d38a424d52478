"""Pings that got no answer or a late one, and what was in the way."""

from __future__ import annotations

from labctl.verdict.explain.case import Case, Flow, as_number
from labctl.verdict.explain.faults import SILENT, blame_all

SLOW_S = 0.05


def explain(case: Case) -> str | None:
    """Echo requests without an answer, or with a late one for which a fault is to blame."""
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
    if not lost and not slow:
        return None
    why = blame_all(case, flow, ("delay", "loss", *SILENT))
    if not lost and not why:
        return None
    parts = [f"{answered} of {asked} echo requests were answered"] if lost else []
    if rtts and slow:
        parts.append(f"the answers took {min(rtts):.0f} to {max(rtts):.0f} ms")
    return ", ".join(parts) + (f": {why}." if why else ".")
