"""Link faults on real kernels: each does what it says, they act together, and all of it is gone afterwards.

Bounds are generous, as the machine may be busy; `script/bench faults` measures how exact they are.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from labctl.calibrate import BULK, ECHO, ECHO_SERVER, Sink, measure_chance, measure_delays, measure_rate
from labctl.errors import LabError
from labctl.linkbed import DEVICE, BedAgent, bed

Bed = tuple[BedAgent, BedAgent]
# SIGKILL for every `python3 -m WORDS...` of a host, once there are so many.
KILL = """
import contextlib, os, pathlib, signal, sys, time
wanted, least = f"-m {sys.argv[1]}".encode(), int(sys.argv[2])
numbers = []
while len(numbers) < least:
    numbers = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if wanted in (process / "cmdline").read_bytes().replace(b"\\0", b" "):
                numbers.append(int(process.name))
    time.sleep(0.05)
for number in numbers:
    with contextlib.suppress(OSError):
        os.kill(number, signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def hosts() -> Iterator[Bed]:
    with bed() as pair:
        for agent in pair:
            agent.ask("capabilities")
        yield pair


@contextlib.contextmanager
def fault(agent: BedAgent, name: str, direction: str = "egress", **spec: Any) -> Iterator[dict[str, Any]]:
    """A link fault for as long as the block lasts; what its undo answered is in the value afterwards."""
    found: dict[str, Any] = {"applied": agent.link(name, direction, **spec)}
    try:
        yield found
    finally:
        found["undone"] = agent.ask("undo", name=name)


@pytest.fixture(autouse=True)
def _nothing_is_left(hosts: Bed) -> Iterator[None]:
    """After every test the rules and qdiscs are what they were before it."""
    before = [agent.ask("rulesets") for agent in hosts]
    yield
    assert [agent.ask("rulesets") for agent in hosts] == before
    for agent in hosts:
        assert "lc" not in agent.shell("ip", "-br", "link").replace("lcp", "")


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_a_delay_delays_every_packet_and_loses_none(hosts: Bed, direction: str) -> None:
    client, server = hosts
    with fault(client, "slow", direction, delay_s=0.05) as found:
        delays = measure_delays(client, server, 200, 0.005)
    assert len(delays) == 200
    assert min(delays) >= 50
    assert sorted(delays)[100] < 90
    assert found["undone"]["packets"] >= 200
    assert found["applied"]["interface"] == DEVICE


@pytest.mark.parametrize("direction", ["egress", "ingress"])
@pytest.mark.parametrize(("kind", "did"), [("loss", "lost"), ("duplicate", "duplicated"), ("corrupt", "corrupted")])
def test_chances_are_about_what_was_asked(hosts: Bed, direction: str, kind: str, did: str) -> None:
    client, server = hosts
    agent = client if direction == "egress" else server
    with fault(agent, "chance", direction, **{kind: 20.0}) as found:
        got = measure_chance(client, server, kind, 2000)
    assert 15 < got < 25
    undone = found["undone"]
    assert 300 < undone["packets"] < 500 or found["applied"]["backend"] == "netem"
    if found["applied"]["backend"] == "nfqueue":
        assert undone["effect"] == {"seen": undone["effect"]["seen"], did: undone["packets"]}
        assert undone["effect"]["seen"] >= 2000


def test_the_same_seed_loses_the_same_packets(hosts: Bed) -> None:
    client, server = hosts
    lost = []
    for seed in (5, 5, 6):
        with fault(client, "lossy", loss=20.0, seed=seed):
            lost.append(measure_chance(client, server, "which", 300))
    assert lost[0] == lost[1]
    assert lost[0] != lost[2]


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_a_rate_is_what_tcp_gets(hosts: Bed, direction: str) -> None:
    client, server = hosts
    with fault(client if direction == "egress" else server, "narrow", direction, rate_bps=10_000_000, limit=100):
        got = measure_rate(client, server, 3.0)
    assert 2e6 < got < 10.2e6  # a machine that is busy gives TCP less; nothing gives it more


def test_a_sender_is_not_held_up_by_its_own_delay(hosts: Bed) -> None:
    """netem lets a socket go when it delays its packets (skb_orphan_partial); so must the emulator, or TCP crawls.

    50 ms one way with 64 KiB in flight gives over 10 Mbit/s; charged for what waits, TCP sends two packets at a time (0.4).
    """
    client, server = hosts
    with fault(client, "slow", delay_s=0.05):
        assert measure_rate(client, server, 4.0) > 5e6


def test_reordering_lets_packets_overtake(hosts: Bed) -> None:
    client, server = hosts
    with fault(client, "mixed", delay_s=0.05, reorder=25.0):
        delays = measure_delays(client, server, 400, 0.005)
    assert len(delays) == 400
    assert 60 <= sum(delay < 50 for delay in delays) <= 140


def test_faults_join_and_leave_while_the_others_stay_and_no_packet_is_lost(hosts: Bed) -> None:
    """A delay, then another, then a target, then less and less of it, under traffic: every packet arrives."""
    client, server = hosts
    target = [{"family": 4, "destination": server.address, "protocol": "udp"}]
    sink = Sink(server, ECHO_SERVER, "echo")
    running = client.start(ECHO, server.address, "1000", "0.003", "1.0")
    time.sleep(0.5)
    client.link("one", delay_s=0.02)
    client.link("two", delay_s=0.03)
    client.link("three", delay_s=0.02, target=target)
    client.link("four", jitter_s=0.001, delay_s=0.001)
    for name in ("two", "one", "four", "three"):
        time.sleep(0.3)
        client.ask("undo", name=name)
    answered = running.communicate()[0].split()
    sink.end()
    assert len(answered) == 1000


def test_what_is_held_is_not_lost_when_another_agent_takes_its_last_rule_away(hosts: Bed) -> None:
    """A table that goes would take with it, by the kernel, what every queue of the namespace holds: so it stays meanwhile."""
    client, server = hosts
    rule = ("-p", "tcp", "--dport", "99", "-j", "ACCEPT")
    change = {verb: ["iptables", "-w", "5", flag, "INPUT", *rule] for verb, flag in (("do", "-A"), ("undo", "-D"))}
    with fault(server, "slow", "ingress", backend="nfqueue", delay_s=0.4):
        sending = threading.Thread(target=lambda: found.extend(measure_delays(client, server, 200, 0.005)))
        found: list[float] = []
        sending.start()
        other = BedAgent(server.name, server.address)
        while sending.is_alive():
            other.ask("apply", name="other", action={"type": "commands", "changes": [change]})
            other.ask("undo", name="other")
        sending.join()
        other.close()
    assert len(found) == 200


OFFLOADS = """
import sys
sys.path.insert(0, "/opt/labctl")
from agent.claims import Claims
from agent.offload import Offloads
print(Offloads(sys.argv[1], Claims()).before())
"""


def test_offloads_stay_off_until_the_last_agent_that_wants_them_off_has_ended(hosts: Bed) -> None:
    """In whichever order two agents come and go, the interface has none between and afterwards what it had (ethtool(8), -k)."""
    client, _ = hosts
    before = client.run(OFFLOADS, DEVICE)
    for ends_first in (0, 1):
        agents = [BedAgent(client.name, client.address) for _ in range(2)]
        assert agents[0].ask("offloads", devices=[DEVICE]), "the first of them has commands to run"
        off = client.run(OFFLOADS, DEVICE)
        assert off.startswith("1:"), "more than one segment at once may still be sent"
        assert off != before
        assert agents[1].ask("offloads", devices=[DEVICE]) == [], "there is nothing left to do for the second"
        agents.pop(ends_first).close()
        assert client.run(OFFLOADS, DEVICE) == off
        agents.pop().close()
        assert client.run(OFFLOADS, DEVICE) == before


def test_a_target_is_all_that_is_touched(hosts: Bed) -> None:
    client, server = hosts
    with fault(client, "udp", loss=100.0, target=[{"family": 4, "protocol": "udp", "dport": "7"}]):
        assert measure_chance(client, server, "loss", 50) == 100.0
        assert measure_rate(client, server, 0.5) > 1e6


def test_two_rates_are_refused_and_the_first_stays(hosts: Bed) -> None:
    client, _ = hosts
    with fault(client, "narrow", rate_bps=10**6), pytest.raises(LabError, match="narrow and narrower: two rates"):
        client.link("narrower", rate_bps=10**5)


def test_somebody_elses_qdisc_and_rules_stay_as_they_are(hosts: Bed) -> None:
    client, server = hosts
    client.shell("tc", "qdisc", "add", "dev", DEVICE, "root", "tbf", "rate", "1gbit", "burst", "1mb", "limit", "10mb")
    client.shell("iptables", "-t", "mangle", "-A", "POSTROUTING", "-p", "udp", "-j", "TTL", "--ttl-set", "60")
    try:
        before = client.ask("rulesets")
        with pytest.raises(LabError, match=r"tbf qdisc .* that is not labctl's"):
            client.link("slow", backend="netem", delay_s=0.01)
        assert client.ask("rulesets") == before
        with fault(client, "slow", backend="nfqueue", delay_s=0.05):
            assert min(measure_delays(client, server, 20, 0.005)) >= 50
        assert client.ask("rulesets") == before
    finally:
        client.shell("tc", "qdisc", "del", "dev", DEVICE, "root")
        client.shell("iptables", "-t", "mangle", "-D", "POSTROUTING", "-p", "udp", "-j", "TTL", "--ttl-set", "60")
        client.ask("undo", name="nothing")


def test_an_emulator_that_dies_lets_everything_pass(hosts: Bed) -> None:
    client, server = hosts
    if client.ask("capabilities")["netem"]:
        pytest.skip("this kernel has netem; there is no emulator")
    with fault(client, "dead", loss=100.0):
        client.run(KILL, "agent.emulate", "2")  # the one that is at work, and the one that waits for the next fault
        assert measure_chance(client, server, "loss", 50) == 0.0
    with fault(client, "next", loss=100.0):
        assert measure_chance(client, server, "loss", 10) == 100.0


def test_when_the_driver_dies_nothing_is_left() -> None:
    """The agent's input ends: rules, emulator, ifb and tables go, with packets on their way and whatever is applied."""
    with bed() as (client, server):
        before = client.ask("rulesets")
        client.link("slow", delay_s=1.0)
        client.link("twice", "ingress", duplicate=50.0, target=[{"family": 4, "protocol": "udp"}])
        sink = Sink(server, ECHO_SERVER, "echo")
        running = client.start(ECHO, server.address, "100", "0.01", "2.0")
        time.sleep(0.8)
        client.close()
        late = BedAgent(client.name, client.address)
        assert late.ask("rulesets") == before
        assert "lcd" not in client.shell("ip", "-br", "link")
        assert len(running.communicate()[0].split()) >= 95
        sink.end()
        late.close()


def test_what_waits_for_its_time_is_ready_and_touches_nothing(hosts: Bed) -> None:
    """A chain that nothing leads to, and an emulator behind it; both go with the fault that never began."""
    client, server = hosts
    if client.ask("capabilities")["netem"]:
        pytest.skip("this kernel has netem; nothing of it can be ready without being there")
    client.link("later", delay_s=0.5, timeline={"after_s": 3600.0})
    assert "-j NFQUEUE" in _once_ready(client, "LABCTL-E-eth0")
    assert "-j LABCTL" not in client.shell("iptables-save")
    assert min(measure_delays(client, server, 50, 0.005)) < 500
    assert client.ask("undo", name="later")["packets"] is None


def _once_ready(agent: BedAgent, chain: str) -> str:
    """The rules, when a chain is among them."""
    deadline = time.monotonic() + 30
    while chain not in (saved := agent.shell("iptables-save")):
        assert time.monotonic() < deadline, saved
        time.sleep(0.05)
    return saved


@pytest.mark.parametrize("timeline", [None, {"after_s": 3600.0}], ids=["in place", "waiting"])
def test_the_next_agent_sweeps_up_after_one_that_was_killed(timeline: dict[str, float] | None) -> None:
    with bed() as (client, _):
        before = client.ask("rulesets")
        client.link("slow", delay_s=1.0)
        client.link("twice", "ingress", duplicate=50.0, timeline=timeline)
        _once_ready(client, "LABCTL-I-eth0")
        client.run(KILL, "agent", "1")
        assert "LABCTL-E-eth0" in client.shell("iptables-save")
        assert "LABCTL-I-eth0" in client.shell("iptables-save")
        late = BedAgent(client.name, client.address)
        assert late.ask("hello")["swept"]
        left = late.ask("rulesets")
        assert "LABCTL" not in left["iptables-save"]
        assert left["tc qdisc show"] == before["tc qdisc show"]
        assert "lcd" not in client.shell("ip", "-br", "link")
        assert late.ask("sweep") == []
        late.close()


def test_bulk_is_only_a_program() -> None:
    """The pieces of Python that run on the hosts compile here as well."""
    for source in (BULK, ECHO):
        compile(source, "<bed>", "exec")
