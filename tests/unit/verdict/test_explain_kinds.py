# ruff: noqa: E501  what is said stands here as it is shown, on one line
"""Each kind of ending explained from made-up packets, sockets and faults: what is said, and when nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from made_up import CLIENT, SERVER, evidence, fault, packet, socket

from labctl.evidence.packets import Packet
from labctl.evidence.record import Evidence, FaultRecord, ProgramRecord, Sample, Span
from labctl.scenario.loader import from_source
from labctl.scenario.model import Scenario
from labctl.scenario.yamltext import Source
from labctl.verdict.explain import explain

ENDS = {"local": f"{CLIENT}:40000", "peer": f"{SERVER}:80"}
FIN, RST, ACK, DATA = 0x11, 0x04, 0x10, 0x18


def one(number: int, flags: int, size: int = 0, seq: int = 1, ack: int = 1, **changed: Any) -> Packet:
    """A packet of the connection at 1.0 s and a tenth for each number."""
    at = 1.0 + number / 10
    return packet(number, at, flags=flags, payload=size, seq=seq, ack=ack, raw_seq=seq, length=66 + size, **changed)


OPEN = [one(1, 0x02, seq=0, ack=0), one(2, 0x12, seq=0, back=True), one(3, ACK)]


def why(
    outcome: dict[str, Any], packets: Sequence[Packet], argv: Sequence[str] = ("probe",), scenario: Scenario | None = None, **more: Any
) -> str | None:
    """Why the one step ended so; the server's capture is taken away unless packets of it are given."""
    server = more.pop("server", None)
    run: Evidence = evidence({"client": packets, "server": server or ()}, outcome={**ENDS, **outcome}, **more)
    if server is None:
        run.captures.pop("server")
    run.programs["1"] = replace(run.programs["1"], argv=tuple(argv))
    return explain(run, 1, run.programs["1"], scenario)


RECV = {"op": "recv", "errno": "ECONNRESET"}


def test_a_reset_that_answers_is_told_with_what_it_answers() -> None:
    """A reset with the sequence number that our segment acknowledged: the other kernel knew no such connection."""
    packets = [*OPEN, one(4, DATA, 5, ack=9), one(5, RST, seq=9, ack=0, back=True)]
    assert why(RECV, packets) == "server answered #4 with a reset (#5): its kernel knew no such connection."
    dead = ProgramRecord("old", "server", ("echo", "80"), 1, 0.1, 0.9, 137)
    run = evidence({"client": packets}, outcome={**ENDS, **RECV})
    run.captures.pop("server")
    run.programs["0"] = dead
    assert explain(run, 1, run.programs["1"]) == (
        "server answered #4 with a reset (#5): its kernel knew no such connection, as old had been killed."
    )


def test_data_after_the_peers_end_is_told() -> None:
    """A FIN, then our data, then a reset: nobody could read it any more; EPIPE is what comes after that."""
    packets = [*OPEN, one(4, FIN, back=True), one(5, DATA, 5, ack=2), one(6, RST, seq=2, ack=0, back=True)]
    said = (
        "server had closed its end (FIN #4); what came after that (#5) nobody could read any more, so its kernel answered with "
        "a reset (#6)"
    )
    assert why(RECV, packets) == f"{said}."
    assert why({"op": "send", "errno": "EPIPE"}, packets) == f"{said}; send() came after that."


@pytest.mark.parametrize(
    ("received", "said"),
    [
        (0, "its end was closed with 12 bytes unread"),
        (12, "its end was closed with a linger time of 0, nothing being unread"),
        (None, "its end was closed with data unread, or with a linger time of 0"),
    ],
)
def test_an_abortive_close_is_told_apart_by_what_was_read(received: int | None, said: str) -> None:
    """A reset of the other side's own accord: unread data, or a linger time of 0; both, when its program said nothing."""
    packets = [*OPEN, one(4, DATA, 12), one(5, RST | ACK, ack=13, back=True)]
    run = evidence({"client": packets}, outcome={**ENDS, **RECV})
    run.captures.pop("server")
    outcome = None if received is None else {"op": "close", "errno": None, "received": received, "peer": ENDS["local"]}
    run.programs["0"] = ProgramRecord("peer", "server", ("probe",), 1, 0.1, 1.4, 0, outcome)
    assert explain(run, 1, run.programs["1"]) == f"server sent a reset (#5): {said}."


