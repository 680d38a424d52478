# ruff: noqa: E501  what is said stands here as it is shown, on one line
"""Success explained: what went each way and by which packets, who ended it, what arrived, and what was sent again for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from made_up import CLIENT, SERVER, evidence, packet
from test_explain_kinds import ACK, DATA, ENDS, FIN, QUESTION, dns, one, why

from labctl.evidence.packets import Packet
from labctl.evidence.record import FaultRecord, ProgramRecord, Span
from labctl.scenario.loader import from_source
from labctl.scenario.model import Scenario
from labctl.scenario.yamltext import Source
from labctl.verdict.explain import explain

NEAR = [one(1, 0x02, seq=0, ack=0), one(2, 0x12, seq=0, back=True)._replace(t=1.11), one(3, ACK)._replace(t=1.12)]
TAKEN = [one(1, 0x02, seq=0, ack=0, back=True), one(2, 0x12, seq=0)._replace(t=1.11), one(3, ACK, back=True)._replace(t=1.12)]
WELL = {"op": "recv", "errno": None, "sent": 0, "received": 0}
CLEAN = "recv() returned nothing, a clean end of the stream"


@pytest.mark.parametrize(
    ("outcome", "packets", "said"),
    [
        ({"sent": 12, "received": 34}, NEAR, "sent 12 bytes to server port 80 and received 34 (#1 to #3, 20 ms)."),
        ({"sent": 1}, NEAR, "sent 1 byte to server port 80 (#1 to #3, 20 ms)."),
        ({"received": 5}, TAKEN, "received 5 bytes from server (#1 to #3, 20 ms)."),
        ({"op": "connect"}, NEAR, "connected to server port 80 in 10 ms (SYN #1, answer #2)."),
        ({"op": "accept"}, TAKEN, "accepted a connection from server (SYN #1)."),
        ({"received": 5, "eof": True}, [*NEAR, one(4, FIN, back=True)],
         f"received 5 bytes from server port 80 (#1 to #4, 300 ms); server closed its end (FIN #4): {CLEAN}."),
        ({"received": 5, "eof": True}, [*NEAR, one(4, FIN), one(5, FIN, back=True)],
         f"received 5 bytes from server port 80 (#1 to #5, 400 ms); client had said that it sends no more (FIN #4), then server closed its end (FIN #5): {CLEAN}."),
        ({"op": "close", "sent": 9}, [*NEAR, one(4, 0x14)],
         "sent 9 bytes to server port 80 (#1 to #4, 300 ms); client ended it with a reset (#4)."),
        ({"op": "connect", "stopped": "SIGTERM", "returned": True}, NEAR,
         "connected to server port 80 in 10 ms (SYN #1, answer #2); SIGTERM ended the program later."),
        ({"sent": 12}, [], None),
    ],
)  # fmt: skip
def test_a_connection_is_told_by_its_bytes_and_its_packets(outcome: dict[str, Any], packets: Sequence[Packet], said: str | None) -> None:
    """Bytes by the program's own count, the first and last packet, the time between them, and whoever ended it."""
    assert why({**WELL, **outcome}, packets) == said


def test_a_program_that_was_killed_closes_cleanly() -> None:
    """The kernel of a program that was killed sends its FIN; whose end that was is said."""
    run = evidence({"client": [*NEAR, one(4, FIN, back=True)]}, outcome={**ENDS, **WELL, "eof": True})
    run.captures.pop("server")
    opened = "connected to server port 80 in 10 ms (SYN #1, answer #2); server closed its end (FIN #4)"
    assert explain(run, 1, run.programs["1"]) == f"{opened}: {CLEAN}."
    run.programs["0"] = ProgramRecord("old", "server", ("echo", "80"), 0, 0.1, 1.4, 137)
    assert explain(run, 1, run.programs["1"]) == f"{opened}, as old had been killed: {CLEAN}."


