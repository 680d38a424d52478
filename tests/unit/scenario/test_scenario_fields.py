"""Names in display filters, against the list of those that Wireshark knows."""

from __future__ import annotations

import lzma

import pytest
from recorded import Shipped, shipped

from labctl.scenario.expectations import _broken_filter
from labctl.scenario.fields import compressed, known, unknown
from labctl.scenario.loader import load


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tcp.prot == 80", "Wireshark has no field 'tcp.prot'; did you mean tcp.port?"),
        ("tpc.port == 80", "Wireshark knows no protocol 'tpc'; did you mean tcp?"),
        ("tcp.port == 80 && icmpp", "Wireshark knows no protocol 'icmpp'; did you mean icmp?"),
        ("not (ip.src == 10.0.0.1) or upd", "Wireshark knows no protocol 'upd'; did you mean udp?"),
        ("tcp.flags.syn == 1 && tcp.flags.ak == 0", "Wireshark has no field 'tcp.flags.ak'; did you mean tcp.flags.ack?"),
        ("len(tcp.payloud) > 3", "Wireshark has no field 'tcp.payloud'; did you mean tcp.payload?"),
        ("labapp.byte_order == 0", "Wireshark has no field 'labapp.byte_order'; did you mean labapp.byteorder?"),
    ],
)
def test_a_name_that_wireshark_does_not_know(text: str, message: str) -> None:
    """A misspelt protocol or field is named, with the nearest right one."""
    assert unknown(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "tcp", "tcp.port in {80, 443, 8000..8010}", "eth.dst[0:3] == ff:ff:ff", "ip.addr == 10.0.0.0/8 and !arp",
        "ipv6.src == fe80::1", "tcp.srcport == tcp.dstport", "frame contains GET", "http2.headers.method matches post",
        "any tcp.port > 1024 || all udp.port < 5", "count(ip.addr) > 2", "tcp.analysis.retransmission",
        "frame.time_delta < 0.1", "smb2.no.such.field_is_known_here == 1", "icmp.resptime > 5 && @tcp.flags",
        "tcp.port eq http", "max(ip.ttl, ip.hdr_len) > 3", "dns.qry.name contains lab", "_ws.expert.severity == 3",
    ],
)  # fmt: skip
def test_what_wireshark_takes_is_not_refused(text: str) -> None:
    """Every kind of word that a filter may have: functions, sets, slices, addresses, values without quotes, other protocols."""
    assert unknown(text) is None


@pytest.mark.parametrize("scenario", shipped(), ids=lambda scenario: scenario.name)
def test_no_filter_of_a_shipped_scenario_is_refused(scenario: Shipped) -> None:
    """The list knows every name in the scenarios, all of which tshark has taken."""
    steps = load(scenario.path, case=scenario.case).scenario.steps
    filters = [text for step in steps if getattr(step, "expect", None) for _, _, text in step.expect.filters()]
    assert [message for text in filters if (message := _broken_filter(text))] == []


def test_the_list_is_made_from_what_tshark_says() -> None:
    """Protocols by name, fields of the common ones in full, from the lines of `tshark -G fields`; such a list is shipped."""
    lines = ["P\tTransmission Control\ttcp\n", "F\tSource Port\ttcp.srcport\tFT\n", "F\tCommand\tsmb2.cmd\tFT\n", "\n"]
    _, names, made = lzma.decompress(compressed(lines)).decode().splitlines()
    assert (names, made) == ("smb2 tcp", "tcp.srcport")
    protocols, fields = known()
    assert {"tcp", "udp", "smb2", "labapp"} <= protocols
    assert {"tcp.flags.syn", "icmp.type", "labapp.byteorder", "frame.number"} <= fields
    assert "smb2.cmd" not in fields