def test_a_reset_that_its_sender_never_sent_was_injected() -> None:
    """A reset that the other host's complete capture has not: it never sent it, and a reset fault on the port is named."""
    packets = [*OPEN, one(4, RST, seq=1, ack=0, back=True)]
    seems = "#4 is a reset that seems to come from server"
    assert why(RECV, packets, server=OPEN) == f"{seems}, whose own capture has no such packet: server never sent it."
    cut = FaultRecord("cut", "reset", "server", None, "inject", [["inject-reset", "port=80"]], 1, [Span(1.1, 1.1, 8.0, 1)])
    said = f"{seems}: the fault cut on server injected it, and neither program did anything."
    assert why(RECV, packets, server=OPEN, faults=[cut]) == said
    assert why(RECV, packets, server=packets, faults=[cut]) != said
    named = replace(cut, commands=[["inject-reset", "from", SERVER, "80", "to", CLIENT, "40000"]])
    assert why(RECV, packets, server=packets, faults=[named]) == said
    other = replace(cut, commands=[["inject-reset", "from", SERVER, "80", "to", CLIENT, "40001"]])
    assert "fault" not in str(why(RECV, packets, server=packets, faults=[other]))


AGAIN = [*OPEN, one(4, DATA, 12), one(5, DATA, 12, retransmission=True), one(6, DATA, 12, retransmission=True)]
LOST = {"op": "recv", "errno": "ETIMEDOUT"}


def test_data_that_was_never_acknowledged_is_told_with_its_repetitions() -> None:
    """What was sent again and how long; the user timeout, if the program set one; the drop that took it."""
    said = "server never acknowledged the data from #4 on, sent again 2 times over 200 ms (#5, #6): the kernel gave up"
    assert why(LOST, AGAIN) == f"{said}."
    assert why(LOST, AGAIN, ["probe", "--user-timeout=2s"]) == f"{said}, its user timeout of 2s over."
    wall = fault("wall", "drop", ["-p", "tcp", "--dport", "80"], 3)
    assert why(LOST, AGAIN, faults=[wall]) == f"{said}; the fault wall on server dropped 3 packets."
    late = [*AGAIN, one(60, FIN, back=True)]
    assert why(LOST, late) == f"{said}.", "what came after the program had ended does not count"
    assert why(LOST, [*AGAIN, one(7, ACK, ack=13, back=True)]) is None


def test_probes_are_told_as_what_they_are() -> None:
    """Keepalive probes without an answer, and probes of a window that stays shut."""
    probes = [*OPEN, *(one(n, ACK, seq=0, info="[TCP Keep-Alive] 40000 → 80") for n in (4, 5))]
    assert why(LOST, probes, ["probe", "--keepalive=1s,1s,2"]) == (
        "2 keepalive probes to server (#4, #5) and no answer: the kernel gave up, with keepalive 1s,1s,2."
    )
    shut = [*OPEN, one(4, ACK, window=0, back=True), one(5, ACK, seq=0), one(6, ACK, window=0, back=True)]
    assert why(LOST, shut) == "server had no room (window 0, #4), and 1 probe (#5) found none either: the kernel gave up."


def test_a_hang_says_who_owes_whom() -> None:
    """Acknowledged and not answered; nothing at all; data that left the peer and never came."""
    hang = {"op": "recv", "errno": None, "timed_out": True}
    end = "; the program's own limit ended it after 1.5 s."
    taken = [*OPEN, one(4, DATA, 12), one(5, ACK, ack=13, back=True)]
    said = "server's kernel acknowledged what was sent (#4) with #5, and nothing more came"
    assert why(hang, taken) == said + end
    frozen = FaultRecord("ice", "pause", "server", None, "engine", [["docker", "pause"]], 1, [Span(1.1, 1.1, 8.0, 2)])
    assert why(hang, taken, faults=[frozen]) == f"{said}: the fault ice had frozen every process of server{end}"
    assert why(hang, OPEN) == f"on this connection nothing went and nothing came after #3{end}"
    far = [one(8, DATA, 7, back=True)]
    assert why(hang, OPEN, server=far) == f"server sent data (#8 in its capture), and none of it arrived{end}"
    assert why(hang, [*taken, one(6, DATA, 3, back=True)]) == (
        f"the last data from server was #6; after that it sent neither more nor a FIN{end}"
    )


