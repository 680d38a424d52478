"""Chance by counting: as often as asked, by the seed alone, and fair to every kind of packet in a conversation."""

from __future__ import annotations

import pytest

from labctl.faults.cycle import LONGEST, Cycle, Nth, _is_prime, cycles

SHARES = (0.5, 0.3, 0.25, 1 / 3, 0.1, 0.02, 0.001)


def hit(rules: list[Nth], packets: int) -> list[int]:
    """Which of so many packets the rules hit, as `statistic --mode nth` counts: each rule sees what those before it let by."""
    left, found = list(range(packets)), []
    for every, nth in rules:
        found += left[nth::every]
        del left[nth::every]
    return sorted(found)


def both(share: float, seed: str) -> list[Nth]:
    return [nth for part in cycles(share, seed) for nth in part.rules()]


@pytest.mark.parametrize("share", SHARES)
def test_as_many_are_hit_as_asked(share: float) -> None:
    """To a thousandth of all packets, whatever the seed."""
    for seed in map(str, range(5)):
        first, second = cycles(share, seed)
        assert abs(1 - (1 - first.share) * (1 - second.share) - share) < 0.001
        count = min(40_000, 4 * first.length * 50)
        assert abs(len(hit(both(share, seed), count)) / count - share) < 0.004


def test_a_cycle_hits_its_own_places_and_no_others() -> None:
    """The rules count so that exactly the places of the cycle are hit, in each cycle again."""
    made = Cycle(11, (0, 3, 4, 10))
    assert hit(made.rules(), 33) == [0, 3, 4, 10, 11, 14, 15, 21, 22, 25, 26, 32]


def test_the_same_seed_hits_the_same_packets_and_another_others() -> None:
    """What falls is a matter of the seed alone, and of no version of Python: these are the numbers for ever."""
    assert [packet + 1 for packet in hit(both(0.3, "9"), 10)] == [3, 5, 10]
    assert hit(both(0.3, "7"), 200) == hit(both(0.3, "7"), 200) != hit(both(0.3, "8"), 200)


@pytest.mark.parametrize("kinds", [2, 3, 4, 10])
def test_every_kind_of_packet_in_a_conversation_is_hit_as_often(kinds: int) -> None:
    """Requests and answers by turns, or longer rounds: no kind meets a part of the cycle only."""
    found = hit(both(0.3, "7"), 30_000)
    for kind in range(kinds):
        share = sum(packet % kinds == kind for packet in found) / (30_000 / kinds)
        assert 0.27 < share < 0.33


def test_hits_come_alone_and_in_bursts_as_by_chance() -> None:
    """Of independent packets three hits in a row begin at 0.3 to the third of them."""
    found = set(hit(both(0.3, "7"), 20_000))
    bursts = sum({packet, packet + 1, packet + 2} <= found for packet in found) / 20_000
    assert 0.015 < bursts < 0.04


@pytest.mark.parametrize("share", [0.5, 0.3, 1e-6, 1e-9, 1e-12])
def test_the_kernel_can_count_every_cycle(share: float) -> None:
    """Lengths are primes within 31 bits, and the two differ, down to what is hardly ever."""
    first, second = cycles(share, "1")
    assert first.length != second.length
    for part in (first, second):
        assert part.length <= LONGEST
        assert _is_prime(part.length)
        assert 0 < len(part.hits) <= 25
        assert len(set(part.hits)) == len(part.hits)
        assert all(0 <= nth < every for every, nth in part.rules())


def test_primes() -> None:
    """By trial for small numbers; of the large ones, 2**31 - 1 is one (Euler) and the product of two is none."""
    small = [n for n in range(2, 2000) if all(n % d for d in range(2, int(n**0.5) + 1))]
    assert [n for n in range(2, 2000) if _is_prime(n)] == small
    assert _is_prime(LONGEST)
    assert not _is_prime(46337 * 46327)
