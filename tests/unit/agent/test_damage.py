"""Packets that the kernel threw away for a wrong checksum, as its own counters have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from labctl.agent.damage import NET, damaged

# As Linux 6.18 writes it, but for lines that are not asked for.
SNMP = """\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 100
Icmp: InMsgs InErrors InCsumErrors InDestUnreachs
Icmp: 100 3 2 100
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens InErrs OutRsts InCsumErrors
Tcp: 1 200 120000 -1 62972 0 4214 5
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 3031 99 0 3131 0 0 7 0 0
"""
SNMP6 = "Ip6InReceives                   \t28\nIcmp6InCsumErrors               \t10\nUdp6InCsumErrors                \t20\n"


@pytest.mark.parametrize(
    ("six", "expected"),
    [(SNMP6, {"tcp": 5, "udp": 27, "icmp": 12}), (None, {"tcp": 5, "udp": 7, "icmp": 2})],
)
def test_counters_of_both_families_are_added(six: str | None, expected: dict[str, int], tmp_path: Path) -> None:
    """Each protocol's counter is found by its name, wherever it stands; a kernel without IPv6 has no such file."""
    (tmp_path / "snmp").write_text(SNMP, encoding="ascii")
    if six is not None:
        (tmp_path / "snmp6").write_text(six, encoding="ascii")
    assert damaged(tmp_path) == expected


def test_this_kernel_has_the_counters() -> None:
    """What this machine says is understood, and no counter is negative."""
    found = damaged(NET)
    assert found.keys() == {"tcp", "udp", "icmp"}
    assert min(found.values()) >= 0
