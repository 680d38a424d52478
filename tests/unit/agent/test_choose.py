"""Packets chosen by a seed: the same again, about as many as asked, and marked so that other faults' marks stay."""

from __future__ import annotations

import socket

from labctl.agent.choose import Chooser, _with
from labctl.agent.netlink import attribute, attributes, message
from labctl.agent.nfqueue import MARK, REPEAT, NfQueue, Packet, parse


def packet(mark: int = 0, family: int = socket.AF_INET) -> Packet:
    return Packet(18000, 1, family, 60, b"E", False, b"", mark=mark)


def chooser(percent: float, seed: int, slot: int = 0) -> Chooser:
    made = Chooser.parse({"percent": percent, "seed": seed})
    made._slot = slot
    return made


def hits(percent: float, seed: int, count: int = 2000) -> list[int]:
    made = chooser(percent, seed)
    return [i for i in range(count) if made.verdict(packet()) & 2]


def test_the_same_seed_chooses_the_same_packets_and_another_others() -> None:
    assert hits(30, 7) == hits(30, 7)
    assert hits(30, 7) != hits(30, 8)


def test_about_as_many_are_chosen_as_asked() -> None:
    """Of 2000 packets 600 are expected; five standard deviations are 103. A seed always gives the same."""
    assert all(abs(len(hits(30, seed)) - 600) < 103 for seed in range(5))


def test_the_families_are_counted_apart() -> None:
    """Packets of IPv6 in between do not change which of IPv4 are chosen."""
    made = chooser(30, 7)
    found = []
    for i in range(2000):
        made.verdict(packet(family=socket.AF_INET6))
        if made.verdict(packet()) & 2:
            found.append(i)
    assert found == hits(30, 7)


def test_marks_of_others_stay() -> None:
    """Only the two bits of the fault's own slot are set: looked at, and touched or not."""
    made = chooser(50, 1, slot=3)
    marks = {made.verdict(packet(mark=0x1AB00001)) for _ in range(50)}
    assert marks == {0x1AB00001 | 1 << 6, 0x1AB00001 | 3 << 6}


def test_words_are_put_in_wherever_they_stand() -> None:
    assert _with({"a": ["--mark", "{done}/{done}", 5], "b": {"c": "{queue}"}}, {"{done}": "0x1", "{queue}": "7"}) == {
        "a": ["--mark", "0x1/0x1", 5], "b": {"c": "7"},
    }  # fmt: skip


def test_a_verdict_carries_the_mark_and_a_packet_message_tells_it() -> None:
    queue = NfQueue.__new__(NfQueue)
    queue._verdicts = {}
    said = queue.verdict(18000, 9, REPEAT, mark=0x41)
    found = attributes(said, 20)
    assert (found[MARK], found[2][:4], found[2][4:]) == (b"\0\0\0\x41", b"\0\0\0\x04", b"\0\0\0\x09")
    told = message(3 << 8, 0, b"\x02\0\x46\x50" + attribute(MARK, b"\0\0\1\0") + attribute(10, b"E" * 20))
    parsed = parse(told)
    assert parsed is not None
    assert parsed.mark == 256
