"""app client: sends one request in the application protocol and prints the answer.

    python3 app_client.py 127.0.0.1 65432 search morpheus
    python3 app_client.py 127.0.0.1 65432 search 🐶 --encoding utf-16
    python3 app_client.py 127.0.0.1 65432 binary 'some bytes'
    python3 app_client.py 127.0.0.1 65432 sum 1,2,3 --format h

The action `search` goes as JSON text, numbers with --format as a binary array, anything else as binary;
--type says otherwise. With --load N it becomes a load generator: N connections, --concurrency of them at a
time.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time

import endpoints
from app_content import (
    ARRAY_FORMATS,
    ARRAY_TYPE,
    TEXT_ENCODINGS,
    TEXT_TYPE,
    Array,
    array_request,
    binary_request,
    read_array,
    read_json,
    text_request,
)
from app_load import generate_load
from app_protocol import BYTE_ORDERS, Decoder, Limits, Message, ProtocolError, encode
from options import DEFAULT_PORT, count, duration, port_number, positive_size, socket_options
from outcome import Outcome, run

MAX_ANSWER = Limits(0xFFFF, 64 * 1024 * 1024)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, parents=[socket_options()], allow_abbrev=False)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("host")
    parser.add_argument("port", type=port_number, help=f"usually {DEFAULT_PORT}")
    parser.add_argument("action")
    parser.add_argument(
        "value", help="text, or numbers separated by commas (after -- if the first is negative)"
    )
    parser.add_argument("--type", choices=("text", "binary", "array"), help="how to send it")
    parser.add_argument("--encoding", choices=TEXT_ENCODINGS, default="utf-8", help="of text")
    parser.add_argument(
        "--format", choices=tuple(ARRAY_FORMATS), help="of numbers: a letter of Python's struct"
    )
    parser.add_argument(
        "--byteorder", choices=BYTE_ORDERS, default=sys.byteorder, help="send as if this machine had it"
    )
    parser.add_argument(
        "--ignore-byteorder", action="store_true", help="the classic bug: read the answer in our own order"
    )
    parser.add_argument("--chunk", type=positive_size, metavar="SIZE", help="send in pieces of this size")
    parser.add_argument(
        "--interval", type=duration, default=0.01, metavar="TIME", help="pause between the pieces"
    )
    parser.add_argument(
        "--load", type=count, metavar="N", help="make N connections, and say how fast it went"
    )
    parser.add_argument(
        "--concurrency", type=count, default=32, metavar="N", help="with --load: so many at a time"
    )
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    request = build_request(args)
    if args.load:
        generate_load(args, encode(request), outcome)
        return
    with endpoints.connect(args, outcome) as sock:
        send_in_pieces(sock, encode(request), args, outcome)
        try:
            response = receive_message(sock, outcome)
            show_response(response, args, outcome)
        except ProtocolError as error:
            outcome.fail(f"the answer is wrong: {error}")


def build_request(args: argparse.Namespace) -> Message:
    """The request the arguments ask for; arguments that cannot be sent are bad usage."""
    default = "array" if args.format else "text" if args.action == "search" else "binary"
    kind = args.type or default
    try:
        if kind == "text":
            return text_request(args.action, args.value, args.encoding, args.byteorder)
        if kind == "array":
            form = args.format or "i"
            number = float if form in "fd" else int
            values = tuple(number(text) for text in args.value.split(",")) if args.value else ()
            return array_request(Array(form, values), args.byteorder)
        return binary_request(args.action, args.value, args.byteorder)
    except (ValueError, ProtocolError) as error:
        arguments().error(str(error))


def send_in_pieces(sock: socket.socket, data: bytes, args: argparse.Namespace, outcome: Outcome) -> None:
    """Send at once, or in pieces with pauses: the receiver must not care."""
    step = args.chunk or len(data)
    for start in range(0, len(data), step):
        time.sleep(args.interval if start else 0)
        endpoints.send_all(sock, data[start : start + step], outcome)
    outcome.say(f"sent a request of {len(data)} bytes")


def receive_message(sock: socket.socket, outcome: Outcome) -> Message:
    """One message, in however many pieces it comes. Raises ProtocolError."""
    decoder = Decoder(MAX_ANSWER)
    while True:
        data = endpoints.receive(sock, outcome)
        if not data:
            decoder.end()
        message = decoder.feed(data)
        if message:
            return message


def show_response(response: Message, args: argparse.Namespace, outcome: Outcome) -> None:
    """Print the answer and put it in the outcome. Raises ProtocolError if it is not what its header says."""
    outcome.note(content_type=response.content_type, peer_byteorder=response.byteorder)
    if response.content_type == TEXT_TYPE:
        content = read_json(response)
        result = content.get("result") if isinstance(content, dict) else content
        outcome.note(result=result)
        outcome.say(f"result: {result}")
    elif response.content_type == ARRAY_TYPE:
        if response.format is None:  # a server that takes it for granted that we know
            response = response._replace(format=args.format)
        array = read_array(response, sys.byteorder if args.ignore_byteorder else response.byteorder)
        total, values = array.values[:1], array.values[1:]
        outcome.note(format=array.format, sum=total[0] if total else None, values=values)
        outcome.say(f"sum {', '.join(map(str, total))} of {', '.join(map(str, values))}")
        outcome.say(f"(format {array.format}, from a {response.byteorder}-endian machine)")
    else:
        outcome.note(result=repr(response.content))
        outcome.say(f"binary: {response.content!r}")


if __name__ == "__main__":
    run(arguments(), main)
