"""What the tools under us cost: `./script/bench costs`. Its figures are the reasons in docs/troubleshooting.md."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from labctl.engines.daemon import connect
from labctl.linkbed import BedAgent, bed

ROUNDS = 15
# On a host, in its own network namespace: {what: median in ms}. Veth pairs stand for the networks of a router.
HOST = """
import json, os, signal, statistics, subprocess, sys, time
from pathlib import Path

FILE = Path("/tmp/costs.pcapng")
FOUR = ("iptables", "-w", "5")
MAKE = (("-N", "COSTS"), ("-A", "COSTS", "-j", "DROP"), ("-I", "INPUT", "-p", "udp", "--dport", "9", "-j", "COSTS"))
TAKE = (("-D", *MAKE[2][1:]), ("-D", *MAKE[1][1:]), ("-X", "COSTS"))

def run(*argv, given=""):
    subprocess.run(argv, input=given, text=True, capture_output=True, check=False, close_fds=False)

def each(rules):
    for rule in rules:
        run(*FOUR, *rule)

def together(rules):
    lines = [":COSTS - [0:0]" if rule[0] == "-N" else " ".join(rule) for rule in rules]
    run("iptables-restore", "--noflush", "-w", "5", given="\\n".join(["*filter", *lines, "COMMIT", ""]))

def capture(devices):
    argv = ["dumpcap", "-q", "-t", *(word for device in devices for word in ("-i", device, "-B", "2")), "-w", str(FILE)]
    dumpcap = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not FILE.exists():
        time.sleep(0.0005)
    return dumpcap

def end(dumpcap):
    dumpcap.send_signal(signal.SIGINT)
    dumpcap.wait()
    FILE.unlink()

found = {}
def took(what, do, after=lambda _: None):
    each_ms = []
    for _ in range(int(sys.argv[1])):
        begun = time.monotonic()
        value = do()
        each_ms.append((time.monotonic() - begun) * 1000)
        after(value)
    found[what] = statistics.median(each_ms)

together(MAKE); together(TAKE)  # the table itself is there now
took("a rule in a chain of its own, by three iptables", lambda: each(MAKE), lambda _: together(TAKE))
took("  by one iptables-restore", lambda: together(MAKE), lambda _: together(TAKE))
for what, take in (("  taken away by three iptables", each), ("  taken away by one iptables-restore", together)):
    times = []
    for _ in range(int(sys.argv[1])):
        together(MAKE)
        begun = time.monotonic()
        take(TAKE)
        times.append((time.monotonic() - begun) * 1000)
    found[what] = statistics.median(times)
took("conntrack -D of nothing", lambda: run("conntrack", "-D", "-p", "tcp", "--dport", "9"))
devices = ["lo", "eth0"]
for number in range(2):
    run("ip", "link", "add", f"costs{number}", "type", "veth", "peer", f"costs{number}b")
    run("ip", "link", "set", f"costs{number}", "up")
    devices.append(f"costs{number}")
for many in (1, 2, 4):
    took(f"dumpcap, until it captures on {many} of rings of 2 MiB", lambda: capture(devices[:many]), end)
print(json.dumps(found))
"""


def main() -> None:
    """Measure on a bed of two hosts and print the medians."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    with bed() as (agent, _):
        host: dict[str, float] = json.loads(agent.run(HOST, str(ROUNDS), timeout_s=120))
        rows = {**host, **asked_of_docker(agent), "import labctl": median(imported)}
    for what, ms in rows.items():
        print(f"{what:58} {ms:7.1f} ms")


def asked_of_docker(agent: BedAgent) -> dict[str, float]:
    """What the daemon takes for what a run would ask of it."""
    api: Any = connect()
    paused: list[float] = []
    for _ in range(ROUNDS):
        paused.append(timed(lambda: api.pause(agent.name)))
        api.unpause(agent.name)
    return {
        "docker pause": statistics.median(paused),
        "kill by an exec": median(lambda: api.exec_start(api.exec_create(agent.name, ["sh", "-c", "kill -0 1"])["Id"])),
        "GET /version": median(lambda: api.get(f"{api.base_url}/version").content),
        "GET /_ping": median(lambda: api.get(f"{api.base_url}/_ping").content),
    }


def imported() -> None:
    """What a run on a lab that stands imports before it begins."""
    modules = "labctl.cli, labctl.api, labctl.runner, labctl.engines.docker"
    subprocess.run([sys.executable, "-c", f"import gc; gc.disable(); import {modules}"], check=True)


def median(action: Callable[[], object]) -> float:
    """The median time in ms of an action."""
    return statistics.median(timed(action) for _ in range(ROUNDS))


def timed(action: Callable[[], object]) -> float:
    """Milliseconds an action takes."""
    begun = time.monotonic()
    action()
    return (time.monotonic() - begun) * 1000


if __name__ == "__main__":
    main()
