"""The verbs that need no connection: names, ICMP, datagrams sent back, running out of descriptors."""

from __future__ import annotations

import argparse
import socket
import struct
import time
from typing import NamedTuple

import echo_server
import endpoints
from options import IP_RECVERR, IPV6_RECVERR, count, duration, limit_descriptors, positive_size, report_icmp
from outcome import Outcome, errno_name
from probe_verb import Verb, add_endpoint


def resolve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", metavar="NAME")
    parser.add_argument("port", metavar="SERVICE", nargs="?", help="a port or a service of services(5)")
    parser.add_argument("--count", type=count, default=1, metavar="N", help="look it up N times")
    parser.add_argument(
        "--interval", type=duration, default=1.0, metavar="TIME", help="pause between look-ups"
    )


def resolve(args: argparse.Namespace, outcome: Outcome) -> None:
    """Look a name up with getaddrinfo(3): every answer, in the order to try them in (RFC 6724)."""
    lookups: list[list[str]] = []
    for index in range(args.count):
        time.sleep(args.interval if index else 0)
        found = endpoints.resolve(args.host, args.port, outcome, family=args.family or "any")
        lookups.append([address.sockaddr[0] for address in found])
        outcome.note(addresses=lookups[-1], lookups=lookups)
        for address in lookups[-1]:
            outcome.say(f"{args.host} is {address}")


def echo_arguments(parser: argparse.ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument("--udp", action="store_true", help="datagrams, each sent back to where it came from")
    parser.add_argument("--connections", type=int, default=0, metavar="N", help="end after N of them")


def echo(args: argparse.Namespace, outcome: Outcome) -> None:
    """Send back what comes, one connection after the other, or datagrams; until stopped."""
    echo_server.main(args, outcome)


def ping_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", metavar="HOST")
    parser.add_argument("--count", type=count, default=1, metavar="N", help="ask N times")
    parser.add_argument("--interval", type=duration, default=1.0, metavar="TIME", help="pause between them")
    parser.add_argument(
        "--size", type=positive_size, default=56, metavar="SIZE", help="bytes after the ICMP header"
    )


class IcmpError(NamedTuple):
    """An ICMP error from the socket's error queue: what it said, and who sent it."""

    type: int
    code: int
    sender: str


def ping(args: argparse.Namespace, outcome: Outcome) -> None:
    """Send ICMP echo requests (RFC 792, RFC 4443) and wait for replies; no privilege, but see icmp(7).

    The kernel allows it to the groups in net.ipv4.ping_group_range; to others socket(2) gives EACCES.
    """
    address = endpoints.resolve(
        args.host, None, outcome, family=args.family or "any", kind=socket.SOCK_DGRAM
    )[0]
    protocol = socket.IPPROTO_ICMPV6 if address.family == socket.AF_INET6 else socket.IPPROTO_ICMP
    with outcome.call("socket"):
        sock = socket.socket(address.family, socket.SOCK_DGRAM, protocol)
    rtts: list[float] = []
    outcome.note(peer=address.sockaddr[0], asked=args.count, answered=0, rtt_ms=rtts)
    failure: OSError | None = None
    with sock:
        endpoints.prepare(sock, args, outcome)
        report_icmp(sock)
        sock.settimeout(1.0 if args.timeout is None else args.timeout)
        with outcome.call("connect"):
            sock.connect(address.sockaddr)
        for sequence in range(1, args.count + 1):
            time.sleep(args.interval if sequence > 1 else 0)
            try:
                rtts.append(ping_once(sock, sequence, args.size, outcome))
                outcome.note(answered=len(rtts))
            except OSError as error:
                failure = error
                outcome.say(outcome.describe(error))
                _note_icmp_error(sock, outcome)
    if failure is not None and not rtts:
        outcome.record(failure)
        raise failure


def ping_once(sock: socket.socket, sequence: int, size_bytes: int, outcome: Outcome) -> float:
    """One request and its reply: the time between, in ms. The kernel fills in checksum and identifier."""
    ipv6 = sock.family == socket.AF_INET6
    request, reply = (128, 129) if ipv6 else (8, 0)
    began = time.monotonic()
    with outcome.call("send"):
        outcome.sent += sock.send(struct.pack(">BBHHH", request, 0, 0, 0, sequence) + bytes(size_bytes))
    while True:
        with outcome.call("recv"):
            packet = sock.recv(65535)
        kind, _, _, _, answered = struct.unpack_from(">BBHHH", packet)
        if kind == reply and answered == sequence:  # not a late one
            break
    rtt_ms = round((time.monotonic() - began) * 1000, 3)
    outcome.received += len(packet)
    outcome.say(f"{len(packet)} bytes from {outcome.extra['peer']}: sequence {sequence}, {rtt_ms} ms")
    return rtt_ms


def _note_icmp_error(sock: socket.socket, outcome: Outcome) -> None:
    error = read_icmp_error(sock)
    if error:
        outcome.note(icmp=error._asdict())
        outcome.say(f"ICMP type {error.type} code {error.code} from {error.sender}")


def read_icmp_error(sock: socket.socket) -> IcmpError | None:
    """The next ICMP error in the queue, if there is one (ip(7), IP_RECVERR; struct sock_extended_err)."""
    limit = sock.gettimeout()
    sock.setblocking(False)  # with a time-out Python would wait for the socket before it asks
    try:
        _, ancillary, _, _ = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        return None
    finally:
        sock.settimeout(limit)
    for level, kind, data in ancillary:
        if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
            _, origin, icmp_type, icmp_code = struct.unpack_from("=IBBB", data)
            if origin in (2, 3):  # SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6; 1 is this kernel's own error
                address = data[24:40] if origin == 3 else data[20:24]
                family = socket.AF_INET6 if origin == 3 else socket.AF_INET
                return IcmpError(icmp_type, icmp_code, socket.inet_ntop(family, address))
    return None


def fds_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=count, default=64, metavar="N", help="RLIMIT_NOFILE for this run")


def fds(args: argparse.Namespace, outcome: Outcome) -> None:
    """Open sockets until there are no file descriptors left: EMFILE (getrlimit(2), RLIMIT_NOFILE)."""
    outcome.wanted.add("EMFILE")
    with outcome.call("setrlimit"):
        limit_descriptors(args.limit)
    opened: list[socket.socket] = []
    try:
        for _ in range(args.limit + 1):
            with outcome.call("socket"):
                opened.append(socket.socket())
    except OSError as error:
        outcome.note(opened=len(opened), limit=args.limit)
        outcome.say(f"{len(opened)} sockets are open, then {errno_name(error)}")
        raise
    finally:
        for sock in opened:
            sock.close()


VERBS = (
    Verb("resolve", resolve_arguments, resolve),
    Verb("ping", ping_arguments, ping),
    Verb("echo", echo_arguments, echo),
    Verb("fds", fds_arguments, fds),
)
