"""The ladder tells every packet once, in order, in as few rows as asked."""

from collections import Counter

import pytest
from reporting import SERVER, across, evidence_of, recorded, together

from labctl.report.bursts import Burst, rows
from labctl.report.ladder import label, ladder, trouble
from labctl.report.passages import passages


def bulk(count: int, lose_every: int = 0, gap_s: float = 0.001) -> dict[str, list]:
    ways = []
    for n in range(count):
        lost = bool(lose_every) and n % lose_every == lose_every - 1
        given = {"payload": 1000, "raw_seq": 1000 * n, "ip_id": f"0x{n + 1:04x}"}
        ways.append(across(2 * n, 1 + n * gap_s, until="router in" if lost else "server", **given))
        ways.append(across(2 * n + 1, 1 + n * gap_s + gap_s / 2, source=SERVER, ip_id=f"0x{n + 1:04x}", raw_seq=7))
    return together(*ways)


def told(found: list) -> int:
    return sum(row.count if isinstance(row, Burst) else 1 for row in found)


def test_few_packets_are_all_drawn() -> None:
    found = passages(evidence_of(bulk(20)))
    assert rows(found) == found


def test_a_bulk_transfer_is_one_row_with_both_directions_counted() -> None:
    found = ladder(evidence_of(bulk(1000)))
    (row,) = found.rows
    assert isinstance(row, Burst)
    assert (row.there, row.there_bytes, row.back, row.back_bytes) == (1000, 1_000_000, 1000, 0)
    assert label(row) == "1,000 segments, 1 MB; back 1,000 ACKs"
    assert row.numbers["client"] == (0, 19993)


def test_a_lost_packet_in_a_bulk_transfer_is_drawn_alone() -> None:
    found = ladder(evidence_of(bulk(1000, lose_every=100))).rows
    alone = [row for row in found if not isinstance(row, Burst) and row.traits]
    assert len(alone) == 10
    assert all(trouble(row) == ["lost"] for row in alone)
    assert told(list(found)) == 2000


def test_when_there_are_too_many_rows_losses_are_counted_instead() -> None:
    found = rows(passages(evidence_of(bulk(2000, lose_every=3))), limit=200)
    assert len(found) <= 200
    assert told(found) == 4000
    assert sum(row.problems["lost"] for row in found if isinstance(row, Burst)) == 666


def test_whatever_happens_the_limit_holds_and_nothing_is_left_out() -> None:
    ways = [across(n, 1 + n * 0.01, sport=1000 + n, flags=2, ip_id=f"0x{n + 1:04x}") for n in range(3000)]
    found = rows(passages(evidence_of(together(*ways))), limit=300)
    assert len(found) <= 300
    assert told(found) == 3000


def test_a_burst_runs_the_way_of_the_data_whoever_spoke_first() -> None:
    ways = [across(0, 1.0, ip_id="0x0001")]
    ways += [
        across(n, 1 + n * 0.001, source=SERVER, payload=1000, raw_seq=n, ip_id=f"0x{n:04x}") for n in range(1, 300)
    ]
    (row,) = ladder(evidence_of(together(*ways))).rows
    assert isinstance(row, Burst)
    assert (row.source, row.there, row.turned) == ("server", 299, True)


def test_the_router_stands_between_those_who_speak_through_it() -> None:
    found = ladder(recorded("firewall").evidence)
    assert found.hosts == ("client", "router", "server")
    assert found.routers == {"router"}


def test_the_router_stands_where_most_packets_cross_it() -> None:
    addresses = {"a": ("198.18.0.3",), "r": ("198.18.0.1", "198.18.0.2"), "b": ("198.18.0.131",), "c": ("198.18.0.9",)}
    ways = [across(1, 1.0)["client"][0], across(2, 2.0, destination="198.18.0.9", ip_id="0x0002")["client"][0]]
    found = ladder(evidence_of({"a": ways}, addresses=addresses))
    assert found.hosts in (("a", "b", "c"), ("a", "r", "b", "c"))
    given = {"source": "198.18.0.131", "destination": "198.18.0.9"}
    many = [across(n, 3.0 + n, ip_id=f"0x1{n:03x}", **given)["client"][0] for n in range(5)]
    found = ladder(evidence_of({"a": ways, "r": many}, addresses=addresses))
    split = found.hosts.index("r")
    assert ("b" in found.hosts[:split]) != ("c" in found.hosts[:split])


def test_the_recorded_firewall_run_has_its_faults_steps_and_problems() -> None:
    found = ladder(recorded("firewall").evidence)
    assert [band.name for band in found.bands] == ["reset", "unreachable", "no-host", "wall", "black-hole"]
    assert len(found.marks) == 19
    assert found.problems == Counter({"lost": 7, "retransmission": 6, "icmp": 4, "rst": 2})
    stopped = [row.hops[-1].host for row in found.rows if "lost" in row.traits]
    assert stopped == ["router"] * 7


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"flags": 2}, "SYN"),
        ({"flags": 24, "payload": 12}, "PSH, ACK 12 B"),
        ({"flags": 0}, "no flags"),
        ({"flags": None, "icmp": (3, 3), "protocol": "ICMP"}, "ICMP port unreachable"),
        ({"flags": None, "icmpv6": (1, 4), "protocol": "ICMPv6"}, "ICMPv6 port unreachable"),
        ({"flags": None, "protocol": "DNS", "info": "Standard query A x"}, "DNS Standard query A x"),
    ],
)
def test_a_packet_is_named_in_a_few_words(given: dict, words: str) -> None:
    (found,) = passages(evidence_of({"client": [across(1, 1.0, until="client", **given)["client"][0]]}))
    assert label(found) == words


def test_a_run_without_packets_has_an_empty_ladder() -> None:
    found = ladder(evidence_of({}))
    assert (found.rows, found.packets, found.bands) == ((), 0, ())


def test_noise_does_not_crowd_out_what_matters() -> None:
    arp = {"source": "", "destination": "", "protocol": "ARP", "flags": None, "sport": None, "dport": None}
    ways = [across(n, 1 + n * 0.01, until="client", **arp) for n in range(4000)]
    ways += [across(n, 50 + n, sport=n, flags=2, ip_id=f"0x{n:04x}") for n in range(1, 200)]
    found = rows(passages(evidence_of(together(*ways))), limit=400)
    assert len(found) <= 400
    assert sum(not isinstance(row, Burst) and "syn" in row.traits for row in found) == 199
