"""Resets injected into TCP connections that end in this network namespace or pass it (RFC 9293, 3.10.7.4; RFC 5961, 3 and 4).

A receiver takes a reset only when its sequence number is exactly the next it expects. Every segment says what its sender
expects (its ACK), so whoever sends one can be reset at once. An idle end is made to speak first: a SYN inside an established
connection is answered with a "challenge ACK" that carries just these numbers, and changes nothing.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .action import ActionFailed
from .command import Ran
from .sockets import sockets

ETH_P_ALL = 3
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
SYNCHRONISED = ("ESTAB", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT")
WAIT_S = 0.25
PROBE_AGAIN_S = 0.55  # the kernel answers one challenge each half second and socket (net.ipv4.tcp_invalid_ratelimit)
PROBES = 4
MOST_EACH = 64
RECEIVE_BYTES = 1 << 20

End = tuple[str, int]


@dataclass(frozen=True)
class Segment:
    """What matters of a TCP segment; `end_seq` is the number after its last byte."""

    source: End
    target: End
    end_seq: int
    ack: int
    flags: int


def parse_segment(packet: bytes) -> Segment | None:
    """From an IPv4 or IPv6 packet without extension headers; None when it is no TCP or is cut off."""
    with contextlib.suppress(struct.error, IndexError):
        if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_TCP:
            start, length = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
            addresses = packet[12:16], packet[16:20]
        elif packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_TCP:
            start, length = 40, 40 + struct.unpack_from("!H", packet, 4)[0]
            addresses = packet[8:24], packet[24:40]
        else:
            return None
        sport, dport, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", packet, start)
        data = (length or len(packet)) - start - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
        source, target = (str(ipaddress.ip_address(address)) for address in addresses)
        return Segment((source, sport), (target, dport), (seq + data) & 0xFFFFFFFF, ack, flags)
    return None


def make_segment(source: End, target: End, seq: int, flags: int) -> bytes:
    """A whole IP packet with a bare TCP segment, checksums right."""
    src, dst = (ipaddress.ip_address(end[0]).packed for end in (source, target))
    bare = struct.pack("!HHIIBBHHH", source[1], target[1], seq, 0, 5 << 4, flags, 0, 0, 0)
    pseudo = src + dst + struct.pack("!IHBB", len(bare), 0, 0, socket.IPPROTO_TCP)
    tcp = bare[:16] + struct.pack("!H", _checksum(pseudo + bare)) + bare[18:]
    if len(src) == 16:
        return struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, 64) + src + dst + tcp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + src + dst
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + tcp


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


@dataclass
class Reset:
    """Resets every connection on a port, at one end or both, as long as it is in place.

    `sources` and `targets` say between whom: a reset goes to an end in `targets` and looks as if it came from one in `sources`;
    empty is any. Connections that end in this namespace are found by the kernel's list of sockets, those that pass through by
    their next packet.
    """

    port: int
    sources: frozenset[str]
    targets: frozenset[str]
    _sniffer: socket.socket | None = None
    _senders: dict[int, socket.socket] = field(default_factory=dict)
    _sent: dict[tuple[End, End], int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _hit: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def parse(cls, request: dict[str, Any]) -> Reset:
        """From its JSON: {"port": 65432, "sources": [address, ...], "targets": [...]}."""
        return cls(request["port"], frozenset(request["sources"]), frozenset(request["targets"]))

    def do(self) -> list[Ran]:
        start = time.monotonic()
        try:
            self._open()
        except OSError as error:  # no NET_RAW
            self.undo()
            raise ActionFailed([Ran(("inject-reset",), None, "", f"a raw socket: {error.strerror}", 0.0)]) from None
        assert self._sniffer is not None
        wanted = self._connections()
        threading.Thread(target=self._listen, args=(self._sniffer,), name="reset", daemon=True).start()
        threading.Thread(target=self._probe, args=(wanted,), name="reset-probe", daemon=True).start()
        deadline = start + WAIT_S
        while any(pair not in self._sent for pair in wanted) and time.monotonic() < deadline:
            self._hit.wait(max(0.0, deadline - time.monotonic()))
            self._hit.clear()
        return [self._ran(pair, start) for pair in wanted] or [self._ran(None, start)]

    def _open(self) -> None:
        self._senders = {socket.AF_INET: _raw(socket.AF_INET)}
        with contextlib.suppress(OSError):  # a kernel without IPv6 has nothing to be reset there
            self._senders[socket.AF_INET6] = _raw(socket.AF_INET6)
        self._sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)

    def undo(self) -> list[Ran]:
        for channel in (self._sniffer, *self._senders.values()):
            if channel is not None:
                with contextlib.suppress(OSError):
                    channel.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a packet
                channel.close()
        return []

    def count(self) -> int:
        with self._lock:
            return sum(self._sent.values())

    def _ran(self, pair: tuple[End, End] | None, start: float) -> Ran:
        ms = round((time.monotonic() - start) * 1000, 3)
        if pair is None:
            return Ran(("inject-reset", f"port={self.port}"), 0, "waits for a packet of a connection", "", ms, time.time())
        (source, sport), (target, dport) = pair
        argv = ("inject-reset", "from", source, str(sport), "to", target, str(dport))
        return Ran(argv, 0, f"{self._sent.get(pair, 0)} sent", "", ms, time.time())

    def _connections(self) -> list[tuple[End, End]]:
        """(from, to) of each reset that the connections ending here need now."""
        pairs: dict[tuple[End, End], None] = {}
        for found in sockets("tcp"):
            if found["state"] in SYNCHRONISED and self.port in (found["port"], found["peer"]):
                local = _plain(found["local"]), found["port"]
                remote = _plain(found["remote"]), found["peer"]
                pairs |= {pair: None for pair in ((remote, local), (local, remote)) if self._is_wanted(*pair)}
        return list(pairs)

    def _is_wanted(self, source: End, target: End) -> bool:
        return (not self.sources or source[0] in self.sources) and (not self.targets or target[0] in self.targets)

    def _probe(self, wanted: list[tuple[End, End]]) -> None:
        for _ in range(PROBES):
            left = [pair for pair in wanted if pair not in self._sent]
            for source, target in left:
                self._send(source, target, 0, SYN)
            if not left:
                return
            time.sleep(PROBE_AGAIN_S)

    def _listen(self, channel: socket.socket) -> None:
        while True:
            try:
                packet = channel.recv(256)
            except OSError:  # closed: the fault has been taken back
                return
            if not packet:
                return
            segment = parse_segment(packet)
            if segment is not None and self.port in (segment.source[1], segment.target[1]):
                self._answer(segment)

    def _answer(self, segment: Segment) -> None:
        """Reset who sent it, who has just said what number it expects; and who gets it, which expects what comes after it."""
        if segment.flags & ACK and not segment.flags & (SYN | RST):
            self._reset(segment.target, segment.source, segment.ack)
            self._reset(segment.source, segment.target, segment.end_seq)

    def _reset(self, source: End, target: End, seq: int) -> None:
        pair = source, target
        if not self._is_wanted(*pair) or self._sent.get(pair, 0) >= MOST_EACH:
            return
        if self._send(source, target, seq, RST):
            with self._lock:
                self._sent[pair] = self._sent.get(pair, 0) + 1
            self._hit.set()

    def _send(self, source: End, target: End, seq: int, flags: int) -> bool:
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        try:
            self._senders[family].sendto(make_segment(source, target, seq, flags), (target[0], 0))
        except (OSError, KeyError):  # nobody there to be reset, or the fault has been taken back
            return False
        return True


def _plain(address: str) -> str:
    """An IPv4 address as itself, also where a socket of IPv6 has it (::ffff:a.b.c.d)."""
    mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    return str(mapped) if mapped else address


def _raw(family: int) -> socket.socket:
    channel = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    if family == socket.AF_INET6:
        channel.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL, linux/in6.h
    return channel
