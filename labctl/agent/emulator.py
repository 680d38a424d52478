"""One link, emulated: what happens to each packet and when it goes on. No input, no output, no clock of its own.

It does what net/sched/sch_netem.c does, in its order: duplicate, lose, corrupt, limit, then reorder or delay, then rate,
then slot. Times are integer nanoseconds of whatever clock the caller keeps; packets are whatever the caller hands in.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypeVar

from .chance import Chance, Correlated, Loss, Spread, generator, read_table
from .linkspec import DEFAULT_LIMIT, Spec

P = TypeVar("P")
NS = 10**9
ETHERNET_BYTES = 14  # a qdisc counts the Ethernet header into a packet's length


@dataclass
class Counts:
    """What one link did, in packets. `seen` = all that arrived; the others are what was done to how many of them.

    `over_limit` were dropped because the queue was full; `most_held` is the longest the queue has been. `unsent` were released
    and the interface did not take them any more: it went down, or got a smaller MTU.
    """

    seen: int = 0
    delayed: int = 0
    lost: int = 0
    duplicated: int = 0
    corrupted: int = 0
    reordered: int = 0
    over_limit: int = 0
    released: int = 0
    most_held: int = 0
    unsent: int = 0

    def as_json(self) -> dict[str, int]:
        return asdict(self)


@dataclass
class Wire:
    """The bandwidth of a link; several classes of one link share one. `free_ns` is when it has sent what was given to it."""

    free_ns: int = 0
    tokens_bits: float = 0.0
    filled_ns: int = -1

    def send(self, ready_ns: int, length: int, spec: Spec) -> int:
        """When a packet that is ready at `ready_ns` has been sent: netem's rate, or a token bucket when a burst is allowed."""
        bits = 8 * _on_wire(length, spec)
        if not spec.burst_bytes:
            self.free_ns = max(self.free_ns, ready_ns) + bits * NS // spec.rate_bps
            return self.free_ns
        start = max(self.free_ns, ready_ns)
        full = 8.0 * max(spec.burst_bytes, length)
        tokens = min(full, self.tokens_bits + (start - self.filled_ns) * spec.rate_bps / NS) if self.filled_ns >= 0 else full
        wait_ns = max(0, round((bits - tokens) * NS / spec.rate_bps))
        self.free_ns = self.filled_ns = start + wait_ns
        self.tokens_bits = tokens + wait_ns * spec.rate_bps / NS - bits
        return self.free_ns

    def follow(self, other: Wire) -> None:
        """Packets that went there come here from now on: not before those that were given to the other."""
        if other.free_ns > self.free_ns:
            self.free_ns, self.tokens_bits, self.filled_ns = other.free_ns, other.tokens_bits, other.filled_ns


