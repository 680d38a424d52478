"""The dissector, in the agent's own tshark: it sees every message once, complete, however TCP cut it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "images" / "programs"))

from app_content import Array, array_request, binary_request, text_request  # noqa: E402
from app_protocol import Message, encode  # noqa: E402

DISSECTOR = ROOT / "images" / "wireshark" / "labapp.lua"
AS_IN_A_RUN = ("--volume", f"{DISSECTOR}:/opt/labctl/labapp.lua:ro")  # where the image's link leads
LINKTYPE_RAW = 101  # packets start with their IP header
FIELDS = (
    "frame.number",
    "labapp.header_length",
    "labapp.byteorder",
    "labapp.content_type",
    "labapp.content_encoding",
    "labapp.content_length",
    "labapp.format",
    "labapp.content",
    "labapp.text",
    "labapp.value",
)


def tcp_packet(payload: bytes, sequence: int, source_port: int, port: int, flags: int = 0x18) -> bytes:
    """An IPv4 packet with a TCP segment (RFC 791, RFC 9293); checksums are left out, as with offloading."""
    tcp = struct.pack(">HHIIBBHHH", source_port, port, sequence, 1, 5 << 4, flags, 65535, 0, 0)
    total = 20 + len(tcp) + len(payload)
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, total, 0, 0, 64, 6, 0, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    )
    return ip + tcp + payload


def write_pcap(path: Path, packets: Sequence[bytes]) -> None:
    """A pcap file, one packet each millisecond."""
    records = [
        struct.pack("<IIII", 0, index * 1000, len(packet), len(packet)) + packet
        for index, packet in enumerate(packets)
    ]
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_RAW) + b"".join(records))


def stream(pieces: Sequence[bytes], source_port: int, port: int = 65432) -> list[bytes]:
    """One direction of a connection: SYN, then each piece in a segment of its own."""
    packets = [tcp_packet(b"", 0, source_port, port, flags=0x02)]
    sequence = 1
    for piece in pieces:
        packets.append(tcp_packet(piece, sequence, source_port, port))
        sequence += len(piece)
    return packets


def agent(path: Path, *command: str, options: Sequence[str] = AS_IN_A_RUN) -> list[str]:
    """The lines that a command prints in an agent which has a capture as its standard input."""
    docker = ["docker", "run", "--rm", "--interactive", "--network", "none", "--cap-drop", "ALL", *options]
    with path.open("rb") as capture:
        run = subprocess.run(
            [*docker, "labctl/agent", *command],
            stdin=capture,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    assert "lua" not in run.stderr.lower(), run.stderr
    return run.stdout.splitlines()


def tshark(path: Path, *options: str) -> list[dict[str, str]]:
    """The fields of the packets that hold a message."""
    fields = [word for field in FIELDS for word in ("-e", field)]
    lines = agent(path, "tshark", "-r", "-", "-T", "fields", *fields, *options)
    rows = [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in lines]
    return [row for row in rows if row["labapp.header_length"]]


def test_messages_are_found_whole_however_they_were_cut(tmp_path: Path) -> None:
    messages = [
        text_request("search", "\U0001f436", "utf-8", "big"),
        text_request("search", "ring", "utf-16", "big"),
        text_request("search", "ring", "utf-16-le", "little"),
        binary_request("binary", "abc", "little"),
        *(
            array_request(Array(form, (1, 2, 250)), order)
            for form in "hHiIqQfd"
            for order in ("little", "big")
        ),
        Message("x/y", "binary", b"", "big"),
        Message("x/" + "y" * 3000, "binary", bytes(3000), "little"),
    ]
    packets: list[bytes] = []
    for index, message in enumerate(messages):
        data = encode(message)
        step = (1, 7, 100, 100_000)[index % 4]
        pieces = [data[start : start + step] for start in range(0, len(data), step)]
        packets += stream(pieces, 40000 + index)
    write_pcap(tmp_path / "x.pcap", packets)
    rows = tshark(tmp_path / "x.pcap")
    assert len(rows) == len(messages)
    for message, row in zip(messages, rows, strict=True):
        assert row["labapp.byteorder"] == message.byteorder
        assert row["labapp.content_type"] == message.content_type
        assert row["labapp.content_encoding"] == message.content_encoding
        assert int(row["labapp.content_length"]) == len(message.content)
        assert row["labapp.content"].replace(":", "") == message.content.hex()
        assert row["labapp.format"] == (message.format or "")
        assert int(row["labapp.header_length"]) == len(encode(message)) - len(message.content) - 2
        if message.format:
            assert [float(value) for value in row["labapp.value"].split(",")] == [1, 2, 250]
    assert [row["labapp.text"] for row in rows[:3]] == [
        '{"action": "search", "value": "\U0001f436"}',
        *['{"action": "search", "value": "ring"}'] * 2,
    ]


def test_a_display_filter_selects_by_byte_order_also_on_other_ports(tmp_path: Path) -> None:
    packets = []
    for index, order in enumerate(("big", "little", "big")):
        port = (65432, 65432, 7777)[index]
        packets += stream([encode(array_request(Array("h", (1,)), order))], 40000 + index, port)
    write_pcap(tmp_path / "x.pcap", packets)
    rows = tshark(tmp_path / "x.pcap", "-Y", 'labapp.byteorder == "big"')
    assert [row["frame.number"] for row in rows] == ["2", "6"]


def test_two_messages_in_one_segment_are_two_and_nonsense_is_marked(tmp_path: Path) -> None:
    message = encode(binary_request("a", "b"))
    packets = [*stream([message + message], 40000), *stream([b"\x00\x04nope"], 40001)]
    write_pcap(tmp_path / "x.pcap", packets)
    assert tshark(tmp_path / "x.pcap")[0]["labapp.byteorder"].count(",") == 1
    assert len(agent(tmp_path / "x.pcap", "tshark", "-r", "-", "-Y", "labapp.malformed")) == 1


def test_it_is_loaded_by_name_where_tshark_allows_that(tmp_path: Path) -> None:
    """As docs/programs.md says; since Wireshark 4.4 not as root, who is told nothing."""
    write_pcap(tmp_path / "x.pcap", stream([encode(array_request(Array("h", (1,)), "big"))], 40000))
    options = ("--user", "nobody", "--volume", f"{DISSECTOR}:/labapp.lua:ro")
    command = ("tshark", "-X", "lua_script:/labapp.lua", "-r", "-", "-Y", 'labapp.byteorder == "big"')
    assert len(agent(tmp_path / "x.pcap", *command, options=options)) == 1


@pytest.mark.parametrize("order", ["little", "big"])
def test_real_messages_in_single_bytes_are_seen_whole(tmp_path: Path, order: str) -> None:
    path = tmp_path / "in-pieces.yaml"
    path.write_text(
        IN_PIECES.format(lab=ROOT / "tests/data/scenarios/pair.yml", order=order), encoding="utf-8"
    )
    command = [sys.executable, "-m", "labctl", "run", str(path), "--json", "--out", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
    assert done.returncode == 0, json.loads(done.stdout)["reason"] if done.stdout else done.stderr


# Each byte is sent by itself; where the server is slow to read the kernel joins some. The request's last byte completes it.
IN_PIECES = """
scenario: in-pieces
lab: {lab}
params:
  request: 'tcp.dstport == 65432 && tcp.len == 1 && labapp.byteorder == "{order}"'
