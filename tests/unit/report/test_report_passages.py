"""One packet seen at several hosts is one passage, and what happened to it is told right."""

import time
from collections.abc import Sequence
from typing import Any

from reporting import CLIENT, ROUTER, SERVER, across, evidence_of, packet, together

from labctl.report.passages import Passage, passages

SYN, RST, ACK, SYN_ACK = 2, 4, 16, 18


def hosts(passage: Passage) -> list[str]:
    return [hop.host for hop in passage.hops]


def test_a_packet_seen_four_times_is_one_passage_in_order_of_its_way() -> None:
    (found,) = passages(evidence_of(across(1, 1.0, flags=SYN)))
    assert hosts(found) == ["client", "router", "router", "server"]
    assert (found.source, found.target, found.fate) == ("client", "server", "arrived")
    assert found.traits == {"syn"}


def test_a_packet_that_never_arrives_is_lost_where_it_was_seen_last() -> None:
    (found,) = passages(evidence_of(across(1, 1.0, until="router in")))
    assert (hosts(found), found.fate, found.traits) == (["client", "router"], "lost", {"lost"})


def test_without_a_complete_capture_of_its_target_nothing_is_said_about_its_fate() -> None:
    (found,) = passages(evidence_of(across(1, 1.0, until="router out"), incomplete=["server"]))
    assert (found.fate, found.traits) == ("unknown", frozenset())


def test_a_retransmitted_syn_with_the_same_ip_id_is_a_second_passage() -> None:
    first = across(1, 1.0, until="router in", flags=SYN, ip_id="0x0000")
    second = across(2, 2.0, flags=SYN, ip_id="0x0000", retransmission=True)
    one, two = passages(evidence_of(together(first, second)))
    assert (one.fate, two.fate) == ("lost", "arrived")
    assert hosts(two) == ["client", "router", "router", "server"]
    assert "retransmission" in two.traits
    assert "retransmission" not in one.traits


def test_two_equal_packets_close_together_keep_their_order() -> None:
    ways = across(1, 1.0, ip_id=""), across(2, 1.00005, ip_id="")
    one, two = passages(evidence_of(together(*ways)))
    assert [hop.number for hop in one.hops] == [10, 11, 12, 13]
    assert [hop.number for hop in two.hops] == [20, 21, 22, 23]


def test_a_router_that_sees_every_packet_twice_does_not_make_it_a_retransmission() -> None:
    seen = across(1, 1.0, until="client", payload=100)
    seen["router"] = [
        packet(11, 1.1, payload=100, interface="eth0"),
        packet(12, 1.2, payload=100, interface="eth2", retransmission=True),
    ]
    (found,) = passages(evidence_of(seen))
    assert "retransmission" not in found.traits


def test_a_reset_its_sender_never_sent_is_forged() -> None:
    seen = {"client": [packet(2, 1.1, source=SERVER, flags=RST)], "router": [packet(1, 1.0, source=SERVER, flags=RST)]}
    (found,) = passages(evidence_of(seen | {"server": []}))
    assert {"forged", "rst"} <= found.traits
    assert hosts(found) == ["router", "client"]


def test_a_packet_the_network_doubled_is_a_duplicate() -> None:
    seen = across(1, 1.0, payload=10, ip_id="0x0007")
    seen["router"].append(packet(19, 1.001, interface="eth2", payload=10, ip_id="0x0007"))
    seen["server"].append(packet(18, 1.0011, payload=10, ip_id="0x0007"))
    first, second = passages(evidence_of(seen))
    assert first.fate == second.fate == "arrived"
    assert "duplicate" in second.traits
    assert "forged" not in second.traits


def test_an_icmp_error_of_the_router_stands_out_and_an_echo_does_not() -> None:
    given = {"protocol": "ICMP", "flags": None, "sport": None, "dport": None, "payload": None}
    error = packet(1, 1.0, source=ROUTER, destination=CLIENT, icmp=(3, 1), **given)
    echo = packet(2, 1.1, icmp=(8, 0), **given)
    one, two = passages(evidence_of({"client": [error, echo]}, incomplete=["client"]))
    assert (one.source, one.target, one.traits) == ("router", "client", {"icmp"})
    assert two.traits == frozenset()