def test_several_connections_are_counted() -> None:
    """One after the other on ports of their own, or side by side, of which the program tells no single one."""
    more = [p._replace(number=p.number + 10, t=p.t + 1, sport=p.sport and p.sport + 1) for p in (NEAR[0], NEAR[2])]
    assert why({**WELL, "sent": 9, "received": 3}, [*NEAR, *more]) == (
        "2 connections to server port 80: sent 9 bytes and received 3 (#1 to #13, 1.0 s)."
    )
    beside = {**WELL, "local": None, "peer": None, "connections": 2, "sent": 9, "received": 9}
    assert why(beside, [*NEAR, *more], ["multiconn-client", "server", "80", "2"]) == (
        "2 connections to server port 80: sent 9 bytes and received 9 (#1 to #13, 1.0 s)."
    )
    said = "2 connections to server port 80: sent 9 bytes and received 9 (#1 to #13, 1.0 s)."
    assert why(beside, [*NEAR, *more], ["multiconn-client", "server", "80", "2", "9" * 5000]) == said
    assert why({**beside, "connections": 3}, [*NEAR, *more], ["multiconn-client", "server", "80", "3"]) is None
    held = {**WELL, "op": "connect", "connections": 2}
    assert why(held, [*NEAR, *more]) == "2 connections to server port 80 (#1 to #13, 1.0 s)."
    load = {**WELL, "op": "load", "completed": 10, "per_second": 19.6, "ms": 511.0}
    assert why(load, NEAR) == "10 exchanges, each on a connection of its own, in 511 ms: 19.6 a second."


def test_connections_of_others_are_not_counted() -> None:
    """Another program of the host speaks to the same port: what is this one's is what its own count says, or is told without packets."""
    more = [p._replace(number=p.number + 10, t=p.t + 1, sport=p.sport and p.sport + 1) for p in (NEAR[0], NEAR[2])]
    run = evidence({"client": [*NEAR, one(4, DATA, 5), *more]}, outcome={**ENDS, **WELL, "sent": 5})
    run.captures.pop("server")
    run.programs["2"] = ProgramRecord("other", "client", ("probe", "recv", "server", "80"), 1, 1.5, 3.0, 0)
    assert explain(run, 1, run.programs["1"]) == "sent 5 bytes to server port 80 (#1 to #4, 300 ms)."
    run.programs["1"].outcome["sent"] = 9  # type: ignore[index]
    assert explain(run, 1, run.programs["1"]) == "sent 9 bytes to server port 80."
    run.programs.pop("2")
    assert explain(run, 1, run.programs["1"]) == "2 connections to server port 80: sent 9 bytes (#1 to #13, 1.0 s)."


def test_a_server_of_several_connections_tells_its_bytes_alone() -> None:
    """Its last connection is not all that it sent and received."""
    outcome = {**WELL, "received": 24, "connections": 2}
    assert why(outcome, [*TAKEN, one(4, DATA, 12, back=True)]) == "received 24 bytes from server."
    assert why({**outcome, "received": 12}, [*TAKEN, one(4, DATA, 12, back=True)]) == "received 12 bytes from server (#1 to #4, 300 ms)."


def datagrams(*numbers: int, **changed: Any) -> list[Packet]:
    return [packet(n, 1.0 + n / 10, flags=None, **changed) for n in numbers]


LINK = "scenario: x\nsteps:\n  - {fault: line, at: client, link: {%s}}\n  - {run: [probe, ping, server], on: client, expect: {errno: null}}\n"


def line(settings: str) -> tuple[Scenario, FaultRecord]:
    """A link fault at the client, and the scenario that sets it."""
    record = FaultRecord("line", "link", "client", "eth0", "nfqueue", [["labctl-emulator"]], 1, [Span(1.05, 1.05, 8.0, 3)])
    return from_source(Source("x.yaml", LINK % settings)).scenario, record


SENT = {"op": "send", "errno": None, "sent": 20, "received": 0}