def _on_wire(length: int, spec: Spec) -> int:
    """Bytes a packet takes with overhead, in whole cells: packet_time_ns of sch_netem.c."""
    length = max(0, length + spec.overhead_bytes)
    if not spec.cell_bytes:
        return length
    cells = -(-length // spec.cell_bytes)
    return cells * (spec.cell_bytes + spec.cell_overhead_bytes)


class Emulator(Generic[P]):
    """One class of packets on one link.

    `arrive` takes a packet, `due` gives those whose time has come, `next_ns` says when that is. The same seed and the same
    packets give the same fate to each, whatever the timing. `seed` is for what has none of its own.

    The rate of a class alone is netem's: the time in the queue counts towards the delay. A wire that classes share comes
    after their delays, as an htb class comes after the netems below it, and sends whatever is ready first.
    """

    def __init__(
        self,
        spec: Spec,
        seed: int | str,
        wire: Wire | None = None,
        table: Callable[[str], Sequence[int]] = read_table,
    ) -> None:
        self.counts = Counts()
        self.wire = self._own_wire = Wire()
        self._table = table
        self._slots = Slots()
        self._seed(seed)
        self.spec = Spec()
        self._since_reorder = 0
        self._order = 0
        self._held: list[tuple[int, int, P, int, int]] = []
        self._sending: deque[tuple[int, P, int]] = deque()  # on a wire that is shared
        self._timed = 0  # of those that are held, so many in order had their time before the wire was shared
        self.set(spec, wire)

    def set(self, spec: Spec, wire: Wire | None = None) -> None:
        """Change what the link does to packets from now on; those on their way keep their times. Raises ValueError.

        Another seed than before begins every chance anew. `wire` is one that other classes send on as well; without it this
        class has its own.
        """
        table = self._table(spec.distribution)
        if spec.seed is not None and spec.seed != self.spec.seed:
            self._seed(spec.seed)
        self.spec = spec
        self._send_on(wire if wire is not None and spec.rate_bps else self._own_wire)
        self._loss.set(spec)
        self._duplicate.set(spec.duplicate, spec.duplicate_correlation)
        self._corrupt.set(spec.corrupt, spec.corrupt_correlation)
        self._reorder.set(spec.reorder, spec.reorder_correlation)
        self._delay.set(round(spec.delay_s * NS), round(spec.jitter_s * NS), spec.delay_correlation, table)
        self._slots.set(spec, self._table)
        self._limit = spec.limit or DEFAULT_LIMIT
        self._gap = (spec.gap or 1) if spec.reorder else 0
        self._is_late = bool(spec.delay_s or spec.jitter_s or spec.rate_bps or spec.slot)

    def _seed(self, seed: int | str) -> None:
        self._loss = Loss(generator(seed, "loss"))
        self._duplicate = Chance(generator(seed, "duplicate"))
        self._corrupt = Chance(generator(seed, "corrupt"))
        self._reorder = Chance(generator(seed, "reorder"))
        self._delay = Spread(generator(seed, "delay"))
        self._slots.draw_from(Correlated(generator(seed, "slot")), Spread(generator(seed, "slot-distribution")))
        self._where = generator(seed, "where")

    def _send_on(self, wire: Wire) -> None:
        if wire is not self.wire:
            wire.follow(self.wire)
            self.wire, self._timed = wire, self._order

    @property
    def _shares(self) -> bool:
        return self.wire is not self._own_wire

    def __len__(self) -> int:
        return len(self._held) + len(self._sending)

    def arrive(self, packet: P, length: int, now_ns: int) -> int:
        """Take a packet of `length` bytes (IP header and all); answers how many of it are on their way: 0, 1 or 2."""
        counts = self.counts
        counts.seen += 1
        copies = 1
        if self._duplicate():
            copies += 1
            counts.duplicated += 1
        if self._loss():
            copies -= 1
            counts.lost += 1
        kept = 0
        for _ in range(copies):
            flip = -1
            if self._corrupt():
                flip = self._where() << 3 | self._where() & 7
            if len(self) >= self._limit:
                counts.over_limit += 1
                continue
            if flip >= 0:
                counts.corrupted += 1
            self._order += 1
            ready_ns = self._release_ns(length, now_ns)
            if self._shares and ready_ns <= now_ns and self.spec.slot is None:
                self._send(ready_ns or now_ns, packet, flip, length)
            else:
                heapq.heappush(self._held, (ready_ns, self._order, packet, flip, length))
            kept += 1
        counts.most_held = max(counts.most_held, len(self))
        if kept and self._held:
            self._slots.aim(self._held[0][0], now_ns)
        return kept

    def _release_ns(self, length: int, now_ns: int) -> int:
        if self._gap and self._since_reorder >= self._gap - 1 and self._reorder():
            self._since_reorder = 0
            self.counts.reordered += 1
            return 0  # ahead of everything that waits, as __qdisc_enqueue_head puts it
        self._since_reorder += 1
        if not self._is_late:
            return now_ns
        self.counts.delayed += 1
        ready_ns = now_ns + self._delay()
        if not self.spec.rate_bps or self._shares:
            return ready_ns
        return self.wire.send(ready_ns, length + ETHERNET_BYTES, self.spec)

    def _send(self, ready_ns: int, packet: P, flip: int, length: int) -> None:
        self._sending.append((self.wire.send(ready_ns, length + ETHERNET_BYTES, self.spec), packet, flip))

    def next_ns(self) -> int | None:
        """When `due` has something to do next; None when none is held."""
        sent_ns = self._sending[0][0] if self._sending else None
        if not self._held:
            return sent_ns
        held_ns = max(self._held[0][0], self._slots.open_ns)
        return held_ns if sent_ns is None else min(sent_ns, held_ns)

    def due(self, now_ns: int) -> list[tuple[P, int]]:
        """Packets that go on now, in order, each with the bit to flip in it (any size: take it modulo), or -1."""
        found = []
        held, slots = self._held, self._slots
        while held and held[0][0] <= now_ns and slots.allows(held[0][0], held[0][4] + ETHERNET_BYTES, now_ns):
            ready_ns, order, packet, flip, length = heapq.heappop(held)
            if self._shares and order > self._timed:
                self._send(ready_ns or now_ns, packet, flip, length)
            else:
                found.append((packet, flip))
        while self._sending and self._sending[0][0] <= now_ns:
            _, packet, flip = self._sending.popleft()
            found.append((packet, flip))
        self.counts.released += len(found)
        return found

    def flush(self) -> list[tuple[P, int]]:
        """Everything that is held, at once, in order."""
        found = [(packet, flip) for _, packet, flip in self._sending]
        found += [(packet, flip) for _, _, packet, flip, _ in sorted(self._held, key=lambda h: h[:2])]
        self._sending.clear()
        self._held.clear()
        self.counts.released += len(found)
        return found


class Slots:
    """Delivery in bursts: netem_dequeue and get_slot_next of sch_netem.c. Without a slot everything is allowed always.

    A packet that is ready after the current slot opened waits for the next; so do those that find a slot full.
    """

    def __init__(self) -> None:
        self._packets = self._bytes = 0
        self.open_ns = 0
        self._slot = Spec().slot

    def draw_from(self, random: Correlated, spread: Spread) -> None:
        """Take times from these from now on; the slot that is open stays."""
        self._random, self._spread = random, spread

    def set(self, spec: Spec, table: Callable[[str], Sequence[int]]) -> None:
        slot = spec.slot
        if slot is not None and slot.distribution:
            self._spread.set(round(slot.delay_s * NS), round(slot.jitter_s * NS), 0.0, table(slot.distribution))
        if slot != self._slot:
            self._slot, self.open_ns = slot, 0
            self._refill()

    def aim(self, ready_ns: int, now_ns: int) -> None:
        """The first packet in the queue is ready at this time: see that a slot is to come for it."""
        if self._slot is not None and self.open_ns < ready_ns:
            self._next(now_ns)

    def allows(self, ready_ns: int, length: int, now_ns: int) -> bool:
        """Whether the first packet may go now; if so it is counted against the slot."""
        if self._slot is None:
            return True
        self.aim(ready_ns, now_ns)
        if now_ns < self.open_ns:
            return False
        self._packets -= 1
        self._bytes -= length
        if self._packets <= 0 or self._bytes <= 0:
            self._next(now_ns)
        return True

    def _next(self, now_ns: int) -> None:
        slot = self._slot
        assert slot is not None
        if slot.distribution:
            wait_ns = max(0, self._spread())
        else:
            low, high = round(slot.min_s * NS), round(slot.max_s * NS)
            wait_ns = low + (self._random() * (high - low) >> 32)
        self.open_ns = now_ns + wait_ns
        self._refill()

    def _refill(self) -> None:
        slot = self._slot
        self._packets = (slot.packets if slot else 0) or 2**31
        self._bytes = (slot.size_bytes if slot else 0) or 2**31