steps:
  - {{start: [app-server, "", 65432], on: server, ready: {{listen: 65432}}}}
  - run: [app-client, server, 65432, search, 🐶, --encoding=utf-16, --byteorder={order}, --chunk=1, --interval=500us, --nodelay]
    on: client
    expect:
      exit: 0
      packets:
        - {{at: client, filter: "tcp.dstport == 65432 && tcp.len == 1", count: {{min: 20}}}}
        - {{at: client, filter: "tcp.dstport == 65432 && labapp", count: 1}}
        - {{at: client, filter: '${{request}} && labapp.text contains "🐶"', count: 1}}
        - {{at: server, filter: '${{request}} && labapp.text contains "🐶"', count: 1}}
        - {{at: server, filter: 'tcp.srcport == 65432 && labapp.text contains "🏐"', count: 1}}
  - run: [app-client, server, 65432, sum, "1,2,300", --format=q, --byteorder={order}, --chunk=1, --interval=500us, --nodelay]
    on: client
    expect:
      exit: 0
      packets:
        - {{at: client, filter: "tcp.dstport == 65432 && tcp.len == 1", count: {{min: 20}}}}
        - {{at: client, filter: '${{request}} && labapp.format == "q" && labapp.value == "300"', count: 1}}
        - {{at: client, filter: 'tcp.srcport == 65432 && labapp.value == "303"', count: 1}}
        - {{at: server, filter: labapp.malformed, count: 0}}
"""
