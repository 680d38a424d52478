"""How exact and how quick link faults are: `script/bench faults [--backend nfqueue] [--quick]`.

Each line is one promise of the fault reference, what was measured for it here, and whether it holds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator

from labctl.calibrate import ECHO, ECHO_SERVER, Row, Sink, calibrate, measure_chance, measure_rate, overflowed
from labctl.linkbed import BedAgent, bed

PLACE_MS = 10.0
ROUNDS = 20


def main() -> int:
    """Print the table; 1 when a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=("auto", "netem", "nfqueue"), default="auto")
    parser.add_argument("--quick", action="store_true", help="fewer packets; wider bounds")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"kernel {platform.release()}, {os.cpu_count()} cores, load {load:.1f} before, backend {args.backend}")
    print(f"{'what':44} {'asked':>10} {'got':>10}  {'from':>8} to {'':8}")
    held = True
    for row in rows(args.backend, 2_000 if args.quick else 20_000):
        held &= row.ok
        bounds = f"{row.low:8.3g} to {row.high:<8.3g}"
        verdict = "ok" if row.ok else "NOT HELD"
        print(f"{row.what:44} {row.asked:10.4g} {row.got:10.4g}  {bounds} {row.unit:7} {verdict}", flush=True)
    return 0 if held else 1


def rows(backend: str, packets: int) -> Iterator[Row]:
    yield from calibrate(backend, packets)
    with bed() as (client, server):
        client.ask("capabilities")
        time.sleep(0.5)
        yield from times(client, backend)
        yield from changes(client, server, backend)
        client.link("slow", backend=backend, delay_s=0.001)
        got = measure_rate(client, server, 5.0) / 1e6
        client.ask("undo", name="slow")
        yield Row("TCP through a 1 ms delay", "Mbit/s", 300, got, 300, float("inf"))
        yield from repeatable(client, server, backend)
        yield from bounded(client, server, backend)


def times(client: BedAgent, backend: str) -> Iterator[Row]:
    """From the request to the answer, as the driver sees it."""
    placed, changed = [], []
    for _ in range(ROUNDS):
        placed.append(_ms(client, "one", backend, delay_s=0.01))
        changed.append(_ms(client, "two", backend, loss=1.0))
        client.ask("undo", name="two")
        client.ask("undo", name="one")
        time.sleep(0.25)  # the next emulator is made ready in the background
    yield Row("in place, median", "ms", PLACE_MS, statistics.median(placed), 0, PLACE_MS)
    yield Row("one more on the same interface, median", "ms", PLACE_MS, statistics.median(changed), 0, PLACE_MS)


def _ms(client: BedAgent, name: str, backend: str, **spec: float) -> float:
    start = time.monotonic()
    client.link(name, backend=backend, **spec)
    return (time.monotonic() - start) * 1000


def changes(client: BedAgent, server: BedAgent, backend: str) -> Iterator[Row]:
    """Delays that come, change and go under 1,000 packets a second lose none."""
    before = overflowed(client) + overflowed(server)
    sink = Sink(server, ECHO_SERVER, "echo")
    running = client.start(ECHO, server.address, "4000", "0.001", "1.0")
    time.sleep(0.5)
    for round_ in range(5):
        client.link("slow", backend=backend, delay_s=0.02)
        client.link("slower", backend=backend, delay_s=0.01 * (round_ + 1))
        time.sleep(0.2)
        client.ask("undo", name="slow")
        client.ask("undo", name="slower")
    lost = 4000 - len({pair.partition(":")[0] for pair in running.communicate()[0].split()})
    sink.end()
    lost -= overflowed(client) + overflowed(server) - before
    yield Row("packets lost by ten changes", "packets", 0, lost, 0, 0)


def repeatable(client: BedAgent, server: BedAgent, backend: str) -> Iterator[Row]:
    """The same seed loses the same packets."""
    kept = []
    for _ in range(2):
        client.link("lossy", backend=backend, loss=5.0, seed=7)
        kept.append(measure_chance(client, server, "which", 5000))
        client.ask("undo", name="lossy")
    differing = len(set(kept[0]) ^ set(kept[1]))
    yield Row("packets that differ with the same seed", "packets", 0, differing, 0, 0)


def bounded(client: BedAgent, server: BedAgent, backend: str) -> Iterator[Row]:
    """A full queue holds as many packets as its limit and the emulator's memory does not grow beyond them."""
    client.link("full", backend=backend, delay_s=200.0, limit=500)
    sink = Sink(server, ECHO_SERVER, "count")
    client.run(ECHO, server.address, "5000", "0.0002", "0.0", "1400")
    kib = client.run(
        "import pathlib\n"
        "for p in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    if b'-m\\0agent.emulate' in (p / 'cmdline').read_bytes():\n"
        "        print(next(l.split()[1] for l in (p / 'status').read_text().splitlines() if l.startswith('VmRSS')))"
    ).split()
    client.ask("undo", name="full")  # what is held after a second is let go at once
    time.sleep(0.3)
    arrived = len(sink.end()["numbers"])
    yield Row("of 5,000 at once a limit of 500 lets through", "packets", 500, arrived, 500, 510)
    if kib:
        yield Row("memory of the emulator with its queue full", "MiB", 32, max(map(int, kib)) / 1024, 0, 32)


if __name__ == "__main__":
    sys.exit(main())
