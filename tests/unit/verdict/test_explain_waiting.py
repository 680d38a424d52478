# ruff: noqa: E501  what is said stands here as it is shown, on one line
"""Waiting in vain explained: keepalive probes, datagrams that were not given to the program, damage, errors only noted, answers dropped."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import CLIENT, SERVER, evidence, fault, packet
from test_explain_done import NEAR, datagrams, line
from test_explain_kinds import ACK, DATA, ENDS, one, why

from labctl.evidence.packets import Packet
from labctl.evidence.record import StepRecord
from labctl.verdict.explain import explain

HANG = {"op": "recv", "errno": None, "timed_out": True, "ms": 3500.0}
LIMIT = "; the program's own limit ended it after 3.5 s."


def probe(number: int, **changed: Any) -> Packet:
    return one(number, ACK, seq=0, info="[TCP Keep-Alive] 40000 → 80 [ACK]", **changed)


def answer(number: int) -> Packet:
    """As tshark tells the first of them where the window has changed: no word of keepalive."""
    return one(number, ACK, back=True, info="[TCP Window Update] 80 → 40000 [ACK]")


SILENT = "on this connection nothing went and nothing came after #3"


@pytest.mark.parametrize(
    ("packets", "said"),
    [
        ([], SILENT),
        ([probe(4), answer(5), probe(6), answer(7)], f"{SILENT} but 2 keepalive probes (#4, #6), each answered (#5, #7)"),
        ([probe(4), answer(5)], f"{SILENT} but 1 keepalive probe (#4), answered (#5)"),
        ([probe(4), probe(5), answer(6), answer(7)], f"{SILENT} but 2 keepalive probes (#4, #5), of which 1 was answered (#6)"),
        ([probe(4), answer(5), probe(6)], "1 keepalive probe to server (#6) and no answer: the program's own limit ended it after 3.5 s."),
        ([probe(4, back=True), one(5, ACK)], f"{SILENT} but 1 keepalive probe (#4), answered (#5)"),
        ([one(4, DATA, 5), one(5, ACK, ack=6, back=True), probe(6), answer(7)],
         "server's kernel acknowledged what was sent (#4) with #5, and nothing more came but 1 keepalive probe (#6), answered (#7)"),
    ],
)  # fmt: skip
def test_keepalive_probes_are_something_that_went(packets: list[Packet], said: str) -> None:
    """A connection that is otherwise silent has them, by either end, and each answer is the next bare acknowledgement."""
    assert why(HANG, [*NEAR, *packets]) == (said if said.endswith(".") else said + LIMIT)


BOUND = {"op": "recvfrom", "errno": None, "timed_out": True, "ms": 3500.0, "local": "0.0.0.0:80", "peer": None}


def came(*numbers: int) -> list[Packet]:
    return datagrams(*numbers, source=SERVER, destination=CLIENT)


@pytest.mark.parametrize(
    ("outcome", "here", "there", "said"),
    [
        ({}, [], [], "client waited for datagrams to port 80, and none arrived"),
        ({}, [], came(4, 5), "client waited for datagrams to port 80, and none arrived of 2 that server had sent (#4, #5 in its capture)"),
        ({}, came(4), came(4), "client waited for datagrams to port 80, and 1 arrived (#4)"),
        ({"datagrams": 1, "peer": f"{SERVER}:40000"}, came(4, 5), came(4, 5), "client waited for datagrams to port 80, and 2 arrived (#4, #5), of which it got 1"),
        ({"datagrams": 2, "peer": f"{SERVER}:40000"}, came(4, 5), came(4, 5), "2 datagrams came (#4, #5), and then nothing more"),
        ({"received": 20, "peer": f"{SERVER}:40000"}, came(4, 5), came(4, 5), "2 datagrams came (#4, #5), and then nothing more"),
        ({"datagrams": 1, "peer": f"{SERVER}:40000"}, came(4), came(4, 5), "1 datagram came (#4), and then nothing more of 2 that server had sent (#4, #5 in its capture)"),
    ],
)  # fmt: skip
def test_a_socket_that_waits_for_datagrams(outcome: dict[str, Any], here: list[Packet], there: list[Packet], said: str) -> None:
    """What arrived and was given to it, what arrived and was not, and what others had sent."""
    assert why({**BOUND, "received": 0, **outcome}, here, ["probe", "--udp"], server=there) == said + LIMIT


def test_damage_is_counted_by_the_kernel_that_threw_it_away() -> None:
    """A link that damages, and the receiver's own count of wrong checksums in these steps; other steps' do not count."""
    scenario, noise = line("corrupt: 9%")
    run = evidence({"client": came(4, 5), "server": came(4, 5)}, outcome={**ENDS, **BOUND, "received": 0}, faults=[noise])
    run.steps[2] = StepRecord(2, 9.0, 9.5, None, None)
    said = "client waited for datagrams to port 80, and 2 arrived (#4, #5)"
    blamed = "the fault line on client (corrupt 9%) touched 3 packets"
    assert explain(run, 1, run.programs["1"], scenario) == f"{said}: {blamed}{LIMIT}"
    run.checksums = {1: {"client": {"udp": 5}, "server": {"udp": 1}}, 2: {"client": {"udp": 7}, "server": {"udp": 1}}}
    thrown = "client's kernel threw 2 packets away for a wrong checksum"
    assert explain(run, 1, run.programs["1"], scenario) == f"{said}: {thrown}, and {blamed}{LIMIT}"
    scenario, lossy = line("loss: 9%")
    run.faults = [lossy]
    found = explain(run, 1, run.programs["1"], scenario)
    assert found is not None
    assert "checksum" not in found


def test_pings_and_segments_that_were_damaged_say_so() -> None:
    """The counters of ICMP explain unanswered pings, those of TCP what had to be sent again."""
    scenario, noise = line("corrupt: 9%")
    counts = {1: {"server": {"icmp": 0, "tcp": 0}}, 2: {"server": {"icmp": 1, "tcp": 4}}}
    ping = {"op": "recv", "errno": None, "verb": "ping", "peer": SERVER, "local": None, "asked": 2, "answered": 1, "rtt_ms": [0.2]}
    told = why(ping, [], scenario=scenario, faults=[noise], checksums=counts)
    assert told == (
        "1 of 2 echo requests were answered, the answers took 0.2 ms: server's kernel threw 1 packet away for a wrong checksum, "
        "and the fault line on client (corrupt 9%) touched 3 packets."
    )
    again = [*NEAR, one(4, DATA, 5), one(5, DATA, 5, retransmission=True)]
    told = why({"op": "send", "errno": None, "received": 0}, again, scenario=scenario, faults=[noise], checksums=counts)
    assert told is not None
    assert "1 segment had to be sent again (#5): server's kernel threw 4 packets away for a wrong checksum, and the fault line" in told


def test_an_icmp_error_on_an_open_connection_is_only_noted() -> None:
    """It is told when TCP gives up sending again, and why that was then; with IP_RECVERR it is told at once."""
    lost = [*NEAR, one(4, DATA, 5), packet(5, 1.5, back=True, sport=None, dport=None, flags=None, icmp=(3, 1), quoted=(40000, 80))]
    again = [one(6, DATA, 5, retransmission=True), one(7, DATA, 5, retransmission=True)]
    errno = {"op": "send", "errno": "EHOSTUNREACH"}
    told = "server answered ICMP host unreachable (#5)"
    noted = "; as the connection was open the kernel only noted that, sent again 2 times (#6, #7), and told it when it gave up"
    assert why(errno, [*lost, *again]) == f"{told}{noted}."
    assert why(errno, [*lost, *again], ["probe", "--user-timeout=2s"]) == f"{told}{noted}, its user timeout of 2s over."
    assert why(errno, [*lost, *again], ["probe", "--recverr"]) == f"{told}."
    assert why(errno, lost) == f"{told}."


def test_answers_that_were_dropped_on_their_way_out() -> None:
    """A firewall on the server's own output is not a server that did not answer."""
    gave_up = {"op": "connect", "errno": "ETIMEDOUT", "ms": 3000.0}
    went = "1 SYN to server port 80 (#1), no answer, no reset, no ICMP: the kernel gave up after 3.0 s; server got all of them"
    for hook, said in (
        ("OUTPUT", f"{went}, and the fault wall on server dropped 1 packet on their way out: its answers."),
        ("INPUT", f"{went} and did not answer; the fault wall on server dropped 1 packet."),
    ):
        wall = fault("wall", "drop", ["-p", "tcp"])
        wall.commands = [[hook if word == "INPUT" else word for word in argv] for argv in wall.commands]
        assert why(gave_up, NEAR[:1], server=NEAR[:1], faults=[wall]) == said
