"""What a verb of the probe is, and the arguments that several verbs share."""

from __future__ import annotations

import argparse
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import endpoints
from options import duration, port_number, positive_size, size
from outcome import Outcome


class Verb(NamedTuple):
    """A verb: its name, its own arguments, and what it does (whose docstring is its help)."""

    name: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Outcome], None]


def add_endpoint(parser: argparse.ArgumentParser) -> None:
    """HOST PORT."""
    parser.add_argument("host", metavar="HOST")
    parser.add_argument("port", metavar="PORT", type=port_number)


def add_peer(parser: argparse.ArgumentParser) -> None:
    """HOST PORT and how to get from there to a connected socket."""
    add_endpoint(parser)
    parser.add_argument(
        "--listen", action="store_true", help="listen on HOST PORT and take the first connection"
    )
    parser.add_argument(
        "--nonblocking", action="store_true", help="O_NONBLOCK: EAGAIN where others would wait"
    )
    parser.add_argument(
        "--hold", type=duration, default=0.0, metavar="TIME", help="keep it open so long at the end"
    )


def add_payload(parser: argparse.ArgumentParser, default: str = "Hello, world") -> None:
    """What to send: a text, bytes in hex, or so many bytes of no meaning."""
    parser.add_argument("data", nargs="?", default=default, metavar="DATA", help="text to send, as UTF-8")
    parser.add_argument("--hex", type=hexadecimal, metavar="HEX", help="send these bytes instead")
    parser.add_argument("--size", type=size, metavar="SIZE", help="send so many bytes instead")
    parser.add_argument(
        "--receive", type=receive_limit, metavar="SIZE|eof", help="then read so much, or to the end"
    )


def hexadecimal(text: str) -> bytes:
    """Bytes from `00ff`, with spaces between them or without."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not hexadecimal: write 00ff") from None


def receive_limit(text: str) -> float:
    """A number of bytes, or `eof`: as many as come."""
    return float("inf") if text == "eof" else positive_size(text)


def payload(args: argparse.Namespace) -> bytes:
    """The bytes that add_payload()'s arguments ask for."""
    if args.hex is not None:
        return bytes(args.hex)
    if args.size is not None:
        return bytes(index % 251 for index in range(min(args.size, 251 * 256))).ljust(args.size, b".")
    return bytes(args.data.encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def peer(
    args: argparse.Namespace, outcome: Outcome, kind: socket.SocketKind = socket.SOCK_STREAM
) -> Iterator[socket.socket]:
    """A connected socket: to HOST PORT, or with --listen the first connection that comes there."""
    if args.listen:
        with endpoints.listen(args, outcome) as listener:
            sock = endpoints.accept(listener, args, outcome)
    else:
        sock = endpoints.connect(args, outcome, kind)
    with sock:
        if args.nonblocking:
            outcome.wanted.add("EAGAIN")
            sock.setblocking(False)
        yield sock
        time.sleep(args.hold)


def read(
    sock: socket.socket,
    outcome: Outcome,
    limit: float,
    *,
    chunk: int = 65536,
    pause: float = 0.0,
    once: bool = False,
) -> None:
    """recv() until `limit` bytes came or the peer closed: `chunk` at a time, `pause` seconds between."""
    while outcome.received < limit:
        data = endpoints.receive(sock, outcome, int(min(chunk, limit - outcome.received)))
        if not data:
            outcome.say(f"end of stream: the peer closed; {outcome.received} bytes came in all")
            return
        outcome.say(f"received {len(data)} bytes: {preview(data)}")
        if once:
            return
        time.sleep(pause)


def preview(data: bytes) -> str:
    """The first bytes, as Python writes them."""
    return repr(data[:60]) + ("…" if len(data) > 60 else "")
