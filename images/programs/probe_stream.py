"""The verbs about connections: opening, sending, receiving, and the many ways to end."""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import time

import endpoints
from options import count, duration, limit_descriptors, positive_size, reset_on_close
from outcome import Outcome
from probe_verb import Verb, add_endpoint, add_payload, add_peer, payload, peer, preview, read


def connect_arguments(parser: argparse.ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument(
        "--udp", action="store_true", help="a datagram socket: connect() sends nothing at all"
    )
    parser.add_argument(
        "--nonblocking", action="store_true", help="say what connect() says at once: EINPROGRESS"
    )
    parser.add_argument(
        "--finish", action="store_true", help="with --nonblocking: wait, and say what SO_ERROR says"
    )
    parser.add_argument(
        "--again", action="store_true", help="with --finish: if that fails, connect the same socket again"
    )
    parser.add_argument("--hold", type=duration, default=0.0, metavar="TIME", help="keep it open so long")


def connect(args: argparse.Namespace, outcome: Outcome) -> None:
    """Connect, and say how long it took or what was wrong; every address of the name is tried in order."""
    if args.nonblocking:
        connect_nonblocking(args, outcome)
        return
    with endpoints.connect(args, outcome, socket.SOCK_DGRAM if args.udp else socket.SOCK_STREAM):
        time.sleep(args.hold)


def connect_nonblocking(args: argparse.Namespace, outcome: Outcome) -> None:
    """connect(2), EINPROGRESS: the answer comes later, as writability, and SO_ERROR says what it was."""
    outcome.wanted.add("EINPROGRESS")
    address = endpoints.resolve(args.host, args.port, outcome, family=args.family or "any")[0]
    with socket.socket(address.family, address.kind, address.protocol) as sock:
        endpoints.prepare(sock, args, outcome)
        sock.setblocking(False)
        outcome.note(peer=str(address))
        outcome.say(f"connecting to {address}, non-blocking")
        began = time.monotonic()
        try:
            with outcome.call("connect"):
                sock.connect(address.sockaddr)
        except BlockingIOError as error:
            outcome.say(outcome.describe(error))
            if not args.finish:
                return
            try:
                with outcome.call("connect"):
                    finish_connect(
                        sock, args.timeout if args.connect_timeout is None else args.connect_timeout
                    )
            except OSError as failure:
                if not args.again:
                    raise
                outcome.say(f"{outcome.describe(failure)}; connecting the same socket again")
                with outcome.call(
                    "connect"
                ):  # SO_ERROR was taken, so there is none left to report: ECONNABORTED
                    sock.connect(address.sockaddr)
        outcome.say(f"connected to {address} after {(time.monotonic() - began) * 1000:.1f} ms")
        time.sleep(args.hold)


def finish_connect(sock: socket.socket, limit: float | None) -> None:
    """Wait until a connect in progress has its answer; raise it if it is an error (connect(2))."""
    if not select.select([], [sock], [], limit)[1]:
        raise TimeoutError
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))


