"""The driver's side of the conversation with an agent: requests in, answers and events out."""

from __future__ import annotations

import base64
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, BinaryIO

from labctl.agent import PROTOCOL
from labctl.engines.base import Channel
from labctl.errors import LabError
from labctl.lab import Route

CALL_TIMEOUT_S = 30.0
PIECE_BYTES = 2**20


class AgentGone(LabError):
    """The agent of a host ended though nobody asked it to."""


class AgentRefused(LabError):
    """The agent could not do what it was asked; `detail` is what it knows of it, such as the commands it ran."""

    def __init__(self, message: str, detail: dict[str, Any]) -> None:
        super().__init__(message)
        self.detail = detail


class AgentClient:
    """One agent, as the runner speaks to it. Thread-safe: calls from several threads do not wait for each other."""

    def __init__(self, host: str, channel: Channel, on_event: Callable[[str, dict[str, Any]], None]) -> None:
        self.host = host
        self._channel = channel
        self._on_event = on_event
        # Two commands may speak to one resident agent; each hears both, and knows its own answers by their numbers.
        self._numbers = itertools.count(random.randrange(2**40))
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._gone: str | None = None
        self.clock_offset_s = 0.0
        self.devices: dict[str, str] = {}
        self._reader = threading.Thread(target=self._read, name=f"agent-{host}", daemon=True)
        self._reader.start()

    def greet(self, networks: dict[str, tuple[str, ...]], works_for: str = "") -> dict[str, Any]:
        """Say hello, learn the clock and which interface is on which network (by address, as the order is not fixed).

        Arguments: the host's addresses on each network, and the run that the agent works for (none: it works by hand).
        Raises LabError when an address has no interface.
        """
        asked = time.time()
        hello: dict[str, Any] = self.call("hello", works_for=works_for)
        round_trip_s = time.time() - asked
        if hello["protocol"] != PROTOCOL:
            raise LabError(
                f"the agent on {self.host} speaks protocol {hello['protocol']}, this labctl {PROTOCOL}"
            )
        offset_s = hello["time"] - (asked + round_trip_s / 2)
        # Within the round trip the difference cannot be told from the time the question took to get there.
        self.clock_offset_s = offset_s if abs(offset_s) > round_trip_s else 0.0
        by_address = {address: i["name"] for i in hello["interfaces"] for address in i["addresses"]}
        for network, addresses in networks.items():
            found = {by_address[a] for a in addresses if a in by_address}
            if not found:
                raise LabError(
                    f"no interface of {self.host} has the address {', '.join(addresses)} of network {network}"
                )
            self.devices[network] = found.pop()
        return hello

    def call(self, op: str, timeout_s: float = CALL_TIMEOUT_S, **arguments: Any) -> Any:
        """Ask and wait for the answer. Raises AgentRefused, AgentGone."""
        return self.result(self.ask(op, **arguments), op, timeout_s)

    def set_routes(self, routes: Iterable[Route], gateways: Sequence[str]) -> None:
        """Make these the only ways out of the host's networks, of which `gateways` are the bridges. Raises AgentRefused."""
        self.call("routes", routes=[[route.to, route.via] for route in routes], gateways=list(gateways))

    def ask(self, op: str, **arguments: Any) -> Future[Any]:
        """Ask without waiting."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            if self._gone is not None:
                raise AgentGone(self._gone)
            self._waiting[number] = future
        try:
            self._channel.send(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
        except OSError as error:
            self._reader.join(timeout=1.0)  # it hears the agent's last words, which say more than our broken pipe
            raise AgentGone(self._gone or f"the agent on {self.host} cannot be reached: {error}") from None
        return future

    def result(self, future: Future[Any], op: str, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """The answer to `ask`. Raises AgentRefused, AgentGone."""
        try:
            return future.result(timeout_s)
        except FutureTimeout:
            raise LabError(f"the agent on {self.host} did not answer {op} within {timeout_s:g}s") from None

    def fetch(self, remote: str, target: BinaryIO) -> None:
        """Copy a file the agent wrote, piece by piece. Raises AgentRefused, AgentGone, OSError."""
        offset, ended = 0, False
        while not ended:
            piece = self.call("read", path=remote, offset=offset, size=PIECE_BYTES)
            offset += target.write(base64.b64decode(piece["data"]))
            ended = piece["end"]

    def check(self) -> None:
        """Raises AgentGone when it has ended."""
        if self._gone is not None:
            raise AgentGone(self._gone)

    def close(self) -> None:
        """End it: it undoes everything and exits."""
        with self._lock:
            self._gone = self._gone or f"the agent on {self.host} has been closed"
        self._channel.close()

    def _read(self) -> None:
        buffer = b""
        while data := self._receive():
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                try:
                    self._take(line)
                except Exception as error:  # nobody else would tell those who wait for an answer
                    self._fail(
                        f"what the agent on {self.host} said could not be used: {type(error).__name__}: {error}"
                    )
        said = self._channel.errors().strip()
        self._fail(f"the agent on {self.host} ended" + (f" and said: {said[-500:]}" if said else ""))

    def _receive(self) -> bytes:
        try:
            return self._channel.receive()
        except (OSError, ValueError):  # closed under us
            return b""

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return self._fail(f"the agent on {self.host} sent no JSON: {line[:80]!r}")
        if "event" in message:
            return self._on_event(self.host, message)
        with self._lock:
            future = self._waiting.pop(message["id"], None)
        if future is None:
            return None
        try:
            if message["ok"]:
                future.set_result(message["result"])
            else:
                future.set_exception(AgentRefused(f"{self.host}: {message['error']}", message["detail"]))
        except KeyError as lacking:
            future.set_exception(AgentGone(f"the agent on {self.host} answered without {lacking}"))
            raise
        return None

    def _fail(self, message: str) -> None:
        with self._lock:
            self._gone = self._gone or message
            waiting, self._waiting = list(self._waiting.values()), {}
        for future in waiting:
            future.set_exception(AgentGone(message))
