"""The emulator as netem: what happens to each packet, repeatably and as often as asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.agent.emulator import ETHERNET_BYTES, NS, Emulator, Wire
from labctl.agent.linkspec import Slot, Spec

MS = 10**6
TABLE = [-8192, 0, 8192]  # -1, 0 and +1 sigma


def table(name: str) -> Sequence[int]:
    return TABLE if name == "normal" else ()


def emulator(spec: Spec, seed: int | str = 1, wire: Wire | None = None) -> Emulator[int]:
    return Emulator(spec, seed, wire, table)


def run(
    spec: Spec, packets: int = 20_000, seed: int | str = 1, gap_ns: int = MS
) -> tuple[Emulator[int], list[tuple[int, int]]]:
    """Packets 0, 1, … at a fixed distance, each taken out as soon as it is due; (packet, time) in the order they went on."""
    one = emulator(spec, seed)
    out: list[tuple[int, int]] = []
    for number in range(packets):
        now = number * gap_ns
        while (due := one.next_ns()) is not None and due <= now:
            out += [(packet, max(due, 0)) for packet, _ in one.due(due)]
        one.arrive(number, 100, now)
    while (due := one.next_ns()) is not None:
        out += [(packet, due) for packet, _ in one.due(due)]
    return one, out


def bounds(n: int, p: float) -> tuple[float, float]:
    """Where a binomial count lies 99 times in 100 (normal approximation)."""
    spread = 2.576 * math.sqrt(n * p * (1 - p))
    return n * p - spread, n * p + spread


def test_nothing_asked_passes_everything_at_once_and_in_order() -> None:
    one, out = run(Spec(), 100)
    assert out == [(n, n * MS) for n in range(100)]
    assert one.counts.as_json() | {"most_held": 1} == {
        "seen": 100, "delayed": 0, "lost": 0, "duplicated": 0, "corrupted": 0, "reordered": 0, "over_limit": 0,
        "released": 100, "most_held": 1, "unsent": 0,
    }  # fmt: skip


def test_a_delay_is_exact() -> None:
    _, out = run(Spec(delay_s=0.1), 100)
    assert out == [(n, n * MS + 100 * MS) for n in range(100)]


def test_a_uniform_jitter_stays_within_its_range_and_centres_on_the_delay() -> None:
    _, out = run(Spec(delay_s=0.1, jitter_s=0.02), 20_000)
    delays = [(at - n * MS) / MS for n, at in out]
    assert 80 <= min(delays) < 81
    assert 119 < max(delays) <= 120
    assert abs(sum(delays) / len(delays) - 100) < 0.5


def test_a_distribution_takes_its_times_from_the_table() -> None:
    _, out = run(Spec(delay_s=0.1, jitter_s=0.01, distribution="normal"), 3000)
    delays = {round((at - n * MS) / MS) for n, at in out}
    assert delays == {90, 100, 110}


def test_delays_that_are_correlated_change_slowly() -> None:
    def steps(correlation: float) -> float:
        _, out = run(Spec(delay_s=0.1, jitter_s=0.05, delay_correlation=correlation), 5000)
        delays = [at - n * MS for n, at in sorted(out)]
        return sum(abs(b - a) for a, b in pairwise(delays)) / len(delays)

    assert steps(90) < steps(0) / 4


@pytest.mark.parametrize("percent", [0.1, 1, 5, 50])
@pytest.mark.parametrize(("field", "count"), [("loss", "lost"), ("duplicate", "duplicated"), ("corrupt", "corrupted")])
def test_chances_are_what_was_asked(field: str, count: str, percent: float) -> None:
    """20,000 packets: within the interval that holds 99 % of binomial counts."""
    one, _ = run(Spec(**{field: percent}))
    low, high = bounds(20_000, percent / 100)
    assert low <= getattr(one.counts, count) <= high


@pytest.mark.parametrize(("percent", "lost"), [(0, 0), (100, 1000)])
def test_never_and_always_are_exact(percent: float, lost: int) -> None:
    assert run(Spec(loss=percent), 1000)[0].counts.lost == lost


def test_the_same_seed_loses_the_same_packets() -> None:
    first, again, other = (run(Spec(loss=5), 5000, seed)[1] for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_other_impairments_do_not_change_which_packets_are_lost() -> None:
    """Each has random numbers of its own, so adding jitter to a loss leaves the losses as they were."""
    kept = [{packet for packet, _ in run(spec, 5000)[1]} for spec in (Spec(loss=5), Spec(loss=5, delay_s=0.1, jitter_s=0.01))]
    assert kept[0] == kept[1]


def test_a_gilbert_elliott_loss_comes_in_bursts_of_the_length_asked() -> None:
    one, out = run(Spec(loss_gemodel=(1, 10, 100, 0)), 100_000)
    # p/(p+r) of the time in the bad state, which lasts 1/r packets
    assert one.counts.lost / 100_000 == pytest.approx(1 / 11, rel=0.1)
    received = {packet for packet, _ in out}
    bursts = sum(1 for n in range(1, 100_000) if n not in received and n - 1 in received)
    assert one.counts.lost / bursts == pytest.approx(10, rel=0.1)


def test_four_states_lose_alone_and_in_bursts() -> None:
    one, out = run(Spec(loss_state=(1, 20, 0, 100, 2)), 100_000)
    received = {packet for packet, _ in out}
    alone = sum(1 for n in range(1, 99_999) if n not in received and {n - 1, n + 1} <= received)
    assert one.counts.lost / 100_000 == pytest.approx(0.01 / 0.2 * 0.93 + 0.02 * 0.93, rel=0.15)
    assert alone > 1500


def test_duplicates_are_in_the_stream_twice() -> None:
    one, out = run(Spec(duplicate=10), 2000)
    assert len(out) == 2000 + one.counts.duplicated
    assert {packet for packet, _ in out} == set(range(2000))


def test_a_packet_both_lost_and_duplicated_goes_on_once() -> None:
    """netem counts copies: one more for the duplicate, one less for the loss (sch_netem.c, netem_enqueue)."""
    _, out = run(Spec(duplicate=100, loss=100), 100)
    assert [packet for packet, _ in out] == list(range(100))


def test_reordered_packets_overtake_those_that_are_delayed() -> None:
    one, out = run(Spec(delay_s=0.01, reorder=25), 20_000)
    at_once = [n for n, at in out if at - n * MS < MS]
    low, high = bounds(20_000, 0.25)
    assert low <= one.counts.reordered <= high
    assert abs(len(at_once) - one.counts.reordered) <= 1


def test_a_gap_with_certainty_reorders_every_nth() -> None:
    one, _ = run(Spec(delay_s=0.01, reorder=100, gap=5), 1000)
    assert one.counts.reordered == 200


def test_a_rate_sends_one_packet_after_the_other() -> None:
    length = 100 + ETHERNET_BYTES
    _, out = run(Spec(rate_bps=8 * length * 100), 50, gap_ns=0)  # 100 packets a second
    assert [at for _, at in out] == [(n + 1) * 10 * MS for n in range(50)]


def test_a_rate_and_a_delay_do_not_add_for_packets_that_wait() -> None:
    """The time in the queue counts towards the delay, as in netem: a long queue is not delayed again."""
    length = 100 + ETHERNET_BYTES
    _, out = run(Spec(rate_bps=8 * length * 100, delay_s=0.02), 50, gap_ns=0)
    assert [at for _, at in out] == [(20 + (n + 1) * 10) * MS for n in range(50)]


def test_overhead_and_cells_take_their_time_on_the_wire() -> None:
    wire = Wire()
    spec = Spec(rate_bps=8 * 106, cell_bytes=48, cell_overhead_bytes=5)
    assert wire.send(0, 50, spec) == NS  # tc-netem(8): 50 bytes are two cells of 48, 106 bytes with their overhead


def test_a_burst_passes_at_once_and_then_at_the_rate() -> None:
    length = 100 + ETHERNET_BYTES
    _, out = run(Spec(rate_bps=8 * length * 100, burst_bytes=5 * length), 10, gap_ns=0)
    times = [round(at / MS) for _, at in out]
    assert times == [0, 0, 0, 0, 0, 10, 20, 30, 40, 50]


def test_a_burst_fills_again_while_nothing_is_sent() -> None:
    wire, spec = Wire(), Spec(rate_bps=8000, burst_bytes=2000)
    assert wire.send(1, 2000, spec) == 1
    assert wire.send(NS + 1, 1000, spec) == NS + 1
    assert wire.send(NS + 1, 500, spec) == NS + 1 + NS // 2


def test_the_limit_bounds_what_is_held_and_the_rest_is_counted() -> None:
    one = emulator(Spec(delay_s=1, limit=10))
    kept = sum(one.arrive(n, 100, n) for n in range(100))
    assert (kept, len(one), one.counts.over_limit, one.counts.most_held) == (10, 10, 90, 10)


def test_slots_deliver_in_bursts() -> None:
    _, out = run(Spec(slot=Slot(0.01, 0.01)), 100)
    assert len({at for _, at in out}) <= 11
    assert [packet for packet, _ in out] == list(range(100))


def test_a_slot_holds_so_many_packets() -> None:
    one = emulator(Spec(slot=Slot(0.01, 0.01, packets=3)))
    for number in range(10):
        one.arrive(number, 100, MS)
    assert one.due(MS) == []
    assert len(one.due(11 * MS)) == 3
    assert one.next_ns() == 21 * MS


def test_a_change_keeps_what_is_on_its_way_and_the_random_sequence() -> None:
    """Nothing held is lost, and its time stays; the losses that follow are those that would have followed."""
    one, other = emulator(Spec(loss=10, delay_s=0.1)), emulator(Spec(loss=10, delay_s=0.1))
    for number in range(100):
        one.arrive(number, 100, number)
        other.arrive(number, 100, number)
    held = len(one)
    one.set(Spec(loss=10, delay_s=0.001))
    assert len(one) == held
    fates = [(one.arrive(n, 100, n), other.arrive(n, 100, n)) for n in range(100, 1000)]
    assert all(a == b for a, b in fates)


def test_flushing_gives_everything_in_order() -> None:
    one = emulator(Spec(delay_s=1, jitter_s=0.5))
    for number in range(100):
        one.arrive(number, 100, number)
    times = {packet: at for at, _, packet, _, _ in one._held}
    assert [packet for packet, _ in one.flush()] == sorted(times, key=lambda n: times[n])
    assert len(one) == 0
    assert one.next_ns() is None


def test_classes_that_share_a_wire_share_its_rate() -> None:
    spec, wire = Spec(rate_bps=8 * (100 + ETHERNET_BYTES)), Wire()
    a, b = emulator(spec, 1, wire), emulator(spec, 2, wire)
    a.arrive(0, 100, 0)
    b.arrive(0, 100, 0)
    assert (a.next_ns(), b.next_ns()) == (NS, 2 * NS)


@given(st.lists(st.tuples(st.integers(0, 5 * MS), st.integers(20, 1500)), max_size=60), st.floats(0, 100), st.floats(0, 100))
def test_packets_are_neither_made_nor_forgotten(arrivals: list[tuple[int, int]], loss: float, duplicate: float) -> None:
    """Every packet that arrived was lost, dropped at the limit, or went on, and every copy is accounted for."""
    one = emulator(Spec(loss=loss, duplicate=duplicate, delay_s=0.01, jitter_s=0.01, limit=20, rate_bps=10**6))
    now = 0
    for number, (gap, length) in enumerate(arrivals):
        now += gap
        one.arrive(number, length, now)
        one.due(now)
    one.flush()
    c = one.counts
    assert c.released == c.seen + c.duplicated - c.lost - c.over_limit
    assert c.most_held <= 20


def test_a_wire_that_is_shared_comes_after_the_delays_and_sends_what_is_ready_first() -> None:
    """A packet that is delayed holds up nobody until it is ready; as netem below an htb class."""
    tx_ns = NS // 100
    spec, wire = Spec(rate_bps=8 * (100 + ETHERNET_BYTES) * 100), Wire()
    slow, quick = emulator(Spec(delay_s=1, rate_bps=spec.rate_bps), 1, wire), emulator(spec, 2, wire)
    slow.arrive(0, 100, 0)
    slow.arrive(1, 100, 0)
    quick.arrive(2, 100, 0)
    assert (slow.next_ns(), quick.next_ns()) == (NS, tx_ns)
    assert slow.due(NS) == []
    assert slow.next_ns() == NS + tx_ns
    assert [packet for packet, _ in slow.due(NS + 2 * tx_ns)] == [0, 1]


def test_a_wire_begins_and_ends_to_be_shared_without_packets_overtaking() -> None:
    second = Spec(rate_bps=8 * (100 + ETHERNET_BYTES))
    one, wire = emulator(second), Wire()
    for number, shared in enumerate((None, None, wire, wire, None, None)):
        one.set(second, shared)
        one.arrive(number, 100, 0)
    out = [(packet, at) for at in range(0, 8 * NS, NS) for packet, _ in one.due(at)]
    assert out == [(number, (number + 1) * NS) for number in range(6)]
