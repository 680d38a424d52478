"""Asked against got: how exactly link faults do on this machine what they are told, measured on a bed of two hosts."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from labctl.errors import LabError, MissingError
from labctl.linkbed import BedAgent, bed

PORT = 7
BULK_PORT = 5001

# Sends N datagrams at a fixed interval to the echo port and prints, for each answer, "number milliseconds".
ECHO = """
import select, socket, struct, sys, time
host, count, interval, linger = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
size = int(sys.argv[5]) if len(sys.argv) > 5 else 64
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.connect((host, 7))
out = []
def take(wait):
    while select.select([s], [], [], max(0.0, wait))[0]:
        try: data = s.recv(2048)
        except OSError: continue
        number, sent = struct.unpack_from("!Id", data)
        out.append(f"{number}:{(time.monotonic() - sent) * 1e3:.3f}")
        wait = 0.0
at = time.monotonic()
for number in range(count):
    s.send(struct.pack("!Id", number, time.monotonic()).ljust(size, b"x"))
    at += interval
    while (left := at - time.monotonic()) > 0: take(left)
    take(0.0)
end = time.monotonic() + linger
while time.monotonic() < end: take(end - time.monotonic())
print(" ".join(out))
"""

# Answers datagrams, and counts them and those the kernel threw away for their checksum; says so when its input ends.
ECHO_SERVER = """
import json, pathlib, socket, sys, threading
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.bind(("", 7))
answering, numbers = sys.argv[1] == "echo", []
def serve():
    while True:
        data, peer = s.recvfrom(2048)
        numbers.append(int.from_bytes(data[:4], "big"))
        if answering: s.sendto(data, peer)
