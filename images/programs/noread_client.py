"""noread client: sends until it would block, and says how many bytes went and where they sit.

    python3 noread_client.py 127.0.0.1 65432 --sndbuf 16KiB --hold 2s

send(2) on a non-blocking socket says EAGAIN when the send queue is full. That alone is not yet the end:
the peer's kernel goes on taking bytes while its receive buffer grows. So it is blocked once nothing more
went for --settle. It then reports op send, errno EAGAIN, `sent` bytes taken by this kernel, of which
`sendq` (SIOCOUTQ, tcp(7)) are still here and `delivered` have been acknowledged.
"""

from __future__ import annotations

import argparse
import select
import socket
import time

import endpoints
from options import DEFAULT_PORT, Parser, duration, port_number, size, socket_options
from outcome import Outcome, run

CHUNK = bytes(65536)
LOOK_AGAIN_SECONDS = 0.02


def arguments() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, parents=[socket_options()])
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=DEFAULT_PORT, type=port_number)
    parser.add_argument(
        "--settle", type=duration, default=0.3, metavar="TIME", help="blocked: no progress for so long"
    )
    parser.add_argument(
        "--hold", type=duration, default=0.0, metavar="TIME", help="stay blocked so long, then end"
    )
    parser.add_argument(
        "--most",
        type=size,
        default=2**30,
        metavar="SIZE",
        help="give up if so much went and it never blocked",
    )
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    outcome.wanted.add("EAGAIN")
    with endpoints.connect(args, outcome) as sock:
        sock.setblocking(False)
        try:
            send_until_blocked(sock, args, outcome)
        except BlockingIOError:
            report_queues(sock, outcome)
            time.sleep(args.hold)


def send_until_blocked(sock: socket.socket, args: argparse.Namespace, outcome: Outcome) -> None:
    """Send until the kernel says EAGAIN and goes on saying so; raises that BlockingIOError."""
    last_progress = time.monotonic()
    while outcome.sent < args.most:
        try:
            with outcome.call("send"):
                outcome.sent += sock.send(CHUNK)
            last_progress = time.monotonic()
        except BlockingIOError:
            if time.monotonic() - last_progress >= args.settle:
                raise
            # Look again before select() says so: it calls a socket writable only when a third of it is free.
            select.select([], [sock], [], LOOK_AGAIN_SECONDS)
    outcome.fail(f"{outcome.sent} bytes went and send() never blocked: the peer reads")


def report_queues(sock: socket.socket, outcome: Outcome) -> None:
    sendq = endpoints.unsent(sock)
    sndbuf = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    outcome.note(sendq=sendq, delivered=outcome.sent - sendq, sndbuf=sndbuf)
    outcome.say(f"send: EAGAIN, and it stays so: {outcome.sent} bytes went")
    outcome.say(f"{sendq} of them wait in our send queue, {outcome.sent - sendq} in the peer's receive queue")


if __name__ == "__main__":
    run(arguments(), main)
