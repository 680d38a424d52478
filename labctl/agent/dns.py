"""A DNS server for one name, in this network namespace (RFC 1035, 4; RFC 2308, 2).

An iptables rule takes the queries that carry the name, whatever server they are meant for, to a socket of ours; all others go
where they always went. That works for any image, since nothing of the host itself is changed, and whoever answers it otherwise:
Docker's own server at 127.0.0.11 stands in a nat rule behind ours.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .action import ActionFailed, Commands
from .command import Ran, Runner, run

PORT = "{port}"
DEAD = "dead"
A, AAAA, IN = 1, 28, 1
FORMERR, SERVFAIL, NXDOMAIN = 1, 2, 3
FAILURES = {"unknown": NXDOMAIN, "again": SERVFAIL}
ANSWER, RECURSION = 0x8400, 0x0180  # QR and AA; RD and RA
REPEAT_S = 30.0
_HEADER = struct.Struct("!6H")


@dataclass(frozen=True)
class Question:
    """One query: its id, the name in lower case, the type, and its question section as it came."""

    id: int
    name: str
    type: int
    section: bytes


def parse_question(data: bytes) -> Question:
    """Read a query of exactly one question. Raises ValueError for anything else."""
    if len(data) < _HEADER.size:
        raise ValueError("shorter than a DNS header")
    number, flags, questions, *_ = _HEADER.unpack_from(data)
    if flags & 0xF800 or questions != 1:
        raise ValueError("no standard query with one question")
    labels, offset = [], _HEADER.size
    while offset < len(data) and data[offset]:
        length = data[offset]
        if length > 63 or offset + 1 + length >= len(data):
            raise ValueError("a label that runs out of the message")
        labels.append(data[offset + 1 : offset + 1 + length].decode("ascii", "replace").lower())
        offset += 1 + length
    if len(data) < offset + 5:
        raise ValueError("no type and class behind the name")
    kind, _ = struct.unpack_from("!HH", data, offset + 1)
    return Question(number, ".".join(labels), kind, data[_HEADER.size : offset + 5])


def reply(question: Question, addresses: list[str], failure: int = 0) -> bytes:
    """An answer with the addresses of the family that was asked for, in order and not to be kept (TTL 0)."""
    size = {A: 4, AAAA: 16}.get(question.type)
    found = [packed for a in addresses if len(packed := ipaddress.ip_address(a).packed) == size]
    header = _HEADER.pack(question.id, ANSWER | RECURSION | failure, 1, len(found), 0, 0)
    records = [struct.pack("!HHHIH", 0xC00C, question.type, IN, 0, len(packed)) + packed for packed in found]
    return header + question.section + b"".join(records)


@dataclass
class Responder:
    """Answers queries for one name: each look-up with the next of `answers`, the last for ever.

    An answer is a list of addresses, or a word: `unknown` (NXDOMAIN), `again` (SERVFAIL), `silent` (none). Queries for A and
    for AAAA are counted apart, since one look-up sends both; a query sent again (it has the same id, maybe another port)
    belongs to the look-up it was first sent for.
    """

    name: str
    answers: list[Any]
    late_s: float
    taken: list[str]
    rules: dict[str, Any]
    runner: Runner = run
    _commands: Commands | None = None
    _socket: socket.socket | None = None
    _turns: dict[int, int] = field(default_factory=dict)
    _seen: dict[tuple[int, int], tuple[float, Any]] = field(default_factory=dict)
    _answered: int = 0

    @classmethod
    def parse(cls, request: dict[str, Any]) -> Responder:
        """From its JSON: {"name", "answers", "late_s", "taken"} and what Commands takes, with `{port}` for the port."""
        rules = {key: request[key] for key in ("changes", "counters", "quench", "ahead")}
        return cls(request["name"], request["answers"], request["late_s"], request["taken"], rules)

    def stage(self) -> None:
        if any(DEAD in answer for answer in self.answers if isinstance(answer, list)):
            dead = self._dead()
            self.answers = [[dead if a == DEAD else a for a in x] if isinstance(x, list) else x for x in self.answers]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        port = str(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, args=(self._socket,), name=f"dns-{self.name}", daemon=True).start()
        self._commands = Commands.parse(_with_port(self.rules, port))
        self._commands.runner = self.runner
        with self._or_close():
            self._commands.stage()

    def do(self) -> list[Ran]:
        if self._commands is None:
            self.stage()
        assert self._commands is not None
        with self._or_close():
            return self._commands.do()

    @contextlib.contextmanager
    def _or_close(self) -> Iterator[None]:
        try:
            yield
        except ActionFailed:
            if self._socket is not None:
                self._socket.close()
            raise

    def quench(self) -> list[Ran]:
        return self._commands.quench() if self._commands else []

    def undo(self) -> list[Ran]:
        ran = self._commands.undo() if self._commands else []
        if self._socket is not None:
            self._socket.close()
        return ran

    def count(self) -> int:
        return self._answered

    def _serve(self, channel: socket.socket) -> None:
        while True:
            try:
                data, sender = channel.recvfrom(4096)
                question = parse_question(data)
            except ValueError:
                continue
            except OSError:  # closed: the fault has been taken back
                return
            answer = self._answer(question) if question.name == self.name else "unknown"
            self._answered += 1
            if answer == "silent":
                continue
            addresses = answer if isinstance(answer, list) else []
            message = reply(question, addresses, 0 if isinstance(answer, list) else FAILURES[answer])
            timer = threading.Timer(self.late_s, _send, (channel, message, sender))
            timer.daemon = True
            timer.start() if self.late_s else timer.function(*timer.args)

    def _answer(self, question: Question) -> Any:
        now = time.monotonic()
        key = (question.id, question.type)
        self._seen = {k: seen for k, seen in self._seen.items() if seen[0] > now - REPEAT_S}
        if key not in self._seen:
            turn = self._turns.get(question.type, 0)
            self._turns[question.type] = turn + 1
            self._seen[key] = (now, self.answers[min(turn, len(self.answers) - 1)])
        return self._seen[key][1]

    def _dead(self) -> str:
        """An address of this host's own network that nobody has: who connects to it gets no answer to its ARP request."""
        listing = self.runner(("ip", "-json", "-4", "address", "show", "up", "scope", "global"))
        for link in json.loads(listing.out or "[]"):
            for entry in link.get("addr_info", ()):
                network = ipaddress.ip_network(f"{entry['local']}/{entry['prefixlen']}", strict=False)
                free = (str(network[i]) for i in range(-2, -min(network.num_addresses, 256), -1))
                if found := next((a for a in free if a != entry["local"] and a not in self.taken), None):
                    return found
        raise ActionFailed([Ran(listing.argv, None, listing.out, "no network with a free address", listing.ms)])


def _send(channel: socket.socket, message: bytes, sender: Any) -> None:
    try:
        channel.sendto(message, sender)
    except OSError:  # the one who asked is gone, or the fault is
        return


def _with_port(value: Any, port: str) -> Any:
    if isinstance(value, str):
        return value.replace(PORT, port)
    if isinstance(value, dict):
        return {key: _with_port(item, port) for key, item in value.items()}
    return [_with_port(item, port) for item in value] if isinstance(value, list) else value