@pytest.mark.parametrize(
    ("here", "there", "settings", "said"),
    [
        (datagrams(4, 5), datagrams(4, 5), "", "2 datagrams sent to server port 80 (#4 to #5), and all arrived there."),
        (datagrams(4), datagrams(7), "", "1 datagram sent to server port 80 (#4), and it arrived there."),
        (datagrams(4, 5, 6), datagrams(5), "loss: 50%", "3 datagrams sent to server port 80 (#4 to #6), and 1 of them arrived there: the fault line on client (loss 50%) touched 3 packets."),
        (datagrams(4, 5), [], "loss: 50%", "2 datagrams sent to server port 80 (#4 to #5), and none of them arrived there: the fault line on client (loss 50%) touched 3 packets."),
        (datagrams(4), datagrams(4, 5), "duplicate: 100%", "1 datagram sent to server port 80 (#4), and 2 arrived there: the fault line on client (duplicate 100%) touched 3 packets."),
        ([*datagrams(4), *datagrams(5, back=True)], datagrams(4), "delay: 90ms", "1 datagram sent to server port 80 (#4), and it arrived there; 1 answer came back (#5) after 100 ms: the fault line on client (delay 90ms) touched 3 packets."),
        (datagrams(4, 5), None, "", "2 datagrams sent to server port 80 (#4 to #5)."),
    ],
)  # fmt: skip
def test_datagrams_are_told_with_what_arrived(here: list[Packet], there: list[Packet] | None, settings: str, said: str) -> None:
    """How many were sent, how many the other end's capture has, what came back and when, and the fault in the way."""
    scenario, fault = line(settings) if settings else (None, None)
    assert why(SENT, here, ["probe", "--udp"], scenario, server=there, faults=[fault] if fault else []) == said


def test_received_datagrams_are_told_with_how_many_were_sent() -> None:
    """What came until the program ended, and how many its peer had sent; from several peers only the number."""
    outcome = {**WELL, "op": "recvfrom", "local": "0.0.0.0:80", "peer": f"{SERVER}:40000", "datagrams": 2, "received": 20}
    came = datagrams(4, 5, source=SERVER, destination=CLIENT)
    said = "received 2 datagrams, 20 bytes in all, from server (#4 to #5)"
    assert why(outcome, came, server=came) == f"{said}."
    three = [*came, *datagrams(6, source=SERVER, destination=CLIENT)]
    assert why(outcome, came, server=three) == f"{said}, of 3 that it had sent (#4, #5, #6 in its capture)."
    other = datagrams(6, source="198.18.9.9", destination=CLIENT)
    assert why(outcome, [*came, *other], server=three) == "received 2 datagrams, 20 bytes in all (#4 to #6)."


def test_a_name_that_was_found() -> None:
    """Its addresses, and the answers that said so; without a question nobody was asked."""
    outcome = {"op": "getaddrinfo", "errno": None, "local": None, "peer": None, "addresses": [SERVER, "198.18.0.9"]}
    answers = [QUESTION, dns(2, "Standard query response 0x00aa A service.lab A 198.18.0.66")]
    near = [answers[0], answers[1]._replace(t=answers[0].t + 0.001)]
    assert why(outcome, near) == f"service.lab is {SERVER}, 198.18.0.9, as the name server answered (#2)."
    assert why(outcome, []) == f"it is {SERVER}, 198.18.0.9, and no name server was asked."


@pytest.mark.parametrize(
    ("asked", "answered", "rtts", "replies", "said"),
    [
        (3, 3, [0.21, 0.42, 85.0], 3, "all 3 echo requests were answered, in 0.2 to 85 ms."),
        (1, 1, [0.3], 1, "the echo request was answered, in 0.3 ms."),
        (3, 3, [0.2, 0.2, 0.2], 5, "all 3 echo requests were answered, in 0.2 ms, 2 of the answers came twice."),
        (3, 2, [0.2, 0.2], 3, "2 of 3 echo requests were answered, the answers took 0.2 ms."),  # the third came too late
        (2, 2, [900.0, 1200.0], 2, "all 2 echo requests were answered, in 900 ms to 1.2 s."),
    ],
)
def test_pings_that_were_answered(asked: int, answered: int, rtts: list[float], replies: int, said: str) -> None:
    """How many and how soon; more answers than requests came twice, but an answer that came too late is none of those."""
    outcome = {"op": "recv", "errno": None, "verb": "ping", "peer": SERVER, "local": None, "asked": asked, "answered": answered, "rtt_ms": rtts}
    went = datagrams(*range(1, asked + 1), sport=None, dport=None, icmp=(8, 0))
    came = datagrams(*range(11, 11 + replies), sport=None, dport=None, icmp=(0, 0), back=True)
    assert why(outcome, [*went, *came]) == said


