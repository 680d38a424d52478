"""`labctl explain`: a plan as a person would write it down, with the exact commands of a fault by every backend."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from labctl.lab import read_lab
from labctl.plan import plan
from labctl.report.expected import sentences
from labctl.report.explain import explain
from labctl.scenario.loader import load
from labctl.scenario.model import Expectation
from labctl.scenario.shape import keys_of
from labctl.scenario.yamltext import CoreLoader

ROOT = Path(__file__).resolve().parents[3]


def words(scenario: str) -> list[str]:
    loaded = load(ROOT / f"scenarios/{scenario}.yaml")
    return [line.strip() for line in explain(plan(loaded.scenario, read_lab(ROOT / "docker-compose.yml"))).splitlines()]


def test_a_link_fault_is_explained_for_both_backends() -> None:
    """After tc's commands come those of nfqueue, which are run where the kernel has no netem."""
    lines = words("link-delay")
    tc = next(i for i, line in enumerate(lines) if "tc qdisc add" in line and "netem" in line)
    other = lines.index("or, with the link backend nfqueue:")
    assert tc < other
    assert "iptables" in lines[other + 1]
    assert any("NFQUEUE" in line for line in lines[other:])


def test_an_interface_that_has_no_name_yet_is_told_by_its_network() -> None:
    """Nothing of how plans are kept shows: no braces, no Python words."""
    for scenario in ("link-delay", "pmtu-black-hole", "host-killed", "flapping-link", "firewall"):
        assert not [line for line in words(scenario) if re.search(r"\{dev|\{toward|None|=Count|\(min=|True|' '", line)]
    assert "client# ip link set dev <client-net> down" in words("flapping-link")
    told = "<NETWORK> in a command is the host's interface on that network"
    assert (told in words("flapping-link"), told in words("firewall")) == (True, False)
    assert "server# (engine) start server   (when taken back)" in words("host-killed")


def test_a_fault_says_when_it_is_in_place() -> None:
    """Its beginning, its length, how often it begins anew and where a ramp leads."""
    assert "begins 2s after this step" in words("host-killed")
    assert "lasts 300ms and begins anew every 1s, 4 times in all" in words("flapping-link")
    assert "changes within 5s to delay 200ms" in words("link-ramp")


def test_a_step_says_what_it_waits_for_and_what_is_taken_back() -> None:
    """A limit stands where something could last for ever, a name where a later step uses it."""
    lines = words("zero-window")
    assert "wait until pausing ends, at most 30s" in lines
    assert "it is called patient" in lines
    assert "1. start probe recv '' 65431 --listen --rcvbuf=8KiB on server" in lines
    assert "taken back: deaf" in words("one-way-partition")


EVERYTHING = """\
errno: [ECONNRESET, EPIPE]
exit: 7
signal: TERM
timed_out: true
elapsed: {min: 3s, max: 12s}
within: 20s
stdout: hello
stderr: {exact: a, matches: b+, lacks: c}
sent: 12
received: {min: 64KiB}
throughput: {max: 1mbit}
outcome: {eof: true}
packets: [{at: client, filter: tcp, count: 0}, {at: server, filter: udp, after: arp, delay: {max: 1s}, apart: {min: 5ms}}]
icmp: [{at: client, type: host-unreachable, from: router, count: 2}]
retransmissions: [{at: client, port: 80, count: {min: 3}}]
same: [{at: [client, server], filter: udp, lost: {max: 2}}, {at: [client, server], filter: tcp, of: bytes}]
sockets: [{at: server, port: 80, state: LISTEN, never: ESTAB}, {at: client, peer: 80, recv_q: 0}]
queues: {of: [{at: server, queue: recv_q, port: 80}, {at: client, queue: send_q, peer: 80}], tolerance: 10}
"""


def test_every_kind_of_expectation_is_a_sentence() -> None:
    """Each key of `expect:` has its words, in the order of the language, and nothing else is said."""
    expect = Expectation.model_validate(yaml.load(EVERYTHING, Loader=CoreLoader))
    assert set(keys_of(Expectation)) == {line.split(":")[0] for line in EVERYTHING.splitlines()}
    assert list(sentences(expect)) == [
        "its last call ends in ECONNRESET or EPIPE",
        "its own time limit ends the call",
        "SIGTERM ends it",
        "its exit status is 7",
        "its last call takes 3s to 12s",
        "it ends within 20s",
        "it sends 12B",
        "it receives at least 64KiB (65536B)",
        "it moves at most 1mbit per second",
        "stdout has 'hello' in it",
        "stderr is 'a'",
        "stderr matches /b+/",
        "stderr has no 'c' in it",
        "its outcome has eof true",
        "captured at client, none: tcp",
        "captured at server, at least 1: udp; the first comes at most 1s after the first of: arp; from each to the next "
        "at least 5ms",
        "captured at client, 2: ICMP host-unreachable from router",
        "captured at client, at least 3: segments sent again with port 80",
        "what client has of the packets of udp, server has as well, but for at most 2",
        "what client has of the bytes of tcp, server has as well",
        "the socket of server (port 80) is in state LISTEN and is never in state ESTAB",
        "the socket of client (peer port 80) has 0B in its recv_q",
        "the recv_q of server (port 80) and the send_q of client (peer port 80) together hold what it has sent, "
        "give or take 10B",
    ]
    assert list(sentences(Expectation.model_validate({"errno": None}))) == ["its last call ends in success"]


def test_a_fault_with_one_backend_has_no_other() -> None:
    """What iptables does it does on every kernel."""
    assert not any("link backend" in line for line in words("firewall"))
