"""The verbs about difficult peers: slow ones, abrupt ones, silent ones, and too many of them."""

from __future__ import annotations

import argparse
import signal
import socket
import time

import endpoints
from options import count, duration, positive_size, reset_on_close
from outcome import Outcome
from probe_verb import Verb, add_endpoint, add_payload, add_peer, payload, peer, read


def slow_reader_arguments(parser: argparse.ArgumentParser) -> None:
    add_peer(parser)
    parser.add_argument("--read-size", type=positive_size, default=1024, metavar="SIZE", help="so much")
    parser.add_argument("--interval", type=duration, default=0.1, metavar="TIME", help="so often")
    parser.add_argument("--size", type=positive_size, metavar="SIZE", help="end after so much in all")


def slow_reader(args: argparse.Namespace, outcome: Outcome) -> None:
    """Read a little, wait, read a little: the peer's window closes and opens (RFC 9293, 3.8.6)."""
    with peer(args, outcome) as sock:
        limit = args.size or float("inf")
        read(sock, outcome, limit, chunk=args.read_size, pause=args.interval)


def trickle_arguments(parser: argparse.ArgumentParser) -> None:
    add_peer(parser)
    add_payload(parser)
    parser.add_argument("--interval", type=duration, default=0.02, metavar="TIME", help="between two bytes")


def trickle(args: argparse.Namespace, outcome: Outcome) -> None:
    """Send one byte at a time, each in a segment of its own: a receiver must put messages together itself."""
    args.nodelay = True  # Nagle's algorithm (RFC 896) would gather them again
    with peer(args, outcome) as sock:
        data = payload(args)
        for index in range(len(data)):
            time.sleep(args.interval if index else 0)
            endpoints.send_all(sock, data[index : index + 1], outcome)
        outcome.say(f"sent {len(data)} bytes, one at a time")
        if args.receive:
            read(sock, outcome, args.receive)


def half_close_arguments(parser: argparse.ArgumentParser) -> None:
    add_peer(parser)
    add_payload(parser)


def half_close(args: argparse.Namespace, outcome: Outcome) -> None:
    """Send, then shutdown(SHUT_WR): our FIN says "no more from me", and reading goes on until the peer's."""
    with peer(args, outcome) as sock:
        endpoints.send_all(sock, payload(args), outcome)
        with outcome.call("shutdown"):
            sock.shutdown(socket.SHUT_WR)
        outcome.say(f"sent {outcome.sent} bytes and our end of stream; still reading")
        read(sock, outcome, args.receive or float("inf"))


def abort_arguments(parser: argparse.ArgumentParser) -> None:
    add_peer(parser)
    parser.add_argument("--size", type=positive_size, metavar="SIZE", help="send so much before")
    parser.add_argument(
        "--wait", type=duration, default=0.0, metavar="TIME", help="keep it open so long before"
    )


def abort(args: argparse.Namespace, outcome: Outcome) -> None:
    """Close with SO_LINGER 0: RST instead of FIN; the peer's next call gives ECONNRESET (socket(7))."""
    with peer(args, outcome) as sock:
        if args.size:
            endpoints.send_all(sock, bytes(args.size), outcome)
        time.sleep(args.wait)
        reset_on_close(sock)
        with outcome.call("close"):
            sock.close()
        outcome.say("closed with RST")


def hold_arguments(parser: argparse.ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument("--listen", action="store_true", help="listen on HOST PORT and take what comes")
    parser.add_argument("--count", type=count, default=1, metavar="N", help="hold N connections")
    parser.add_argument("--for", type=duration, dest="seconds", metavar="TIME", help="not for ever")


def hold(args: argparse.Namespace, outcome: Outcome) -> None:
    """Open connections and do nothing: never send, never read, never close. A hang is made of this."""
    outcome.endless = True
    connections: list[socket.socket] = []
    listener = endpoints.listen(args, outcome) if args.listen else None
    try:
        for _ in range(args.count):
            connections.append(
                endpoints.accept(listener, args, outcome) if listener else endpoints.connect(args, outcome)
            )
            outcome.note(connections=len(connections))
        outcome.say(f"holding {len(connections)}")
        if args.seconds is not None:
            time.sleep(args.seconds)
        while args.seconds is None:
            signal.pause()
    finally:
        for sock in connections + ([listener] if listener else []):
            sock.close()


def backlog_arguments(parser: argparse.ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument("--count", type=count, default=16, metavar="N", help="give up after N connections")
    parser.add_argument(
        "--hold", type=duration, default=0.0, metavar="TIME", help="keep the queue full so long"
    )


def backlog(args: argparse.Namespace, outcome: Outcome) -> None:
    """Connect again and again to one who does not accept, until the queue is full and a SYN gets no answer.

    The queue takes one connection more than listen(2)'s backlog. A connection that gets no answer within
    --connect-timeout (1 s), or ETIMEDOUT, is what this verb exists to show.
    """
    outcome.silence_wanted = True
    outcome.wanted.add("ETIMEDOUT")
    if args.connect_timeout is None and args.syn_retries is None:
        args.connect_timeout = 1.0
    connections: list[socket.socket] = []
    outcome.note(connections=0)
    try:
        for _ in range(args.count):
            connections.append(endpoints.connect(args, outcome))
            outcome.note(connections=len(connections))
        outcome.fail(f"all {args.count} connections were made: the queue is not full")
    except OSError:
        outcome.say(f"{len(connections)} connections were made; the next got no answer")
        time.sleep(args.hold)
        raise
    finally:
        for sock in connections:
            sock.close()


VERBS = (
    Verb("slow-reader", slow_reader_arguments, slow_reader),
    Verb("trickle", trickle_arguments, trickle),
    Verb("half-close", half_close_arguments, half_close),
    Verb("abort", abort_arguments, abort),
    Verb("hold", hold_arguments, hold),
    Verb("backlog", backlog_arguments, backlog),
)
