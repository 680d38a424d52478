"""Numbers over time for the page's plots: sockets and throughput. Pure; never more points than a screen can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from labctl.evidence.record import Evidence
from labctl.report.passages import Passage

MAX_POINTS = 400
MAX_SOCKETS = 12
MAX_FLOWS = 6
BINS = 480


class Point(NamedTuple):
    """One socket from `t` on; queues in bytes, rtt in milliseconds. All None: it was gone."""

    t: float
    recv_q: int | None
    send_q: int | None
    cwnd: int | None
    rtt_ms: float | None


@dataclass
class SocketSeries:
    """One socket of one host over time, as its agent sampled it."""

    host: str
    name: str
    points: list[Point] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    retransmits: int = 0

    def most(self, what: str) -> float:
        """The largest value of a column, 0 when there is none."""
        return max((getattr(p, what) or 0 for p in self.points), default=0)

    @property
    def is_interesting(self) -> bool:
        return bool(self.most("recv_q") or self.most("send_q") or self.most("rtt_ms"))


@dataclass(frozen=True)
class Flow:
    """Payload bytes per bin from one host to another, from the packets as their sender sent them."""

    source: str
    target: str
    sent: tuple[int, ...]


@dataclass(frozen=True)
class Throughput:
    """Flows over one grid of bins, each `bin_s` seconds wide from `start` on."""

    start: float
    bin_s: float
    flows: tuple[Flow, ...]


def sockets(evidence: Evidence) -> list[SocketSeries]:
    """The sockets worth a plot, busiest first; all of them, so the caller can say how many it leaves out."""
    names = {address: host for host, addresses in evidence.addresses.items() for address in addresses}
    found: dict[tuple[object, ...], SocketSeries] = {}
    for host, samples in evidence.samples.items():
        before: set[tuple[object, ...]] = set()
        for sample in samples:
            here = set()
            for socket in sample.sockets:
                key = (host, *(socket.get(k) for k in ("protocol", "local", "port", "remote", "peer")))
                here.add(key)
                series = found.setdefault(key, SocketSeries(host, _name(socket, names)))
                _take(series, sample.t, socket)
            for key in before - here:
                found[key].points.append(Point(sample.t, None, None, None, None))
            before = here
    kept = [s for s in found.values() if s.is_interesting]
    kept.sort(key=lambda s: (s.most("recv_q") + s.most("send_q"), s.most("cwnd")), reverse=True)
    for series in kept:
        series.points = thin(series.points)
    return kept


def _take(series: SocketSeries, t: float, socket: Mapping[str, Any]) -> None:
    rtt = socket.get("rtt")
    point = Point(t, socket.get("recv_q"), socket.get("send_q"), socket.get("cwnd"), rtt / 1000 if rtt else None)
    if socket.get("state") == "LISTEN":
        point = point._replace(send_q=0)  # the accept queue's limit, no queue of bytes
    if not series.points or series.points[-1][1:] != point[1:]:
        series.points.append(point)
    state = str(socket.get("state", "?"))
    if not series.states or series.states[-1] != state:
        series.states.append(state)
    series.retransmits = max(series.retransmits, int(socket.get("total_retrans") or 0))


def _name(socket: Mapping[str, Any], names: Mapping[str, str]) -> str:
    if socket.get("state") == "LISTEN":
        return f":{socket.get('port')} listening"
    remote = str(socket.get("remote", "?"))
    return f":{socket.get('port')} → {names.get(remote, remote)}:{socket.get('peer')}"


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most about `limit` points, keeping of every stretch the fullest and the last."""
    if len(points) <= limit:
        return list(points)
    size = -(-len(points) * 2 // limit)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        fullest = max(stretch, key=lambda p: (p.recv_q or 0) + (p.send_q or 0))
        kept += [fullest, stretch[-1]] if fullest is not stretch[-1] else [fullest]
    return kept


def throughput(found: Iterable[Passage], end: float) -> Throughput:
    """Payload bytes over time per direction; the busiest MAX_FLOWS directions."""
    sent = [(p.t, p.source, p.target, p.packet.payload) for p in found if p.packet.payload]
    if not sent:
        return Throughput(0.0, 1.0, ())
    start = sent[0][0]
    bin_s = max((max(end, sent[-1][0]) - start) / BINS, 0.001)
    grid: dict[tuple[str, str], list[int]] = {}
    for t, source, target, payload in sent:
        bins = grid.setdefault((source or "?", target or "?"), [0] * (BINS + 1))
        bins[min(BINS, int((t - start) / bin_s))] += payload
    busiest = sorted(grid.items(), key=lambda item: sum(item[1]), reverse=True)[:MAX_FLOWS]
    return Throughput(start, bin_s, tuple(Flow(a, b, tuple(bins)) for (a, b), bins in busiest))
