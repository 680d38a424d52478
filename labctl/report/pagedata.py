"""What the page's script draws, as one JSON value: short keys, hosts by number, text made harmless. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from labctl.evidence.packets import Packet
from labctl.report import ladder as model
from labctl.report.bursts import Burst, Row
from labctl.report.passages import Passage
from labctl.report.plain import one_line, shorten
from labctl.report.series import MAX_SOCKETS, SocketSeries
from labctl.verdict.judge import RunVerdict, StepVerdict

INFO_LIMIT = 240
_FATES = {"arrived": 0, "lost": 1, "unknown": 2}


def embed(value: object) -> str:
    r"""JSON that can stand inside a script element: ``<``, ``>``, ``&`` and all but ASCII are written as ``\u`` escapes.

    A number that JSON has no word for (a record edited by hand may hold 1e999) becomes null.
    """
    try:
        text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def page_data(run: RunVerdict, drawn: model.Ladder | None, sockets: list[SocketSeries]) -> dict[str, Any]:
    """Everything the script needs. `drawn` is None when the packets cannot be read."""
    evidence = run.evidence
    hosts = list(drawn.hosts) if drawn else list(evidence.addresses)
    place = {host: number for number, host in enumerate(hosts)}
    data: dict[str, Any] = {
        "hosts": [{"name": one_line(h), "addresses": [*map(one_line, evidence.addresses.get(h, ()))]} for h in hosts],
        "routers": [place[h] for h in drawn.routers if h in place] if drawn else [],
        "rows": [_row(row, place) for row in drawn.rows] if drawn else [],
        "faults": [_band(band, place) for band in drawn.bands] if drawn else [],
        "steps": [_step(step, run.evidence.covered(step.index)[0]) for step in run.steps],
        "end": drawn.end if drawn else evidence.seconds or 0.0,
        "sockets": [_socket(s) for s in sockets[:MAX_SOCKETS]],
    }
    if drawn:
        through = drawn.throughput
        data["throughput"] = {
            "t0": through.start,
            "dt": through.bin_s,
            "flows": [{"name": one_line(f"{f.source} → {f.target}"), "b": _sparse(f.sent)} for f in through.flows],
        }
    return data


def _band(b: model.Band, place: Mapping[str, int]) -> dict[str, Any]:
    where = {"fault": b.fault, "name": one_line(b.name), "kind": one_line(b.kind), "host": place.get(b.host, -1)}
    return where | {"t0": b.start, "t1": b.end, "n": b.packets}


def _step(s: StepVerdict, since: float) -> dict[str, Any]:
    """One step; its packets are those `since` then, which may be before it began."""
    title = shorten(one_line(s.name), 300)
    return {"i": s.index, "title": title, "kind": s.kind, "verdict": s.verdict, "t": s.started, "s": s.seconds, "since": since}


def _row(row: Row, place: Mapping[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "t": row.t,
        "a": place.get(row.source or "", -1),
        "b": place.get(row.target or "", -1),
        "h": [[place.get(h.host, -1), h.t, h.number] for h in row.hops if h.host in place],
        "l": model.label(row),
        "x": sorted(row.traits),
    }
    told |= _burst(row, place) if isinstance(row, Burst) else _packet(row)
    return told


def _burst(row: Burst, place: Mapping[str, int]) -> dict[str, Any]:
    fields = _fields(row.first.packet, full=False)
    if row.turned:
        other = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}
        fields = {other.get(key, key): value for key, value in fields.items()}
    return {
        "e": row.end,
        "c": [row.there, row.there_bytes, row.back, row.back_bytes],
        "n": [[place[h], low, high] for h, (low, high) in row.numbers.items() if h in place],
        "w": model.trouble(row),
        "p": fields,
        "mix": int(row.mixed),
    }


def _packet(row: Passage) -> dict[str, Any]:
    told: dict[str, Any] = {"f": _FATES[row.fate], "p": _fields(row.packet, full=True)}
    if row.noise:
        told["z"] = 1
    if row.pieces:
        told["pieces"] = row.pieces
    return told | ({"w": trouble} if (trouble := model.trouble(row)) else {})


def _fields(p: Packet, full: bool) -> dict[str, Any]:
    """A packet's fields, those it does not have left out."""
    found: dict[str, Any] = {
        "proto": one_line(p.protocol),
        "src": one_line(p.source),
        "dst": one_line(p.destination),
        "sport": p.sport,
        "dport": p.dport,
        "stream": p.stream,
    }
    if full:
        found |= {
            "if": one_line(p.interface),
            "len": p.length,
            "flags": p.flags,
            "seq": p.seq if p.flags is not None else None,
            "raw": p.raw_seq if p.flags is not None else None,
            "ack": p.ack if p.flags is not None else None,
            "pay": p.payload if p.flags is not None else None,
            "win": p.window if p.flags is not None else None,
            "ttl": p.ttl,
            "id": p.ip_id or None,
            "icmp": list(p.icmp or p.icmpv6 or ()) or None,
            "info": shorten(one_line(p.info), INFO_LIMIT),
        }
    return {key: value for key, value in found.items() if value is not None}


def _socket(series: SocketSeries) -> dict[str, Any]:
    return {
        "host": one_line(series.host),
        "name": one_line(series.name),
        "p": [[round(p.t, 4), p.recv_q, p.send_q, p.cwnd, p.rtt_ms] for p in series.points],
    }


def _sparse(bins: tuple[int, ...]) -> list[list[int]]:
    return [[number, value] for number, value in enumerate(bins) if value]
