"""Which packets a firewall fault touches, chosen by chance and by a seed: the same seed chooses the same packets again.

The kernel's own chance takes no seed (net/netfilter/xt_statistic.c, get_random_u32). So packets that match go to a queue of
ours in mangle, which they pass before filter, and go on with two bits in their mark: that they were looked at, and whether they
are touched. They are put in again in front of the chain that queued them (NF_REPEAT), which stands first, so that every other
rule sees them, and sees them once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .action import ActionFailed, Commands
from .chance import Chance, generator
from .claims import Claims
from .command import Ran, run
from .nfqueue import REPEAT, NfQueue, Packet, is_busy

FIRST_QUEUE = 18000
QUEUES = 64
SLOTS = 10  # of two bits each in the mark; the upper bits are the link emulator's
BATCH = 256


@dataclass
class Chooser:
    """Commands with `{queue}`, `{done}` and `{hit}` in them, and who serves the queue. IPv4 and IPv6 are counted apart."""

    percent: float
    seed: int
    rules: dict[str, Any]
    runner: Callable[[tuple[str, ...]], Ran] = run
    _commands: Commands | None = None
    _queue: NfQueue | None = None
    _number: int = 0
    _slot: int = 0
    _chances: dict[int, Chance] = field(default_factory=dict)
    _claims: Claims = field(default_factory=Claims)
    _wake: tuple[socket.socket, socket.socket] | None = None
    _thread: threading.Thread | None = None

    @classmethod
    def parse(cls, request: dict[str, Any]) -> Chooser:
        """From its JSON: {"percent": 30, "seed": 7} and what Commands takes."""
        return cls(request["percent"], request["seed"], request)

    def stage(self) -> None:
        start = time.monotonic()
        try:
            self._slot = self._free_slot()
            self._open()
        except OSError as error:
            self._close()
            ms = (time.monotonic() - start) * 1000
            raise ActionFailed([Ran(("nfqueue", "bind"), None, "", f"no queue of packets: {error}", ms)]) from None
        words = {"{queue}": str(self._number), "{done}": hex(1 << 2 * self._slot), "{hit}": hex(2 << 2 * self._slot)}
        self._commands = Commands.parse(_with(self.rules, words))
        self._commands.runner = self.runner
        assert self._queue is not None
        self._wake = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, args=(self._queue, self._wake[0]), name="choose", daemon=True)
        self._thread.start()
        try:
            self._commands.stage()
        except ActionFailed:
            self._close()
            raise

    def _free_slot(self) -> int:
        """Two bits that no fault in this network namespace has. Raises OSError when all are taken."""
        for slot in range(SLOTS):
            if self._claims.hold(f"mark-{slot}"):
                return slot
        raise OSError(f"{SLOTS} faults choose here already")

    def _open(self) -> None:
        self._queue = NfQueue()
        for number in range(FIRST_QUEUE + self._slot, FIRST_QUEUE + self._slot + QUEUES):
            try:
                self._queue.bind(number)
            except OSError as error:
                if not is_busy(error) or number == FIRST_QUEUE + self._slot + QUEUES - 1:
                    raise
                continue
            self._queue.ask_for(number, 1, whole=True)
            self._number = number
            return

    def do(self) -> list[Ran]:
        if self._commands is None:
            self.stage()
        assert self._commands is not None
        try:
            return self._commands.do()
        except ActionFailed:
            self._close()
            raise

    def quench(self) -> list[Ran]:
        return self._commands.quench() if self._commands else []

    def undo(self) -> list[Ran]:
        ran = self._commands.undo() if self._commands else []
        self._close()  # what was queued has long gone on: no rule leads here any more
        return ran

    def count(self) -> int:
        return self._commands.count() if self._commands else 0

    def verdict(self, packet: Packet) -> int:
        """The mark that a packet goes on with."""
        chance = self._chances.get(packet.family)
        if chance is None:
            chance = self._chances[packet.family] = Chance(generator(self.seed, f"choose {packet.family}"))
            chance.set(self.percent, 0.0)
        return packet.mark | (3 if chance() else 1) << 2 * self._slot

    def _serve(self, queue: NfQueue, end: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([queue.fileno(), end.fileno()], [], [])
            if end.fileno() in ready:
                return
            verdicts = [queue.verdict(p.queue, p.id, REPEAT, mark=self.verdict(p)) for p in queue.receive(BATCH)]
            if verdicts:
                with contextlib.suppress(OSError):  # the interface went, and its packets
                    queue.send(verdicts)

    def _close(self) -> None:
        if self._wake is not None and self._thread is not None:
            self._wake[1].send(b".")
            self._thread.join(timeout=5)
            for end in self._wake:
                end.close()
            self._wake = None
        if self._queue is not None:
            self._queue.channel.close()
        self._claims.close()


def _with(value: Any, words: dict[str, str]) -> Any:
    """The same with these words in the place of their names, wherever they stand."""
    if isinstance(value, str):
        for name, word in words.items():
            value = value.replace(name, word)
        return value
    if isinstance(value, dict):
        return {key: _with(item, words) for key, item in value.items()}
    return [_with(item, words) for item in value] if isinstance(value, list) else value
