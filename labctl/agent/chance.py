"""The random choices of netem, seeded: net/sched/sch_netem.c in Python, the same formulas on the same 32 bit numbers. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .linkspec import UINT32_MAX, Spec

DIST_SCALE = 8192  # linux/pkt_sched.h, NETEM_DIST_SCALE
TABLE_FOLDERS = ("/usr/lib/tc", "/usr/share/tc")

Draw = Callable[[], int]


def scaled(percent: float) -> int:
    """A percentage as netem holds it: 0 is never, UINT32_MAX always (tc/q_netem.c, set_percent)."""
    return round(percent / 100 * UINT32_MAX)


def generator(seed: int | str, purpose: str) -> Draw:
    """32 bit numbers that depend on the seed and on what they are for only.

    A generator for each purpose keeps the lost packets the same when, say, jitter joins a loss.
    """
    return partial(random.Random(f"{seed}/{purpose}").getrandbits, 32)


class Correlated:
    """get_crandom: each number leans on the last by the correlation."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.rho = 0
        self.last = draw()

    def __call__(self) -> int:
        if self.rho == 0:
            return self.draw()
        rho = self.rho + 1
        self.last = (self.draw() * (2**32 - rho) + self.last * rho) >> 32
        return self.last


class Chance:
    """Something that happens to a packet with a probability, which may be correlated."""

    def __init__(self, draw: Draw) -> None:
        self.random = Correlated(draw)
        self.threshold = 0

    def set(self, percent: float, correlation: float) -> None:
        self.threshold, self.random.rho = scaled(percent), scaled(correlation)

    def __call__(self) -> bool:
        return self.threshold != 0 and self.threshold >= self.random()


class Loss:
    """loss_event: random, Gilbert-Elliott or 4-state. The state of the chain survives a change of its probabilities."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.chance = Chance(draw)
        self.state = 1
        self.model: tuple[int, ...] = ()

    def set(self, spec: Spec) -> None:
        self.chance.set(spec.loss, spec.loss_correlation)
        self.model = tuple(map(scaled, spec.loss_gemodel or spec.loss_state))

    def __call__(self) -> bool:
        if len(self.model) == 4:
            return self._gilbert_elliott()
        if len(self.model) == 5:
            return self._four_states()
        return self.chance()

    def _gilbert_elliott(self) -> bool:
        """State 1 is good, 2 is bad: maybe change the state, then lose or not by what was the state before."""
        p, r, lost_bad, lost_good = self.model
        if self.state == 1:
            if self.draw() < p:
                self.state = 2
            return self.draw() < lost_good
        if self.draw() < r:
            self.state = 1
        return self.draw() > UINT32_MAX - lost_bad if lost_bad < UINT32_MAX else True

    def _four_states(self) -> bool:
        """1 received in a gap, 2 received in a burst, 3 lost in a burst, 4 lost in a gap."""
        p13, p31, p32, p23, p14 = self.model
        number = self.draw()
        if self.state == 1:
            self.state = 4 if number < p14 else 3 if number < p13 + p14 else 1
        elif self.state == 2:
            self.state = 3 if number < p23 else 2
        elif self.state == 3:
            self.state = 2 if number < p32 else 1 if number < p31 + p32 else 3
        else:
            self.state = 1
        return self.state in (3, 4)


class Spread:
    """tabledist: a time around a mean, from a table of iproute2 or, without one, uniform within ± sigma."""

    def __init__(self, draw: Draw) -> None:
        self.random = Correlated(draw)
        self.mean_ns = self.sigma_ns = 0
        self.table: Sequence[int] = ()

    def set(self, mean_ns: int, sigma_ns: int, correlation: float, table: Sequence[int]) -> None:
        self.mean_ns, self.sigma_ns, self.random.rho, self.table = mean_ns, sigma_ns, scaled(correlation), table

    def __call__(self) -> int:
        """Nanoseconds; may be negative when sigma exceeds the mean."""
        if not self.sigma_ns:
            return self.mean_ns
        number = self.random()
        if not self.table:
            return number * 2 * self.sigma_ns // 2**32 - self.sigma_ns + self.mean_ns
        return round(self.sigma_ns * self.table[number % len(self.table)] / DIST_SCALE) + self.mean_ns


def uniform_table() -> Sequence[int]:
    """A table that spreads times as none does, as long as those of iproute2; one step is sigma / 2048."""
    return range(2 - DIST_SCALE, DIST_SCALE, 4)


def read_table(name: str) -> Sequence[int]:
    """A distribution of iproute2 by name; empty for `uniform` or none. Raises ValueError when it is not installed."""
    if name in ("", "uniform"):
        return ()
    folders = [*map(Path, TABLE_FOLDERS), *sorted(Path("/usr/lib").glob("*/tc"))]
    path = next((p for folder in folders if (p := folder / f"{name}.dist").exists()), None)
    if path is None:
        raise ValueError(f"there is no distribution {name}: no {name}.dist of iproute2 in {', '.join(map(str, folders))}")
    lines = path.read_text(encoding="ascii").splitlines()
    return [int(word) for line in lines if not line.startswith("#") for word in line.split()]
