"""app server: answers one request per connection, for many connections at once, in the application protocol.

    python3 app_server.py '' 65432

The bytes on the wire are app_protocol.py's, what they mean is app_content.py's, the sockets are
selector_server.py's. What is left is here: a session that reads one request, gives one answer, and is
finished. Whatever a peer sends instead of a request ends its own connection only, with the reason printed.
"""

from __future__ import annotations

import argparse

import endpoints
from app_content import TEXT_TYPE, answer, read_json
from app_protocol import (
    MAX_CONTENT_BYTES,
    MAX_HEADER_BYTES,
    Decoder,
    Limits,
    Message,
    ProtocolError,
    encode,
    quote,
)
from options import DEFAULT_PORT, Parser, port_number, positive_size, socket_options
from outcome import Outcome, run
from selector_server import PeerError, SelectorServer, add_limits, allow_many_files, limits_of


class AppSession:
    """One connection: a request comes, an answer goes, and that is all."""

    __slots__ = ("_decoder", "_ignore_byteorder", "_say", "finished")

    def __init__(
        self, limits: Limits, *, ignore_byteorder: bool = False, outcome: Outcome | None = None
    ) -> None:
        self.finished = False
        self._decoder = Decoder(limits)
        self._ignore_byteorder = ignore_byteorder
        self._say = None if outcome is None or outcome.quiet else outcome.say

    def receive(self, data: bytes) -> bytes:
        """The answer's bytes once the request is complete; nothing before or after that."""
        if self.finished:
            return b""
        try:
            request = self._decoder.feed(data)
            if request is None:
                return b""
            self.finished = True
            if self._say:
                self._say(f"request: {describe(request)}")
            return encode(answer(request, ignore_byteorder=self._ignore_byteorder))
        except ProtocolError as error:
            raise PeerError(str(error)) from None

    def end(self) -> None:
        """The peer sends no more: an error unless its request is complete."""
        try:
            self._decoder.end()
        except ProtocolError as error:
            raise PeerError(str(error)) from None


def describe(request: Message) -> str:
    """One line about a request, short and printable whatever is in it."""
    content = (
        quote(read_json(request)) if request.content_type == TEXT_TYPE else f"{len(request.content)} bytes"
    )
    form = f", format {quote(request.format)}" if request.format else ""
    return f"{quote(request.content_type)}, {request.byteorder}-endian sender{form}: {content}"


def arguments() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, parents=[socket_options()])
    parser.add_argument("host", nargs="?", default="", help="address to listen on; empty: every interface")
    parser.add_argument("port", nargs="?", default=DEFAULT_PORT, type=port_number)
    parser.add_argument(
        "--ignore-byteorder", action="store_true", help="the classic bug: read arrays in our own order"
    )
    parser.add_argument("--max-header", type=positive_size, default=MAX_HEADER_BYTES, metavar="SIZE")
    parser.add_argument("--max-content", type=positive_size, default=MAX_CONTENT_BYTES, metavar="SIZE")
    add_limits(parser)
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    outcome.endless = True
    allow_many_files()
    limits = Limits(args.max_header, args.max_content)
    with endpoints.listen(args, outcome) as listener:

        def new_session() -> AppSession:
            return AppSession(limits, ignore_byteorder=args.ignore_byteorder, outcome=outcome)

        SelectorServer(listener, new_session, outcome, limits_of(args)).run()


if __name__ == "__main__":
    run(arguments(), main)