def test_a_full_send_queue_is_told_with_where_the_bytes_are() -> None:
    """Our Send-Q, the peer's Recv-Q and its window, each from what was recorded."""
    samples = {
        "client": [Sample(2.0, (socket(port=40000, peer=80, send_q=30),))],
        "server": [Sample(2.0, (socket(recv_q=12),))],
    }
    outcome = {"op": "send", "errno": "EAGAIN", "sent": 42}
    assert why(outcome, [*OPEN, one(4, ACK, window=0, back=True)], samples=samples) == (
        "42 bytes went: 30 bytes wait in client's send queue and 12 unread in server's receive queue; server said that it has "
        "no room (window 0, #4)."
    )
    assert why(outcome, OPEN) is None
    assert why({"op": "recv", "errno": "EAGAIN"}, OPEN) == (
        "nothing had come from server yet, and a non-blocking recv() does not wait."
    )


@pytest.mark.parametrize(
    ("outcome", "samples", "said"),
    [
        ({"errno": "EADDRINUSE", "local": "0.0.0.0:80"}, [socket("LISTEN")],
         "port 80 of client is taken: another socket has it (it listens there)."),
        ({"errno": "EADDRINUSE", "local": "0.0.0.0:80"}, [socket("TIME-WAIT")],
         "nobody listens on port 80 of client, but 1 connection of it is in TIME-WAIT: without SO_REUSEADDR the port is taken for 60 s."),
        ({"errno": "EADDRINUSE", "local": "0.0.0.0:80"}, [], None),
        ({"errno": "EADDRNOTAVAIL", "local": f"{SERVER}:80"}, [],
         f"{SERVER} is no address of client, it is server's (client has {CLIENT})."),
        ({"errno": "EADDRNOTAVAIL", "local": f"{CLIENT}:80"}, [], None),
        ({"errno": "EACCES", "local": "0.0.0.0:80"}, [], "port 80 is below 1024, and client has no capability to bind it (ip(7))."),
        ({"errno": "EACCES", "local": "0.0.0.0:8080"}, [], None),
    ],
)  # fmt: skip
def test_bind(outcome: dict[str, Any], samples: list[Any], said: str | None) -> None:
    """Who has the port, whose the address is, and which port nobody may have; nothing where the samples do not say."""
    assert why({"op": "bind", "peer": None, **outcome}, [], samples={"client": [Sample(2.0, tuple(samples))]}) == said


def test_who_listened_before_and_is_gone_does_not_have_the_port() -> None:
    """The last sample says who has the port: a listener that is not in it any more left its connections in TIME-WAIT."""
    samples = [Sample(0.9, (socket("LISTEN"),)), Sample(2.0, (socket("TIME-WAIT"),))]
    said = why({"op": "bind", "peer": None, "errno": "EADDRINUSE", "local": "0.0.0.0:80"}, [], samples={"client": samples})
    assert said is not None
    assert said.startswith("nobody listens on port 80 of client, but 1 connection of it is in TIME-WAIT")


def dns(number: int, info: str) -> Packet:
    return packet(number, 1.0 + number / 10, flags=None, sport=53, dport=53, protocol="DNS", info=info)


QUESTION = dns(1, "Standard query 0x00aa A service.lab")


@pytest.mark.parametrize(
    ("errno", "answer", "said"),
    [
        ("EAI_NONAME", "No such name A service.lab", 'it answered "No such name" (#2).'),
        ("EAI_AGAIN", "Server failure A service.lab", 'it answered "Server failure" (#2).'),
        ("EAI_AGAIN", None, "no answer came, and the resolver gave up after 1.5 s."),
        ("EAI_NONAME", None, None),
        ("EAI_NONAME", "Server failure A service.lab", None),
    ],
)
def test_names(errno: str, answer: str | None, said: str | None) -> None:
    """What was asked of the name server and what it answered, if that is what the errno follows from."""
    packets = [QUESTION] + ([dns(2, f"Standard query response 0x00aa {answer}")] if answer else [])
    went = "1 question about service.lab went to the name server (#1); "
    assert why({"op": "getaddrinfo", "errno": errno}, packets) == (None if said is None else went + said)


