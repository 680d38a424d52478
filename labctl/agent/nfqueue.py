"""NFQUEUE: packets that iptables hands to a program, which says what becomes of them (linux/netfilter/nfnetlink_queue.h).

Without NFQA_CFG_F_GSO the kernel cuts a super-packet into wire-size packets and completes partial checksums before it hands
them over (net/netfilter/nfnetlink_queue.c, nfqnl_enqueue_packet, nfqnl_build_packet_message): what comes here is what would
be on the wire. NFQA_CFG_F_FAIL_OPEN lets packets pass that the program is too slow to take.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .netlink import (
    NETLINK_NETFILTER,
    NETLINK_NO_ENOBUFS,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    SOL_NETLINK,
    attribute,
    message,
    messages,
)

SUBSYSTEM = 3  # NFNL_SUBSYS_QUEUE
MSG_PACKET, MSG_VERDICT, MSG_CONFIG = 0, 1, 2
CFG_CMD, CFG_PARAMS, CFG_MAXLEN, CFG_MASK, CFG_FLAGS = 1, 2, 3, 4, 5
CMD_BIND, CMD_UNBIND = 1, 2
COPY_PACKET = 2
F_FAIL_OPEN, F_GSO = 1, 4
PACKET_HDR, VERDICT_HDR, INDEV, HWADDR, PAYLOAD, CAP_LEN = 1, 2, 5, 9, 10, 13
DROP, ACCEPT = 0, 1

WHOLE = 0xFFFF - 4  # the longest payload an attribute can hold
HEADERS = 128
RECEIVE_BYTES = 8 << 20
QUEUE_LENGTH = 1 << 16
SO_RCVBUFFORCE = 33

_ATTR = struct.Struct("=HH")
_ID = struct.Struct("!I")
_SEQUENCE = struct.Struct("=I")


@dataclass(slots=True)
class Packet:
    """One packet in the kernel's hands. `length` is all of it, `payload` as much as was asked for, from the IP header on.

    `is_forwarded` when it came in on an interface; `sender` the Ethernet address it came from, if any.
    """

    queue: int
    id: int
    family: int
    length: int
    payload: bytes
    is_forwarded: bool
    sender: bytes
    is_held: bool = True


class NfQueue:
    """Queues of this network namespace, read through one socket."""

    def __init__(self) -> None:
        self.channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.channel.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        with contextlib.suppress(OSError):  # without it the machine's limit holds, and fewer packets can wait here
            self.channel.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        self._early: list[bytes] = []
        self._sequence = 0  # of our own questions; verdicts have 0
        self._verdicts: dict[tuple[int, int], bytes] = {}

    def bind(self, queue: int) -> None:
        """Take packets of this queue from now on. Raises OSError, EBUSY when somebody else has it."""
        self._configure(queue, attribute(CFG_CMD, struct.pack("!BBH", CMD_BIND, 0, 0)))
        self._configure(queue, attribute(CFG_MAXLEN, _ID.pack(QUEUE_LENGTH)))

    def ask_for(self, queue: int, size_bytes: int, whole: bool) -> None:
        """Ask for at most so many bytes of each packet, and for super-packets whole or cut into those of the wire.

        What is whole has partial checksums: it can only go back to the kernel.
        """
        self._configure(queue, attribute(CFG_PARAMS, struct.pack("!IB", size_bytes, COPY_PACKET)))
        flags = F_FAIL_OPEN | (F_GSO if whole else 0)
        self._configure(queue, attribute(CFG_FLAGS, _ID.pack(flags)) + attribute(CFG_MASK, _ID.pack(F_FAIL_OPEN | F_GSO)))

    def unbind(self, queue: int) -> None:
        """Let a queue go; what it still holds is dropped by the kernel."""
        self._configure(queue, attribute(CFG_CMD, struct.pack("!BBH", CMD_UNBIND, 0, 0)))

    def fileno(self) -> int:
        return self.channel.fileno()

    def receive(self, most: int) -> Iterator[Packet]:
        """The packets that wait, at most so many; does not wait for any."""
        receive = self.channel.recv
        for _ in range(most):
            if self._early:
                data = self._early.pop(0)
            else:
                try:
                    data = receive(1 << 17, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return
            packet = parse(data)
            if packet is not None:
                yield packet

    def verdict(self, queue: int, number: int, verdict: int, payload: bytes | None = None) -> bytes:
        """The message that says what becomes of a packet, with another payload if given; send() takes many at once."""
        prefix = self._verdicts.get((queue, verdict))
        if prefix is None:
            prefix = self._verdicts[queue, verdict] = struct.pack(
                "=IHHII", 32, SUBSYSTEM << 8 | MSG_VERDICT, NLM_F_REQUEST, 0, 0
            ) + struct.pack("!BBH", socket.AF_UNSPEC, 0, queue) + _ATTR.pack(12, VERDICT_HDR) + _ID.pack(verdict)
        if payload is None:
            return prefix + _ID.pack(number)
        body = prefix[16:] + _ID.pack(number) + attribute(PAYLOAD, payload)
        return message(SUBSYSTEM << 8 | MSG_VERDICT, NLM_F_REQUEST, body, 0)

    def send(self, verdicts: list[bytes]) -> None:
        """Send verdicts in order. A packet that is gone (its interface went) needs none: the kernel says so and goes on."""
        self.channel.send(b"".join(verdicts))

    def _configure(self, queue: int, body: bytes) -> None:
        kind = SUBSYSTEM << 8 | MSG_CONFIG
        self._sequence += 1
        about = struct.pack("!BBH", socket.AF_UNSPEC, 0, queue)
        self.channel.send(message(kind, NLM_F_REQUEST | NLM_F_ACK, about + body, self._sequence))
        while True:
            data = self.channel.recv(1 << 17)
            for found, answer in messages(data):
                # An error has the header of what it answers (struct nlmsgerr, linux/netlink.h). A verdict about a packet that
                # is gone, as all are when a hook goes, is answered with one as well: that is not ours.
                if found == NLMSG_ERROR and _SEQUENCE.unpack_from(answer, 12)[0] == self._sequence:
                    number = -struct.unpack_from("=i", answer)[0]
                    if number:
                        raise OSError(number, f"queue {queue}: {os.strerror(number)}")
                    return
            self._early.append(data)


def parse(data: bytes) -> Packet | None:
    """One packet message; None for anything else the kernel says here (an error about a verdict: the packet was gone)."""
    length, kind = struct.unpack_from("=IH", data)
    if kind != SUBSYSTEM << 8 | MSG_PACKET:
        return None
    number = full = 0
    payload = sender = b""
    forwarded = False
    offset, end = 20, min(length, len(data))
    while offset + 4 <= end:
        size, attr = _ATTR.unpack_from(data, offset)
        if attr == PAYLOAD:
            payload = data[offset + 4 : offset + size]
        elif attr == PACKET_HDR:
            number = _ID.unpack_from(data, offset + 4)[0]
        elif attr == INDEV:
            forwarded = True
        elif attr == HWADDR:
            sender = data[offset + 8 : offset + 14]
        elif attr == CAP_LEN:
            full = _ID.unpack_from(data, offset + 4)[0]
        offset += (size + 3) & ~3
    return Packet(data[18] << 8 | data[19], number, data[16], full or len(payload), payload, forwarded, sender)


def is_busy(error: OSError) -> bool:
    """Whether a bind failed because another program has the queue."""
    return error.errno in (errno.EBUSY, errno.EPERM)
