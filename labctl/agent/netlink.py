"""Netlink messages (netlink(7)): packing, attributes, asking. What needs more than a command line does, or sooner."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_NO_ENOBUFS = 5

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLMSG_ERROR = 2
NLMSG_DONE = 3

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
TYPE_MASK = 0x3FFF  # linux/netlink.h, NLA_TYPE_MASK: without the flags "nested" and "net byte order"


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, flags: int, body: bytes, sequence: int = 1) -> bytes:
    """One message with its header."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def attributes(body: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes of a message body from `offset` on, by type."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(body):
        length, kind = ATTRIBUTE.unpack_from(body, offset)
        if length < 4:
            break
        found[kind & TYPE_MASK] = body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of every message in a datagram."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, offset)
        if length < HEADER.size:
            break
        yield kind, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def ask(protocol: int, request: bytes) -> list[tuple[int, bytes]]:
    """Send a request and return the answers until its acknowledgement, its end of dump, or, asked with neither, the first.

    Raises OSError with the kernel's errno.
    """
    flags = HEADER.unpack_from(request)[2]
    wants_end = bool(flags & (NLM_F_ACK | NLM_F_DUMP))
    found: list[tuple[int, bytes]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as channel:
        channel.settimeout(5.0)
        channel.send(request)
        while True:
            for kind, body in messages(channel.recv(1 << 17)):
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return found
                if kind == NLMSG_DONE:
                    return found
                found.append((kind, body))
                if not wants_end:
                    return found


RTM_GETROUTE = 26
RTA_DST, RTA_OIF = 1, 4


def route_device(address: str) -> int:
    """The index of the interface that packets to this address leave by. Raises OSError when there is no route."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    header = struct.pack("=BBBBBBBBI", family, 8 * len(raw), 0, 0, 0, 0, 0, 0, 0)
    answer = ask(NETLINK_ROUTE, message(RTM_GETROUTE, NLM_F_REQUEST, header + attribute(RTA_DST, raw)))[0][1]
    index: int = struct.unpack("=i", attributes(answer, 12)[RTA_OIF])[0]
    return index
