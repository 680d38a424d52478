"""NFQUEUE's messages, byte for byte, and what is done to a packet's payload."""

from __future__ import annotations

import errno
import socket
import struct
import sys

import pytest

from labctl.agent.emulate import _flow, flipped
from labctl.agent.netlink import attribute, attributes, message, messages
from labctl.agent.nfqueue import ACCEPT, DROP, NfQueue, Packet, parse

needs_netlink = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")


def ipv4(protocol: int, rest: bytes, source: str = "10.0.0.1", destination: str = "10.0.0.2") -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(rest), 0, 0, 64, protocol, 0)
    return header + socket.inet_aton(source) + socket.inet_aton(destination) + rest


def packet_message(payload: bytes, *extra: bytes) -> bytes:
    body = struct.pack("!BBH", socket.AF_INET, 0, 17000) + attribute(1, struct.pack("!IHB", 42, 0x0800, 4))
    return message(3 << 8, 0, body + b"".join(extra) + attribute(10, payload), 0)


def test_a_packet_is_read() -> None:
    payload = ipv4(17, b"12345678hello")
    packet = parse(packet_message(payload))
    assert packet == Packet(17000, 42, socket.AF_INET, len(payload), payload, False, b"")


def test_a_forwarded_packet_of_which_only_a_part_came() -> None:
    indev = attribute(5, struct.pack("!I", 3))
    sender = attribute(9, struct.pack("!HH", 6, 0) + b"\x02\x00\x00\x00\x00\x01\0\0")
    packet = parse(packet_message(b"x" * 21, indev, sender, attribute(13, struct.pack("!I", 1500))))
    assert packet is not None
    assert (packet.length, packet.is_forwarded, packet.sender) == (1500, True, b"\x02\x00\x00\x00\x00\x01")


def test_what_is_no_packet_is_none() -> None:
    assert parse(message(2, 0, struct.pack("=i", -2), 0)) is None


class Channel:
    """What the kernel says, in order."""

    def __init__(self, *said: bytes) -> None:
        self.said, self.asked = list(said), b""

    def send(self, data: bytes) -> None:
        self.asked = data

    def recv(self, *_: int) -> bytes:
        if not self.said:
            raise BlockingIOError
        return self.said.pop(0)


def answer(number: int, sequence: int) -> bytes:
    """The kernel's answer to the message with that sequence number: minus an errno, and the header that it answers."""
    return message(2, 0, struct.pack("=i", -number) + struct.pack("=IHHII", 20, 3 << 8 | 2, 5, sequence, 0), 0)


def test_an_error_about_a_verdict_is_no_answer_to_a_question() -> None:
    """A packet that went while its verdict was on the way (ENOENT) does not make an order to the queue fail; EBUSY does."""
    queue = NfQueue.__new__(NfQueue)
    queue._early, queue._sequence = [], 0
    packet = packet_message(b"early")
    channel = Channel(answer(errno.ENOENT, 0), packet, answer(0, 1))
    queue.channel = channel  # type: ignore[assignment]
    queue.unbind(17000)
    assert struct.unpack_from("=IHHI", channel.asked)[1:] == (3 << 8 | 2, 5, 1)
    assert [found.payload for found in queue.receive(9)] == [b"early"]
    channel.said = [answer(errno.ENOENT, 0), answer(errno.EBUSY, 2)]
    with pytest.raises(OSError, match=r"queue 17000: .*busy"):
        queue.bind(17000)


@needs_netlink
def test_verdicts_are_whole_messages_that_can_be_joined() -> None:
    queue = NfQueue.__new__(NfQueue)
    queue._verdicts = {}
    joined = queue.verdict(17000, 1, ACCEPT) + queue.verdict(17000, 2, DROP) + queue.verdict(17000, 3, ACCEPT, b"changed")
    found = list(messages(joined))
    assert [kind for kind, _ in found] == [0x301] * 3
    assert [struct.unpack("!II", attributes(body, 4)[2]) for _, body in found] == [(1, 1), (0, 2), (1, 3)]
    assert attributes(found[2][1], 4)[10] == b"changed"
    assert struct.unpack_from("!BBH", found[0][1]) == (0, 0, 17000)


@pytest.mark.parametrize("where", [0, 7, 8, 1 << 20, 12345])
def test_one_bit_is_flipped_after_the_ip_header(where: int) -> None:
    packet = ipv4(17, bytes(30))
    changed = flipped(packet, where)
    assert changed[:20] == packet[:20]
    assert sum(bin(a ^ b).count("1") for a, b in zip(packet, changed, strict=True)) == 1


def test_a_packet_without_a_payload_is_left_alone() -> None:
    packet = ipv4(17, b"")
    assert flipped(packet, 5) == packet


def tcp(flags: int, sport: int = 1000) -> bytes:
    return struct.pack("!HHIIBBHHH", sport, 80, 0, 0, 0x50, flags, 0, 0, 0)


def test_flows_are_told_apart_and_a_syn_opens_one() -> None:
    def flow(data: bytes) -> tuple[bytes, bool]:
        return _flow(Packet(1, 1, socket.AF_INET, len(data), data, False, b""))

    syn, ack = flow(ipv4(6, tcp(0x02))), flow(ipv4(6, tcp(0x10)))
    assert syn[0] == ack[0]
    assert (syn[1], ack[1]) == (True, False)
    assert flow(ipv4(6, tcp(0x12)))[1] is False  # SYN+ACK belongs to a flow that is there
    assert flow(ipv4(6, tcp(0x10, sport=1001)))[0] != ack[0]
    assert flow(ipv4(17, bytes(8)))[0] != ack[0]
