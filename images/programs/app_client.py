"""app client: sends one request in the application protocol and prints the answer.

    python3 app_client.py 127.0.0.1 65432 search morpheus
    python3 app_client.py 127.0.0.1 65432 search 🐶 --encoding utf-16
    python3 app_client.py 127.0.0.1 65432 binary 'some bytes'
    python3 app_client.py 127.0.0.1 65432 sum 1,2,3 --format h
    python3 app_client.py 127.0.0.1 65432 sum 1,2,3 --format h,i,q

The action `search` goes as JSON text, numbers with --format as a binary array, anything else as binary;
--type says otherwise. Several encodings or formats ask the same question in each, one after the other, on a
connection of its own; the answers must be the same. With --load N it becomes a load generator: N connections,
--concurrency of them at a time.
"""

from __future__ import annotations

import argparse
import math
import socket
import sys
import time
from collections.abc import Callable, Collection

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
from app_protocol import BYTE_ORDERS, Decoder, Limits, Message, ProtocolError, encode, quote
from options import DEFAULT_PORT, Parser, count, duration, port_number, positive_size, socket_options
from outcome import Outcome, run

MAX_ANSWER = Limits(0xFFFF, 64 * 1024 * 1024)
TEXT_BY_DEFAULT, ARRAY_BY_DEFAULT = ("utf-8",), ("i",)


def several(choices: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """One of the choices, or several, separated by commas."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in choices:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(choices)}")
        return names

    return read


def arguments() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, parents=[socket_options()])
    parser.add_argument("host")
    parser.add_argument("port", type=port_number, help=f"usually {DEFAULT_PORT}")
    parser.add_argument("action")
    parser.add_argument(
        "value", help="text, or numbers separated by commas (after -- if the first is negative)"
    )
    parser.add_argument("--type", choices=("text", "binary", "array"), help="how to send it")
    parser.add_argument(
        "--encoding",
        type=several(TEXT_ENCODINGS),
        default=TEXT_BY_DEFAULT,
        metavar="NAME[,NAME...]",
        help=f"of text: {', '.join(TEXT_ENCODINGS)}",
    )
    parser.add_argument(
        "--format",
        type=several(ARRAY_FORMATS),
        metavar="LETTER[,LETTER...]",
        help=f"of numbers, as Python's struct calls them: {', '.join(ARRAY_FORMATS)}",
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
    requests = build_requests(args)
    if args.load:
        generate_load(args, encode(requests[0]), outcome)
        return
    answers: list[dict[str, object]] = []
    if len(requests) > 1:
        outcome.note(answers=answers)
    try:
        for request in requests:
            answers.append(ask(request, args, outcome))
    except ProtocolError as error:
        outcome.fail(f"the answer is wrong: {error}")
        return
    for answer in answers:
        if said(answer) != said(answers[0]):
            outcome.fail(f"the answers differ: in {answers[0]['asked']} and in {answer['asked']}")
            return


def build_requests(args: argparse.Namespace) -> list[Message]:
    """The request the arguments ask for, in each encoding or format; what cannot be sent is bad usage."""
    default = "array" if args.format else "text" if args.action == "search" else "binary"
    kind = args.type or default
    forms = args.format or ARRAY_BY_DEFAULT
    try:
        if kind == "text":
            requests = [text_request(args.action, args.value, name, args.byteorder) for name in args.encoding]
        elif kind == "array":
            requests = [
                array_request(Array(form, numbers(args.value, form)), args.byteorder) for form in forms
            ]
        else:
            requests = [binary_request(args.action, args.value, args.byteorder)]
    except (ValueError, ProtocolError) as error:
        arguments().error(str(error))
    if args.load and len(requests) > 1:
        arguments().error("--load repeats one request: give it one encoding or format")
    return requests


def numbers(text: str, form: str) -> tuple[float, ...]:
    """`1,2,3` as numbers of a format. Raises ValueError."""
    number = float if form in "fd" else int
    return tuple(number(word) for word in text.split(",")) if text else ()


def ask(request: Message, args: argparse.Namespace, outcome: Outcome) -> dict[str, object]:
    """Send a request on a connection of its own, show the answer; give what it says. Raises ProtocolError."""
    with endpoints.connect(args, outcome) as sock:
        send_in_pieces(sock, encode(request), args, outcome)
        answer = show_response(receive_message(sock, outcome), request, args, outcome)
    outcome.note(**answer)
    return {"asked": request.format or request.content_encoding, **answer}


def said(answer: dict[str, object]) -> tuple[object, ...]:
    """What an answer says, without how it is written."""
    return tuple(answer.get(name) for name in ("result", "sum", "values"))


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


def show_response(
    response: Message, request: Message, args: argparse.Namespace, outcome: Outcome
) -> dict[str, object]:
    """Print an answer; give its fields for the outcome. Raises ProtocolError if it is not what its header says."""
    fields: dict[str, object] = {"content_type": response.content_type, "peer_byteorder": response.byteorder}
    if response.content_type == TEXT_TYPE:
        content = read_json(response)
        if not isinstance(content, dict) or "result" not in content:
            raise ProtocolError(f"there is no result in {quote(content)}")
        result = content["result"]
        outcome.say(f"result: {result}")
        return {**fields, "result": result}
    if response.content_type == ARRAY_TYPE:
        if response.format is None:  # a server that takes it for granted that we know
            response = response._replace(format=request.format)
        array = read_array(response, sys.byteorder if args.ignore_byteorder else response.byteorder)
        if not array.values:
            raise ProtocolError("there is no sum, and no value")
        total, *values = array.values
        outcome.say(f"sum {total} of {', '.join(map(str, values))}")
        outcome.say(f"(format {array.format}, from a {response.byteorder}-endian machine)")
        if not args.ignore_byteorder and not is_sum(total, values):  # a reader who swaps nothing reads another sum
            raise ProtocolError(f"{total} is not the sum of {', '.join(map(str, values)) or 'nothing'}")
        return {**fields, "format": array.format, "sum": total, "values": values}
    outcome.say(f"binary: {response.content!r}")
    return {**fields, "result": repr(response.content)}


def is_sum(total: float, values: Collection[float]) -> bool:
    """Whether a total is that of the values; with fractions as near as a single-precision number can be."""
    right = sum(values)
    if isinstance(total, int):
        return total == right
    return (math.isnan(total) and math.isnan(right)) or math.isclose(total, right, rel_tol=1e-6, abs_tol=1e-30)


if __name__ == "__main__":
    run(arguments(), main)