def test_slow_success_is_told_by_what_took_the_time() -> None:
    """A SYN sent again, data sent again, a window that was shut at either end, a late answer about a name."""
    quick = {"op": "recv", "errno": None, "received": 0}
    sent = "sent 12 bytes to server port 80"
    assert why(quick, [OPEN[0], OPEN[1]._replace(t=1.11), OPEN[2]]) == f"{sent} (#1 to #3, 200 ms)."
    twice = [one(1, 0x02, seq=0), one(11, 0x02, seq=0, retransmission=True), one(12, 0x12, seq=0, back=True)]
    again = "the first SYN (#1) got no answer, so it was sent again (#11) and answered after 1.1 s (#12)."
    assert why(quick, twice) == f"{sent} (#1 to #12, 1.1 s); {again}"
    near = [OPEN[0], OPEN[1]._replace(t=1.11), OPEN[2]]
    repeated = [*near, one(5, DATA, 4, retransmission=True)]
    assert why(quick, repeated) == f"{sent} (#1 to #5, 400 ms); 1 segment had to be sent again (#5)."
    shut = [*near, one(4, ACK, window=0, back=True), one(14, ACK, window=9, back=True)]
    room = "had no room for 1.0 s in all (window 0 from #4, open again with #14)."
    assert why(quick, shut) == f"{sent} (#1 to #14, 1.3 s); server {room}"
    shut = [*near, one(4, ACK, window=0), one(14, ACK, window=9)]
    assert why(quick, shut) == f"{sent} (#1 to #14, 1.3 s); client {room}"
    answered = [QUESTION, dns(7, "Standard query response 0x00aa A service.lab A 198.18.0.66")]
    assert why({"op": "getaddrinfo", "errno": None}, answered) == (
        "the answer about service.lab (#7) came 600 ms after its question (#1)."
    )


LINK = """scenario: x
steps:
  - {fault: far, at: client, link: {delay: 100ms, to: server}}
  - {run: [probe, ping, server], on: client, expect: {errno: null}}
"""


def test_pings_are_blamed_on_the_link_that_the_scenario_names() -> None:
    """Lost or late answers, and the link fault with its settings; a link to another host is not blamed."""
    far = FaultRecord("far", "link", "client", "eth0", "nfqueue", [["labctl-emulator"]], 1, [Span(1.1, 1.1, 8.0, 3)])
    outcome = {"op": "recv", "errno": None, "verb": "ping", "peer": SERVER, "local": None, "asked": 3, "answered": 2, "rtt_ms": [101.0, 99.6]}
    scenario = from_source(Source("x.yaml", LINK)).scenario
    said = "2 of 3 echo requests were answered, the answers took 100 to 101 ms"
    assert why(outcome, [], scenario=scenario, faults=[far]) == f"{said}: the fault far on client (delay 100ms) touched 3 packets."
    elsewhere = from_source(Source("x.yaml", LINK.replace("to: server", "to: powerpc"))).scenario
    assert why(outcome, [], scenario=elsewhere, faults=[far]) == f"{said}."
    assert why({**outcome, "answered": 3}, []) == "all 3 echo requests were answered, in 100 to 101 ms."


def datagram(number: int, **changed: Any) -> Packet:
    return packet(number, 1.0 + number / 10, flags=None, **changed)


NO_PORT = datagram(5, back=True, sport=None, dport=None, icmp=(3, 3), quoted=(40000, 80))


def test_datagrams() -> None:
    """What an ICMP error said of them; what the own kernel refused; an error that a socket without a peer never hears of."""
    refused = {"op": "recv", "errno": "ECONNREFUSED"}
    assert why(refused, [datagram(4), NO_PORT]) == (
        "the datagram to server port 80 (#4) did not get there: server answered ICMP port unreachable (#5): nothing is bound to "
        "port 80 there."
    )
    assert why(refused, [datagram(4), NO_PORT._replace(quoted=(40001, 80))]) is None
    wall = replace(fault("wall", "drop", ["-p", "udp"], 2), host="client")
    assert why({"op": "send", "errno": "EPERM"}, [], ["probe", "--udp"], faults=[wall]) == (
        "the fault wall on client dropped 2 packets on its way out, and client's kernel tells the sender; nothing reached the wire."
    )
    assert why({"op": "send", "errno": "EPERM"}, [], ["probe", "--udp"]) is None
    hang = {"op": "recv", "errno": None, "timed_out": True, "local": None, "peer": None}
    argv = ["probe", "send", "server", "80", "--udp", "--unconnected"]
    assert str(why(hang, [datagram(4), NO_PORT], argv)).startswith(
        "a datagram went to server port 80 (#4), and server answered ICMP port unreachable (#5); without IP_RECVERR a socket"
    )
    assert why({"op": "send", "errno": "EMSGSIZE"}, [], ["probe", "--udp", "--size=65508"]) == (
        "a datagram carries at most 65507 bytes, and this one has 65508: client's own kernel refused it."
    )


