"""pcapng: captures merged and commented, and hostile bytes refused by name."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from fake_engine import small_capture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labctl.errors import EvidenceError
from labctl.evidence.pcapng import (
    ENHANCED_PACKET,
    IF_TSRESOL,
    INTERFACE,
    MAGIC,
    OPT_COMMENT,
    SECTION,
    Capture,
    annotate,
    block,
    blocks,
    join,
    merge,
    option,
    options,
)

REAL = Path(__file__).resolve().parents[2] / "data" / "runs" / "firewall" / "pcap"
ENOUGH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "x.pcapng"
    path.write_bytes(small_capture("eth0", (3_000_000, 5_000_000)))
    return path


def comments(path: Path) -> list[list[str]]:
    """The comments on the section and on each packet."""
    found = []
    with path.open("rb") as file:
        for one in blocks(file, "x"):
            if one.kind in (SECTION, ENHANCED_PACKET):
                start = (
                    16
                    if one.kind == SECTION
                    else 20 + (struct.unpack_from("=I", one.body, 12)[0] + 3) // 4 * 4
                )
                found.append([v.decode() for c, v in options(one.body, start) if c == OPT_COMMENT])
    return found


def test_a_real_capture_is_read() -> None:
    """What dumpcap wrote: interfaces by name, packets in order, sentinels at both ends known as such."""
    capture = Capture.read(REAL / "client.pcapng")
    assert [i.name for i in capture.interfaces] == ["lo", "eth0"]
    assert len(capture.packets) > 20
    assert sum(p.sentinel for p in capture.packets) >= 4
    assert {p.interface for p in capture.packets} == {0, 1}


def test_merged_packets_are_in_order_of_time_on_interfaces_named_by_host(tmp_path: Path) -> None:
    """Packets of several hosts are in the order of time, those of one instant in that of the hosts; sentinels are left out."""
    (tmp_path / "a").write_bytes(small_capture("eth0", (1_000_000, 4_000_000)))
    (tmp_path / "b").write_bytes(small_capture("eth1", (2_000_000, 1_000_000)))
    (tmp_path / "c").write_bytes(small_capture("eth0", (3_000_000,), b"\x88\xb5"))
    count = merge({name: tmp_path / name for name in "abc"}, tmp_path / "all", "the comment")
    merged = Capture.read(tmp_path / "all")
    assert count == len(merged.packets) == 4
    assert [i.name for i in merged.interfaces] == ["a:eth0", "b:eth1", "c:eth0"]
    assert [(p.ns // 10**9, p.interface) for p in merged.packets] == [(1, 0), (1, 1), (2, 1), (4, 0)]
    assert comments(tmp_path / "all")[0] == ["the comment"]


def test_parts_of_one_host_are_joined_with_interfaces_and_numbers_going_on(tmp_path: Path) -> None:
    """Packets keep their times and bytes; those of a later part are on interfaces of their own, after those before them."""
    parts = [tmp_path / "host.pcapng", tmp_path / "host.life2.pcapng"]
    parts[0].write_bytes(small_capture("eth0", (3_000_000, 5_000_000)))
    parts[1].write_bytes(small_capture("eth0", (7_000_000,)) + small_capture("eth1", (8_000_000,))[28:])
    first = Capture.read(parts[0])
    assert join(parts, parts[0]) == [0, 2]
    whole = Capture.read(parts[0])
    assert [i.name for i in whole.interfaces] == ["eth0", "eth0", "eth1"]
    assert [(p.ns, p.interface) for p in whole.packets] == [
        (3_000_000_000, 0), (5_000_000_000, 0), (7_000_000_000, 1), (8_000_000_000, 1),
    ]  # fmt: skip
    assert [p.ns for p in first.packets] == [p.ns for p in whole.packets[:2]]
    with parts[0].open("rb") as file:
        assert [b.kind for b in blocks(file, "x")].count(SECTION) == 1


def test_a_part_that_is_damaged_is_named(tmp_path: Path, capture: Path) -> None:
    """What is no block of a capture is told with its file and place, and the target stays as it was."""
    other = tmp_path / "y.pcapng"
    other.write_bytes(small_capture() + block(ENHANCED_PACKET, b""))
    before = capture.read_bytes()
    with pytest.raises(EvidenceError, match=r"y\.pcapng is damaged at byte \d+: a block without an interface"):
        join([capture, other], capture)
    assert capture.read_bytes() == before


def test_a_merged_file_keeps_every_byte_of_a_packet(tmp_path: Path, capture: Path) -> None:
    """Packets go into the merged file as they were, but for their time, which is in nanoseconds there."""
    merge({"h": capture}, tmp_path / "all", "")
    with capture.open("rb") as one, (tmp_path / "all").open("rb") as two:
        before = [b.body[12:] for b in blocks(one, "x") if b.kind == ENHANCED_PACKET]
        after = [b.body[12:] for b in blocks(two, "x") if b.kind == ENHANCED_PACKET]
    assert before == after


@pytest.mark.parametrize(
    ("resolution", "ticks"), [(6, 3_000_000), (9, 3 * 10**9), (0x80 | 20, 3 * 2**20), (0, 3)]
)
def test_times_are_read_in_every_resolution(tmp_path: Path, resolution: int, ticks: int) -> None:
    """Powers of ten and of two (if_tsresol): the time in nanoseconds is the same."""
    described = block(INTERFACE, struct.pack("=HHI", 1, 0, 0) + option(IF_TSRESOL, bytes([resolution])))
    packet = block(ENHANCED_PACKET, struct.pack("=5I", 0, ticks >> 32, ticks & 0xFFFFFFFF, 0, 0))
    (tmp_path / "x").write_bytes(block(SECTION, struct.pack("=IHHq", MAGIC, 1, 0, -1)) + described + packet)
    assert Capture.read(tmp_path / "x").packets[0].ns == 3 * 10**9


def test_comments_are_written_into_place(capture: Path) -> None:
    """A comment on the section and on packets by number; written twice, both are there; the packets are what they were."""
    before = [p.ns for p in Capture.read(capture).packets]
    annotate(capture, {2: ["the fault began", "größe"]}, "run x")
    annotate(capture, {1: ["first"]}, "again")
    annotate(capture, {})
    assert comments(capture) == [["again", "run x"], ["first"], ["the fault began", "größe"]]
    assert [p.ns for p in Capture.read(capture).packets] == before


def test_a_comment_longer_than_the_format_allows_is_cut(capture: Path) -> None:
    """A comment of more than 65535 bytes does not break the file."""
    annotate(capture, {1: ["y" * 70000]}, "x" * 70000)
    assert [len(c) for found in comments(capture) for c in found] == [65535, 65535]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xd4\xc3\xb2\xa1" + b"\0" * 20, "is no pcapng file"),
        (b"12345", "is cut off at byte 0"),
        (small_capture()[:-1], "is cut off at byte"),
        (small_capture() + b"\x06\0\0\0", "is cut off at byte"),
        (struct.pack("=II", SECTION, 8), "is damaged at byte 0: a block of 8 bytes"),
        (struct.pack("=II", SECTION, 2**31), "is damaged at byte 0: a block of 2147483648 bytes"),
        (struct.pack("=IIII", SECTION, 16, MAGIC, 20), "a block's two lengths differ"),
        (block(SECTION, struct.pack(">IHHq", MAGIC, 1, 0, -1)), "was written in another byte order"),
        (small_capture() + block(ENHANCED_PACKET, b""), "a packet without a header"),
        (
            small_capture() + block(ENHANCED_PACKET, struct.pack("=5I", 1, 0, 0, 0, 0)),
            "a packet of no interface",
        ),
        (
            small_capture() + block(ENHANCED_PACKET, struct.pack("=5I", 0, 0, 0, 99, 99)),
            "longer than its block",
        ),
    ],
)
def test_damage_is_told_with_its_place(tmp_path: Path, data: bytes, words: str) -> None:
    """A capture that is cut off, damaged or no capture is an EvidenceError that says where."""
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(EvidenceError, match=words):
        Capture.read(tmp_path / "x")


def test_a_capture_that_is_missing_is_told(tmp_path: Path) -> None:
    """A capture that is not there is an EvidenceError with the system's words."""
    with pytest.raises(EvidenceError, match="cannot be read: No such file"):
        Capture.read(tmp_path / "x")


@ENOUGH
@given(st.data())
def test_hostile_bytes_are_read_or_refused_but_never_a_traceback(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes stand in a capture, reading, merging and commenting end in a file or in an EvidenceError."""
    raw = bytearray(small_capture("eth0", (1, 2**62, 2**40)))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.sampled_from([0, 1, 4, 12, 127, 128, 255, raw[place] ^ 1]))
    path = tmp_path / "x"
    path.write_bytes(
        bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
    )
    for action in (
        lambda: Capture.read(path),
        lambda: merge({"h": path}, tmp_path / "all", "c"),
        lambda: annotate(path, {1: ["n"]}, "c"),
    ):
        try:
            action()
        except EvidenceError:
            continue


@given(st.lists(st.tuples(st.integers(1, 65535), st.binary(max_size=40)), max_size=5))
def test_options_are_read_as_they_were_written(wanted: list[tuple[int, bytes]]) -> None:
    """Options of any length come back as they were, padding aside."""
    assert list(options(b"".join(option(c, v) for c, v in wanted), 0)) == wanted
    list(blocks(io.BytesIO(small_capture()), "x"))
