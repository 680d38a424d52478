# ruff: noqa: E501  commands stand here as they are run, on one line
"""What the faults' commands and actions do in a real kernel: taken whole, counted to the packet, and taken back to the byte.

All of it happens in one container with an agent's image and rights, by the agent's own code; the shipped scenarios do the rest.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from labs import ROOT, docker, labctl

from labctl.faults import FAULTS
from labctl.faults.base import FaultPlan, Impossible, Site
from labctl.faults.cycle import cycles

sys.path.insert(0, str(ROOT / "tests/unit/faults"))
from test_cycle import hit
from test_firewall_faults import HOOKS, PICKS
from test_path_faults import TABLE

# Another run of these tests may go on beside this one, or have been killed and have left its network.
NETWORK = f"labctl-test-families-{os.getpid()}"
SUBNET = f"fd6c:7465:{secrets.randbits(16):x}:{secrets.randbits(16):x}::/64"
FOUR = {"server": ("10.0.1.3",), "client": ("10.0.2.3",), "powerpc": ("10.0.3.3",), "router": ("10.0.1.2", "10.0.2.2")}
SIX = {"server": ("fd::1:3",), "client": ("fd::2:3",), "powerpc": ("fd::3:3",), "router": ("fd::1:2", "fd::2:2")}

PRELUDE = """
import json, socket, subprocess, sys, time
sys.path.insert(0, "/opt/labctl")
from agent.__main__ import make_action
from agent.action import failed
asked = json.load(sys.stdin)
def say(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
def rules():
    lines = (say("iptables-save") + say("ip6tables-save")).splitlines()
    return sorted(line for line in lines if line.startswith(("-A", ":LABCTL")))
"""


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A container with an agent in it, on a network with both families."""
    docker("network", "create", "--ipv6", "--subnet", SUBNET, NETWORK)
    rights = ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"]
    name = ""
    try:
        name = docker("run", "--detach", "--network", NETWORK, *rights, "labctl/agent", "sleep", "600")
        docker("exec", name, "mkdir", "-p", "/opt/labctl")
        docker("cp", str(ROOT / "labctl/agent"), f"{name}:/opt/labctl/agent")
        yield name
    finally:
        if name:
            docker("rm", "--force", name)
        docker("network", "rm", NETWORK)


def inside(container: str, script: str, asked: object) -> Any:
    """Run a Python script beside the agent's code; what it prints last is its answer."""
    done = subprocess.run(
        ["docker", "exec", "--interactive", container, "python3", "-c", PRELUDE + script],
        input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def planned(kind: str, spec: dict[str, Any], at: str, name: str, dual: bool = True) -> FaultPlan:
    addresses = {host: FOUR[host] + SIX[host] for host in FOUR} if dual else FOUR
    networks = ("server-net", "client-net") if at == "router" else (f"{at}-net",)
    return FAULTS[kind].model_validate(spec).plan(Site(at, at == "router", networks, addresses, (4, 6) if dual else (4,)), name)


def request(plan: FaultPlan) -> Any:
    """What the agent is asked, as the runner sends it: with a real interface in the place of `{dev:…}`."""
    text = json.dumps(plan.request())
    for network in ("server-net", "client-net"):
        text = text.replace(f"{{dev:{network}}}", "eth0")
    return json.loads(text)


LONG = "a" * 20  # the longest name that a fault can have
SPECS: list[tuple[str, dict[str, Any], str]] = [
    *(("drop", spec, at) for spec, at, _ in HOOKS),
    *(("drop", spec, "server") for spec, _ in PICKS),
    *((kind, spec, at) for kind, spec, at, _ in TABLE if kind not in ("down", "mtu", "blackhole")),
    *(("reject", {"protocol": "tcp", "with": answer}, "server") for answer in
      ("tcp-reset", "icmp-net-unreachable", "icmp-host-unreachable", "icmp-port-unreachable", "icmp-admin-prohibited")),
    ("reject", {"with": "icmp-proto-unreachable"}, "server"),
    *(("reject", {"with": answer, "family": "ipv6"}, "server") for answer in ("icmp6-policy-fail", "icmp6-reject-route")),
    ("drop", {"nth": 2**31 - 2}, "server"),
    ("drop", {"first": 2**31 - 2}, "server"),
    ("drop", {"every": 2**31 - 2}, "server"),
    ("drop", {"probability": "0.001%"}, "server"),
    ("drop", {"probability": "99.999%"}, "server"),
    *(("drop", {"above": rate, "burst": burst}, "server") for rate, burst in
      (("10000/s", 10000), ("1/s", 10000), ("7/m", 10000), ("1/m", 1440), ("1/h", 24), ("10000/h", 10000))),
    ("drop", {"protocol": "icmpv6", "icmp_type": "3/1"}, "server"),
    ("mtu", {"size": "1300B"}, "client"),
    ("blackhole", {"size": "1300B", "network": "server-net"}, "router"),
    ("masquerade", {"network": "server-net"}, "router"),
    ("resolve", {"query": "service.lab", "to": ["dead", "server"]}, "client"),
    ("expire", {"protocol": "tcp", "dport": 80, "then": "drop"}, "router"),
    ("expire", {"protocol": "tcp", "from": "client", "to": "server", "then": "reset"}, "router"),
    ("expire", {"protocol": "udp"}, "router"),
]  # fmt: skip

TAKEN_BACK = """
found = []
for request in asked:
    before = rules()
    action = make_action(request)
    try:
        action.do()
        placed = rules() != before
        if hasattr(action, "quench"):
            action.quench()
        count = action.count()
        bad = [str(r) for r in failed(action.undo())]
    except Exception as error:
        placed, count, bad = False, 0, [repr(error)]
    found.append([placed, bad, [line for line in rules() if line not in before], [line for line in before if line not in rules()]])
print(json.dumps(found))
"""


def test_the_kernel_takes_every_rule_and_gives_it_back(container: str) -> None:
    """Each rule that a fault can plan, with the extremes of its numbers, in both families and under the longest name."""
    plans = []
    for kind, spec, at in SPECS:
        try:
            plans.append(planned(kind, spec, at, LONG))
        except Impossible:  # what IPv6 has not; IPv4 has it
            plans.append(planned(kind, spec, at, LONG, dual=False))
    results = inside(container, TAKEN_BACK, [request(plan) for plan in plans])
    wrong = {
        str(spec): result
        for spec, plan, result in zip(SPECS, plans, results, strict=True)
        if result != [bool(plan.changes) and any("-I" in c.do for c in plan.changes), [], [], []]
    }
    assert wrong == {}


COUNTED = """
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", 5000))
receiver.setblocking(False)
found = []
for request, number in asked:
    action = make_action(request)
    action.do()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for i in range(1, number + 1):
        sender.sendto(str(i).encode(), ("127.0.0.1", 5000))
    counted = action.count()
    action.quench()
    sender.sendto(b"after", ("127.0.0.1", 5000))
    assert not failed(action.undo())
    came = []
    while True:
        try:
            came.append(receiver.recv(100).decode())
        except BlockingIOError:
            break
    assert came.pop() == "after"
    found.append([[i for i in range(1, number + 1) if str(i) not in came], counted])
print(json.dumps(found))
"""
UDP = {"protocol": "udp", "dport": 5000}


def test_exactly_the_selected_packets_are_touched_and_counted(container: str) -> None:
    """Ten datagrams each: which of them are lost, and that the count is theirs and not of those that were looked at."""
    table: list[tuple[dict[str, Any], list[int]]] = [
        ({}, list(range(1, 11))),
        ({"nth": 3}, [3]),
        ({"nth": 11}, []),
        ({"first": 1}, [1]),
        ({"first": 4}, [1, 2, 3, 4]),
        ({"every": 3}, [3, 6, 9]),
        ({"above": "1/m", "burst": 6}, [7, 8, 9, 10]),
        ({"sport": 1}, []),
        ({"state": "invalid"}, []),
        ({"state": "new"}, list(range(1, 11))),  # UDP is new until an answer comes
    ]
    plans = [planned("drop", {**UDP, **spec}, "server", "x", dual=False) for spec, _ in table]
    results = inside(container, COUNTED, [[request(plan), 10] for plan in plans])
    assert results == [[lost, len(lost)] for _, lost in table]


def test_a_seed_chooses_the_same_packets_again_in_a_real_kernel(container: str) -> None:
    """Exactly those that its cycles say, in the kernel as on paper: the same again, and with another seed others."""
    def chosen(seed: int, **spec: Any) -> Any:
        return [request(planned("drop", {**UDP, "probability": "30%", "seed": seed, **spec}, "server", "x", dual=False)), 200]

    def said(seed: int, share: float = 0.3) -> list[int]:
        counted = [nth for part in cycles(share, str(seed)) for nth in part.rules()]
        return [packet + 1 for packet in hit(counted, 200)]

    asked = [chosen(7), chosen(7), chosen(8), chosen(7, probability="80%")]
    (first, counted), (again, _), (other, _), (most, of_most) = inside(container, COUNTED, asked)
    assert first == again == said(7)
    assert other == said(8) != first
    assert counted == len(first)
    assert most == sorted(set(range(1, 201)) - set(said(7, 1 - 0.8)))
    assert of_most == len(most)


def test_a_probability_is_what_it_says(container: str) -> None:
    """Of 200 datagrams 30 % are lost, give or take four standard deviations, and the count is theirs."""
    plan = planned("drop", {**UDP, "probability": "30%"}, "server", "x", dual=False)
    ((lost, counted),) = inside(container, COUNTED, [[request(plan), 200]])
    assert counted == len(lost)
    assert 34 <= counted <= 86


INTERFACE = """
say("ip", "route", "replace", "10.9.0.0/16", "via", asked["via"], "metric", "7")
say("ip", "route", "replace", "10.8.0.0/16", "via", "10.9.0.9", "onlink", "dev", "eth0", "table", "77")
say("ip", "-6", "route", "replace", "fd99::/64", "via", asked["via6"], "metric", "1234")
say("ip", "route", "replace", "unreachable", "10.7.0.1")
def state():
    shown = say("ip", "-4", "route", "show", "table", "all") + say("ip", "-6", "route", "show", "table", "all")
    links = say("ip", "-o", "address", "show", "dev", "eth0") + say("ip", "-o", "link", "show", "dev", "eth0")
    return sorted(line.strip() for line in (shown + links).splitlines() if "multicast" not in line or "mtu" in line)
time.sleep(2)  # until the kernel's own IPv6 addresses are no longer tentative
before = state()
action = make_action(asked["request"])
start = time.monotonic()
action.do()
ms = (time.monotonic() - start) * 1000
during = state()
bad = [str(r) for r in failed(action.undo())]
deadline = time.monotonic() + 4
while state() != before and time.monotonic() < deadline:
    time.sleep(0.01)
after = state()
print(json.dumps([bad, [x for x in before if x not in after], [x for x in after if x not in before], during != before, ms]))
"""


@pytest.mark.parametrize("spec", [("down", {}), ("mtu", {"size": "1300B"})], ids=["down", "mtu"])
def test_an_interface_is_afterwards_what_it_was(container: str, spec: tuple[str, dict[str, Any]]) -> None:
    """Every route of every table and every address, IPv4 and IPv6, is back after the interface was down or small."""
    found = json.loads(docker("inspect", container))[0]["NetworkSettings"]["Networks"][NETWORK]
    plan = planned(*spec, "client", "x", dual=False)
    asked = {"via": found["Gateway"], "via6": found["IPv6Gateway"], "request": request(plan)}
    bad, gone, new, changed, _ = inside(container, INTERFACE, asked)
    assert (bad, gone, new, changed) == ([], [], [], True)


REFUSED = """
before = rules(), say("ip", "link", "show", "dev", "eth0")
try:
    make_action(asked).do()
    said = "nothing"
except Exception as error:
    said = str(error)
print(json.dumps([said, (rules(), say("ip", "link", "show", "dev", "eth0")) == before]))
"""


def test_an_mtu_that_would_end_ipv6_for_good_is_refused(container: str) -> None:
    """Below 1280 bytes the kernel forgets an interface's IPv6 settings, so nothing could restore them."""
    said, is_unchanged = inside(container, REFUSED, request(planned("mtu", {"size": "600B"}, "client", "x", dual=False)))
    assert "eth0 has IPv6, which ends below 1280 bytes" in said
    assert is_unchanged


WAITING = """\
scenario: waiting
steps:
  - {start: [probe, ping, server, --count=50, --interval=100ms, --size=900], on: client, as: talker}
  - {fault: away, at: client, after: 1s, for: 300ms, every: 2s, down: {}}
  - {fault: narrow, at: server, after: 1s, for: 300ms, every: 2s, mtu: {size: 600B}}
  - {fault: never, at: client, after: 1h, mtu: {size: 1000B}}
  - {run: [cat, /sys/class/net/eth0/mtu], on: server, expect: {exit: 0}}
  - {wait: 1700ms}
  - {run: [cat, /sys/class/net/eth0/mtu], on: client, expect: {exit: 0}}
  - {finish: talker, expect: {within: 30s}}
  - {heal: [away, narrow]}
  - {fault: small, at: client, mtu: {size: 1000B}}
  - {fault: smaller, at: client, mtu: {size: 800B}}
  - {run: [probe, ping, server, --count=1, --size=1200], on: client, expect: {within: 30s}}
  - {heal: small}
  - {run: [cat, /sys/class/net/eth0/mtu], on: client, expect: {exit: 0, stdout: {matches: "^800$"}}}
  - {heal: [smaller, never]}
  - {run: [cat, /sys/class/net/eth0/mtu], on: client, expect: {exit: 0, stdout: {matches: "^1500$"}}}
"""


def test_an_interface_that_waits_for_its_time_disturbs_no_step(tmp_path: Path) -> None:
    """Steps before its first time and while it is away are taken and counted; of two MTUs the one that stays holds.

    Only the fault that was healed before its hour had come is missing.
    """
    (tmp_path / "waiting.yaml").write_text(WAITING, encoding="utf-8")
    done = labctl("run", tmp_path / "waiting.yaml", "--out", tmp_path / "runs", "--json")
    value = json.loads(done.out)
    assert value["reason"].startswith("the fault never on client never began"), value["reason"]
    assert [s["reason"] for s in value["steps"] if s["verdict"] != "pass"] == []
    assert {fault["name"] for fault in value["faults"] if fault["fired"]} == {"away", "narrow", "small", "smaller"}


RESETS = """\
scenario: resets
capture: {snaplen: 96B, max: 1GiB}
steps:
  - {start: [probe, send, "", 65432, tick, --listen, --count=999, --interval=50ms], on: server, as: far, ready: {listen: 65432}}
  - {start: [probe, recv, server, 65432], on: client, as: near, ready: {output: connected}}
  - {fault: middle, at: router, after: 2s, reset: {port: 65432}}
  - {finish: near, expect: {errno: ECONNRESET, packets: [{at: client, filter: "tcp.flags.reset == 1"}]}}
  - {finish: far, expect: {errno: [ECONNRESET, EPIPE]}}
  - heal: middle
  - {start: [probe, recv, "", 65433, --listen], on: server, as: far, ready: {listen: 65433}}
  - {start: [probe, send, server, 65433, --size=64MiB, --count=99], on: client, as: near, ready: {output: connected}}
  - {fault: busy, at: router, after: 200ms, reset: {port: 65433}}
  - {finish: near, expect: {errno: [ECONNRESET, EPIPE]}}
  - {finish: far, expect: {errno: ECONNRESET}}
  - heal: busy
  - {fault: nat, at: router, masquerade: {network: server-net}}
  - {start: [echo-server, "", 65434, --connections=0], on: server, ready: {listen: 65434}}
  - {start: [probe, send, server, 65434, late, --wait=6s, --receive=4], on: client, as: sender, ready: {output: connected}}
  - {fault: strict, at: router, expire: {protocol: tcp, dport: 65434, then: reset}}
  - {finish: sender, expect: {errno: ECONNRESET}}
  - heal: strict
  - {start: [echo-server, "", 65435, --connections=0], on: server, as: other, ready: {listen: 65435}}
  - {start: [probe, send, server, 65435, late, --wait=6s, --receive=4], on: client, as: sender, ready: {output: connected}}
  - {fault: kind, at: router, expire: {protocol: tcp, dport: 65435}}
  - {name: Linux adopts what comes from within, finish: sender, expect: {errno: null, received: 4}}
"""


def test_resets_in_the_middle_and_in_a_hurry(tmp_path: Path) -> None:
    """A router resets a paced and a busy connection at both ends; one that forgot a connection resets it, or adopts it."""
    scenario = tmp_path / "resets.yaml"
    scenario.write_text(RESETS, encoding="utf-8")
    done = labctl("run", scenario, "--out", tmp_path / "runs", "--json")
    assert done.code == 0, done.out + done.err