def bad():
    rows = [line.split() for line in pathlib.Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")]
    return int(dict(zip(*rows))["InCsumErrors"])
before = bad()
threading.Thread(target=serve, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
print(json.dumps({"numbers": numbers, "bad": bad() - before}), flush=True)
"""

BULK_SERVER = """
import json, socket, sys, time
l = socket.create_server(("", 5001)); print("ready", flush=True)
c, _ = l.accept(); first = begin = last = None; total = 0; skip = float(sys.argv[1])
while data := c.recv(1 << 20):
    now = time.monotonic()
    first = first or now
    if begin is not None:
        total += len(data); last = now
    elif now - first > skip:
        begin = now  # what is read now had come before
print(json.dumps({"bps": total * 8 / (last - begin) if last is not None else 0.0}))
"""

BULK = """
import contextlib, socket, sys, time
c = socket.create_connection((sys.argv[1], 5001)); end = time.monotonic() + float(sys.argv[2]); data = bytes(1 << 16)
c.settimeout(10)
with contextlib.suppress(OSError):
    while time.monotonic() < end: c.sendall(data)
c.shutdown(socket.SHUT_WR)
"""


class Sink:
    """A program on a host that is ready, and tells what it saw when its input ends."""

    def __init__(self, host: BedAgent, code: str, *arguments: str) -> None:
        self._process = host.start(code, *arguments)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def end(self) -> Any:
        return json.loads(self._process.communicate(timeout=60)[0])


def measure_delays(client: BedAgent, server: BedAgent, count: int, interval_s: float, size: int = 64) -> list[float]:
    """Round trips in milliseconds, in the order of the answers."""
    sink = Sink(server, ECHO_SERVER, "echo")
    out = client.run(ECHO, server.address, str(count), str(interval_s), "2.0", str(size), timeout_s=count * interval_s + 60)
    seen = sink.end()
    if not out:
        raise LabError(f"none of {count} datagrams was answered; {len(seen['numbers'])} had arrived")
    return [float(pair.partition(":")[2]) for pair in out.split()]


def measure_chance(client: BedAgent, server: BedAgent, kind: str, count: int) -> Any:
    """Percent of datagrams lost, duplicated or corrupted on the way to the server; for `which`, those that arrived."""
    sink = Sink(server, ECHO_SERVER, "count")
    client.run(ECHO, server.address, str(count), "0.0005", "1.5", timeout_s=count * 0.005 + 60)
    seen = sink.end()
    numbers = seen["numbers"]
    if kind == "which":
        return numbers
    got = {
        "loss": count - len(set(numbers)),
        "duplicate": len(numbers) - len(set(numbers)),
        "corrupt": seen["bad"],
    }[kind]
    return 100 * got / count


def measure_rate(client: BedAgent, server: BedAgent, seconds: float, skip_s: float = 0.3) -> float:
    """Bits per second of TCP payload that arrive, without the first skip_s seconds."""
    sink = Sink(server, BULK_SERVER, str(skip_s))
    client.run(BULK, server.address, str(seconds), timeout_s=seconds + 60)
    found: float = sink.end()["bps"]
    return found


def overflowed(host: BedAgent) -> int:
    """Datagrams that a host's own sockets had no room for: a busy machine's loss, not the link's."""
    rows = [line.split() for line in host.shell("cat", "/proc/net/snmp").splitlines() if line.startswith("Udp:")]
    return int(dict(zip(*rows, strict=True))["RcvbufErrors"])


@dataclass(frozen=True)
class Row:
    """One thing asked for, what was got, and the bounds it should lie in; all in `unit`."""

    what: str
    unit: str
    asked: float
    got: float
    low: float
    high: float

    @property
    def ok(self) -> bool:
        return self.low <= self.got <= self.high

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def binomial(count: int, percent: float, sigmas: float = 2.576) -> tuple[float, float]:
    """Between which percentages 99 of 100 counts of a fair chance lie (normal approximation)."""
    p = percent / 100
    spread = 100 * sigmas * math.sqrt(p * (1 - p) / count)
    return percent - spread, percent + spread


def calibrate(backend: str = "auto", packets: int = 20_000) -> Iterator[Row]:
    """Asked against got for every kind of link fault, one row after the other.

    Raises MissingError when this kernel has not the backend, LabError when there is no Docker.
    """
    with bed() as (client, server):
        can = client.ask("capabilities")
        wanted = ("netem", "nfqueue") if backend == "auto" else (backend,)
        if not any(can[name] for name in wanted):
            why = "; ".join(can["reasons"].get(name, f"no {name}") for name in wanted)
            raise MissingError(f"link faults cannot be calibrated with {' or '.join(wanted)} here: {why}")
        time.sleep(0.3)  # the spare emulator is on its way
        base = sorted(measure_delays(client, server, 500, 0.002))

        def one(**spec: Any) -> _Fault:
            return _Fault(client, backend, spec)

        with one(delay_s=0.1):
            delays = sorted(measure_delays(client, server, 3000, 0.001))
        for name, share, tolerance in (("median", 0.5, 1.0), ("99th percentile", 0.99, 3.0)):
            got = delays[int(len(delays) * share)] - base[len(base) // 2]
            yield Row(f"delay, {name}", "ms", 100, got, 100 - tolerance, 100 + tolerance)
        with one(delay_s=0.1, jitter_s=0.02):
            delays = measure_delays(client, server, 3000, 0.001)
        mean = sum(delays) / len(delays)
        deviation = math.sqrt(sum((d - mean) ** 2 for d in delays) / len(delays))
        yield Row("jitter ±20 ms, standard deviation", "ms", 20 / math.sqrt(3), deviation, 11.0, 12.5)
        for kind, percent in (("loss", 5.0), ("duplicate", 5.0), ("corrupt", 5.0)):
            with one(**{kind: percent}):
                got = measure_chance(client, server, kind, packets)
            yield Row(kind, "%", percent, got, *binomial(packets, percent))
        with one(delay_s=0.05, reorder=25.0):
            delays = measure_delays(client, server, packets, 0.001)
        early = 100 * sum(d < 50 for d in delays) / len(delays)
        yield Row("reorder", "%", 25, early, *binomial(len(delays), 25))
        for rate_bps in (1_000_000, 10_000_000, 50_000_000):
            with one(rate_bps=rate_bps, limit=100):
                got = measure_rate(client, server, 4.0) * 1514 / 1448  # the line counts headers, TCP its payload
            mbit = rate_bps / 1e6
            yield Row(f"rate {mbit:g} Mbit/s", "Mbit/s", mbit, got / 1e6, 0.93 * mbit, 1.03 * mbit)


class _Fault:
    def __init__(self, agent: BedAgent, backend: str, spec: dict[str, Any]) -> None:
        self._agent, self._backend, self._spec = agent, backend, spec

    def __enter__(self) -> None:
        self._agent.link("calibration", backend=self._backend, **self._spec)

    def __exit__(self, *_: object) -> None:
        self._agent.ask("undo", name="calibration")
