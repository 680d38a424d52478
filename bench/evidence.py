"""How long judging and reporting take: `script/bench evidence [PACKETS...]`.

Makes run directories of a bulk transfer through a lossy router (client, router, server; as many captured packets in all
as asked for), then loads, judges and reports each in a process of its own, so that the peak memory is that run's.
Ratios are to reading the dissections' lines and splitting them, which no reader of them can avoid. The goals are held
against the processor time of the whole, which is the time it takes on a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labctl.evidence.packets import FIELDS, filter_expression

EPOCH = 1_800_000_000.0
CLIENT, SERVER, PORT, MSS = "198.18.0.3", "198.18.0.131", 65432, 1448
HOSTS = {
    "client": [CLIENT],
    "router": ["198.18.0.2", "198.18.0.130"],
    "server": [SERVER],
}
FILTERS = {"client": ["tcp.flags.syn == 1", "tcp.analysis.retransmission"], "router": [], "server": ["tcp.len > 0"]}
GOALS = {20_000: (3.0, None), 200_000: (15.0, 400)}
SCENARIO = """scenario: bulk
steps:
  - name: a long transfer through a lossy router
    run: [probe, stream, server, 65432]
    on: client
    expect:
      errno: null
      packets:
        - {at: client, filter: "tcp.flags.syn == 1", count: 1}
        - {at: client, filter: "tcp.analysis.retransmission"}
        - {at: server, filter: "tcp.len > 0"}
