"""multiconn server: echoes on many connections at once, with one thread and selectors(3).

    python3 multiconn_server.py '' 65432 --idle-timeout 30s

One connection that breaks ends alone; a peer that stays silent is dropped; a peer that sends and never
reads is read no further. The sockets are selector_server.py's; what is left is here: send back what comes.
"""

from __future__ import annotations

import argparse

import endpoints
from options import DEFAULT_PORT, Parser, port_number, socket_options
from outcome import Outcome, run
from selector_server import SelectorServer, add_limits, allow_many_files, limits_of


class EchoSession:
    """One connection: what comes goes back, until the peer closes."""

    __slots__ = ("finished",)

    def __init__(self) -> None:
        self.finished = False

    def receive(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def end(self) -> None:
        """The peer closed: what is still to be sent goes first, then we close too."""


def arguments() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, parents=[socket_options()])
    parser.add_argument("host", nargs="?", default="", help="address to listen on; empty: every interface")
    parser.add_argument("port", nargs="?", default=DEFAULT_PORT, type=port_number)
    add_limits(parser)
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    outcome.endless = True
    allow_many_files()
    with endpoints.listen(args, outcome) as listener:
        SelectorServer(listener, EchoSession, outcome, limits_of(args)).run()


if __name__ == "__main__":
    run(arguments(), main)
