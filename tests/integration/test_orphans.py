"""What an agent that was killed leaves in a network namespace goes with the next one that starts; nothing else goes."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from labs import ROOT, docker

from labctl.faults import FAULTS
from labctl.faults.base import Site

SITE = Site("server", True, ("net",), {"server": ("10.0.1.3",), "client": ("10.0.2.3",)}, (4, 6))
# Somebody else's: rules, a chain, a table of their own, a qdisc.
THEIRS = (
    "iptables -t filter -A INPUT -p tcp --dport 9 -m comment --comment 'keep this' -j ACCEPT; iptables -N LABORATORY; "
    "iptables -A LABORATORY -j RETURN; iptables -t raw -A PREROUTING -p udp --dport 9 -j ACCEPT; "
    "ip6tables -t mangle -A OUTPUT -p tcp --dport 9 -j ACCEPT; ip link add other type veth peer name rehto; "
    "tc qdisc add dev other root handle 5: tbf rate 1mbit burst 2kb limit 10kb"
)
# What netem faults would have left, made by hand where the kernel has no netem: the tree's root, and the way through an ifb.
NETEM = (
    "N=$(cat /sys/class/net/rehto/ifindex); tc qdisc add dev rehto root handle 1ab: htb default 10; "
    "ip link add lci$N type ifb; ip link set lci$N up; tc qdisc add dev rehto handle ffff: ingress; "
    "tc filter add dev rehto parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev lci$N"
)
EMPTY_TABLE = re.compile(r"^\*\w+\n(?::[A-Z]+ ACCEPT \[0:0\]\n)+COMMIT\n", re.MULTILINE)
LOOK = "iptables-save | grep -v ^#; ip6tables-save | grep -v ^#; tc qdisc show; ip -o link show"
COUNTERS = re.compile(r"\[\d+:\d+\]")


class Agent:
    """An agent in the container, beside others."""

    def __init__(self, container: str) -> None:
        self._process = subprocess.Popen(
            ["docker", "exec", "-i", "-w", "/opt/labctl", container, "python3", "-u", "-m", "agent"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._container, self._numbers = container, itertools.count()
        self.hello = self.ask("hello")

    def ask(self, op: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"id": next(self._numbers), "op": op, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["ok"], answer
        return answer["result"]

    def fault(self, kind: str, name: str, **spec: Any) -> None:
        plan = FAULTS[kind].model_validate(spec).plan(SITE, name)
        request = json.loads(json.dumps(plan.request()).replace("{dev:net}", "eth0"))
        self.ask("apply", name=name, action={**request, **({"backend": "nfqueue"} if kind == "link" else {})})

    def kill(self) -> None:
        docker("exec", self._container, "sh", "-c", f"kill -9 {self.hello['pid']}")
        self._process.wait(timeout=10)
        self._close()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._close()

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def container() -> Iterator[str]:
    rights = ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"]
    name = docker("run", "--detach", "--init", *rights, "labctl/agent", "sleep", "600")
    try:
        docker("exec", name, "mkdir", "-p", "/opt/labctl")
        docker("cp", str(ROOT / "labctl/agent"), f"{name}:/opt/labctl/agent")
        yield name
    finally:
        docker("rm", "--force", name)


def look(container: str) -> str:
    return COUNTERS.sub("[0:0]", docker("exec", container, "sh", "-c", LOOK))


def test_the_next_agent_sweeps_what_a_killed_one_left_and_nothing_else(container: str) -> None:
    """Every kind of trace goes; what another agent that lives holds, and what is somebody else's, stays byte for byte."""
    docker("exec", container, "sh", "-c", THEIRS)
    first = look(container)
    living = Agent(container)
    assert living.hello["swept"] == []
    living.fault("drop", "mine", protocol="tcp", dport=80, direction="in")
    living.fault("link", "slow", delay="1ms")
    before = look(container)
    assert "LABCTL-mine" in before

    dying = Agent(container)
    assert dying.hello["swept"] == []
    dying.fault("drop", "wall", protocol="tcp", dport=81, direction="both")
    dying.fault("reject", "no", protocol="tcp", dport=82, **{"with": "tcp-reset"}, direction="in")
    dying.fault("ttl", "short", set=1)
    dying.fault("masquerade", "nat", network="net")
    dying.fault("link", "lossy", loss="10%", duplicate="1%", direction="ingress")
    dying.ask("apply", name="dns", action={**FAULTS["resolve"].model_validate({"query": "a.lab", "fails": "unknown"}).plan(
        SITE, "dns").request()})
    dying.fault("mtu", "small", size="1300B", network="net")
    docker("exec", container, "sh", "-c", NETEM)
    left = look(container)
    traces = ("wall", "no", "short", "nat", "I-eth0", "dns")
    for trace in (*(f"LABCTL-{name}" for name in traces), "lcd", "htb 1ab:", "ingress ffff:", "lci", "mtu 1300"):
        assert trace in left
    dying.kill()
    assert "LABCTL-wall" in look(container), "a killed agent takes nothing back: else this test shows nothing"

    third = Agent(container)
    assert third.hello["swept"]
    assert all(ran["exit"] == 0 for ran in third.hello["swept"]), third.hello["swept"]
    # Tables in which nothing is left stay while the living one has a queue: the kernel would drop what that holds.
    assert EMPTY_TABLE.sub("", look(container)) == EMPTY_TABLE.sub("", before)
    assert third.ask("sweep") == []
    living.ask("undo", name="mine")
    living.ask("undo", name="slow")
    third.end()
    living.end()
    assert look(container) == first