"""


@dataclass(frozen=True)
class Segment:
    """One TCP segment as the maker sends it."""

    up: bool
    flags: int
    seq: int
    ack: int
    payload: int
    again: bool = False
    lost: bool = False


class Maker:
    """Writes the captures of one run, packet by packet, as tshark would dissect them."""

    def __init__(self, folder: Path, connections: int) -> None:
        self.numbers = dict.fromkeys(HOSTS, 0)
        self.files = {h: (folder / f"pcap/{h}.tsv").open("w", encoding="utf-8") for h in HOSTS}
        for host, file in self.files.items():
            file.write("\t".join([*FIELDS.values(), *map(filter_expression, FILTERS[host])]) + "\n")
        self.ids = {True: 1, False: 1}
        self.connections = connections
        self.written = 0

    def send(self, t: float, connection: int, s: Segment) -> None:
        """One segment on its way: sender, router in, and unless it is lost router out and receiver."""
        self.ids[s.up] = self.ids[s.up] % 0xFFFF + 1
        way = [("client", "eth0"), ("router", "eth0"), ("router", "eth2"), ("server", "eth0")]
        way = way if s.up else way[::-1]
        for hop, (host, interface) in enumerate(way[:2] if s.lost else way):
            self.line(host, interface, t + hop * 0.00004, connection, s, 64 - (hop > 1))

    def line(self, host: str, interface: str, t: float, connection: int, s: Segment, ttl: int) -> None:
        self.numbers[host] += 1
        self.written += 1
        source, destination = (CLIENT, SERVER) if s.up else (SERVER, CLIENT)
        sport, dport = (40000 + connection, PORT) if s.up else (PORT, 40000 + connection)
        mark = "[TCP Retransmission] " if s.again else ""
        cells = dict.fromkeys(FIELDS, "") | {
            "number": str(self.numbers[host]), "epoch": f"{EPOCH + t:.9f}", "interface": interface,
            "length": str(66 + s.payload), "protocol": "TCP", "source": source, "destination": destination, "ttl": str(ttl),
            "ip_id": f"0x{self.ids[s.up]:04x}", "tcp_sport": str(sport), "tcp_dport": str(dport),
            "tcp_flags": f"0x{s.flags:04x}", "tcp_seq": str(s.seq), "tcp_ack": str(s.ack), "tcp_len": str(s.payload),
            "tcp_window": "64512", "tcp_stream": str(connection),
            "tcp_raw": str((1_000_003 * (connection + 1) + s.seq) % 2**32), "retransmission": "1" if s.again else "",
            "info": f"{mark}{sport} → {dport} [ACK] Seq={s.seq} Ack={s.ack} Win=64512 Len={s.payload} TSval=1159424275"
            " TSecr=1344932824",
        }  # fmt: skip
        chosen = {"client": [s.flags & 2, s.again], "router": [], "server": [s.payload]}[host]
        self.files[host].write("\t".join([*cells.values(), *("✓" if m else "" for m in chosen)]) + "\n")

    def close(self) -> None:
        for file in self.files.values():
            file.close()


def make(folder: Path, packets: int, loss: float = 0.01, connections: int = 2, seed: int = 1) -> Path:
    """A run directory with about so many captured packets in all."""
    chance = random.Random(seed)
    for name in ("pcap", "programs"):
        (folder / name).mkdir(parents=True)
    maker = Maker(folder, connections)
    t = 1.0
    sent = [0] * connections
    for c in range(connections):
        for segment in (Segment(True, 2, 0, 0, 0), Segment(False, 18, 0, 1, 0), Segment(True, 16, 1, 1, 0)):
            maker.send(t, c, segment)
            t += 0.0002
    while maker.written < packets:
        c = chance.randrange(connections)
        for _ in range(2):
            lost = chance.random() < loss
            maker.send(t, c, Segment(True, 16, 1 + sent[c], 1, MSS, lost=lost))
            if lost:
                maker.send(t + 0.2, c, Segment(True, 16, 1 + sent[c], 1, MSS, again=True))
            sent[c] += MSS
            t += 0.00015
        maker.send(t, c, Segment(False, 16, 1, 1 + sent[c], 0))
        t += 0.0004
    maker.close()
    _write_rest(folder, t + 0.5, maker.numbers)
    return folder


def _write_rest(folder: Path, end: float, numbers: dict[str, int]) -> None:
    outcome = {"op": "send", "errno": None, "ms": 1000 * (end - 1), "sent": 1, "received": 0, "byteorder": "little"}
    hosts = [{"name": h, "addresses": a, "devices": {}, "clock_offset_s": 0.0} for h, a in HOSTS.items()]
    events: list[dict[str, Any]] = [
        {"t": 0.0, "event": "run-start", "version": 1, "run": folder.name, "scenario": "bulk", "engine": "made up",
         "seed": 1, "started": "2027-01-15T08:00:00.000000Z", "epoch": EPOCH, "labctl": "0"},
        {"t": 0.1, "event": "lab-up", "hosts": hosts},
        {"t": 0.2, "event": "environment", "environment": {"kernel": "made up"}},
        {"t": 0.9, "event": "step-start", "index": 1, "kind": "run", "title": "bulk", "host": "client"},
        {"t": 0.95, "event": "program-start", "id": "1", "handle": "probe", "host": "client",
         "argv": ["probe", "stream"], "step": 1},
        {"t": end, "event": "program-end", "id": "1", "handle": "probe", "host": "client", "step": 1, "exit": 0,
         "outcome": outcome, "file": "01-client"},
        {"t": end, "event": "step-end", "index": 1, "error": None, "program": "1"},
        *({"t": end + 0.2, "event": "capture-end", "host": h, "file": f"pcap/{h}.pcapng", "packets": numbers[h],
           "dropped": 0, "complete": True, "reason": None, "filters": FILTERS[h], "refused": []} for h in HOSTS),
        {"t": end + 0.3, "event": "run-end"},
    ]  # fmt: skip
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    (folder / "scenario.yaml").write_text(SCENARIO, encoding="utf-8")
    (folder / "plan.json").write_text("{}", encoding="utf-8")
    (folder / "sockets.jsonl").write_text(_samples(end), encoding="utf-8")
    for suffix in ("out", "err"):
        (folder / f"programs/01-client.{suffix}").write_text("", encoding="utf-8")


def _samples(end: float) -> str:
    lines = []
    for n in range(int(end * 10)):
        socket = {"protocol": "tcp", "state": "ESTAB", "local": CLIENT, "port": 40000, "remote": SERVER, "peer": PORT,
                  "recv_q": 0, "send_q": n % 50 * 1448, "cwnd": 10 + n % 40, "rtt": 400 + n % 7 * 30}  # fmt: skip
        lines.append(json.dumps({"t": n / 10, "host": "client", "sockets": [socket]}) + "\n")
    return "".join(lines)


@dataclass
class Measured:
    """Seconds per stage of one run, its page's size, and the peak memory of the process."""

    packets: int
    lines_s: float = 0.0
    read_s: float = 0.0
    judge_s: float = 0.0
    page_s: float = 0.0
    ladder_s: float = 0.0
    cpu_s: float = 0.0
    page_kb: float = 0.0
    rss_mib: float = 0.0
    verdict: str = ""


