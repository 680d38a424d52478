"""Names, addresses, and the two ways to get a connected socket: connect to someone, or listen and accept.

getaddrinfo(3) may give several addresses for one name. A client that is worth its name tries them in the
order given (RFC 6724) until one answers, and says what each of them said.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import socket
import struct
import termios
import time
from typing import Any, NamedTuple

from options import apply_options
from outcome import Outcome, errno_name

FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6, "any": socket.AF_UNSPEC}


class Address(NamedTuple):
    """One answer of getaddrinfo(3)."""

    family: socket.AddressFamily
    kind: socket.SocketKind
    protocol: int
    sockaddr: Any

    def __str__(self) -> str:
        return show(self.sockaddr)


def show(sockaddr: Any) -> str:
    """`192.0.2.1:80` or `[2001:db8::1]:80`."""
    if not sockaddr:
        return "nobody"
    host, port = sockaddr[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(
    host: str | None,
    port: int | str | None,
    outcome: Outcome,
    *,
    family: str = "any",
    kind: socket.SocketKind = socket.SOCK_STREAM,
    flags: int = 0,
) -> list[Address]:
    """Every address getaddrinfo(3) gives for a name, in its order.

    Raises socket.gaierror (EAI_NONAME, EAI_AGAIN …); a name that is no name at all counts as EAI_NONAME.
    """
    with outcome.call("getaddrinfo"):
        try:
            found = socket.getaddrinfo(host, port, FAMILIES[family], kind, flags=flags)
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from error
    return [Address(answer[0], answer[1], answer[2], answer[4]) for answer in found]


def connect(
    args: argparse.Namespace, outcome: Outcome, kind: socket.SocketKind = socket.SOCK_STREAM
) -> socket.socket:
    """A socket connected to args.host and args.port, with the options asked for. Raises the last error."""
    addresses = resolve(args.host, args.port, outcome, family=args.family or "any", kind=kind)
    if args.first_only:
        del addresses[1:]
    attempts: list[dict[str, object]] = []
    outcome.note(attempts=attempts)
    while True:
        address = addresses.pop(0)
        outcome.say(f"connecting to {address}")
        outcome.note(peer=str(address))
        sock = socket.socket(address.family, address.kind, address.protocol)
        began = time.monotonic()
        try:
            connect_one(sock, address, args, outcome)
        except OSError as error:
            sock.close()
            attempts.append(_attempt(address, began, error))
            if not addresses:
                raise
            outcome.say(f"{outcome.describe(error)}; trying the next address")
            continue
        attempts.append(_attempt(address, began))
        outcome.note(local=show(sock.getsockname()))
        outcome.say(f"connected from {show(sock.getsockname())} to {address} in {outcome.ms:.1f} ms")
        return sock


def _attempt(address: Address, began: float, error: OSError | None = None) -> dict[str, object]:
    return {
        "address": str(address),
        "errno": errno_name(error) if error else None,
        "timed_out": error is not None and errno_name(error) is None,
        "ms": round((time.monotonic() - began) * 1000, 3),
    }


def connect_one(sock: socket.socket, address: Address, args: argparse.Namespace, outcome: Outcome) -> None:
    """Set the options, bind to --source if asked, connect; --timeout then holds for every later call."""
    prepare(sock, args, outcome)
    sock.settimeout(args.timeout if args.connect_timeout is None else args.connect_timeout)
    with outcome.call("connect"):
        sock.connect(address.sockaddr)
    sock.settimeout(args.timeout)


def prepare(sock: socket.socket, args: argparse.Namespace, outcome: Outcome) -> None:
    """Socket options and --source, before connect(2)."""
    with outcome.call("setsockopt"):
        if args.reuseaddr:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        apply_options(sock, args)
    if args.source:
        with outcome.call("bind"):
            sock.bind(args.source)


def bind(
    args: argparse.Namespace, outcome: Outcome, kind: socket.SocketKind = socket.SOCK_STREAM
) -> socket.socket:
    """A socket bound to args.host and args.port.

    An empty host is every interface: of IPv4, of IPv6 with --family 6, of both with --family any (one socket
    for both: ipv6(7), IPV6_V6ONLY).
    """
    both = not args.host and args.family == "any"
    family = args.family or ("any" if args.host else "4")
    address = resolve(
        args.host or None,
        args.port,
        outcome,
        family="6" if both else family,
        kind=kind,
        flags=socket.AI_PASSIVE,
    )[0]
    sock = socket.socket(address.family, address.kind, address.protocol)
    try:
        with outcome.call("setsockopt"):
            if args.reuseaddr is not False:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
            apply_options(sock, args)
        outcome.note(local=str(address))
        with outcome.call("bind"):
            sock.bind(address.sockaddr)
    except OSError:
        sock.close()
        raise
    outcome.note(local=show(sock.getsockname()))
    return sock


def listen(args: argparse.Namespace, outcome: Outcome) -> socket.socket:
    """A listening TCP socket, announced as `listening on ADDRESS:PORT`."""
    sock = bind(args, outcome)
    try:
        with outcome.call("listen"):
            sock.listen(args.backlog)
    except OSError:
        sock.close()
        raise
    outcome.announce(f"listening on {show(sock.getsockname())}")
    return sock


def accept(listener: socket.socket, args: argparse.Namespace, outcome: Outcome) -> socket.socket:
    """The next connection of a listening socket, which waits --timeout at most for one."""
    listener.settimeout(args.timeout)
    with outcome.call("accept"):
        sock, peer = listener.accept()
    sock.settimeout(args.timeout)
    outcome.note(peer=show(peer))
    outcome.say(f"accepted a connection from {show(peer)}")
    return sock


def send_all(sock: socket.socket, data: bytes, outcome: Outcome) -> None:
    """sendall(), but counting: outcome.sent says how many bytes the kernel took, whatever happens."""
    view = memoryview(data)
    while view:
        with outcome.call("send"):
            taken = sock.send(view)
        outcome.sent += taken
        view = view[taken:]


def receive(sock: socket.socket, outcome: Outcome, most: int = 65536) -> bytes:
    """One recv(2); b"" is the end of the stream, noted as `eof`."""
    with outcome.call("recv"):
        data = sock.recv(most)
    outcome.received += len(data)
    outcome.note(eof=not data)
    return data


def unsent(sock: socket.socket) -> int:
    """Bytes in the send queue: not sent, or sent and not acknowledged (SIOCOUTQ, tcp(7))."""
    return _ioctl_int(sock, termios.TIOCOUTQ)


def unread(sock: socket.socket) -> int:
    """Bytes in the receive queue that nobody has read (SIOCINQ, tcp(7))."""
    return _ioctl_int(sock, termios.FIONREAD)


def _ioctl_int(sock: socket.socket, request: int) -> int:
    # The numbers of these requests differ between architectures; termios knows this one's.
    try:
        value: int = struct.unpack("i", fcntl.ioctl(sock, request, bytes(4)))[0]
    except OSError as error:
        if error.errno == errno.EINVAL:  # a listening socket has no queue of bytes
            return 0
        raise
    return value
