"""How punctual faults on a timeline are: `./script/bench punctual`, from one run in which faults of six kinds come and go."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

AT_MOST_MS = 5.0
TIMES, PERIOD_MS, APART_MS, FOR_MS = 8, 1000, 150, 100
FAULTS = (
    ("router", "drop: {protocol: icmp, icmp_type: echo-request}"),
    ("server", "reject: {protocol: icmp, icmp_type: echo-request, with: icmp-port-unreachable}"),
    ("client", "link: {delay: 20ms}"),
    ("server", "partition: {from: client, to: server}"),
    ("client", "ttl: {set: 1, to: server}"),
    ("server", "pause: {}"),
)


def scenario(lab: Path) -> str:
    """One after the other in each period, so that none hides the pings from another or keeps its agent busy."""
    steps = [
        "{start: [probe, ping, server, --count=250, --interval=20ms, --timeout=40ms], on: client, as: pings, "
        "ready: {output: sequence 1}}"
    ]
    for number, (host, fault) in enumerate(FAULTS):
        when = f"after: {500 + number * APART_MS}ms, for: {FOR_MS}ms, every: {PERIOD_MS}ms, times: {TIMES}"
        steps.append(f"{{fault: f{number}, at: {host}, {when}, {fault}}}")
    steps.append("{finish: pings, expect: {within: 60s}}")
    return f"scenario: punctual\nlab: {lab}\ntimeout: 60s\nsteps:\n" + "".join(f"  - {step}\n" for step in steps)


def late(spans: list[dict[str, Any]], what: str, asked: str) -> str:
    """By how many milliseconds, by the agents' own clocks: the median and the most."""
    by = [(span[what] - span[asked]) * 1000 for span in spans if span[asked] is not None and span[what] is not None]
    return f"{statistics.median(by):5.1f}, at most {max(by):5.1f} ms"


def main() -> None:
    """Run it, and print by kind how late faults were in place and gone."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "punctual.yaml"
        path.write_text(scenario(root / "docker-compose.yml"), encoding="utf-8")
        command = [sys.executable, "-m", "labctl", "run", str(path), "--json", "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        sys.exit(done.stderr)
    result = json.loads(done.stdout)
    if result["verdict"] != "pass":
        sys.exit(f"{result['verdict']}: {result['reason']}")
    for fault in result["faults"]:
        begun, ended = late(fault["spans"], "applied", "asked"), late(fault["spans"], "removed", "end_asked")
        times = len(fault["spans"])
        print(f"{fault['kind']:10} in place {begun} late; gone {ended} late; {times} times, {AT_MOST_MS:g} ms asked")


if __name__ == "__main__":
    main()