def measure(folder: Path) -> Measured:
    """Load, judge and report one run directory, once, in this process."""
    from labctl.evidence.record import load as load_evidence
    from labctl.plan import default_title
    from labctl.report.html import render
    from labctl.report.text import show
    from labctl.scenario.loader import load
    from labctl.verdict.judge import judge, result

    found = Measured(0)
    found.lines_s, found.packets = timed(lambda: sum(_split(path) for path in folder.glob("pcap/*.tsv")))
    scenario = load(folder / "scenario.yaml").scenario
    titles = {i: s.name or default_title(s) for i, s in enumerate(scenario.steps, 1)}
    evidence = load_evidence(folder)
    cpu = time.process_time()
    found.read_s, _ = timed(lambda: [evidence.packets[host] for host in evidence.captures])
    found.judge_s, verdict = timed(lambda: judge(scenario, titles, evidence))
    result(verdict)
    text = (folder / "scenario.yaml").read_text(encoding="utf-8")
    found.page_s, page = timed(lambda: render(verdict, {}, text))
    found.cpu_s = time.process_time() - cpu
    found.rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found.ladder_s, _ = timed(lambda: show(verdict))
    found.page_kb, found.verdict = len(page.encode()) / 1000, verdict.verdict
    return found


def _split(path: Path) -> int:
    with path.open(encoding="utf-8") as file:
        return sum(1 for line in file if line.split("\t"))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long it took, and what it gave."""
    start = time.perf_counter()
    value = work()
    return time.perf_counter() - start, value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packets", nargs="*", type=int, default=[2_000, 20_000, 50_000, 200_000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=Path, help="make one run directory of the first size there, and measure nothing")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(asdict(measure(options.measure))))
        return 0
    if options.make:
        print(make(options.make, options.packets[0]))
        return 0
    widths = {"packets": 8, "lines": 7, "read": 13, "judge": 7, "page": 14, "whole": 14, "cpu": 7, "ladder": 7, "page size": 10}
    print(" ".join(f"{name:>{width}}" for name, width in widths.items()), "  memory")
    missed = False
    with tempfile.TemporaryDirectory(prefix="labctl-bench-") as scratch:
        for packets in options.packets:
            folder = make(Path(scratch) / f"run-{packets}", packets)
            argv = [sys.executable, __file__, "--measure", str(folder)]
            m = Measured(**json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout))
            missed |= row(m, GOALS.get(packets))
    return int(missed)


def row(m: Measured, goal: tuple[float, float | None] | None) -> bool:
    """Print one line of the table; answers whether a goal was missed."""
    whole = m.read_s + m.judge_s + m.page_s

    def against(seconds: float) -> str:
        return f"{seconds:6.2f}s {seconds / m.lines_s:4.1f}x"

    told = f"{m.packets:8,} {m.lines_s:6.2f}s {against(m.read_s):>13} {m.judge_s:6.2f}s {against(m.page_s):>14}"
    told += f" {against(whole):>14} {m.cpu_s:6.2f}s {m.ladder_s:6.2f}s {m.page_kb:7.0f} kB {m.rss_mib:5.0f}MiB"
    missed = False
    if goal:
        missed = m.cpu_s > goal[0] or (goal[1] is not None and m.rss_mib > goal[1])
        memory = f", {goal[1]:.0f} MiB" if goal[1] else ""
        told += f"  goal {goal[0]:.0f} s{memory}: {'missed' if missed else 'met'}"
    print(told)
    return missed


if __name__ == "__main__":
    sys.exit(main())
