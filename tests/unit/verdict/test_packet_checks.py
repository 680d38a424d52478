"""Expectations about packets beyond their count: order, times, ICMP, retransmissions, the same at two hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up import SERVER, evidence, packet, socket

from labctl.evidence.packets import Packet
from labctl.evidence.record import Evidence, Sample
from labctl.scenario.loader import from_source
from labctl.scenario.model import Expectation
from labctl.scenario.yamltext import Source
from labctl.verdict.checks import check
from labctl.verdict.finding import Finding

A, B = frozenset([0]), frozenset([1])
FILTERS = ("tcp", "udp")


def found(expect: dict[str, Any], run: Evidence) -> list[Finding]:
    return check(Expectation.model_validate(expect), run, 1, run.programs["1"])


def at_client(*packets: Packet) -> Evidence:
    return evidence({"client": packets}, filters=FILTERS)


THREE = at_client(
    packet(1, 1.5, selected=B), packet(2, 2.0, selected=A), packet(3, 3.0, selected=A), packet(4, 5.0, selected=A)
)


@pytest.mark.parametrize(
    ("expect", "actual", "verdict"),
    [
        ({"after": "udp"}, "#2", "pass"),
        ({"after": "udp", "delay": {"max": "500ms"}}, "500ms (#1 to #2)", "pass"),
        ({"after": "udp", "delay": {"max": "499ms"}}, "500ms (#1 to #2)", "fail"),
        ({"apart": {"min": "1s"}}, "1s (#2 to #3)", "pass"),
        ({"apart": {"max": "1500ms"}}, "2s (#3 to #4)", "fail"),
    ],
)
def test_order_and_times(expect: dict[str, Any], actual: str, verdict: str) -> None:
    """The last finding says which packets it is about, and the time between them; the worst gap decides."""
    *_, last = found({"packets": [{"at": "client", "filter": "tcp", **expect}]}, THREE)
    assert (last.actual, last.verdict) == (actual, verdict)


def test_the_wrong_order_and_a_packet_too_few_are_failures() -> None:
    """A packet that comes before the other, and one of the two missing, do not hold."""
    *_, last = found({"packets": [{"at": "client", "filter": "udp", "after": "tcp"}]}, THREE)
    assert (last.expected, last.actual, last.verdict) == ("after #2", "#1", "fail")
    run = at_client(packet(1, 1.5, selected=A))
    *_, last = found({"packets": [{"at": "client", "filter": "tcp", "after": "udp"}]}, run)
    assert (last.expected, last.actual, last.verdict) == ("one of each", "0 and 1", "fail")
    *_, last = found({"packets": [{"at": "client", "filter": "tcp", "apart": {"min": "1s"}}]}, run)
    assert (last.actual, last.verdict) == ("1 of them", "fail")


UNREACHABLE = packet(7, 2.0, back=True, flags=None, sport=None, dport=None, icmp=(3, 1))
NO_ROUTE = packet(8, 2.1, back=True, flags=None, sport=None, dport=None, icmpv6=(1, 3))


@pytest.mark.parametrize("error", [(3, 1), (11, 0)])
def test_a_wrong_count_tells_which_only_quote_such_a_packet(error: tuple[int, int]) -> None:
    """`icmp.type == 8` is true of an ICMP error about an echo request as well. Errors alone, or a right count, need no word."""

    def said(*kinds: tuple[int, int], count: int = 9) -> str:
        packets = [
            packet(n, 1.5, flags=None, sport=None, dport=None, icmp=kind, selected=A) for n, kind in enumerate(kinds, 1)
        ]
        return found({"packets": [{"at": "client", "filter": "tcp", "count": count}]}, at_client(*packets))[0].actual

    ping = (8, 0)
    assert said(ping, error) == "2 (#1, #2), of which #2 is an ICMP error that may only quote such a packet"
    assert said(error, ping, error).endswith(", of which #1, #3 are ICMP errors that may only quote such a packet")
    assert said(error, ping, count=2) == said(ping, ping, count=2) == said(ping, ping) == said(error, error) == "2 (#1, #2)"


@pytest.mark.parametrize(
    ("expect", "actual", "verdict"),
    [
        ({"type": "host-unreachable"}, "1 (#7)", "pass"),
        ({"type": "destination-unreachable"}, "2 (#7, #8)", "pass"),
        ({"type": "address-unreachable"}, "1 (#8)", "pass"),
        ({"type": "3/1", "from": "server"}, "1 (#7)", "pass"),
        ({"type": "3/1", "from": "client"}, "0", "fail"),
        ({"type": "time-exceeded", "count": 0}, "0", "pass"),
        ({"type": "echo-request"}, "0", "fail"),
    ],
)
def test_icmp_by_name(expect: dict[str, Any], actual: str, verdict: str) -> None:
    """Messages of IPv4 and IPv6 are found by name, with or without a code, and by who sent them."""
    (finding,) = found({"icmp": [{"at": "client", **expect}]}, at_client(UNREACHABLE, NO_ROUTE))
    assert (finding.actual, finding.verdict) == (actual, verdict)


def test_retransmissions_are_counted_by_port() -> None:
    """Segments sent again during the step, on connections with a port at either end."""
    run = at_client(packet(1, 2.0), packet(2, 2.5, retransmission=True), packet(3, 0.5, retransmission=True))
    (finding,) = found({"retransmissions": [{"at": "client", "port": 80, "count": 1}]}, run)
    assert (finding.actual, finding.verdict) == ("1 (#2)", "pass")
    (finding,) = found({"retransmissions": [{"at": "client", "port": 81, "count": {"min": 1}}]}, run)
    assert (finding.actual, finding.verdict) == (f"0; {STRANGE} port 81: is it mistyped?", "fail")


STRANGE = "no packet, socket, program or fault of this run has"
SYN_TO_81 = "  - {run: [probe, connect, server, 81], on: client, expect: {errno: null}}\n"
OTHER = {
    "quoted by an ICMP error": packet(9, 0.5, sport=None, dport=None, flags=None, icmp=(3, 3), quoted=(40000, 18)),
    "an answer": packet(9, 9.5, back=True, sport=18),
    "an address": packet(9, 0.5, source="192.0.2.7"),
    "ARP": packet(9, 0.5, protocol="ARP", sport=None, dport=None, info="Who has 192.0.2.9? Tell 198.18.0.2"),
}


def none_of(filter_: str, steps: str = SYN_TO_81, *others: Packet, **more: Any) -> tuple[str, str]:
    """What is found when nothing at the client may be selected by a filter, and nothing is."""
    run = evidence({"client": [packet(1, 2.0, dport=81)], "server": others}, filters=(filter_,), **more)
    scenario = from_source(Source("x.yaml", f"scenario: x\nsteps:\n{steps}")).scenario
    expect = Expectation.model_validate({"packets": [{"at": "client", "filter": filter_, "count": 0}]})
    (finding,) = check(expect, run, 1, run.programs["1"], scenario)
    return finding.actual.removeprefix("0").removeprefix("; "), finding.verdict


@pytest.mark.parametrize(
    ("filter_", "what"),
    [
        ("tcp.dstport == 18 && tcp.flags.reset == 1", "port 18"),
        ("udp.port eq 18", "port 18"),
        ("tcp.port in {18, 19}", "port 18 or port 19"),
        ("tcp.port == 18 or udp.port == 19", "port 18 or port 19"),
        ("ip.dst == 192.0.2.7", "address 192.0.2.7"),
        ("ipv6.addr == 2001:db8::1 && tcp.port == 81", "address 2001:db8::1"),
    ],
)
def test_none_of_what_nobody_in_the_run_has_proves_nothing(filter_: str, what: str) -> None:
    """A port or an address that is nowhere in the run but in what must not be there is an error."""
    assert none_of(filter_) == (f"{STRANGE} {what}: is it mistyped?", "error")


@pytest.mark.parametrize(
    ("filter_", "steps", "others"),
    [
        ("tcp.dstport == 81 && tcp.flags.reset == 1", SYN_TO_81, ()),  # captured at another time, or by another name
        ("tcp.dstport == 18", SYN_TO_81.replace("81", "18"), ()),  # what the program was told, though it never left its host
        ("tcp.dstport == 18", SYN_TO_81 + "  - {fault: wall, at: server, drop: {protocol: tcp, dport: 10-20}}\n", ()),
        ("tcp.dstport == 18", SYN_TO_81, ("quoted by an ICMP error",)),
        ("tcp.dstport == 18", SYN_TO_81, ("an answer",)),
        ("ip.src == 192.0.2.7", SYN_TO_81, ("an address",)),
        ("ip.src == 192.0.2.9", SYN_TO_81, ("ARP",)),
        (f"ip.addr == {SERVER}", SYN_TO_81, ()),  # a host's own, though it sent and got nothing
        ("tcp.dstport == 65432", SYN_TO_81, ()),  # the bundled programs' own, which need not be written
        ("tcp.port in {22, 80, 81, 443}", SYN_TO_81, ()),  # one of them is in use
        ("tcp.port == 18 || tcp.port == 81", SYN_TO_81, ()),
        ("tcp && !(tcp.port == 18)", SYN_TO_81, ()),  # an unknown port selects more here, not less
        ("tcp.port != 18", SYN_TO_81, ()),
        ("ip.dst == 10.0.0.0/8", SYN_TO_81, ()),
        ('http.host == "tcp.port == 18"', SYN_TO_81, ()),
        ("tcp.len == 18", SYN_TO_81, ()),
    ],
)
def test_what_anything_in_the_run_has_may_be_nowhere_in_a_step(filter_: str, steps: str, others: tuple[str, ...]) -> None:
    """Dropped on its way, refused before it left, seen in another step or at another host: an honest none of it."""
    assert none_of(filter_, steps, *(OTHER[name] for name in others)) == ("", "pass")


def test_a_port_on_which_somebody_only_listens_is_known() -> None:
    """Nothing came to it, and it was there all the time."""
    samples = {"server": [Sample(2.0, (socket("LISTEN", port=18, peer=0),))]}
    assert none_of("tcp.dstport == 18", samples=samples) == ("", "pass")
    run = evidence(samples=samples)
    for port, verdict in ((18, "pass"), (19, "error")):
        (finding,) = found({"retransmissions": [{"at": "client", "port": port, "count": 0}]}, run)
        assert finding.verdict == verdict


def segment(number: int, seq: int, size: int, **changed: Any) -> Packet:
    t = 2.0 + number / 10
    return packet(number, t, flags=0x18, raw_seq=seq % 2**32, payload=size, selected=A, ip_id=str(seq), **changed)


def two(here: list[Packet], there: list[Packet]) -> Evidence:
    return evidence({"client": here, "server": there}, filters=FILTERS)


def same(run: Evidence, **changed: Any) -> list[tuple[str, str]]:
    return [(f.actual, f.verdict) for f in found({"same": [{"at": ["client", "server"], "filter": "tcp", **changed}]}, run)]


def test_packets_that_arrived_as_they_were_sent() -> None:
    """Whatever the address and the time to live at the other end, a packet is the same; what is missing is named by number."""
    sent = [segment(1, 100, 10), segment(2, 110, 10), segment(3, 120, 10)]
    arrived = [p._replace(number=p.number + 10, source=SERVER, ttl=63) for p in sent]
    assert same(two(sent, arrived)) == [("0 of 3 packets", "pass"), ("0 of 3 packets", "pass")]
    assert same(two(sent, arrived[1:])) == [("1 (#1 at client)", "fail"), ("0 of 2 packets", "pass")]
    assert same(two(sent, arrived[1:]), lost=1)[0][1] == "pass"
    assert same(two(sent, [*arrived, arrived[0]]))[1] == ("1 (#11 at server)", "fail")
    assert same(two([], [])) == [("nothing is selected at client or server", "fail")]


@pytest.mark.parametrize("start", [100, 2**32 - 15])
def test_bytes_that_arrived_however_they_were_cut(start: int) -> None:
    """One large segment and several small ones are the same bytes, also where sequence numbers begin anew."""
    sent = [segment(1, start, 30), segment(2, start, 30, retransmission=True)]
    cut = [segment(5, start + 10, 20), segment(4, start, 10)]
    assert same(two(sent, cut), of="bytes") == [("0 of 2 packets", "pass"), ("0 of 2 packets", "pass")]
    assert same(two(sent, cut[:1]), of="bytes")[0] == ("10 (#1, #2 at client)", "fail")
    assert same(two(cut[:1], sent), of="bytes")[1] == ("10 (#1, #2 at server)", "fail")


@pytest.mark.parametrize(
    "expect",
    [
        {"icmp": [{"at": "client", "type": "echo-reply", "count": 0}]},
        {"retransmissions": [{"at": "client", "count": 0}]},
        {"same": [{"at": ["client", "server"], "filter": "tcp"}]},
    ],
)
def test_what_was_not_captured_whole_cannot_be_told(expect: dict[str, Any]) -> None:
    """Without a complete capture: error, even where nothing was asked for."""
    run = at_client(packet(1, 2.0))
    run.captures["client"] = replace(run.captures["client"], complete=False, reason="cut")
    assert [(f.actual, f.verdict) for f in found(expect, run)] == [("an incomplete capture: cut", "error")]
    run.captures.pop("client")
    assert [(f.actual, f.verdict) for f in found(expect, run)] == [("no capture of client", "error")]
