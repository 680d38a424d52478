"""echo client: connects, sends one message, and reads until all of it has come back.

    python3 echo_client.py 127.0.0.1 65432

TCP is a stream of bytes (RFC 9293): one send() may come back in several recv()s, so it counts bytes, not
calls.
"""

from __future__ import annotations

import argparse
import socket

import endpoints
from options import DEFAULT_PORT, Parser, port_number, socket_options
from outcome import Outcome, run


def arguments() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, parents=[socket_options()])
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=DEFAULT_PORT, type=port_number)
    parser.add_argument("message", nargs="?", default="Hello, world")
    parser.add_argument("--udp", action="store_true", help="one datagram there, one back")
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    message = args.message.encode("utf-8", "surrogateescape")
    kind = socket.SOCK_DGRAM if args.udp else socket.SOCK_STREAM
    with endpoints.connect(args, outcome, kind) as sock:
        endpoints.send_all(sock, message, outcome)
        answer = b""
        while len(answer) < len(message):
            data = endpoints.receive(sock, outcome)
            if not data:
                outcome.fail(f"the peer closed after {len(answer)} of {len(message)} bytes")
                return
            answer += data
    outcome.say(f"received {answer!r}")
    if answer != message:
        outcome.fail("what came back is not what was sent")


if __name__ == "__main__":
    run(arguments(), main)
