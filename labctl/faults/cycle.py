"""Chance that can be repeated and costs nothing: which packets are hit is thrown here, and rules of the kernel count. Pure.

The kernel's own chance takes no seed (net/netfilter/xt_statistic.c, get_random_u32), but it counts. So the dice are thrown
once, for each packet of a cycle, and `statistic --mode nth` has one rule for each packet that is hit. Two cycles, one behind
the other, come back to where they began after some ten thousand packets. Their lengths are prime numbers, so that a
conversation in which each kind of packet comes at a fixed distance meets every place of them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass

HITS = range(13, 26)  # of one cycle; as many rules
LONGEST = 2**31 - 1  # xt_statistic counts in 31 bits; it is prime
Nth = tuple[int, int]


@dataclass(frozen=True)
class Cycle:
    """`hits` are the places from 0, in order, of the packets that are hit among each `length` packets."""

    length: int
    hits: tuple[int, ...]

    @property
    def share(self) -> float:
        """How many of all packets it hits."""
        return len(self.hits) / self.length

    def rules(self) -> list[Nth]:
        """(every, packet) of `statistic --mode nth`, in the order of the rules.

        A packet that one rule has hit does not come to the next, which so counts one fewer in each cycle.
        """
        return [(self.length - before, place - before) for before, place in enumerate(self.hits)]


def cycles(share: float, seed: str) -> tuple[Cycle, Cycle]:
    """Two cycles that together hit this share of the packets (above 0, at most 0.5), the second of what the first leaves."""
    first = cycle(1 - math.sqrt(1 - share), f"{seed}/1")
    return first, cycle(1 - (1 - share) / (1 - first.share), f"{seed}/2", {first.length})


def cycle(share: float, seed: str, taken: Collection[int] = ()) -> Cycle:
    """The cycle in which about this share of the packets is hit, at places thrown by the seed; its length is none of `taken`.

    Of all numbers of hits the one whose share comes closest; fewer than that where the longest cycle asks for it.
    """
    most = max(1, round(share * LONGEST))
    lengths = {hits: _prime_near(hits / share, taken) for hits in {min(hits, most) for hits in HITS}}
    hits = min(lengths, key=lambda n: (abs(n / lengths[n] - share), -n))
    throw = random.Random(seed).random  # the one method whose numbers Python promises not to change
    chosen: set[int] = set()
    while len(chosen) < hits:
        chosen.add(int(throw() * lengths[hits]))
    return Cycle(lengths[hits], tuple(sorted(chosen)))


def _prime_near(number: float, taken: Collection[int]) -> int:
    """The prime from 3 to LONGEST nearest to a number, but for those taken."""
    middle = max(3, min(round(number), LONGEST))
    around = (n for gap in range(middle) for n in (middle - gap, middle + gap))
    return next(n for n in around if 3 <= n <= LONGEST and n not in taken and _is_prime(n))


def _is_prime(number: int) -> bool:
    """Miller and Rabin's test; with these bases it errs for no number below 3,215,031,751 (Pomerance and others, 1980)."""
    if number < 11 or any(number % p == 0 for p in (2, 3, 5, 7)):
        return number in (2, 3, 5, 7)
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(base, odd, twos, number) for base in (2, 3, 5, 7))


def _passes(base: int, odd: int, twos: int, number: int) -> bool:
    power = pow(base, odd, number)
    return power in (1, number - 1) or any(pow(power, 2**i, number) == number - 1 for i in range(1, twos))
