"""The options every program shares, with the same names everywhere, and the setsockopt(2) calls they become.

Times and sizes are written with units: `5s`, `100ms`, `2m`; `4096`, `64KiB`, `1MiB`, `10kB`. A bare number
is seconds or bytes. Sources: socket(7), tcp(7), ip(7), ipv6(7), RFC 9293 (TCP), RFC 5482 (user timeout).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import socket
import struct
import sys
from typing import Any, NamedTuple

DEFAULT_PORT = 65432

# linux/in.h and linux/in6.h, on every architecture; the socket module of Python 3.11 does not name them.
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_RECVERR = 10, 2, 11
IPV6_MTU_DISCOVER, IPV6_DONTFRAG, IPV6_RECVERR = 23, 62, 25

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def duration(text: str) -> float:
    """Seconds from `100ms`, `5s`, `2m`, `1.5`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write 100ms, 5s or 2m")
    return float(match[1]) * _SECONDS[match[2]]


def whole_seconds(text: str) -> int:
    """Seconds for the options in which the kernel only knows whole ones (socket(7), tcp(7))."""
    seconds = duration(text)
    if seconds != int(seconds):
        raise argparse.ArgumentTypeError(f"{text!r}: the kernel only takes whole seconds here")
    return int(seconds)


def size(text: str) -> int:
    """Bytes from `4096`, `64KiB`, `1MiB`, `10kB`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(B|kB|MB|GB|KiB|MiB|GiB|)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write 4096, 64KiB or 1MiB")
    return int(float(match[1]) * _BYTES[match[2]]) if "." in match[1] else int(match[1]) * _BYTES[match[2]]


def positive_size(text: str) -> int:
    """A size of at least one byte."""
    if size(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: at least one byte")
    return size(text)


def port_number(text: str) -> int:
    """A port, 0 to 65535; 0 lets the kernel choose."""
    if not re.fullmatch(r"\d{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def count(text: str) -> int:
    """A number of things, 1 or more."""
    if not re.fullmatch(r"\d{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


class Keepalive(NamedTuple):
    """When an idle connection is probed (tcp(7)): after `idle` s, every `interval` s, `probes` times."""

    idle: int
    interval: int
    probes: int


def keepalive(text: str) -> Keepalive:
    """`IDLE,INTERVAL,COUNT`, such as `5s,1s,3`."""
    parts = text.split(",")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"{text!r}: write IDLE,INTERVAL,COUNT, such as 5s,1s,3")
    return Keepalive(whole_seconds(parts[0]), whole_seconds(parts[1]), count(parts[2]))


def source(text: str) -> tuple[str, int]:
    """`ADDR`, `ADDR:PORT`, `[V6]:PORT` or `:PORT`."""
    match = re.fullmatch(r"(?:\[(?P<v6>[^]]+)\]|(?P<v4>[^:]*))(?::(?P<port>\d+))?", text)
    if match:
        return match["v6"] or match["v4"], port_number(match["port"] or "0")
    return text, 0  # an IPv6 address without brackets


class Help(argparse.HelpFormatter):
    """Help as wide as the terminal. argparse asks shutil how wide that is, whose import costs more than the rest."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


class WrittenHelp(argparse.RawDescriptionHelpFormatter, Help):
    """Help whose description stands as it was written."""


class Parser(argparse.ArgumentParser):
    """The parser of a program; its options are written out in full."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"formatter_class": WrittenHelp, "allow_abbrev": False, **arguments})


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return 80


def socket_options() -> argparse.ArgumentParser:
    """The parent parser with the options of a socket; the same on every program."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("socket options")
    group.add_argument("--family", choices=("4", "6", "any"), help="IPv4, IPv6, or whichever the name has")
    group.add_argument(
        "--reuseaddr", action=argparse.BooleanOptionalAction, help="SO_REUSEADDR (servers: on)"
    )
    group.add_argument(
        "--linger", type=whole_seconds, metavar="SECONDS", help="SO_LINGER; 0: close() sends RST"
    )
    group.add_argument("--nodelay", action="store_true", help="TCP_NODELAY: no Nagle (RFC 896)")
    group.add_argument("--sndbuf", type=size, metavar="SIZE", help="SO_SNDBUF (the kernel doubles it)")
    group.add_argument("--rcvbuf", type=size, metavar="SIZE", help="SO_RCVBUF (the kernel doubles it)")
    group.add_argument(
        "--keepalive", type=keepalive, metavar="IDLE,INTERVAL,COUNT", help="SO_KEEPALIVE and TCP_KEEP*"
    )
    group.add_argument("--user-timeout", type=duration, metavar="TIME", help="TCP_USER_TIMEOUT (RFC 5482)")
    group.add_argument(
        "--syn-retries", type=count, metavar="N", help="TCP_SYNCNT: SYNs sent again before ETIMEDOUT"
    )
    group.add_argument("--ttl", type=count, metavar="N", help="IP_TTL, IPV6_UNICAST_HOPS")
    group.add_argument(
        "--dont-fragment", action="store_true", help="IP_MTU_DISCOVER: set DF, fail with EMSGSIZE"
    )
    group.add_argument(
        "--recverr", action="store_true", help="IP_RECVERR: every ICMP error reaches the program"
    )
    group.add_argument("--source", type=source, metavar="ADDR[:PORT]", help="bind(2) before connect(2)")
    group.add_argument(
        "--backlog", type=int, default=128, metavar="N", help="listen(2)'s queue of connections"
    )
    group.add_argument("--timeout", type=duration, metavar="TIME", help="our own limit for each call")
    group.add_argument(
        "--connect-timeout", type=duration, metavar="TIME", help="our own limit for connect alone"
    )
    group.add_argument("--first-only", action="store_true", help="try only the first address of a name")
    group.add_argument("--quiet", action="store_true", help="no transcript but where it listens")
    return parser


def apply_options(sock: socket.socket, args: argparse.Namespace) -> None:
    """Set on `sock` what was asked for. What a listening socket has, it gives to what it accepts."""
    if args.linger is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _pack_linger(args.linger))
    if args.sndbuf is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, args.sndbuf)
    if args.rcvbuf is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, args.rcvbuf)
    if args.nodelay:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if args.keepalive is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, args.keepalive.idle)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, args.keepalive.interval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, args.keepalive.probes)
    if args.user_timeout is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(args.user_timeout * 1000))
    if args.syn_retries is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, args.syn_retries)
    if args.ttl is not None:
        _set_ttl(sock, args.ttl)
    if args.dont_fragment:
        _forbid_fragments(sock)
    if args.recverr:
        report_icmp(sock)


def reset_on_close(sock: socket.socket) -> None:
    """Make close() abort the connection with RST instead of ending it with FIN (RFC 9293, 3.10.5)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _pack_linger(0))


def limit_descriptors(number: int) -> None:
    """Allow this process `number` open file descriptors, or as many as it may have at most (getrlimit(2))."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))


def _pack_linger(seconds: int) -> bytes:
    return struct.pack("ii", 1, seconds)  # struct linger { int l_onoff; int l_linger; }


def _set_ttl(sock: socket.socket, hops: int) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)


def _forbid_fragments(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)


def report_icmp(sock: socket.socket) -> None:
    """Let every ICMP error reach the program as an errno, also on an unconnected UDP socket (ip(7))."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
