"""The verb `misuse`: calls made in the wrong order, or on the wrong socket, and the errno each of them gives.

No network is needed: everything happens on loopback, inside this one process.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
from collections.abc import Callable, Iterator

from outcome import Outcome, errno_name
from probe_verb import Verb

UNASSIGNED = "203.0.113.113"  # TEST-NET-3 (RFC 5737): nobody's address
SO_NOBODY = 32766  # no such option


@contextlib.contextmanager
def loopback_listener(backlog: int = 8) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        yield listener


@contextlib.contextmanager
def loopback_client() -> Iterator[socket.socket]:
    """A socket connected to this very process."""
    with loopback_listener() as listener, socket.create_connection(listener.getsockname()) as client:
        yield client


def not_connected(outcome: Outcome) -> None:
    """recv() before connect()"""
    with socket.socket() as sock, outcome.call("recv"):
        sock.recv(1)


def connected_already(outcome: Outcome) -> None:
    """connect() on a socket that is connected"""
    with loopback_client() as client, outcome.call("connect"):
        client.connect(client.getpeername())


def no_destination(outcome: Outcome) -> None:
    """send() on a datagram socket that has no peer"""
    with socket.socket(type=socket.SOCK_DGRAM) as sock, outcome.call("send"):
        sock.send(b"to whom?")


def datagram_too_big(outcome: Outcome) -> None:
    """a datagram of 65,508 bytes: one more than IPv4 and UDP can carry"""
    with socket.socket(type=socket.SOCK_DGRAM) as sock, outcome.call("sendto"):
        sock.sendto(bytes(65508), ("127.0.0.1", 9))


def address_in_use(outcome: Outcome) -> None:
    """bind() to a port that is somebody's"""
    with loopback_listener() as listener, socket.socket() as sock, outcome.call("bind"):
        sock.bind(listener.getsockname())


def address_not_ours(outcome: Outcome) -> None:
    """bind() to an address of another machine"""
    with socket.socket() as sock, outcome.call("bind"):
        sock.bind((UNASSIGNED, 0))


def bound_twice(outcome: Outcome) -> None:
    """bind() on a socket that is bound"""
    with loopback_listener() as listener, outcome.call("bind"):
        listener.bind(("127.0.0.1", 0))


def broken_pipe(outcome: Outcome) -> None:
    """send() after shutdown(SHUT_WR)"""
    with loopback_client() as client:
        client.shutdown(socket.SHUT_WR)
        with outcome.call("send"):
            client.send(b"one more thing")


def in_progress(outcome: Outcome) -> None:
    """connect() on a non-blocking socket: the answer comes later"""
    with loopback_listener() as listener, socket.socket() as sock:
        sock.setblocking(False)
        with outcome.call("connect"):
            sock.connect(listener.getsockname())


def in_progress_already(outcome: Outcome) -> None:
    """connect() again while the first is still waiting for its answer"""
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(loopback_listener(backlog=0)).getsockname()
        stack.enter_context(socket.create_connection(address))  # fills the queue: the next SYN gets no answer
        sock = stack.enter_context(socket.socket())
        sock.setblocking(False)
        sock.connect_ex(address)
        with outcome.call("connect"):
            sock.connect(address)


def would_block(outcome: Outcome) -> None:
    """recv() on a non-blocking socket when nothing has come"""
    with loopback_client() as client:
        client.setblocking(False)
        with outcome.call("recv"):
            client.recv(1)


def not_supported(outcome: Outcome) -> None:
    """listen() on a datagram socket"""
    with socket.socket(type=socket.SOCK_DGRAM) as sock, outcome.call("listen"):
        sock.listen()


def closed(outcome: Outcome) -> None:
    """send() on a socket that was closed"""
    sock = socket.socket()
    sock.close()
    with outcome.call("send"):
        sock.send(b"too late")


def protocol_not_supported(outcome: Outcome) -> None:
    """a stream socket that should speak UDP"""
    with outcome.call("socket"):
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP)


def no_such_option(outcome: Outcome) -> None:
    """setsockopt() with an option nobody knows"""
    with socket.socket() as sock, outcome.call("setsockopt"):
        sock.setsockopt(socket.IPPROTO_TCP, SO_NOBODY, 1)


def broadcast(outcome: Outcome) -> None:
    """a broadcast without SO_BROADCAST"""
    with socket.socket(type=socket.SOCK_DGRAM) as sock, outcome.call("sendto"):
        sock.sendto(b"everyone!", ("127.255.255.255", 9))


def connect_to_everybody(outcome: Outcome) -> None:
    """a TCP connection to the broadcast address: no route leads to everybody"""
    with socket.socket() as sock, outcome.call("connect"):
        sock.connect(("255.255.255.255", 9))


MISUSES: dict[str, Callable[[Outcome], None]] = {
    "EACCES": broadcast,
    "EADDRINUSE": address_in_use,
    "EADDRNOTAVAIL": address_not_ours,
    "EAGAIN": would_block,
    "EALREADY": in_progress_already,
    "EBADF": closed,
    "EDESTADDRREQ": no_destination,
    "EINPROGRESS": in_progress,
    "EINVAL": bound_twice,
    "EISCONN": connected_already,
    "EMSGSIZE": datagram_too_big,
    "ENETUNREACH": connect_to_everybody,
    "ENOPROTOOPT": no_such_option,
    "ENOTCONN": not_connected,
    "EOPNOTSUPP": not_supported,
    "EPIPE": broken_pipe,
    "EPROTONOSUPPORT": protocol_not_supported,
}


def misuse_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="ERRNO", choices=MISUSES, help=", ".join(MISUSES))


def misuse(args: argparse.Namespace, outcome: Outcome) -> None:
    """Do what gives a certain errno: calls in the wrong order or on the wrong socket."""
    outcome.wanted.add(args.name)
    outcome.say(f"{args.name}: {MISUSES[args.name].__doc__}")
    try:
        MISUSES[args.name](outcome)
    except OSError as error:
        if errno_name(error) != args.name:
            outcome.reason = f"expected {args.name}"
        raise
    outcome.fail(f"expected {args.name}, and the call succeeded")


VERBS = (Verb("misuse", misuse_arguments, misuse),)
