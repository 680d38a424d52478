"""Sockets of this network namespace, read from the kernel by netlink (sock_diag(7)), as ss(8) does.

Direct netlink costs under a millisecond a dump where starting `ss` costs several, so sampling can stay on.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Any

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST_DUMP = 0x301
INET_DIAG_INFO = 2
INET_DIAG_SKMEMINFO = 7
ALL_STATES = 0xFFF
_EXTENSIONS = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1)

# net/tcp_states.h, with the names ss(8) gives them
STATES = (
    "", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "UNCONN", "CLOSE-WAIT",
    "LAST-ACK", "LISTEN", "CLOSING", "SYN-RECV",
)  # fmt: skip
TIMERS = ("", "on", "keepalive", "timewait", "persist")

_HEADER = struct.Struct("=IHHII")
_SOCKID = struct.Struct("!HH16s16s")
_TCP_INFO = struct.Struct("=8B24I")
_TCP_INFO_FIELDS = (
    "rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets", "last_data_sent",
    "last_ack_sent", "last_data_recv", "last_ack_recv", "pmtu", "rcv_ssthresh", "rtt", "rttvar", "snd_ssthresh",
    "cwnd", "advmss", "reordering", "rcv_rtt", "rcv_space", "total_retrans",
)  # fmt: skip
_KEPT_INFO = ("rto", "snd_mss", "unacked", "lost", "rtt", "cwnd", "total_retrans", "pmtu")


def sockets(protocol: str = "tcp") -> list[dict[str, Any]]:
    """Every IPv4 and IPv6 socket of one protocol (`tcp` or `udp`): state, addresses, queues in bytes, timers, tcp_info.

    `recv_q` and `send_q` of a listening socket are its accept queue and that queue's limit, as in ss(8).
    Raises OSError when the kernel has no inet_diag.
    """
    return [{"protocol": protocol, **_socket(body)} for body in _dump(protocol, ALL_STATES, _EXTENSIONS)]


def _dump(protocol: str, states: int, extensions: int) -> Iterator[bytes]:
    """What the kernel says of each socket in one of the states (a bit for each): struct inet_diag_msg and attributes."""
    number = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}[protocol]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as channel:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for family in (socket.AF_INET, socket.AF_INET6):
            yield from _dump_family(channel, struct.pack("=BBBBI48x", family, number, extensions, 0, states))


def _dump_family(channel: socket.socket, request: bytes) -> Iterator[bytes]:
    channel.send(
        _HEADER.pack(_HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request
    )
    while True:
        data = channel.recv(1 << 18)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, offset)
            body = data[offset + _HEADER.size : offset + length]
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, "the kernel has no inet_diag for this protocol")
            yield body
            offset += (length + 3) & ~3


def _socket(body: bytes) -> dict[str, Any]:
    family, state, timer, retransmits = struct.unpack_from("=4B", body)
    sport, dport, source, destination = _SOCKID.unpack_from(body, 4)
    expires_ms, recv_q, send_q, _uid, inode = struct.unpack_from("=5I", body, 52)
    found: dict[str, Any] = {
        "state": STATES[state] if state < len(STATES) else str(state),
        "local": _address(family, source),
        "port": sport,
        "remote": _address(family, destination),
        "peer": dport,
        "recv_q": recv_q,
        "send_q": send_q,
        "inode": inode,
    }
    if timer and timer < len(TIMERS):
        found |= {"timer": TIMERS[timer], "timer_ms": expires_ms, "timer_retries": retransmits}
    for kind, value in _attributes(body, 72):
        if kind == INET_DIAG_INFO and len(value) >= _TCP_INFO.size and found["state"] != "LISTEN":
            info = dict(zip(_TCP_INFO_FIELDS, _TCP_INFO.unpack_from(value)[8:], strict=True))
            found |= {name: info[name] for name in _KEPT_INFO}
        elif kind == INET_DIAG_SKMEMINFO and len(value) >= 36:
            meminfo = struct.unpack_from("=9I", value)
            found |= {"rcvbuf": meminfo[1], "sndbuf": meminfo[3], "drops": meminfo[8]}
    return found


def _attributes(body: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            return
        yield kind, body[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _address(family: int, raw: bytes) -> str:
    return socket.inet_ntop(family, raw[:4] if family == socket.AF_INET else raw)


def is_bound(port: int, protocol: str = "tcp") -> bool:
    """Whether a program listens on (TCP) or is bound to (UDP) the port, on any address.

    It is asked again and again while programs start, so the kernel is asked for sockets of that state only, and for no more
    than their addresses.
    """
    wanted = 1 << STATES.index("LISTEN" if protocol == "tcp" else "UNCONN")
    return any(_SOCKID.unpack_from(body, 4)[0] == port for body in _dump(protocol, wanted, 0))