def listen_arguments(parser: argparse.ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument(
        "--no-accept", action="store_true", help="never accept: connections wait in the queue"
    )
    parser.add_argument(
        "--count", type=count, metavar="N", help="end after N connections (else: when stopped)"
    )
    parser.add_argument(
        "--nofile", type=count, metavar="N", help="RLIMIT_NOFILE: how many descriptors it may have open"
    )
    parser.add_argument(
        "--then",
        choices=("hold", "close", "close-unread", "abort", "read", "peername"),
        default="hold",
        help="with each connection; close-unread waits for data and leaves it: RST; abort: RST; read: to the end",
    )


def listen(args: argparse.Namespace, outcome: Outcome) -> None:
    """Listen, accept, and hold, read, close or abort each connection; or never accept."""
    outcome.endless = True
    if args.nofile is not None:
        with outcome.call("setrlimit"):
            limit_descriptors(args.nofile)
    held: list[socket.socket] = []
    with endpoints.listen(args, outcome) as listener:
        while args.no_accept:
            signal.pause()
        accepted = 0
        while args.count is None or accepted < args.count:
            connection = endpoints.accept(listener, args, outcome)
            accepted += 1
            outcome.note(connections=accepted)
            if args.then == "hold":
                held.append(connection)
            else:
                with connection:
                    treat(connection, args, outcome)


def treat(connection: socket.socket, args: argparse.Namespace, outcome: Outcome) -> None:
    """What --then says is done with an accepted connection, up to its close()."""
    if args.then == "read":
        read(connection, outcome, float("inf"))
    elif args.then == "peername":
        with outcome.call("getpeername"):
            connection.getpeername()
    elif args.then == "close-unread":
        select.select([connection], [], [], args.timeout)
        outcome.say(f"closing with {endpoints.unread(connection)} bytes unread")
    elif args.then == "abort":
        reset_on_close(connection)
    with outcome.call("close"):
        connection.close()


def bind_arguments(parser: argparse.ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument("--udp", action="store_true", help="a datagram socket")
    parser.add_argument("--hold", type=duration, default=0.0, metavar="TIME", help="keep it so long")


def bind(args: argparse.Namespace, outcome: Outcome) -> None:
    """Bind to an address and port, and do nothing with it."""
    with endpoints.bind(args, outcome, socket.SOCK_DGRAM if args.udp else socket.SOCK_STREAM) as sock:
        outcome.say(f"bound to {endpoints.show(sock.getsockname())}")
        time.sleep(args.hold)


def send_arguments(parser: argparse.ArgumentParser) -> None:
    add_peer(parser)
    add_payload(parser)
    parser.add_argument(
        "--udp", action="store_true", help="datagrams; ICMP errors come back on the next call"
    )
    parser.add_argument(
        "--unconnected", action="store_true", help="with --udp: sendto() without connect(): no errors"
    )
    parser.add_argument("--count", type=count, default=1, metavar="N", help="send it N times")
    parser.add_argument(
        "--numbered", action="store_true", help="each time with its number behind it: tick 1, tick 2"
    )
    parser.add_argument("--interval", type=duration, default=0.0, metavar="TIME", help="pause between them")
    parser.add_argument("--wait", type=duration, default=0.0, metavar="TIME", help="pause before the first")


def send(args: argparse.Namespace, outcome: Outcome) -> None:
    """Send data, once or again and again, and read an answer if asked to."""
    if args.udp and args.unconnected:
        send_unconnected(args, outcome)
        return
    with peer(args, outcome, socket.SOCK_DGRAM if args.udp else socket.SOCK_STREAM) as sock:
        time.sleep(args.wait)
        data = payload(args)
        for index in range(args.count):
            time.sleep(args.interval if index else 0)
            send_once(sock, data + (f" {index + 1}\n".encode() if args.numbered else b""), outcome)
        if args.receive:
            read(sock, outcome, args.receive, once=args.udp)


def send_once(sock: socket.socket, data: bytes, outcome: Outcome) -> None:
    """All of a stream's data, or one datagram, which may be empty (udp(7))."""
    if sock.type == socket.SOCK_DGRAM:
        with outcome.call("send"):
            outcome.sent += sock.send(data)
    else:
        endpoints.send_all(sock, data, outcome)
    outcome.say(f"sent {len(data)} bytes: {preview(data)}")


def send_unconnected(args: argparse.Namespace, outcome: Outcome) -> None:
    """sendto(2) without a peer: unless IP_RECVERR is on, nobody tells it about ICMP errors (udp(7))."""
    data = payload(args)
    address = endpoints.resolve(
        args.host, args.port, outcome, family=args.family or "any", kind=socket.SOCK_DGRAM
    )[0]
    with socket.socket(address.family, address.kind, address.protocol) as sock:
        endpoints.prepare(sock, args, outcome)
        sock.settimeout(args.timeout)
        for index in range(args.count):
            time.sleep(args.interval if index else args.wait)
            with outcome.call("sendto"):
                outcome.sent += sock.sendto(data, address.sockaddr)
            outcome.say(f"sent {len(data)} bytes to {address}")
        if args.receive:
            read(sock, outcome, args.receive, once=True)


def recv_arguments(parser: argparse.ArgumentParser) -> None:
    add_peer(parser)
    parser.add_argument("--udp", action="store_true", help="bind to HOST PORT and take datagrams")
    parser.add_argument(
        "--size", type=positive_size, metavar="SIZE", help="end after so many bytes (else: end of stream)"
    )
    parser.add_argument("--once", action="store_true", help="end after one recv()")
    parser.add_argument(
        "--count", type=count, default=1, metavar="N", help="with --udp: end after N datagrams"
    )
    parser.add_argument(
        "--wait", type=duration, default=0.0, metavar="TIME", help="pause before the first recv()"
    )


def recv(args: argparse.Namespace, outcome: Outcome) -> None:
    """Receive until the peer closes, or so many bytes, or one recv()."""
    if args.udp:
        recv_datagrams(args, outcome)
        return
    with peer(args, outcome) as sock:
        time.sleep(args.wait)
        read(sock, outcome, args.size or float("inf"), once=args.once)


def recv_datagrams(args: argparse.Namespace, outcome: Outcome) -> None:
    """recvfrom(2): each call takes exactly one datagram and says where it came from."""
    with endpoints.bind(args, outcome, socket.SOCK_DGRAM) as sock:
        outcome.say(f"bound to {endpoints.show(sock.getsockname())} (UDP)")
        sock.settimeout(args.timeout)
        if args.nonblocking:
            outcome.wanted.add("EAGAIN")
            sock.setblocking(False)
        time.sleep(args.wait)
        for number in range(args.count):
            with outcome.call("recvfrom"):
                data, sender = sock.recvfrom(65535)
            outcome.received += len(data)
            outcome.note(peer=endpoints.show(sender), datagrams=number + 1)
            outcome.say(f"received {len(data)} bytes from {endpoints.show(sender)}: {preview(data)}")


VERBS = (
    Verb("connect", connect_arguments, connect),
    Verb("listen", listen_arguments, listen),
    Verb("bind", bind_arguments, bind),
    Verb("send", send_arguments, send),
    Verb("recv", recv_arguments, recv),
)
