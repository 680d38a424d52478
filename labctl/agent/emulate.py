"""The emulator's process: one for each interface and direction. Packets come from NFQUEUE, orders as JSON lines on stdin.

    → {"op": "set", "device": "eth0", "direction": "egress", "through": null,
       "classes": [{"queue": 17000, "spec": {...}, "seed": "7", "shares_rate": false}]}
    → {"op": "stats"}    → {"op": "end", "within_s": 1.0}
    ← {"ok": true, ...}  or  {"ok": false, "error": "..."}

When stdin ends, everything that is held passes and the process ends; the rules that lead here say --queue-bypass, so without
it packets pass as if there were none.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .emulator import Counts, Emulator, Wire
from .inject import Injector
from .linkspec import Spec
from .nfqueue import ACCEPT, DROP, HEADERS, WHOLE, NfQueue, Packet

BATCH = 64
MOST_FLOWS = 4096
SHORT_S = 0.002  # so long may a local sender's packets wait in the kernel without slowing it down
STDIN, STDOUT = 0, 1


class Process:
    """The queues this process serves, each with its emulator."""

    def __init__(self) -> None:
        self.queues: NfQueue | None = None
        self.classes: dict[int, Emulator[Packet]] = {}
        self.retiring: dict[int, Emulator[Packet]] = {}
        self.past = Counts()
        self.wire = Wire()
        self.injector: Injector | None = None
        self.is_egress = True
        self.through: str | None = None
        self.flows: set[bytes] = set()
        self.whole: frozenset[int] = frozenset()
        self.end_at: float | None = None
        self.buffer = b""

    # -- orders -----------------------------------------------------------------------------------------------------

    def order(self, line: bytes) -> dict[str, Any]:
        """Carry out one order; answers with an error rather than ending, so that the link stays as it was."""
        try:
            order = json.loads(line)
            op = order.pop("op")
            if op == "set":
                self.set(**order)
            elif op == "end":
                self.end_at = time.monotonic() + order["within_s"]
                self.retire(self.classes)
                return {}
            return {"ok": True, "classes": {str(q): e.counts.as_json() | {"held": len(e)} for q, e in self.classes.items()}}
        except (OSError, ValueError, TypeError, KeyError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def set(self, device: str, direction: str, through: str | None, classes: list[dict[str, Any]]) -> None:
        """Serve exactly these queues from now on. Raises OSError (a queue is taken), ValueError (a distribution is missing)."""
        self.queues = self.queues or NfQueue()
        self.is_egress = direction == "egress"
        if self.injector is None or through != self.through:
            self.injector, self.through = Injector(device, through), through
        wanted = {c["queue"]: c for c in classes}
        self.retire(self.classes.keys() - wanted.keys())
        for queue, asked in wanted.items():
            spec = Spec.from_json(asked["spec"])
            wire = self.wire if asked["shares_rate"] else None
            if queue in self.classes:
                self.classes[queue].set(spec, wire)
            else:
                emulator: Emulator[Packet] = Emulator(spec, asked["seed"], wire)
                self.queues.bind(queue)
                self.classes[queue] = emulator
            self._ask_for(queue, spec)

    def _ask_for(self, queue: int, spec: Spec) -> None:
        """Have packets as they are on the wire, but for a plain delay: that keeps super-packets whole, which costs a tenth.

        Not where it would charge a local sender for long (see `inject`): what is whole must wait in the kernel.
        """
        assert self.queues is not None
        is_plain = spec == Spec(delay_s=spec.delay_s)
        whole = is_plain and (not self.is_egress or spec.delay_s <= SHORT_S)
        self.whole = self.whole | {queue} if whole else self.whole - {queue}
        # What may be sent again or changed must be here in full; for the rest its headers and its length will do.
        in_full = not whole and (self.is_egress or spec.duplicate or spec.corrupt)
        self.queues.ask_for(queue, WHOLE if in_full else HEADERS, whole)

    def retire(self, queues: Iterable[int]) -> None:
        """Do nothing more to packets of these queues, and let them go when what they hold has gone on."""
        for queue in list(queues):
            emulator = self.retiring[queue] = self.classes.pop(queue)
            emulator.set(Spec(limit=emulator.spec.limit))

    # -- packets ----------------------------------------------------------------------------------------------------

    def take(self, packet: Packet, verdicts: list[bytes]) -> None:
        """One packet arrived."""
        emulator = self._emulator(packet.queue)
        assert self.queues is not None
        if emulator is None:
            verdicts.append(self.queues.verdict(packet.queue, packet.id, ACCEPT))
            return
        kept = emulator.arrive(packet, packet.length, time.monotonic_ns())
        sends_again = self.is_egress and packet.queue not in self.whole
        if not kept or (sends_again and self._can_be_sent_again(packet)):
            packet.is_held = False
            verdicts.append(self.queues.verdict(packet.queue, packet.id, DROP))

    def _emulator(self, queue: int) -> Emulator[Packet] | None:
        found = self.classes.get(queue)
        return self.retiring.get(queue) if found is None else found

    def _can_be_sent_again(self, packet: Packet) -> bool:
        """Whether the kernel can forget a packet of ours, to be sent as a frame later.

        Not the first of a flow, which connection tracking confirms on its way out; not what must be fragmented.
        """
        assert self.injector is not None
        try:
            if packet.is_forwarded or packet.length > self.injector.mtu:
                return False
        except OSError:  # the interface is gone
            return False
        flow, is_first = _flow(packet)
        if is_first or flow not in self.flows:
            if len(self.flows) >= MOST_FLOWS:
                self.flows.clear()
            self.flows.add(flow)
            return False
        return self.injector.outward(packet.family, packet.payload) is not None

    def release(self, packet: Packet, flip: int, verdicts: list[bytes]) -> None:
        """A packet goes on: the kernel's own, or a copy of it."""
        assert self.queues is not None
        assert self.injector is not None
        payload = flipped(packet.payload, flip) if flip >= 0 else None
        if packet.is_held:
            packet.is_held = False
            verdicts.append(self.queues.verdict(packet.queue, packet.id, ACCEPT, payload))
            return
        if verdicts:  # what was released before must be on its way before
            self.queues.send(verdicts)
            verdicts.clear()
        header = (
            self.injector.outward(packet.family, packet.payload)
            if self.is_egress
            else self.injector.inward(packet.family, packet.sender) if self.through and len(packet.sender) == 6 else None
        )
        if header is not None:
            try:
                self.injector.send(header, payload or packet.payload)
            except OSError:  # the interface went down under us, or takes less than it did: then the frame is lost, and counted
                emulator = self._emulator(packet.queue)
                if emulator is not None:
                    emulator.counts.unsent += 1

    # -- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until stdin ends, or everything is drained after an `end` order."""
        gc.disable()  # nothing here makes cycles, and a collection would hold packets up
        with contextlib.suppress(OSError):
            Path("/proc/self/timerslack_ns").write_text("1000")
        is_open = True
        while is_open:
            inputs = [STDIN, *([self.queues.fileno()] if self.queues else [])]
            ready, _, _ = select.select(inputs, [], [], self._timeout_s())
            if self.queues is not None:
                self._serve()
            if STDIN in ready:
                is_open = self._read_orders()
            self._unbind_drained()
            if self.end_at is not None and (not self.retiring or time.monotonic() >= self.end_at):
                break
        flushed = self._flush()
        with contextlib.suppress(OSError):
            self._answer({"ok": True, "flushed": flushed, "past": self.past.as_json()})

    def _timeout_s(self) -> float | None:
        times = [t for e in (*self.classes.values(), *self.retiring.values()) if (t := e.next_ns()) is not None]
        ends = [self.end_at - time.monotonic()] if self.end_at is not None else []
        waits = [(t - time.monotonic_ns()) / 1e9 for t in times] + ends
        return max(0.0, min(waits)) if waits else None

    def _serve(self) -> None:
        assert self.queues is not None
        verdicts: list[bytes] = []
        for packet in self.queues.receive(BATCH):
            self.take(packet, verdicts)
        now = time.monotonic_ns()
        for emulator in (*self.classes.values(), *self.retiring.values()):
            for packet, flip in emulator.due(now):
                self.release(packet, flip, verdicts)
        if verdicts:
            self.queues.send(verdicts)

    def _read_orders(self) -> bool:
        data = os.read(STDIN, 1 << 16)
        if not data:
            return False
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            answer = self.order(line)
            if answer:
                self._answer(answer)
        return True

    def _unbind_drained(self) -> None:
        for queue in [q for q, e in self.retiring.items() if not len(e)] if self.retiring else ():
            emulator = self.retiring.pop(queue)
            assert self.queues is not None
            self.queues.unbind(queue)
            for name, count in emulator.counts.as_json().items():
                setattr(self.past, name, getattr(self.past, name) + count)

    def _flush(self) -> int:
        """Everything that is held passes at once."""
        verdicts: list[bytes] = []
        held = [p for e in (*self.classes.values(), *self.retiring.values()) for p in e.flush()]
        for packet, flip in held:
            self.release(packet, flip, verdicts)
        if verdicts and self.queues is not None:
            self.queues.send(verdicts)
        return len(held)

    def _answer(self, answer: dict[str, Any]) -> None:
        os.write(STDOUT, json.dumps(answer).encode() + b"\n")


def flipped(packet: bytes, where: int) -> bytes:
    """The packet with one bit changed after its IP header, so that the receiver's checksum is wrong and not a router's."""
    start = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    if len(packet) <= start:
        return packet
    changed = bytearray(packet)
    changed[start + (where >> 3) % (len(packet) - start)] ^= 1 << (where & 7)
    return bytes(changed)


def _flow(packet: Packet) -> tuple[bytes, bool]:
    """What tells its flow, and whether it opens one (a SYN)."""
    data = packet.payload
    if packet.family == socket.AF_INET:
        start = (data[0] & 15) * 4
        key, protocol = data[9:10] + data[12:20] + data[start : start + 4], data[9]
    else:
        start, protocol = 40, data[6]
        key = data[6:7] + data[8:44]
    is_syn = protocol == socket.IPPROTO_TCP and len(data) > start + 13 and data[start + 13] & 0x12 == 0x02
    return key, is_syn


if __name__ == "__main__":
    sys.setswitchinterval(1.0)
    Process().run()
