"""multiconn client: N connections at once, with one thread and selectors(3).

    python3 multiconn_client.py 127.0.0.1 65432 1000

On each it sends two messages, and closes when everything has come back. A connection that fails is
reported and leaves the others alone; the outcome then is the first failure's.
"""

from __future__ import annotations

import argparse
import errno
import os
import selectors
import socket
import time

import endpoints
from options import DEFAULT_PORT, Parser, apply_options, count, port_number, socket_options
from outcome import Outcome, errno_name, run
from selector_server import allow_many_files

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
MESSAGES = (b"Message 1 from client.", b"Message 2 from client.")
REPORTED_FAILURES = 10


class ClientConnection:
    """One connection: what is still to be sent, and how much has come back."""

    __slots__ = ("began", "connected", "expected", "number", "received", "sock", "unsent")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.unsent = b"".join(MESSAGES)
        self.expected = self.unsent
        self.received = b""
        self.connected = False
        self.began = time.monotonic()


class ClientError(Exception):
    """One connection failed: the call and the error."""

    def __init__(self, op: str, error: OSError | None, reason: str) -> None:
        super().__init__(f"{op}: {reason}")
        self.op = op
        self.error = error


class MulticonnClient:
    """All the connections of one run."""

    def __init__(self, address: endpoints.Address, args: argparse.Namespace, outcome: Outcome) -> None:
        self._address = address
        self._args = args
        self._outcome = outcome
        self._selector = selectors.DefaultSelector()
        self._failures: list[dict[str, object]] = []
        self._first: ClientError | None = None
        self._completed = 0

    def run(self, connections: int) -> None:
        """Open them all, and serve them until the last has ended."""
        for number in range(1, connections + 1):
            self._start(number)
        began = time.monotonic()
        while self._selector.get_map():
            with self._outcome.call("select"):
                ready = self._selector.select(self._args.timeout)
            if not ready:
                self._outcome.timed_out = True
                self._outcome.say(
                    f"{len(self._selector.get_map())} connections: nothing for {self._args.timeout:g} s"
                )
                break
            for key, _ in ready:
                self._continue(key.data)
        self._outcome.ms = (time.monotonic() - began) * 1000
        self._report(connections)

    def _start(self, number: int) -> None:
        sock = socket.socket(self._address.family, socket.SOCK_STREAM)
        connection = ClientConnection(number, sock)
        try:
            apply_options(sock, self._args)
            if self._args.source:
                sock.bind(self._args.source)
            sock.setblocking(False)
            self._outcome.say(f"connection {number}: connecting to {self._address}")
            failed = sock.connect_ex(self._address.sockaddr)
            if failed not in (0, errno.EINPROGRESS):
                raise OSError(failed, os.strerror(failed))
        except OSError as error:
            sock.close()
            self._failed(connection, ClientError("connect", error, str(errno_name(error))))
        else:
            self._selector.register(sock, WRITE, connection)

    def _continue(self, connection: ClientConnection) -> None:
        try:
            if connection.unsent:
                self._send(connection)
            else:
                self._receive(connection)
        except ClientError as failure:
            self._close(connection)
            self._failed(connection, failure)

    def _send(self, connection: ClientConnection) -> None:
        if (
            not connection.connected
        ):  # writable for the first time: SO_ERROR says how connect() ended (connect(2))
            failed = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                error = OSError(failed, os.strerror(failed))
                raise ClientError("connect", error, str(errno_name(error)))
            connection.connected = True
        try:
            sent = connection.sock.send(connection.unsent)
        except BlockingIOError:
            return
        except OSError as error:
            raise ClientError("send", error, str(errno_name(error))) from None
        self._outcome.sent += sent
        connection.unsent = connection.unsent[sent:]
        if not connection.unsent:
            self._selector.modify(connection.sock, READ, connection)

    def _receive(self, connection: ClientConnection) -> None:
        try:
            data = connection.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            raise ClientError("recv", error, str(errno_name(error))) from None
        self._outcome.received += len(data)
        connection.received += data
        if not connection.expected.startswith(connection.received):
            raise ClientError("recv", None, f"not what was sent: {connection.received[:60]!r}")
        if not data:
            raise ClientError(
                "recv", None, f"closed after {len(connection.received)} of {len(connection.expected)} bytes"
            )
        if connection.received == connection.expected:
            self._close(connection)
            self._completed += 1
            self._outcome.say(f"connection {connection.number}: everything came back, closed")

    def _close(self, connection: ClientConnection) -> None:
        self._selector.unregister(connection.sock)
        connection.sock.close()

    def _failed(self, connection: ClientConnection, failure: ClientError) -> None:
        self._outcome.say(f"connection {connection.number}: {failure}")
        self._first = self._first or failure
        name = errno_name(failure.error) if failure.error else None
        self._failures.append({"connection": connection.number, "op": failure.op, "errno": name})

    def _report(self, connections: int) -> None:
        self._outcome.note(connections=connections, completed=self._completed, failed=len(self._failures))
        self._outcome.note(failures=self._failures[:REPORTED_FAILURES])
        self._outcome.say(f"{self._completed} of {connections} connections got everything back")
        self._outcome.op = self._outcome.op if self._outcome.timed_out else "recv"
        if self._first:
            self._outcome.op = self._first.op
            if self._first.error:
                self._outcome.record(self._first.error)
            self._outcome.reason = f"{len(self._failures)} of {connections} connections failed"


def arguments() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, parents=[socket_options()])
    parser.add_argument("host", nargs="?", default="127.0.0.1")
    parser.add_argument("port", nargs="?", default=DEFAULT_PORT, type=port_number)
    parser.add_argument("connections", nargs="?", default=1, type=count, metavar="N")
    return parser


def main(args: argparse.Namespace, outcome: Outcome) -> None:
    allow_many_files()
    address = endpoints.resolve(args.host, args.port, outcome, family=args.family or "any")[0]
    MulticonnClient(address, args, outcome).run(args.connections)


if __name__ == "__main__":
    run(arguments(), main)
