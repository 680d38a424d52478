"""Many plain packets of one conversation as one row, so that a ladder of 200,000 packets can be read. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from labctl.report.passages import PROBLEMS, Hop, Passage

# Below this many passages every packet is drawn.
DRAW_ALL = 160
# What one page or one terminal ladder shows at most.
MAX_ROWS = 1500
PAUSE_S = 0.25
_FEWEST = 4
# What a burst may hold when there are too many rows otherwise; it says how many. Handshakes, resets and ICMP stay alone.
_ABSORBED = frozenset({"retransmission", "lost", "zero-window", "duplicate"})


@dataclass(slots=True)
class Burst:
    """Passages of one conversation (or, when there are too many rows, of one pair of hosts) told as one.

    `there` and `back` count packets and payload bytes from `source` to `target`, the way of the data, and the other way;
    `turned` when its first packet went the other way.
    """

    source: str | None
    target: str | None
    first: Passage
    t: float
    end: float
    there: int = 0
    there_bytes: int = 0
    back: int = 0
    back_bytes: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, tuple[int, int]] = field(default_factory=dict)
    mixed: bool = False
    turned: bool = False
    members: list[Passage] = field(default_factory=list)

    @property
    def hops(self) -> list[Hop]:
        return self.first.hops

    @property
    def traits(self) -> frozenset[str]:
        return frozenset(self.problems)

    @property
    def is_problem(self) -> bool:
        return bool(self.problems)

    @property
    def count(self) -> int:
        return self.there + self.back

    def add(self, passage: Passage) -> None:
        """Count one more in."""
        payload = passage.packet.payload or 0
        if passage.source == self.source:
            self.there += 1
            self.there_bytes += payload
        else:
            self.back += 1
            self.back_bytes += payload
        self.end = max(self.end, passage.end)
        if passage.is_problem:
            self.problems.update(passage.traits & PROBLEMS)
        numbers = self.numbers
        for hop in passage.hops:
            low, high = numbers.get(hop.host, (hop.number, hop.number))
            numbers[hop.host] = min(low, hop.number), max(high, hop.number)


    def orient(self) -> None:
        """Let `source` be who sent the data."""
        if self.back_bytes > self.there_bytes:
            self.source, self.target = self.target, self.source
            self.there, self.back = self.back, self.there
            self.there_bytes, self.back_bytes = self.back_bytes, self.there_bytes
            self.turned = not self.turned


Row = Passage | Burst


def rows(found: Sequence[Passage], limit: int = MAX_ROWS) -> list[Row]:
    """At most `limit` rows (or a few more) that tell every passage once, in order of time.

    What matters is drawn alone as long as it can be: first only plain segments of one conversation that follow each
    other closely are joined; then also lost and repeated ones, counted; when that is not enough, everything between two
    hosts in ever longer slices of time. Of neighbour discovery and multicast no more than a quarter of the limit is told.
    """
    if len(found) <= min(DRAW_ALL, limit):
        return list(found)
    found = _less_noise(found, limit // 4)
    for absorbed in (frozenset[str](), _ABSORBED):
        told = _by_conversation(found, absorbed)
        if len(told) <= limit:
            return told
    span = max(found[-1].t - found[0].t, 1e-6)
    slice_s = span / limit
    while len(told := _by_slice(found, slice_s)) > limit:
        slice_s *= 2
        if slice_s > 4 * span:
            break
    return told


def _less_noise(found: Sequence[Passage], most: int) -> Sequence[Passage]:
    """Without the noise beyond the first `most`: it must not crowd out what matters."""
    noise = [p for p in found if p.noise]
    if len(noise) <= most:
        return found
    kept = set(map(id, noise[:most]))
    return [p for p in found if not p.noise or id(p) in kept]


def _by_conversation(found: Sequence[Passage], absorbed: frozenset[str]) -> list[Row]:
    told: list[Row] = []
    open_: dict[object, Burst] = {}
    for passage in found:
        p = passage.packet
        here, there = (p.source, p.sport), (p.destination, p.dport)
        key = (here, there) if str(here) < str(there) else (there, here)
        burst = open_.get(key)
        if passage.noise or not passage.traits <= absorbed:
            open_.pop(key, None)
            told.append(passage)
            continue
        if burst is None or passage.t - burst.end > PAUSE_S:
            burst = open_[key] = _begin(passage)
            told.append(burst)
        burst.add(passage)
        if len(burst.members) < _FEWEST:
            burst.members.append(passage)
    return _unfold(told)


def _begin(passage: Passage) -> Burst:
    return Burst(passage.source, passage.target, passage, passage.t, passage.end)


def _unfold(told: list[Row]) -> list[Row]:
    """Bursts too small to be worth it become their packets again."""
    out: list[Row] = []
    for row in told:
        if isinstance(row, Burst) and row.count < _FEWEST:
            out += row.members
        else:
            if isinstance(row, Burst):
                row.members = []
                row.orient()
            out.append(row)
    out.sort(key=lambda row: row.t)
    return out


def _by_slice(found: Sequence[Passage], slice_s: float) -> list[Row]:
    told: list[Burst] = []
    open_: dict[object, Burst] = {}
    for passage in found:
        if passage.noise:
            continue
        key = (int(passage.t / slice_s), frozenset((passage.source, passage.target)))
        burst = open_.get(key)
        if burst is None:
            burst = open_[key] = _begin(passage)
            burst.mixed = True
            told.append(burst)
        burst.add(passage)
    for burst in told:
        burst.orient()
    return list(told)