def test_what_has_nothing_to_do_with_packets_is_told_as_such() -> None:
    """Errors of the call itself are told only where there is no connection that could have caused them."""
    bare = {"local": None, "peer": None}
    assert why({"op": "socket", "errno": "EMFILE", **bare}, []) == (
        "the process has no file descriptor left (RLIMIT_NOFILE); no packet has to do with it."
    )
    assert why({"op": "recv", "errno": "EBADF"}, OPEN) is None
    assert why({"op": "send", "errno": "EXFULL", **bare}, []) is None


def test_every_errno_without_evidence_is_met_with_silence() -> None:
    """Whatever the errno and the call: from an empty capture nothing is said, or it is said without naming a packet."""
    calls = ("connect", "send", "recv", "recvfrom", "bind", "accept", "getaddrinfo", "close")
    for errno in ("ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "EAI_AGAIN", "EAGAIN", "EADDRINUSE"):
        for call in calls:
            assert "#" not in str(why({"op": call, "errno": errno}, []))


KILL = """scenario: x
steps:
  - {fault: out, at: server, kill: {WHAT}}
  - {run: [probe, recv, server, 80], on: client, expect: {errno: null}}
"""


def test_a_host_that_was_killed_is_named_where_it_explains_silence_or_a_reset() -> None:
    """A dead host answers nothing, and up again it knows no connection; a program that was killed explains no silence."""
    whole = from_source(Source("x.yaml", KILL.replace("WHAT", ""))).scenario
    program = from_source(Source("x.yaml", KILL.replace("WHAT", "program: echo"))).scenario
    out = FaultRecord("out", "kill", "server", None, "engine", [["(engine)", "kill"]], 1, [Span(1.1, 1.1, 1.3, 3)])
    silence = "server never acknowledged the data from #4 on, sent again 2 times over 200 ms (#5, #6): the kernel gave up"
    assert why(LOST, AGAIN, scenario=whole, faults=[out]) == f"{silence}; the fault out had killed server."
    assert why(LOST, AGAIN, scenario=program, faults=[out]) == f"{silence}."
    reset = [*OPEN, one(4, DATA, 5, ack=9), one(5, RST, seq=9, ack=0, back=True)]
    said = "server answered #4 with a reset (#5): its kernel knew no such connection"
    assert why(RECV, reset, scenario=whole, faults=[out]) == f"{said}, as the fault out had killed server."
    assert why(RECV, reset, scenario=program, faults=[out]) == f"{said}."


ODD = (None, True, -1, 1e15, "", "x", "1.2.3.4:99999999", "[::1]:80", [], ["x"], [{"ms": "x", "address": 5}] * 2, {"a": 1})


@pytest.mark.parametrize("key", ["local", "peer", "attempts", "asked", "answered", "rtt_ms", "verb", "datagrams"])
def test_whatever_a_program_says_of_itself_there_is_no_traceback(key: str) -> None:
    """A program may report anything; what is no address, number or list is not believed."""
    for value in ODD:
        for call in ("connect", "recv", "send", "bind", "recvfrom", "getaddrinfo"):
            for errno in (None, "ECONNRESET", "ETIMEDOUT", "EADDRINUSE", "EAGAIN", "EMSGSIZE"):
                why({"op": call, "errno": errno, "verb": "ping", "answered": 1, "asked": 2, "rtt_ms": [1.0], key: value}, AGAIN)


def test_what_a_signal_ended_is_explained_as_what_a_limit_ended() -> None:
    """A recv() and a connect() that waited in vain say what was missing and that a signal ended them; neither is a success."""
    stopped = {"errno": None, "stopped": "SIGTERM", "returned": False, "ms": 1200.0}
    packets = [*OPEN, one(4, DATA, 5), one(5, ACK, ack=6, back=True)]
    assert why({"op": "recv", **stopped}, packets) == (
        "server's kernel acknowledged what was sent (#4) with #5, and nothing more came; SIGTERM ended it after 1.2 s."
    )
    assert why({"op": "connect", **stopped}, OPEN[:1], server=()) == (
        "1 SYN to server port 80 (#1), no answer, no reset, no ICMP: SIGTERM ended it after 1.2 s; none of them reached server."
    )
    after = why({"op": "recv", **stopped, "returned": True}, packets)
    assert after is not None
    assert "ended it" not in after
