"""echo server: the smallest server there is. Waits for one connection and sends back whatever comes, until
the peer closes.

    python3 echo_server.py '' 65432

Blocking calls only: socket(2), bind(2), listen(2), accept(2), recv(2), send(2). With --udp it echoes
datagrams (udp(7)).
"""

from __future__ import annotations

import argparse
import socket

import endpoints
from options import DEFAULT_PORT, Parser, port_number, socket_options
from outcome import Outcome, run


def arguments() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, parents=[socket_options()])
    parser.add_argument("host", nargs="?", default="", help="address to listen on; empty: every interface")
    parser.add_argument("port", nargs="?", default=DEFAULT_PORT, type=port_number)
    parser.add_argument(
        "--connections", type=int, default=1, metavar="N", help="end after N of them; 0: never end"
    )
    parser.add_argument("--udp", action="store_true", help="echo datagrams, until stopped")
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    outcome.endless = True
    if args.udp:
        echo_datagrams(args, outcome)
    with endpoints.listen(args, outcome) as listener:
        served = 0
        while args.connections == 0 or served < args.connections:
            with endpoints.accept(listener, args, outcome) as connection:
                try:
                    echo(connection, outcome)
                except OSError as error:
                    if args.connections == 1:
                        raise
                    outcome.say(outcome.describe(error))  # that connection's end, not the server's
            served += 1
            outcome.note(connections=served)


def echo(connection: socket.socket, outcome: Outcome) -> None:
    """Send back what comes until the peer closes: recv() then returns nothing."""
    while data := endpoints.receive(connection, outcome, 1024):
        endpoints.send_all(connection, data, outcome)
    outcome.say(f"the peer closed; {outcome.received} bytes came, {outcome.sent} went back")


def echo_datagrams(args: argparse.Namespace, outcome: Outcome) -> None:
    """A datagram socket has no connections: each datagram says where it came from, and goes back there."""
    with endpoints.bind(args, outcome, socket.SOCK_DGRAM) as sock:
        outcome.say(f"bound to {endpoints.show(sock.getsockname())} (UDP)")
        sock.settimeout(args.timeout)
        while True:
            with outcome.call("recvfrom"):
                data, peer = sock.recvfrom(65535)
            outcome.received += len(data)
            with outcome.call("sendto"):
                outcome.sent += sock.sendto(data, peer)
            outcome.say(f"{len(data)} bytes from {endpoints.show(peer)}, sent back")


if __name__ == "__main__":
    run(arguments(), main)