def again(number: int, seq: int, **changed: Any) -> Packet:
    return one(number, DATA, 100, seq=seq, retransmission=True, **changed)


def sack(number: int, ack: int, *blocks: tuple[int, int]) -> Packet:
    info = " ".join(f"SLE={left} SRE={right}" for left, right in blocks)
    return one(number, ACK, ack=ack, back=True, info=f"[ACK] Seq=1 Ack={ack} Win=9 Len=0 {info}".rstrip())


FIRST, SECOND = one(4, DATA, 100, seq=1), one(5, DATA, 100, seq=101)
HAD = "1 segment was sent again for nothing (#6): server had it already, and said so (D-SACK #7)"
PROBE = "; that is how TCP asks when an acknowledgement takes long (tail loss probe, RFC 8985)"


@pytest.mark.parametrize(
    ("packets", "settings", "said"),
    [
        ([again(6, 101), sack(7, 201, (101, 201))], "", HAD + PROBE),
        ([again(6, 101)._replace(t=3.0), sack(7, 201, (101, 201))._replace(t=3.1)], "", HAD),  # too late for a probe
        ([again(6, 1), sack(7, 201, (1, 101))], "", HAD),  # not the last that was out
        ([again(6, 1), sack(7, 1, (1, 101), (1, 201))], "", HAD),  # its block lies within the second
        ([again(6, 1), sack(7, 1, (101, 201))], "", "1 segment had to be sent again (#6)"),  # a plain SACK: the first is missing
        ([again(6, 1), sack(7, 201)], "", "1 segment had to be sent again (#6)"),
        ([again(6, 1), sack(7, 201, (1, 101))], "delay: 90ms, reorder: 10%",
         HAD + "; TCP took the new order for loss: the fault line on client (delay 90ms, reorder 10%) touched 3 packets"),
        ([again(6, 1), sack(7, 201, (1, 101))], "rate: 100kbit",
         HAD + "; the acknowledgement came late: the fault line on client (rate 100kbit) touched 3 packets"),
        ([again(6, 1), sack(7, 201)], "rate: 100kbit", "1 segment was sent again (#6): the fault line on client (rate 100kbit) touched 3 packets"),
        ([again(6, 1), sack(7, 201)], "loss: 9%", "1 segment had to be sent again (#6): the fault line on client (loss 9%) touched 3 packets"),
        ([again(6, 1), sack(7, 201, (1, 101))], "loss: 9%", HAD),
    ],
)  # fmt: skip
def test_what_was_sent_again_for_nothing_is_not_called_loss(packets: list[Packet], settings: str, said: str) -> None:
    """The peer's D-SACK says that it had the bytes already; why TCP sent them again is said where it can be told."""
    scenario, fault = line(settings) if settings else (None, None)
    found = why({**WELL, "sent": 200}, [*NEAR, FIRST, SECOND, *packets], scenario=scenario, faults=[fault] if fault else [])
    assert found is not None
    assert found.partition("); ")[2] == f"{said}."


def test_what_the_receiver_has_twice_was_sent_again_for_nothing() -> None:
    """Without any D-SACK: the receiver's capture has the bytes twice, and nothing on the way damages or loses any."""
    packets = [*NEAR, FIRST, again(6, 1), sack(7, 101)]
    there = [FIRST._replace(t=1.41), again(6, 1)._replace(t=1.61)]
    for settings, said in (("rate: 100kbit", "was sent again for nothing (#6): server had it already; the ack"), ("corrupt: 9%", "had to be sent again (#6)")):
        scenario, fault = line(settings)
        found = why({**WELL, "sent": 100}, packets, scenario=scenario, faults=[fault], server=there)
        assert found is not None
        assert f"1 segment {said}" in found