def test_a_closed_window_is_told_but_not_that_of_a_reset() -> None:
    full = across(1, 1.0, source=SERVER, window=0)
    reset = across(2, 2.0, source=SERVER, window=0, flags=RST | ACK, ip_id="0x0002")
    one, two = passages(evidence_of(together(full, reset)))
    assert one.traits == {"zero-window"}
    assert two.traits == {"rst"}


def test_a_segment_that_the_kernel_split_on_the_way_is_neither_lost_nor_forged() -> None:
    big = packet(1, 1.0, payload=3000, raw_seq=5000)
    small = [
        packet(n, 1.001 + n * 0.0001, payload=1000, raw_seq=5000 + n * 1000, ip_id=f"0x000{n + 2}", interface="eth0")
        for n in range(3)
    ]
    (found,) = passages(evidence_of({"client": [big], "server": small}))
    assert (found.fate, found.pieces) == ("arrived", 3)
    assert found.traits == frozenset()


def test_segments_that_the_kernel_merged_on_the_way_have_all_arrived() -> None:
    small = [packet(n, 1.0 + n * 0.0001, payload=1000, raw_seq=5000 + n * 1000, ip_id=f"0x000{n}") for n in range(3)]
    big = packet(9, 1.002, payload=3000, raw_seq=5000, ip_id="0x0000")
    found = passages(evidence_of({"client": small, "server": [big]}))
    assert [p.fate for p in found] == ["arrived"] * 3
    assert all(not p.traits for p in found)


def test_arp_and_multicast_are_noise() -> None:
    arp = packet(1, 1.0, source="", destination="", protocol="ARP", flags=None, sport=None, dport=None)
    mdns = packet(2, 1.1, destination="224.0.0.251", flags=None, protocol="MDNS")
    mld = packet(3, 1.2, source="fe80::1", destination="ff02::16", flags=None, protocol="ICMPv6", icmpv6=(143, 0))
    found = passages(evidence_of({"client": [arp, mdns, mld]}))
    assert [p.noise for p in found] == [True] * 3


def test_loopback_stays_on_its_host() -> None:
    given = {"interface": "lo", "source": "127.0.0.1", "destination": "127.0.0.11", "flags": None, "protocol": "DNS"}
    found = passages(evidence_of({"client": [packet(1, 1.0, **given)], "server": [packet(1, 1.00001, **given)]}))
    assert [(p.source, p.target, p.fate) for p in found] == [("client", "client", "arrived"), ("server", "server", "arrived")]


def test_an_address_of_no_host_has_no_target() -> None:
    (found,) = passages(evidence_of({"client": [packet(1, 1.0, destination="192.0.2.1")]}))
    assert (found.source, found.target, found.fate) == ("client", None, "unknown")


def cpu_s(ways: Sequence[Any]) -> tuple[float, list[Any]]:
    """CPU seconds that matching takes at best (another process's load is hardly in them), and the passages."""
    taken = []
    for _ in range(3):
        evidence = evidence_of(together(*ways))
        start = time.process_time()
        found = passages(evidence)
        taken.append(time.process_time() - start)
    return min(taken), found


def test_many_packets_that_look_alike_are_matched_in_linear_time() -> None:
    """Bare ACKs over IPv6 have no identification and one sequence number: six times as many do not take 36 times as long."""
    few, _ = cpu_s([across(n, 1 + n * 0.001, ip_id="") for n in range(500)])
    many, found = cpu_s([across(n, 1 + n * 0.001, ip_id="") for n in range(3000)])
    assert many < 24 * few
    assert len(found) == 3000
    assert {len(p.hops) for p in found} == {4}


def test_many_lost_packets_that_look_alike_are_matched_in_linear_time() -> None:
    """As above, when none of them arrives."""
    few, _ = cpu_s([across(n, 1 + n * 0.001, until="router in", ip_id="") for n in range(500)])
    many, found = cpu_s([across(n, 1 + n * 0.001, until="router in", ip_id="") for n in range(3000)])
    assert many < 24 * few
    assert {(len(p.hops), p.fate) for p in found} == {(2, "lost")}
