"""EAGAIN: a send() for which there is no room, and where the bytes are that fill it; a recv() for which nothing came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labctl.evidence.packets import RST
from labctl.verdict.explain.case import Case, endpoint
from labctl.verdict.explain.faults import blame


def explain(case: Case) -> str | None:
    """Why a non-blocking call said EAGAIN."""
    flow = case.flow
    if case.errno != "EAGAIN":
        return None
    if flow is None:
        bound = endpoint(case.outcome.get("local"))
        if bound is None or case.op not in ("recvfrom", "accept"):
            return None
        if any(p.dport == bound[1] and p.destination in case.own for p in case.packets):
            return None
        return f"nothing had come to port {bound[1]} of {case.host} yet, and a non-blocking {case.op}() does not wait."
    if case.op in ("recv", "recvfrom"):
        came = [p for p in case.talk if flow.heard(p) and p.payload]
        return (
            None
            if came
            else f"nothing had come from {case.name(flow.remote)} yet, and a non-blocking recv() does not wait."
        )
    if case.op != "send":
        return None
    who = case.name(flow.remote)
    here = _socket(case, case.host, flow.port, flow.peer)
    there = _socket(case, who, flow.peer, flow.port)
    shut = [p for p in case.talk if flow.heard(p) and p.window == 0 and not p.has(RST)]
    if here is None or not here["send_q"]:
        return None
    parts = [f"{here['send_q']} bytes wait in {case.host}'s send queue"]
    if there is not None and there["recv_q"]:
        parts.append(f"{there['recv_q']} unread in {who}'s receive queue")
    closed = f"; {who} said that it has no room (window 0, #{shut[-1].number})" if shut else ""
    frozen = blame(case, flow, ("pause",)) if any(f.host == who for f in case.evidence.faults) else ""
    return f"{case.outcome.get('sent', 0)} bytes went: {' and '.join(parts)}{closed}{f'; {frozen}' if frozen else ''}."


def _socket(case: Case, host: str, port: int, peer: int) -> Mapping[str, Any] | None:
    """An end of the connection in the last sample in which it was open."""
    for sample in reversed(case.samples(host)):
        for s in sample.sockets:
            if (s["port"], s["peer"], s["state"]) == (port, peer, "ESTAB"):
                return s
    return None
