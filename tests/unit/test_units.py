"""Quantities: a number and its unit, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.units import (
    DURATION_S,
    SIZE_BYTES,
    format_duration,
    format_size,
    parse_bytes,
    parse_duration_s,
    parse_percent,
    parse_rate_bps,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250us", 0.00025),
        ("100ms", 0.1),
        ("2s", 2),
        ("1.5m", 90),
        ("2min", 120),
        ("1h", 3600),
        (" 3 s ", 3),
        ("0", 0),
        (0, 0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    """A duration is seconds, whatever unit it was written in; only nothing at all needs no unit."""
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("parse", "text", "words"),
    [
        (parse_duration_s, "3", "duration 3 has no unit; write one of us, ms, s, m, min, h, like 100ms"),
        (parse_duration_s, 3, "has no unit"),
        (parse_duration_s, "3 parsecs", "'parsecs' is no unit of duration"),
        (parse_duration_s, "-3s", "'-3s' is no duration"),
        (parse_duration_s, "s", "'s' is no duration"),
        (parse_duration_s, "1e3s", "is no duration"),
        (parse_duration_s, "nan s", "is no duration"),
        (parse_duration_s, True, "a number with a unit, like 100ms"),
        (parse_duration_s, None, "a number with a unit"),
        (parse_duration_s, ["3s"], "a number with a unit"),
        (parse_size_bytes, "64k", "'k' is no unit of size; write one of B, kB"),
        (parse_size_bytes, "64kib", "is no unit of size"),
        (parse_rate_bps, "10 MBit", "'MBit' is no unit of rate"),
        (parse_duration_s, "9" * 400 + "s", f"duration {'9' * 40}… is larger than any; write one like 100ms"),
        (parse_size_bytes, "9" * 400 + "B", f"size {'9' * 40}… is larger than any; write one like 64KiB"),
        (parse_rate_bps, "9" * 305 + "gbit", f"rate {'9' * 40}… is larger than any; write one like 10mbit"),
        (parse_size_bytes, "9" * 50, f"size {'9' * 40} has no unit"),
        (parse_percent, "5", "has no unit"),
        (parse_percent, "101%", "is not between 0% and 100%"),
        (parse_bytes, -1, "-1 is no number of bytes"),
        (parse_bytes, "12", "size 12 has no unit"),
        (parse_bytes, True, "a number with a unit"),
    ],
)
def test_what_is_no_quantity_is_told_with_what_would_be(parse: object, text: object, words: str) -> None:
    """A wrong quantity is a ValueError that says what is wrong and which units there are."""
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace("?", r"\?")):
        parse(text)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "bits"), [("10mbit", 10**7), ("1mbps", 8 * 10**6), ("1gbit", 10**9), ("9.6kbit", 9600)]
)
def test_rates_are_tcs(text: str, bits: int) -> None:
    """`bit` and `bps` mean what tc(8) means by them: bits, and bytes, each second."""
    assert parse_rate_bps(text) == bits


@pytest.mark.parametrize(
    ("text", "size"), [("64KiB", 65536), ("1MB", 10**6), ("1500B", 1500), ("1.5KiB", 1536)]
)
def test_sizes_tell_binary_from_decimal(text: str, size: int) -> None:
    """KiB is 1024 bytes and kB is 1000."""
    assert parse_size_bytes(text) == parse_bytes(text) == size


def test_a_count_of_bytes_needs_no_unit() -> None:
    """What is counted in bytes exactly may be written bare."""
    assert (parse_bytes(65536), parse_bytes(0)) == (65536, 0)


@given(st.floats(0, 1e6, allow_nan=False).map(lambda n: round(n, 6)), st.sampled_from(sorted(DURATION_S)))
def test_any_duration_is_its_number_times_its_unit(number: float, unit: str) -> None:
    """Whatever number is written before whatever unit is taken for just that."""
    assert parse_duration_s(f"{number:.6f}{unit}") == pytest.approx(number * DURATION_S[unit], abs=1e-12)


@given(st.integers(0, 2**50))
def test_a_size_that_is_shown_can_be_read_again(size: int) -> None:
    """What format_size writes parse_size_bytes reads, to the byte."""
    assert parse_size_bytes(format_size(size)) == size
    assert set(SIZE_BYTES) >= {format_size(size).lstrip("0123456789")}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.00002, "20us"), (0.0031, "3.1ms"), (3.07, "3.07s"), (12345, "12345s"), (-0.5, "-500ms")],
)
def test_durations_are_shown_with_three_digits(seconds: float, text: str) -> None:
    """A duration for people has three significant digits and the unit that fits."""
    assert format_duration(seconds) == text
