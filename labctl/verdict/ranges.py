"""Numbers held against what was asked of them, and both in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from labctl.scenario.model import CountRange, DurationRange, RateRange, SizeRange
from labctl.units import format_size
from labctl.verdict.finding import Finding

AnyRange = int | DurationRange | SizeRange | CountRange | RateRange


def in_range(
    name: str, wanted: AnyRange, actual: float, show: Callable[[Any], str]
) -> Finding:
    """A number against an exact value or a range whose ends are included."""
    if isinstance(wanted, int):
        return Finding.of(name, show(wanted), show(actual), actual == wanted)
    ok = (wanted.min is None or actual >= wanted.min) and (wanted.max is None or actual <= wanted.max)
    return Finding.of(name, describe_range(wanted, show), show(actual), ok)


def describe_range(wanted: AnyRange, show: Callable[[Any], str]) -> str:
    """`3`, `at least 1`, `at most 2s`, `3s to 12s`."""
    if isinstance(wanted, int):
        return show(wanted)
    if wanted.min is not None and wanted.max is not None:
        return f"{show(wanted.min)} to {show(wanted.max)}"
    if wanted.min is not None:
        return f"at least {show(wanted.min)}"
    return f"at most {show(wanted.max)}"


def format_bytes(number: int) -> str:
    """`12B`, and `64KiB (65536B)` where that is easier to see."""
    short = format_size(number)
    return short if short == f"{number}B" else f"{short} ({number}B)"
