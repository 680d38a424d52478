"""What a link is asked to do: merged, and said in tc-netem(8)'s words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.agent.linkspec import Contradiction, Slot, Spec, bits, merge, netem_args, percent, usec

ROWS = [
    (Spec(), "limit 1000"),
    (Spec(delay_s=0.1), "limit 1000 delay 100ms"),
    (Spec(delay_s=0.1, jitter_s=0.01), "limit 1000 delay 100ms 10ms"),
    (
        Spec(delay_s=0.1, jitter_s=0.01, delay_correlation=25, distribution="normal"),
        "limit 1000 delay 100ms 10ms 25% distribution normal loss random 0% 0%",
    ),
    (Spec(delay_s=0.1, jitter_s=0.01, distribution="uniform"), "limit 1000 delay 100ms 10ms"),
    (Spec(delay_s=0.0015, limit=50), "limit 50 delay 1500us"),
    (Spec(loss=5), "limit 1000 loss random 5%"),
    (Spec(loss=0.125, loss_correlation=25), "limit 1000 delay 0us 0us 0% loss random 0.125% 25%"),
    (Spec(loss_gemodel=(1, 10, 70, 0.1)), "limit 1000 loss gemodel 1% 10% 70% 0.1%"),
    (Spec(loss_state=(1, 10, 30, 20, 2)), "limit 1000 loss state 1% 10% 30% 20% 2%"),
    (Spec(duplicate=1), "limit 1000 duplicate 1%"),
    # tc sends the correlation of duplicates only along with another one (q_netem.c counts no presence for it).
    (Spec(duplicate=1, duplicate_correlation=5), "limit 1000 delay 0us 0us 0% loss random 0% 0% duplicate 1% 5%"),
    (Spec(corrupt=0.1, corrupt_correlation=50), "limit 1000 corrupt 0.1% 50%"),
    (Spec(delay_s=0.01, reorder=25, reorder_correlation=50), "limit 1000 delay 10ms reorder 25% 50%"),
    (Spec(delay_s=0.01, reorder=100, gap=5), "limit 1000 delay 10ms reorder 100% gap 5"),
    (Spec(rate_bps=10**6), "limit 1000 rate 1mbit"),
    (Spec(rate_bps=1500, overhead_bytes=14), "limit 1000 rate 1500bit 14"),
    (Spec(rate_bps=5000, overhead_bytes=20, cell_bytes=100, cell_overhead_bytes=5), "limit 1000 rate 5kbit 20 100 5"),
    (Spec(rate_bps=5000, cell_bytes=48), "limit 1000 rate 5kbit 0 48"),
    (Spec(slot=Slot(0.01, 0.02)), "limit 1000 slot 10ms 20ms"),
    (Spec(slot=Slot(0.01, 0.02, packets=32, size_bytes=65536)), "limit 1000 slot 10ms 20ms packets 32 bytes 65536"),
    (
        Spec(slot=Slot(distribution="pareto", delay_s=0.01, jitter_s=0.001, packets=2)),
        "limit 1000 slot distribution pareto 10ms 1ms packets 2",
    ),
    (Spec(loss=1, seed=7), "limit 1000 loss random 1% seed 7"),
    (
        Spec(
            delay_s=0.1, loss=1, duplicate=2, corrupt=3, reorder=4, rate_bps=10**7, limit=100, slot=Slot(0.001, 0.001), seed=9
        ),
        "limit 100 delay 100ms loss random 1% duplicate 2% corrupt 3% reorder 4% rate 10mbit slot 1ms 1ms seed 9",
    ),
]


@pytest.mark.parametrize(("spec", "text"), ROWS)
def test_a_new_netem_has_exactly_these_arguments(spec: Spec, text: str) -> None:
    """Each field becomes the words of tc-netem(8), in its order, and nothing else."""
    assert " ".join(netem_args(spec)) == text


CHANGES = [
    (Spec(delay_s=0.1), Spec(delay_s=0.2), "limit 1000 delay 200ms"),
    (Spec(delay_s=0.1), Spec(), "limit 1000"),  # delay, loss, duplicate and gap are in the fixed part: always replaced
    (Spec(corrupt=1), Spec(loss=1), "limit 1000 loss random 1% corrupt 0%"),
    (Spec(delay_s=0.1, reorder=5), Spec(delay_s=0.1), "limit 1000 delay 100ms reorder 0%"),
    (Spec(rate_bps=10**6), Spec(), "limit 1000 rate 0bit"),
    (Spec(slot=Slot(1, 1)), Spec(), "limit 1000 slot 0s 0s"),
    (Spec(loss=1, loss_correlation=25), Spec(loss=1), "limit 1000 delay 0us 0us 0% loss random 1% 0%"),
]


@pytest.mark.parametrize(("before", "after", "text"), CHANGES)
def test_a_change_takes_back_by_name_what_the_kernel_would_keep(before: Spec, after: Spec, text: str) -> None:
    """netem_change touches only what the message has; what is no longer asked for is set to nothing."""
    assert " ".join(netem_args(after, before)) == text


def test_delays_add_and_chances_combine() -> None:
    """Two faults on one link do to a packet what both would do one after the other."""
    merged = merge([Spec(delay_s=0.1, jitter_s=0.01, loss=10, limit=50), Spec(delay_s=0.02, loss=20, duplicate=1, limit=20)])
    assert merged == Spec(delay_s=0.12, jitter_s=0.01, loss=28.0, duplicate=1, limit=20)


def test_a_uniform_distribution_is_none() -> None:
    uniform, normal = (Spec(delay_s=1, jitter_s=0.1, distribution=word) for word in ("uniform", "normal"))
    assert merge([uniform]) == Spec(delay_s=1, jitter_s=0.1)
    assert merge([uniform, normal]) == Spec(delay_s=2, jitter_s=0.2, distribution="normal")


def test_random_loss_joins_both_states_of_a_gilbert_elliott_model() -> None:
    merged = merge([Spec(loss_gemodel=(1, 10, 50, 0)), Spec(loss=10)])
    assert merged == Spec(loss_gemodel=(1, 10, 55.0, 10.0))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (Spec(rate_bps=1000), Spec(rate_bps=2000), "two rates"),
        (Spec(jitter_s=1, distribution="normal"), Spec(jitter_s=1, distribution="pareto"), "two distributions"),
        (Spec(loss_gemodel=(1, 1, 1, 1)), Spec(loss_gemodel=(2, 1, 1, 1)), "two loss_gemodel"),
        (Spec(loss_state=(1, 1, 1, 1, 1)), Spec(loss=1), "4-state"),
        (Spec(slot=Slot(1, 1)), Spec(slot=Slot(2, 2)), "two slots"),
        (Spec(loss=1, loss_correlation=10), Spec(loss=1), "loss_correlation 0% and 10%"),
        (Spec(reorder=1, gap=2), Spec(reorder=1, gap=3), "two gaps"),
        (Spec(loss=1, seed=0), Spec(duplicate=1, seed=2), "two seeds"),
    ],
)
def test_what_has_no_joint_meaning_is_refused(a: Spec, b: Spec, message: str) -> None:
    with pytest.raises(Contradiction, match=message):
        merge([a, b])


chances = st.floats(0, 100, allow_nan=False).map(lambda x: round(x, 3))
specs = st.builds(
    Spec, delay_s=st.integers(0, 10**6).map(lambda us: us / 1e6), loss=chances, duplicate=chances, corrupt=chances,
    limit=st.integers(0, 1000),
)  # fmt: skip


@given(specs, specs)
def test_merging_does_not_depend_on_the_order(a: Spec, b: Spec) -> None:
    one, other = merge([a, b]), merge([b, a])
    assert netem_args(one) == netem_args(other)


@given(specs)
def test_a_spec_survives_json(spec: Spec) -> None:
    assert Spec.from_json(spec.as_json()) == spec
    assert merge([spec]) == spec


def test_nested_values_survive_json() -> None:
    spec = Spec(loss_state=(1, 2, 3, 4, 5), slot=Slot(0.1, 0.2, packets=3), seed=0)
    assert Spec.from_json(spec.as_json()) == spec


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "100ms"), (1.5, "1500ms"), (2, "2s"), (0.00025, "250us"), (0, "0us"), (0.0000004, "0us")]
)
def test_times_are_written_exactly(seconds: float, text: str) -> None:
    assert usec(seconds) == text


@pytest.mark.parametrize(("bps", "text"), [(10**9, "1gbit"), (1_500_000, "1500kbit"), (56_000, "56kbit"), (9, "9bit")])
def test_rates_are_written_exactly(bps: int, text: str) -> None:
    assert bits(bps) == text


def test_percentages_have_no_exponent() -> None:
    assert [percent(x) for x in (0.00001, 5.0, 33.3333333, 100, 0)] == ["0.00001%", "5%", "33.3333333%", "100%", "0%"]
