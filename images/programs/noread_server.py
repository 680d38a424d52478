"""noread server: accepts every connection and never reads from any.

    python3 noread_server.py '' 65432 --rcvbuf 8KiB

What its peers send fills its receive queue, then the window closes (RFC 9293, 3.8.6), then the peer's send
queue fills, and then the peer blocks. No call of the peer's ever fails: nothing is wrong with the network.
Ends when stopped, saying what it left unread.
"""

from __future__ import annotations

import argparse
import socket

import endpoints
from options import DEFAULT_PORT, Parser, port_number, socket_options
from outcome import Outcome, Stopped, run


def arguments() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, parents=[socket_options()])
    parser.add_argument("host", nargs="?", default="", help="address to listen on; empty: every interface")
    parser.add_argument("port", nargs="?", default=DEFAULT_PORT, type=port_number)
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    outcome.endless = True
    connections: list[socket.socket] = []
    with endpoints.listen(args, outcome) as listener:
        try:
            while True:
                connections.append(endpoints.accept(listener, args, outcome))
        except (OSError, Stopped):
            report_unread(connections, outcome)
            raise


def report_unread(connections: list[socket.socket], outcome: Outcome) -> None:
    """Say how many bytes wait in each receive queue (SIOCINQ, tcp(7))."""
    waiting = [endpoints.unread(connection) for connection in connections]
    for bytes_unread in waiting:
        outcome.say(f"{bytes_unread} bytes came and were never read")
    outcome.note(connections=len(connections), recvq=waiting)


if __name__ == "__main__":
    run(arguments(), main)
