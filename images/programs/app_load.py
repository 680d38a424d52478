"""The load generator behind `app_client.py --load N`: one request and one answer on each of N connections,
some at a time.
"""

from __future__ import annotations

import argparse
import errno
import os
import selectors
import socket
import time
from collections import Counter

from app_protocol import Decoder, ProtocolError
from endpoints import Address, resolve
from options import apply_options
from outcome import Outcome, errno_name

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Exchange:
    """One connection: connect, send the request, read until the answer is complete, close."""

    __slots__ = ("began", "decoder", "sock", "unsent")

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self.sock = sock
        self.unsent = request
        self.decoder = Decoder()
        self.began = time.perf_counter()

    def write(self) -> None:
        """Send what there is room for; a connection that could not be made says so here (send(2))."""
        self.unsent = self.unsent[self.sock.send(self.unsent) :]

    def read(self) -> bool:
        """Whether the answer is complete. Raises OSError or ProtocolError."""
        data = self.sock.recv(65536)
        if not data:
            self.decoder.end()
        return self.decoder.feed(data) is not None


class Load:
    """N exchanges, a fixed number of them under way."""

    def __init__(self, address: Address, request: bytes, total: int, args: argparse.Namespace) -> None:
        self._address = address
        self._request = request
        self._to_start = total
        self._args = args
        self._selector = selectors.DefaultSelector()
        self.seconds: list[float] = []  # of each exchange that succeeded
        self.failures: Counter[str] = Counter()

    def run(self, concurrency: int) -> None:
        """Run them all. Raises TimeoutError if --timeout passes and nothing happens."""
        for _ in range(min(concurrency, self._to_start)):
            self._start()
        while self._selector.get_map():
            with_events = self._selector.select(self._args.timeout)
            if not with_events:
                raise TimeoutError
            for key, _ in with_events:
                self._continue(key.data)

    def _start(self) -> None:
        self._to_start -= 1
        sock = socket.socket(self._address.family, socket.SOCK_STREAM)
        apply_options(sock, self._args)
        if self._args.source:
            sock.bind(self._args.source)
        sock.setblocking(False)
        exchange = Exchange(sock, self._request)
        failed = sock.connect_ex(self._address.sockaddr)
        if failed not in (0, errno.EINPROGRESS):
            self._selector.register(sock, WRITE, exchange)
            self._end(exchange, errno_name(OSError(failed, os.strerror(failed))))
            return
        self._selector.register(sock, WRITE, exchange)

    def _continue(self, exchange: Exchange) -> None:
        try:
            if exchange.unsent:
                exchange.write()
                if not exchange.unsent:
                    self._selector.modify(exchange.sock, READ, exchange)
            elif exchange.read():
                self._end(exchange)
        except BlockingIOError:
            pass
        except OSError as error:
            self._end(exchange, errno_name(error))
        except ProtocolError as error:
            self._end(exchange, str(error))

    def _end(self, exchange: Exchange, failure: str | None = None) -> None:
        self._selector.unregister(exchange.sock)
        exchange.sock.close()
        if failure:
            self.failures[failure] += 1
        else:
            self.seconds.append(time.perf_counter() - exchange.began)
        if self._to_start:
            self._start()


def generate_load(args: argparse.Namespace, request: bytes, outcome: Outcome) -> None:
    """Make args.load exchanges; report their rate and how long they took."""
    address = resolve(args.host, args.port, outcome, family=args.family or "any")[0]
    load = Load(address, request, args.load, args)
    outcome.say(f"{args.load} connections to {address}, {args.concurrency} at a time")
    try:
        with outcome.call("load"):
            load.run(args.concurrency)
    finally:
        report(load, outcome)


def report(load: Load, outcome: Outcome) -> None:
    """Rate and percentiles, for people and for the outcome."""
    done = sorted(load.seconds)
    rate = len(done) / (outcome.ms / 1000) if outcome.ms else 0.0
    outcome.note(completed=len(done), failures=dict(load.failures), per_second=round(rate, 1))
    outcome.say(f"{len(done)} answered in {outcome.ms / 1000:.2f} s: {rate:.0f} per second")
    if done:
        percentiles = {
            f"p{p}": round(done[min(len(done) - 1, len(done) * p // 100)] * 1000, 3) for p in (50, 99, 100)
        }
        outcome.note(latency_ms=percentiles)
        outcome.say("latency in ms: " + ", ".join(f"{name} {value}" for name, value in percentiles.items()))
    if load.failures:
        outcome.fail(
            f"{load.failures.total()} failed: "
            + ", ".join(f"{n} × {why}" for why, n in load.failures.items())
        )
